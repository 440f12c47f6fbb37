"""In the openai client's environment: what its users do. Prints what came of it, as JSON."""

import json
import sys

import openai

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
asked = {"model": model, "max_tokens": 12, "temperature": 0}
messages = [{"role": "user", "content": "Once there was a"}]

whole = client.completions.create(prompt="Once there was a", logprobs=2, extra_body={"return_token_ids": True}, **asked)
parts = list(client.completions.create(prompt="Once there was a", stream=True, stream_options={"include_usage": True}, **asked))
chat = client.chat.completions.create(messages=messages, logprobs=True, top_logprobs=2, **asked)
deltas = list(client.chat.completions.create(messages=messages, stream=True, stream_options={"include_usage": True}, **asked))


def refused(kind, **more):
    try:
        client.chat.completions.create(messages=messages, **{**asked, **more})
    except kind as problem:
        return problem.body["message"]
    raise AssertionError(f"{more} was not refused")


tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
print(json.dumps({
    "version": openai.__version__,
    "models": [card.id for card in client.models.list()],
    "text": whole.choices[0].text,
    "token_ids": whole.choices[0].token_ids,
    "logprobs": whole.choices[0].logprobs.token_logprobs,
    "usage": whole.usage.model_dump(),
    "streamed": "".join(choice.text for part in parts for choice in part.choices),
    "stream_usage": parts[-1].usage.model_dump(),
    "chat": chat.choices[0].message.content,
    "role": chat.choices[0].message.role,
    "chat_logprobs": [entry.logprob for entry in chat.choices[0].logprobs.content],
    "chat_streamed": "".join(choice.delta.content or "" for part in deltas for choice in part.choices),
    "chat_stream_usage": deltas[-1].usage.model_dump(),
    "tools": refused(openai.BadRequestError, tools=[tool]),
    "bad": refused(openai.BadRequestError, temperature=-1),
    "model": refused(openai.NotFoundError, model="gpt-4"),
}))  # fmt: skip
