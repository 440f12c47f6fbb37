"""Bad input gets a clear error that names value, limit and remedy. Whoever is beside it finishes, and nothing leaks."""

from __future__ import annotations

import math
import shutil

import pytest

from minieng import LLM, SamplingParams
from minieng.request import Request

NAN, INF = float("nan"), math.inf


@pytest.fixture(scope="module")
def llm(tiny):
    with tiny.llm(num_blocks=32, block_size=4, max_model_len=100) as llm:
        yield llm


def nothing_left(llm) -> None:
    engine = llm.engine
    assert not engine.requests and not llm._streams and not engine._future and not engine._siblings
    assert not engine.scheduler.members and engine.kv.pool.num_free == engine.kv.pool.num_blocks


# -- prompts ------------------------------------------------------------------------------------------------------

PROMPTS = {
    "empty text": ("", "the prompt is empty: there is no token"),
    "no prompts": ([], "prompts is an empty list"),
    "an empty prompt": ([[]], "the prompt is empty"),
    "an empty one among others": (["fine", ""], "the prompt is empty"),
    "not text": (3.5, "prompts=3.5: must be a string, token ids, chat messages, or a list"),
    "nothing": (None, "prompts=None: must be"),
    "bytes": (b"abc", r"prompts=b'abc': must be"),
    "not text among others": (["fine", 3.5], "prompt 3.5: must be a string, a list of token ids"),
    "truth values": ([True, False], r"prompt \[True, False\]: must be"),
    "a lone surrogate": ("ab\ud800c", "lone surrogate at character 2"),
    "a lone surrogate among others": (["fine", "\udfff"], "lone surrogate at character 0"),
    "a negative token": ([1, 2, -1], "token id -1 is out of range: the vocabulary has"),
    "a token too large": ([1, 10**6], "token id 1000000 is out of range: the vocabulary has"),
    "too long": ([5] * 100, "the prompt has 100 tokens, the longest text is 100 .*shorten the prompt or raise max_model_len"),
    "far too long": ("word " * 5_000, "shorten the prompt or raise max_model_len"),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_a_bad_prompt(llm, case):
    prompts, words = PROMPTS[case]
    with pytest.raises(ValueError, match=words):
        llm.generate(prompts)
    nothing_left(llm)


def test_a_request_that_can_never_fit(llm):
    with pytest.raises(ValueError, match="needs 99 tokens of KV, the cache holds 64: raise num_blocks or lower max_tokens"):
        with LLM(str(llm.path), num_blocks=16, block_size=4, max_model_len=100) as small:
            try:
                small.generate(["fine", [5] * 90], SamplingParams(max_tokens=60))
            finally:
                nothing_left(small)


@pytest.mark.parametrize("messages", [[{"role": "user"}], [{"content": "hi"}], [{"role": "user", "content": 3}]])
def test_bad_chat_messages(llm, messages):
    llm.tokenizer.chat_template = llm.tokenizer.chat_template or "{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ValueError, match="each must have a 'role' and a 'content'"):
        llm.generate(messages)
    with pytest.raises(ValueError, match="lone surrogate"):
        llm.generate([{"role": "user", "content": "\ud800"}])
    nothing_left(llm)


# -- parameters ---------------------------------------------------------------------------------------------------

PARAMETERS = [
    ("temperature", -0.1), ("temperature", NAN), ("temperature", INF), ("temperature", "hot"), ("temperature", True),
    ("top_p", 0.0), ("top_p", 1.1), ("top_p", NAN), ("top_p", -1), ("top_k", -2), ("top_k", 1.5), ("top_k", None),
    ("max_tokens", 0), ("max_tokens", -3), ("max_tokens", 2.0), ("max_tokens", NAN), ("min_tokens", -1), ("min_tokens", 65),
    ("n", 0), ("n", -1), ("n", 1.0), ("seed", 1.5), ("seed", "x"), ("logprobs", -1), ("logprobs", 21), ("logprobs", True),
    ("stop", ""), ("stop", ["ok", ""]), ("stop", [3]), ("stop", 3), ("stop_token_ids", [-1]), ("stop_token_ids", ["a"]),
    ("stop_token_ids", 7),
]  # fmt: skip


@pytest.mark.parametrize("name, value", PARAMETERS, ids=[f"{name}={value!r}" for name, value in PARAMETERS])
def test_a_bad_parameter_is_named_with_its_value(name, value):
    with pytest.raises(ValueError, match=name) as problem:
        SamplingParams(**{name: value})
    inner = value[-1] if isinstance(value, list) else value
    assert repr(inner) in str(problem.value) or str(inner) in str(problem.value)


@pytest.mark.parametrize(
    "keywords, words",
    [
        ({"params": 5}, "params=5: of the wrong kind"),
        ({"params": [SamplingParams()]}, "params has 1 entries for 2 prompts"),
        ({"params": [SamplingParams(), None]}, "params holds None"),
        ({"priority": "high"}, "priority"),
        ({"priority": [1, 2, 3]}, "priority has 3 entries for 2 prompts"),
        ({"deadline": NAN}, "deadline nan"),
        ({"deadline": "soon"}, "deadline"),
        ({"arrivals": [0.0, -1.0]}, "arrival -1.0"),
        ({"arrivals": [0.0, NAN]}, "arrival nan"),
        ({"user": 7}, "user=7"),
        ({"request_ids": ["a"]}, "1 request_ids for 2 prompts"),
        ({"request_ids": ["a", "a"]}, "request id 'a' is in use"),
        ({"request_ids": ["a", 5]}, "request id 5: must be a string"),
        ({"request_ids": ["a", ["b"]]}, r"request id \['b'\]: must be a string"),
        ({"request_ids": ["a", ""]}, "request id '': must be a string"),
    ],
)
def test_a_bad_keyword(llm, keywords, words):
    with pytest.raises(ValueError, match=words):
        llm.generate(["one", "two"], **keywords)
    nothing_left(llm)


def test_a_stream_with_an_unknown_keyword(llm):
    with pytest.raises(TypeError, match="temprature"):
        next(iter(llm.stream("a", temprature=1.0)))
    nothing_left(llm)


# -- the engine itself --------------------------------------------------------------------------------------------


def test_a_duplicate_id_leaves_the_first_one_alone(llm):
    events = llm.stream("the", SamplingParams(max_tokens=6, ignore_eos=True), request_ids=["mine"])
    next(events)
    with pytest.raises(ValueError, match="request id 'mine' is in use: choose another or abort it first"):
        llm.generate(["other"], request_ids=["mine"])
    assert list(llm.engine.requests) == ["mine"]
    assert len(list(events)) == 5
    nothing_left(llm)


def test_an_abort_of_an_unknown_id(llm):
    with pytest.raises(KeyError, match="no request 'nobody': unknown, or finished already"):
        llm.abort("nobody")
    with pytest.raises(KeyError, match="nobody"):
        llm.engine.abort("nobody")


def test_a_request_without_tokens_or_used_twice(llm):
    with pytest.raises(ValueError, match="at least one token"):
        llm.engine.add_request(Request("hollow", []))
    used = llm.engine.add_request(Request("used", [1, 2], SamplingParams(max_tokens=1)))
    llm.engine.run()
    with pytest.raises(ValueError, match="not a new request"):
        llm.engine.add_request(used)
    nothing_left(llm)


def test_the_requests_beside_a_bad_one_finish_unharmed(llm, tiny):
    """A stream is half way while one bad call after the other is refused."""
    params = SamplingParams(max_tokens=20, ignore_eos=True)
    prompt = [7, 8, 9]
    tokens = []
    for event in llm.stream([prompt], params):
        tokens.append(event.token_id)
        bad, words = list(PROMPTS.values())[len(tokens) % len(PROMPTS)]
        with pytest.raises(ValueError, match=words):
            llm.generate(bad)
    tiny.oracle.compare(prompt, tokens, 20)
    nothing_left(llm)


def test_after_an_error_the_same_engine_goes_on(llm, tiny):
    with pytest.raises(ValueError):
        llm.generate(["good", "\ud800"])
    out = llm.generate([[4, 5, 6]], SamplingParams(max_tokens=8, ignore_eos=True))[0]
    tiny.oracle.compare([4, 5, 6], out.outputs[0].token_ids, 8)


def test_a_closed_engine_says_so(tiny):
    llm = tiny.llm(num_blocks=8)
    llm.close()
    llm.close()
    with pytest.raises(RuntimeError, match="this LLM is closed"):
        llm.generate("a")


# -- knobs and models ---------------------------------------------------------------------------------------------

KNOBS = [
    ("max_num_seqs", 0), ("max_num_seqs", 1.5), ("block_size", 0), ("block_size", -16), ("num_blocks", 0),
    ("memory_fraction", 1.5), ("memory_fraction", NAN), ("memory_fraction", 0), ("max_model_len", 0),
    ("max_num_batched_tokens", 0), ("max_prefill_tokens", 0), ("mixed", "yes"), ("batch_size", 0),
    ("wait_window", -1.0), ("wait_window", NAN), ("order", "random"), ("order", 5), ("predictor", 5),
    ("predictor", "short"), ("ageing", -1.0), ("ageing", NAN), ("admission", "all"), ("watermark", 1.1),
    ("watermark", NAN), ("victim", "oldest"), ("preemption", "kill"), ("swap_space_gb", -1),
    ("swap_space_gb", INF), ("ageing", INF), ("wait_window", 1e12), ("num_blocks", 10**9), ("batch_size", 10**20),
    ("block_size", 10**6),
    ("enable_prefix_caching", 1), ("device", 5), ("dtype", "float8"), ("attention", "flash"), ("seed", "x"),
    ("seed", 1.5),
]  # fmt: skip


@pytest.mark.parametrize("name, value", KNOBS, ids=[f"{name}={value!r}" for name, value in KNOBS])
def test_a_bad_knob_is_named_with_its_value(name, value):
    """Before a model is looked for: there is none of this name."""
    with pytest.raises(ValueError, match=f"{name}={value}|{name}={value!r}"):
        LLM("no such model", **{name: value})


def test_an_unknown_knob_scheduler_or_device(tiny):
    with pytest.raises(TypeError, match="shceduler"):
        tiny.llm(shceduler="static")
    with pytest.raises(ValueError, match="scheduler='fast': choose one of static, dynamic, continuous, chunked, or pass"):
        LLM("no such model", scheduler="fast")
    for wrong in (7, None, ["static"]):
        with pytest.raises(ValueError, match="choose one of static"):
            LLM("no such model", scheduler=wrong)
    from minieng.scheduler import StaticScheduler

    with pytest.raises(ValueError, match=r"pass an instance, StaticScheduler\(\), not the class"):
        LLM("no such model", scheduler=StaticScheduler)
    with pytest.raises(ValueError, match="device='warp'"):
        tiny.llm(device="warp")
    with pytest.raises(ValueError, match="max_model_len=10000000: .* was made for at most"):
        tiny.llm(max_model_len=10_000_000)


def test_an_unknown_model():
    with pytest.raises(ValueError, match="'smollm3' *.*"):
        LLM("smollm3")
    with pytest.raises(ValueError, match="/no/such/folder"):
        LLM("/no/such/folder")


def edit(file, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


DAMAGE = {
    "no weights": lambda d: (d / "model.safetensors").unlink(),
    "half the weights": lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:20_000]),
    "empty weights": lambda d: (d / "model.safetensors").write_bytes(b""),
    "weights that are none": lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 5_000),
    "no config": lambda d: (d / "config.json").unlink(),
    "half a config": lambda d: (d / "config.json").write_text((d / "config.json").read_text()[:40]),
    "a config of nothing": lambda d: (d / "config.json").write_text("{}"),
    "no tokenizer": lambda d: [f.unlink() for f in d.glob("token*")],
    "half a tokenizer": lambda d: (d / "tokenizer.json").write_text((d / "tokenizer.json").read_text()[:200]),
    "another size": lambda d: edit(d / "config.json", '"hidden_size": 48', '"hidden_size": 64'),
    "a layer too few": lambda d: edit(d / "config.json", '"num_hidden_layers": 3', '"num_hidden_layers": 4'),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_directory(shape, tmp_path, damage):
    folder = shutil.copytree(shape("llama").path, tmp_path / "model")
    DAMAGE[damage](folder)
    with pytest.raises(ValueError) as problem:
        LLM(str(folder), num_blocks=4)
    assert str(folder) in str(problem.value) or "config" in str(problem.value), str(problem.value)
