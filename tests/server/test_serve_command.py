"""``minieng serve`` as a process: what it prints, its end on SIGTERM, its trace, and what it refuses before it loads a model."""

from __future__ import annotations

import signal
import socket
import sys
import time

import pytest
from support.door import ServerProcess

from minieng.cli import main
from minieng.observe.trace import Trace
from minieng.server.settings import ServerConfig


def test_from_the_first_request_to_sigterm(tmp_path):
    """A key from the environment, a request under way that is finished, exit code 0, and every step in the trace."""
    trace = tmp_path / "trace.jsonl"
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    flags = ["--trace", str(trace), "--chat-template", str(template), "--served-model-name", "stories", "--scheduler", "chunked"]
    with ServerProcess(tmp_path / "said", *flags, MINIENG_API_KEY="k") as server:
        assert server.client.get("/v1/models").status_code == 401
        server.client.headers["authorization"] = "Bearer k"
        assert server.client.get("/v1/models").json()["data"][0]["id"] == "stories"
        chat = server.client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Once"}], "max_tokens": 8, "temperature": 0}
        ).json()
        assert chat["usage"]["completion_tokens"] == 8
        body = {"prompt": "Once there was", "max_tokens": 200, "ignore_eos": True, "stream": True, "temperature": 0}
        with server.client.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]" and '"finish_reason":"length"' in rest[-2]
        code, out, err = server.end()
    assert (code, out) == (0, "") and "stopping: " in err and "POST /v1/completions 200 stream=1" in err
    assert "Traceback" not in err and "Once" not in err
    steps = Trace.load(trace)
    assert sum(len(tokens) for tokens in steps.outputs().values()) == 208 and steps.dropped == 0


def test_a_second_signal_does_not_wait(tmp_path):
    with ServerProcess(tmp_path / "said", "--stop-seconds", "60") as server:
        body = {"prompt": [5], "max_tokens": 4000, "n": 100, "ignore_eos": True, "stream": True}
        with server.client.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGINT)
            end = time.monotonic() + 20
            while "stopping: 1 requests" not in server.said.read_text():
                assert time.monotonic() < end
                time.sleep(0.01)
            server.process.send_signal(signal.SIGINT)
            code, _, err = server.end()
    assert code == 0 and "Traceback" not in err


@pytest.mark.parametrize("flags, words", [
    (["--scheduler", "static"], "waits for batch_size=8 requests: choose another to serve"),
    (["--port", "70000"], "port=70000: must be at most 65,535"),
    (["--max-body-mb", "0"], "max_body_mb=0"),
    (["--api-key", " "], "the API key is empty"),
    (["--chat-template", "/nowhere/template.jinja"], "chat_template"),
    (["--num-blocks", "0"], "num_blocks=0"),
    (["--trace", "/nowhere/trace.jsonl"], "--trace /nowhere/trace.jsonl: there is no directory /nowhere"),
], ids=lambda value: value[0] if isinstance(value, list) else "")  # fmt: skip
def test_what_is_wrong_is_told_before_a_model_is_loaded(flags, words, capsys, monkeypatch):
    monkeypatch.setattr("minieng.llm.LLM.__init__", lambda *_, **__: pytest.fail("a model was loaded"))
    assert main(["serve", "--model", "tiny", "--port", "0", *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_port_in_use_is_told_at_once(capsys, monkeypatch):
    monkeypatch.setattr("minieng.llm.LLM.__init__", lambda *_, **__: pytest.fail("a model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--model", "tiny", "--port", str(port)]) == 1
    assert f"--port {port}: Address already in use" in capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("fastapi", "minieng.server."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", "--model", "tiny"]) == 1
    assert "fastapi is not installed: pip install 'minieng[serve]'" in capsys.readouterr().err


def test_an_address_for_others_is_warned_of(capsys):
    from minieng.server.run import bind, warn_if_open

    for host, key, words in (("127.0.0.1", None, ""), ("0.0.0.0", None, "WITHOUT a key"), ("0.0.0.0", "k", "with the API key")):
        with bind(ServerConfig(host=host, port=0)) as sock:
            warn_if_open(sock, key)
        said = capsys.readouterr().err
        assert words in said and ("open to other machines" in said) == bool(words)
