"""Real clients against a real server on ``tiny``, each from an environment of its own (``make clients``); skipped without it."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from support import client_envs
from support.door import Door, ServerProcess, found

from tools.tiny import stories

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
PROMPT = "Once there was a"


@pytest.fixture(scope="module")
def door(tiny):
    with tiny.llm(num_blocks=512, scheduler="chunked", checked=False) as llm:
        with Door(llm, served_model_name="tiny") as door:
            yield door


@pytest.fixture(scope="module")
def told(door) -> dict:
    """What the server says to a client that is no library: the greedy answer to the prompt, and to it as a chat."""
    asked = {"max_tokens": 12, "temperature": 0}
    whole = door.complete(PROMPT, logprobs=2, return_token_ids=True, **asked)
    chat = found(door.post("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], **asked}))
    return {"text": whole["choices"][0]["text"], "tokens": whole["choices"][0]["token_ids"],
            "logprobs": whole["choices"][0]["logprobs"]["token_logprobs"], "chat": chat["choices"][0]["message"]["content"],
            "count": whole["usage"]["completion_tokens"], "chat_count": chat["usage"]["completion_tokens"]}  # fmt: skip


def run(name: str, *words: str, seconds: float = 300.0, **environment: str) -> str:
    """What a client's program prints; the test is skipped where its environment is not there."""
    python, absent = client_envs.python_of(name)
    if absent:
        pytest.skip(absent)
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    clean |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", **environment}
    done = subprocess.run([str(python), *words], capture_output=True, text=True, timeout=seconds, env=clean)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def script(name: str, door: Door) -> dict:
    return json.loads(run(name, str(HERE / f"use_{name}.py"), door.url, "tiny").splitlines()[-1])


def test_openai(door, told):
    seen = script("openai", door)
    assert seen["models"] == ["tiny"] and seen["role"] == "assistant"
    assert seen["text"] == seen["streamed"] == told["text"] and seen["token_ids"] == told["tokens"]
    assert seen["logprobs"] == pytest.approx(told["logprobs"])
    assert seen["chat"] == seen["chat_streamed"] == told["chat"] and len(seen["chat_logprobs"]) == told["chat_count"]
    for name, count in (("usage", "count"), ("stream_usage", "count"), ("chat_stream_usage", "chat_count")):
        assert seen[name]["completion_tokens"] == told[count]
        assert seen[name]["prompt_tokens_details"]["cached_tokens"] >= 0
    assert "tools=" in seen["tools"] and "temperature=-1" in seen["bad"] and "gpt-4" in seen["model"]


def test_openai_on_two_replicas(told, tmp_path):
    """What one engine says, two say too."""
    with ServerProcess(tmp_path / "said", "--replicas", "2", "--served-model-name", "tiny") as server:
        seen = json.loads(run("openai", str(HERE / "use_openai.py"), server.url, "tiny").splitlines()[-1])
    assert seen["text"] == seen["streamed"] == told["text"] and seen["token_ids"] == told["tokens"]
    assert seen["chat"] == seen["chat_streamed"] == told["chat"] and len(seen["chat_logprobs"]) == told["chat_count"]
    assert seen["usage"]["completion_tokens"] == told["count"] and seen["logprobs"] == pytest.approx(told["logprobs"], abs=1e-4)
    assert "tools=" in seen["tools"] and "temperature=-1" in seen["bad"] and "gpt-4" in seen["model"]


def test_langchain_openai(door, told):
    seen = script("langchain", door)
    assert seen["text"] == seen["streamed"] == seen["batch"][0] == told["chat"] and seen["finish_reason"] in ("stop", "length")
    assert seen["usage"] == seen["stream_usage"] == told["chat_count"] and all(seen["batch"])


def test_litellm(door, told):
    seen = script("litellm", door)
    for provider in ("hosted_vllm", "openai"):
        assert seen[provider]["text"] == seen[provider]["streamed"] == told["chat"]
        assert seen[provider]["usage"] == seen[provider]["stream_usage"] == told["chat_count"]
    assert seen["text_completion"] == told["text"]


TASK = """\
task: stories
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: begin
doc_to_choice: ends
doc_to_target: right
target_delimiter: ""
metric_list: [{{metric: acc}}]
metadata: {{version: 1}}
"""


def write_task(folder: Path, count: int = 200) -> None:
    """How does the story go on? The right end, and those of three other stories."""
    dice = random.Random(5)
    told = []
    while len(told) < count + 3:
        text = stories.story(dice).text
        middle = text.find(" ", len(text) // 2)
        if middle > 0:
            told.append((text[:middle], text[middle : middle + 60]))
    lines = []
    for i, (begin, end) in enumerate(told[:count]):
        ends = [end, *(told[(i + k) % len(told)][1] for k in (1, 2, 3))]
        right = dice.randrange(4)
        ends[0], ends[right] = ends[right], ends[0]
        lines.append(json.dumps({"begin": begin, "ends": ends, "right": right}))
    file = folder / "stories.jsonl"
    file.write_text("\n".join(lines) + "\n")
    (folder / "stories.yaml").write_text(TASK.format(file=file))


def test_lm_eval_scores_as_its_own_backend_does(door, tiny, tmp_path):
    """200 questions: the same log-probability for each answer, so the same score; and whether it is what greedy would write."""
    write_task(tmp_path)
    words = [str(HERE / "use_lm_eval.py"), door.url, "tiny", str(tmp_path), str(tiny.path)]
    seen = json.loads(run("lm_eval", *words, seconds=540, HF_HOME=str(tmp_path / "hf")).splitlines()[-1])
    ours, theirs = seen["local-completions"], seen["hf"]
    assert len(ours["logprobs"]) == len(theirs["logprobs"]) == 200
    for mine, other in zip(ours["logprobs"], theirs["logprobs"], strict=True):
        assert mine == pytest.approx(other, abs=0.01)
    assert ours["acc"] == pytest.approx(theirs["acc"], abs=0.006) and theirs["acc"] > 0.5, "chance is 0.25"
    assert ours["greedy"] == theirs["greedy"]


@pytest.mark.parametrize("backend, endpoint", [("openai", "/v1/completions"), ("openai-chat", "/v1/chat/completions")])
def test_vllm_bench_serve(door, tiny, tmp_path, backend, endpoint):
    """Every request succeeds with as many tokens as asked for, told apart token by token."""
    words = [
        *(str(HERE / "use_vllm_bench.py"), "--backend", backend, "--base-url", door.url),
        *("--endpoint", endpoint, "--tokenizer", str(tiny.path), "--dataset-name", "random", "--random-input-len", "20"),
        *("--random-output-len", "12", "--num-prompts", "30", "--request-rate", "30", "--ignore-eos", "--disable-tqdm"),
        *("--save-result", "--save-detailed", "--result-dir", str(tmp_path), "--result-filename", "result.json"),
    ]
    run("vllm", *words, seconds=540)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["completed"] == 30 and result["total_output_tokens"] == 30 * 12
    assert result["model_id"] == found(door.get("/v1/models"))["data"][0]["root"]
    assert result["mean_ttft_ms"] > 0 and result["mean_tpot_ms"] > 0
    assert all(0 < len(gaps) <= 11 for gaps in result["itls"]), "no gap for a chunk that bears no token"


@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/chat/completions"])
def test_guidellm(door, tiny, tmp_path, endpoint):
    """Forty requests, four at a time: all succeed, with as many tokens as asked for."""
    file = tmp_path / "result.json"
    words = [
        *("-m", "guidellm", "run", "--backend", f"kind=openai_http,target={door.url},model=tiny,request_format={endpoint}"),
        *("--profile", "kind=concurrent,streams=4", "--constraint", "kind=max_requests,count=40"),
        *("--tokenizer", f"kind=hf_auto,model={tiny.path}", "--data", "kind=synthetic_text,prompt_tokens=20,output_tokens=10"),
        *("--output", f"kind=json,path={file}", "--disable-console"),
    ]
    run("guidellm", *words, seconds=540)
    (bench,) = json.loads(file.read_text())["benchmarks"]
    done = bench["requests"]["successful"]
    assert len(done) == 40 and not bench["requests"]["errored"]
    assert {request["output_tokens"] for request in done} == {10}
