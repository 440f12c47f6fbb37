"""The client for servers: when it sends, what it makes of answers, whole and broken, and that its figures are the server's."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from support.door import Door, fake_llm, nothing_runs
from support.fakes import VOCABULARY, expected, nothing_left

from minieng.load import Address, Server, metrics_of, offer
from minieng.load.answer import answer_of
from minieng.load.client import ask, cache_of, lateness, warm_up
from minieng.load.http import Exchange, exchange
from minieng.workload import Job, Workload

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def chunk(text: str = "", finish: str | None = None, **more) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}).encode() + b"\n\n"


def usage(prompt: int, output: int) -> bytes:
    return (
        b"data: "
        + json.dumps({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output}}).encode()
        + b"\n\n"
    )


DONE = b"data: [DONE]\n\n"


def came(*parts: tuple[float, bytes], chunked: bool = False) -> Exchange:
    """An exchange of which these parts of the body came at these times."""
    request = Exchange(b"", due=1.0, begun=1.0)
    head = HEAD + (b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n")
    for i, (when, part) in enumerate(parts):
        wire = b"%x\r\n%s\r\n" % (len(part), part) if chunked else part
        request.raw += head * (i == 0) + wire + (b"0\r\n\r\n" if chunked and i == len(parts) - 1 else b"")
        request.marks.append((when, len(request.raw)))
    return request


# -- what is made of an answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_each_chunk_has_the_time_at_which_its_last_byte_came(chunked):
    second = chunk("b")
    request = came(
        (1.5, chunk("a")), (1.7, second[:9]), (1.9, second[9:] + chunk("c", "length")), (2.0, usage(4, 3) + DONE), chunked=chunked
    )
    answer = answer_of(request, 4)
    assert (answer.token_times, answer.finish_time, answer.problem) == ([1.5, 1.9, 1.9], 1.9, "")
    assert (answer.arrival_time, answer.num_prompt_tokens, answer.num_output_tokens, answer.finish_reason) == (
        1.0,
        4,
        3,
        "length",
    )


def test_time_per_token_goes_by_the_usage_not_by_the_chunks():
    answer = answer_of(came((1.5, chunk("abc")), (2.5, chunk("def", "length") + usage(4, 5) + DONE)), 4)
    told = metrics_of([answer])
    assert told.total_output == 5 and told.tpot.mean == pytest.approx(250) and told.itl.mean == pytest.approx(1000)


def test_a_chunk_that_only_says_the_end_is_no_token():
    """llama.cpp and others send one; vLLM and minieng say it with the last token, which may be no text either."""
    own = answer_of(came((1.5, chunk("a")), (1.6, chunk("", "length")), (1.7, usage(1, 1) + DONE)), 1)
    last = answer_of(came((1.5, chunk("a")), (1.6, chunk("", "length")), (1.7, usage(1, 2) + DONE)), 1)
    assert (own.token_times, last.token_times) == ([1.5], [1.5, 1.6])


@pytest.mark.parametrize("told, cached", [({"cached_tokens": 3}, 3), ({}, 0), ({"cached_tokens": None}, 0), (None, 0)])
def test_tokens_from_the_servers_cache_are_counted_where_it_tells(told, cached):
    told = {"prompt_tokens": 4, "completion_tokens": 1, "prompt_tokens_details": told}
    last = b"data: " + json.dumps({"choices": [], "usage": told}).encode() + b"\n\n"
    assert answer_of(came((1.5, chunk("a", "length") + last + DONE)), 4).num_cached_tokens == cached


def test_other_line_ends_comments_and_no_usage_are_read_too():
    body = (b": ping\n\n" + chunk("a") + b"event: x\n" + chunk("b", "stop") + DONE).replace(b"\n", b"\r\n")
    answer = answer_of(came((3.0, body)), 2)
    assert (answer.num_output_tokens, answer.finish_reason, answer.problem) == (2, "stop", "")


@pytest.mark.parametrize(
    "request_, problem",
    [
        (came((1.5, chunk("a")), (1.6, b'data: {"error": {"message": "out of luck"}}\n\n' + DONE)), "out of luck"),
        (came((1.5, chunk("a"))), "the stream breaks off"),
        (came((1.5, DONE)), "the stream breaks off"),
        (Exchange(b"", raw=bytearray(b"HTTP/1.1 20"), marks=[(1.0, 11)]), "the head of the answer is not whole"),
        (Exchange(b"", raw=bytearray(CHUNKED + b"5\r\nab"), marks=[(1.0, 90)]), "the answer breaks off"),
        (Exchange(b"", raw=bytearray(b'HTTP/1.1 503 x\r\n\r\n{"error": {"message": "full"}}'), marks=[(1.0, 60)]), "503: full"),
        (Exchange(b"", raw=bytearray(b"HTTP/1.1 502 x\r\n\r\n<html>bad gateway"), marks=[(1.0, 60)]), "502: <html>bad gateway"),
        (Exchange(b"", problem="cannot connect"), "cannot connect"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_no_answer(request_, problem):
    answer = answer_of(request_, 1)
    assert answer.problem == problem and answer.finish_reason is None
    told = metrics_of([answer])
    assert (told.completed, told.failed) == (0, 1)


@pytest.mark.parametrize(
    "url, told",
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"), ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://h:1/v1/", "http://h:1"), ("https://h/api/v1", "https://h:443/api"), ("http://[::1]:80", "http://[::1]:80"),
    ],
)  # fmt: skip
def test_urls(url, told):
    assert str(Address.of(url)) == told


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:99999", "http://u:p@h", "http://h?x=1"])
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match="write http://HOST:PORT"):
        Address.of(url)


# -- when it sends ----------------------------------------------------------------------------------------------


class Scripted:
    """A server that answers each connection by a function of its number, once all of them are there."""

    def __init__(self, count: int, answer, tls: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.count, self.answer, self.tls, self.times = count, answer, tls, []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> Scripted:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(20)
        self.sock.close()
        assert not self.thread.is_alive()

    def run(self) -> None:
        connections = self.connections = []
        for _ in range(self.count):
            connection, _ = self.sock.accept()
            self.times.append(time.perf_counter())
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            connections.append(connection)
            connection.recv(1 << 16)
        for number, connection in enumerate(connections):
            if (said := self.answer(number)) is not None:
                connection.sendall(said)
                connection.close()


def whole(_: int = 0) -> bytes:
    return HEAD + b"\r\n" + chunk("a", "length") + usage(1, 1) + DONE


def sent_to(port: int, count: int, gap: float, **more) -> list[Exchange]:
    address = Address("127.0.0.1", port)
    sent = [Exchange(address.request("POST", "/v1/completions", b"{}"), i * gap) for i in range(count)]
    exchange(address, sent, **more)
    return sent


@pytest.mark.parametrize("look", [0.0, 0.002])
def test_the_loop_is_open(look):
    """Nobody is answered before the last one has been sent: a client that waits for an answer would never be done."""
    with Scripted(6, whole) as server:
        sent = sent_to(server.port, 6, 0.03, look=look, patience=15)
    assert [answer_of(each, 1).problem for each in sent] == [""] * 6
    gaps = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert server.times[-1] - server.times[0] >= 0.1 and min(gaps) >= 0
    assert all(each.begun >= each.due for each in sent)


def test_a_server_that_is_silent_or_not_there_holds_up_nobody():
    with Scripted(2, lambda number: whole() if number else None) as server:
        sent = sent_to(server.port, 2, 0.0, patience=0.5)
    assert sorted(answer_of(each, 1).problem for each in sent) == ["", "nothing came for 0.5 s"]
    (refused,) = sent_to(server.port, 1, 0.0)
    assert answer_of(refused, 1).problem == "Connection refused"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_over_tls_with_a_certificate_that_is_checked(tmp_path, monkeypatch):
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", f"{tmp_path}/key", "-out", f"{tmp_path}/cert"]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    with Scripted(3, whole, tls) as server:
        address = Address.of(f"https://127.0.0.1:{server.port}")
        sent = [Exchange(address.request("POST", "/v1/completions", b"{}"), i * 0.01) for i in range(3)]
        exchange(address, sent, patience=10)
    assert [answer_of(each, 1).problem for each in sent] == [""] * 3


# -- against minieng's server -----------------------------------------------------------------------------------

JOBS = Workload("jobs", tuple(Job(0.01 * i, 3 + i % 5, 4 + i % 7, parts=(("shared", 2),)) for i in range(20)))


def test_tokens_lengths_and_times_are_the_servers():
    llm = fake_llm(slow=0.002)
    with Door(llm, api_key="secret") as door:
        server = Server.at(door.url + "/v1", "fake", "secret")
        warm_up(server, VOCABULARY)
        assert (server.model, server.cache["num_gpu_blocks"], server.cache["block_size"]) == (
            "fake",
            "64",
            str(llm.config.block_size),
        )
        answers = offer(server, JOBS, vocab_size=VOCABULARY, tokens=True)
        served = {r.request_id: r for r in llm.trace.requests.values()}
    prompts = JOBS.prompts(VOCABULARY)
    assert [a.problem for a in answers] == [""] * len(JOBS)
    assert [a.tokens for a in answers] == [expected(prompt, job.output_tokens) for prompt, job in zip(prompts, JOBS, strict=True)]
    assert [a.num_output_tokens for a in answers] == [job.output_tokens for job in JOBS]
    assert [a.num_prompt_tokens for a in answers] == [job.prompt_tokens for job in JOBS] and len(served) >= len(JOBS)
    assert all(a.token_times == sorted(a.token_times) and a.token_times[0] > a.arrival_time for a in answers)
    assert all(len(a.token_times) <= a.num_output_tokens for a in answers) and lateness(answers) < 5
    told = metrics_of(answers, {"e2el": 60_000}, "fake")
    assert told.completed == 20 and told.total_output == sum(job.output_tokens for job in JOBS)
    assert told.request_goodput == pytest.approx(told.request_throughput)
    nothing_left(llm.engine)
    nothing_runs()


def test_what_a_server_refuses_is_said_in_its_words():
    llm = fake_llm()
    with Door(llm, api_key="secret") as door:
        with pytest.raises(RuntimeError, match="answers 401: .*the key is missing or wrong.*MINIENG_API_KEY"):
            Server.at(door.url)
        server = Server.at(door.url, key="secret")
        with pytest.raises(RuntimeError, match="400: "):
            warm_up(server, 10 * VOCABULARY)
        long = Workload("long", (Job(0.0, 3, 10_000), Job(0.0, 3, 2)))
        assert [a.problem[:5] for a in offer(server, long, vocab_size=VOCABULARY)] in (["400: ", ""], ["", ""])
        with pytest.raises(RuntimeError, match="/nothing answers 404"):
            ask(server.address, "/nothing", "secret")
    with pytest.raises(RuntimeError, match="Connection refused: is the server running"):
        Server.at(door.url)
    with pytest.raises(RuntimeError, match="no.such.host.invalid"):
        Server.at("http://no.such.host.invalid:1")


def test_the_cache_is_read_from_vllms_metrics():
    assert cache_of('a 1\nvllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="99"} 1.0\n') == {
        "block_size": "16", "engine": "0", "num_gpu_blocks": "99"
    }  # fmt: skip
    assert cache_of("llamacpp:something 1") is None
