"""In LangChain's environment: a model behind minieng serve as its ChatOpenAI."""

import asyncio
import json
import sys
from importlib.metadata import version

from langchain_openai import ChatOpenAI

url, model = sys.argv[1:]
chat = ChatOpenAI(
    base_url=f"{url}/v1", api_key="none", model=model, temperature=0, max_tokens=12, max_retries=0, stream_usage=True
)
answer = chat.invoke("Once there was a")
parts = list(chat.stream("Once there was a"))
batch = asyncio.run(chat.abatch(["Once there was a", "The cat", "A dog"]))
print(json.dumps({
    "version": version("langchain-openai"),
    "text": answer.content,
    "usage": answer.usage_metadata["output_tokens"],
    "finish_reason": answer.response_metadata["finish_reason"],
    "streamed": "".join(part.content for part in parts),
    "stream_usage": sum(part.usage_metadata["output_tokens"] for part in parts if part.usage_metadata),
    "batch": [one.content for one in batch],
}))  # fmt: skip
