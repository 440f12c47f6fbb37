"""In LiteLLM's environment: minieng serve as a hosted vLLM, and as any server of OpenAI's interface."""

import json
import sys
from importlib.metadata import version

import litellm

url, model = sys.argv[1:]
asked = {"api_base": f"{url}/v1", "api_key": "none", "max_tokens": 12, "temperature": 0, "num_retries": 0}
messages = [{"role": "user", "content": "Once there was a"}]
found = {"version": version("litellm")}
for provider in ("hosted_vllm", "openai"):
    name = f"{provider}/{model}"
    whole = litellm.completion(model=name, messages=messages, **asked)
    parts = list(litellm.completion(model=name, messages=messages, stream=True, stream_options={"include_usage": True}, **asked))
    found[provider] = {
        "text": whole.choices[0].message.content,
        "usage": whole.usage.completion_tokens,
        "streamed": "".join(choice.delta.content or "" for part in parts for choice in part.choices),
        "stream_usage": [part.usage.completion_tokens for part in parts if getattr(part, "usage", None)][-1],
    }
text = litellm.text_completion(model=f"text-completion-openai/{model}", prompt="Once there was a", **asked)
found["text_completion"] = text.choices[0].text
print(json.dumps(found))
