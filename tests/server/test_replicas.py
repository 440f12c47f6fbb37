"""Replicas behind one door: processes that are killed at random, and texts that go on as if nothing had happened."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from support.door import ServerProcess, fake_llm, found, nothing_runs, refused
from support.streams import SPEC, alone, answer, told

from minieng.engine import QueueFull
from minieng.parallel.router import Load, Router
from minieng.request import Request, SamplingParams, TokenEvent
from minieng.server.async_engine import AsyncEngine, EngineFailed, EngineStopping
from minieng.server.replica import Ask, Child, Hello, News, Replica, Spec
from minieng.server.replicas import MOST_DEATHS, Replicas, merged
from minieng.server.run import bind, serve_replicas
from minieng.server.settings import ServerConfig
from minieng.server.worker import LocalWorker, WorkerDied

SECONDS = 300  # for what must not hang


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, SECONDS))


def workers(count: int, spec: Spec = SPEC) -> list[LocalWorker]:
    return [LocalWorker(spec, number, threads=1) for number in range(count)]


@contextlib.asynccontextmanager
async def replicas(*made: Any, router: str | Router = "least") -> AsyncGenerator[Replicas, None]:
    front = Replicas(made, router)
    await front.start()
    try:
        yield front
    finally:
        await front.stop()
    for worker in made:
        if isinstance(worker, LocalWorker):
            assert worker.process is not None and worker.process.returncode is not None, "a process is left"


@pytest.mark.apart
def test_two_hundred_streams_while_workers_are_killed_at_random():
    """Every stream equals its reference exactly once: none lost, none doubled, whatever kind it is of."""
    count, answers, rng = 200, {}, random.Random(0)
    expected = alone(count)

    async def killing(front: Replicas, ended: asyncio.Event) -> None:
        left = 6
        while left and not ended.is_set():
            await asyncio.sleep(rng.uniform(0.02, 0.2))
            at_work = [i for i in front._alive if len(front._texts[i]) >= 3]
            if len(front._alive) > 1 and at_work:  # one that is killed is back in seconds
                front.workers[rng.choice(at_work)].process.kill()
                left -= 1

    async def client(front: Replicas, number: int) -> None:
        await asyncio.sleep(0.005 * number)
        await told(front, number, answers)

    async def main() -> tuple[int, int]:
        async with replicas(*workers(3)) as front:
            ended = asyncio.Event()
            killer = asyncio.create_task(killing(front, ended))
            await asyncio.gather(*(client(front, number) for number in range(count)))
            ended.set()
            await killer
            assert front.num_open == 0 and not any(front._texts) and not any(front._coming)
            return front.deaths, front.resumed

    deaths, resumed = run(main())
    assert deaths >= 2 and resumed >= 5, f"{deaths} deaths, {resumed} resumed: or nothing was tried"
    print(f"{deaths} deaths, {resumed} resumed")
    for number, (reference, logprobs) in enumerate(expected):
        events, (request,) = answers[number]
        assert answer(events) == reference, number
        assert request.output_token_ids == reference[0] and request.num_prompt_tokens + len(reference[0]) == request.num_tokens
        if logprobs is not None:
            assert [sorted(entry) for entry in request.logprobs] == [sorted(entry) for entry in logprobs]


@pytest.mark.load
def test_thousands_of_short_texts_many_left_early_while_workers_are_killed():
    """What is read is right, and of what nobody reads nothing is left, in the front or in the replicas."""
    count, answers, expected = 3000, {}, alone(3000, short=True)
    room = asyncio.Semaphore(100)

    async def client(front: Replicas, number: int) -> None:
        dice = random.Random(number)
        async with room:
            asking = asyncio.create_task(told(front, number, answers, short=True))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.choice((0.0, 0.0005, 0.002, 0.01, 0.03)))
                asking.cancel()
                await asyncio.wait([asking])
            else:
                await asking

    async def killing(front: Replicas) -> None:
        dice = random.Random(0)
        while True:
            await asyncio.sleep(dice.uniform(0.3, 1.5))
            if len(front._alive) > 1:
                front.workers[dice.choice(list(front._alive))].process.kill()

    async def main() -> int:
        async with replicas(*workers(3)) as front:
            killer = asyncio.create_task(killing(front))
            await asyncio.gather(*(client(front, number) for number in range(count)))
            killer.cancel()
            assert front.num_open == 0 and not any(front._texts) and not any(front._coming)
            async with asyncio.timeout(30):
                while set(re.findall(rb"^vllm:num_requests_(?:running|waiting){.*} (\S+)", await front.text(), re.M)) != {b"0.0"}:
                    await asyncio.sleep(0.1)
            return front.deaths

    assert run(main()) >= 2, "or nothing was tried"
    assert len(answers) > 0.6 * count
    for number, (events, _) in answers.items():
        assert answer(events) == expected[number][0], number


# -- workers that die where a test wants it, without a process ----------------------------------------------------


class Scripted:
    """A worker that says 0, 1, 2, … of each text, with a letter for each token, and dies after so many tokens.

    lives  tokens of each life; None: for ever
    """

    def __init__(self, *lives: int | None, full: int = 0, starts: int = 99) -> None:
        self.lives, self.full, self.starts = list(lives), full, starts
        self.orders: list[Any] = []
        self.aborted: list[int] = []
        self.left: int | None = None

    async def start(self) -> Hello:
        self.starts -= 1
        if self.starts < 0 or not self.lives:
            raise WorkerDied("it does not come up")
        self.left = self.lives.pop(0)
        return Hello("scripted", 100, 50, None, None, "nowhere")

    async def submit(self, key: int, order: Any) -> AsyncGenerator[Any]:
        self.orders.append(order)
        try:
            if self.full and isinstance(order, Request):
                self.full -= 1
                raise QueueFull("no room")
            requests = [order] if isinstance(order, Request) else self.requests(order)
            yield requests
            for place, request in enumerate(requests):
                text = "".join(chr(97 + token) for token in request.output_token_ids)
                for token in range(request.num_output_tokens, request.params.max_tokens):
                    if self.left == 0:
                        raise WorkerDied("killed")
                    self.left = None if self.left is None else self.left - 1
                    end = "length" if token == request.params.max_tokens - 1 else None
                    event = TokenEvent(request.prompt_id, request.sample_index, token, text + chr(97 + token), end)
                    text = ""
                    yield [News(place, event, {token: -0.1}, 2, [{1: -1.0}] if not token else None)]
                    await asyncio.sleep(0)
            if self.left == 0:
                raise WorkerDied("killed when all was told")
        finally:
            self.abort(key)

    @staticmethod
    def requests(order: Ask) -> list[Request]:
        return [
            Request(
                f"{name}#{i}", prompt["prompt_token_ids"], order.params,
                prompt_id=name, sample_index=i, sample_key=f"{name}{i}".encode(),
            )
            for prompt, name in zip(order.prompts, order.more["request_ids"], strict=True) for i in range(order.params.n)
        ]  # fmt: skip

    def abort(self, key: int) -> None:
        self.aborted.append(key)

    async def stats(self) -> bytes:
        return b"# HELP a b\n# TYPE a counter\na 1.0\n"

    async def stop(self) -> None:
        self.lives = []


async def ask(front: Replicas, n: int = 1, name: str = "q", **more: Any) -> tuple[list[TokenEvent], list[Request]]:
    params = SamplingParams(max_tokens=10, n=n, logprobs=1, **more)
    feed = await front.submit([{"prompt": None, "prompt_token_ids": [1, 2, 3]}], params, request_ids=[name])
    events = [event async for some in feed for event in some]
    return events, feed.requests


@pytest.mark.parametrize("life", range(10))
def test_a_text_goes_on_wherever_it_was_cut(life):
    async def main() -> None:
        first, second = Scripted(life), Scripted(None)
        async with replicas(first, second, router="round_robin") as front:
            events, (request,) = await ask(front)
            assert [event.token_id for event in events] == list(range(10))
            assert "".join(event.text for event in events) == "abcdefghij" and events[-1].finish_reason == "length"
            assert (front.deaths, front.resumed) == (1, 1)
            heir = second.orders[0]
            assert isinstance(heir, Request) and heir.output_token_ids == list(range(life)) and heir.sample_key == b"q0"
            assert heir.max_num_tokens == 13 and heir.params.n == 1
            assert request.logprobs == [{token: -0.1} for token in range(10)] and request.num_cached_tokens == 2 * (life > 0)

    run(main())


@pytest.mark.parametrize("lives", [(10,), (3, 7)], ids=["the first", "an heir"])
def test_who_dies_after_the_last_word_of_a_text_leaves_nothing_to_do(lives):
    async def main() -> None:
        worker = Scripted(*lives, None)
        async with replicas(worker) as front:
            events, _ = await ask(front)
            assert [event.token_id for event in events] == list(range(10)) and events[-1].finish_reason == "length"
            assert front.deaths == len(lives) == len(worker.orders) and front.resumed == len(lives) - 1

    run(main())


def test_a_late_word_of_a_death_does_not_end_the_next_life():
    class Twice(Scripted):
        """Dies once, and tells of it text by text."""

        later = asyncio.Event()

        async def submit(self, key: int, order: Any) -> AsyncGenerator[Any]:
            if self.lives:  # its first life
                yield self.requests(order)
                if order.more["request_ids"] == ["late"]:
                    await self.later.wait()
                raise WorkerDied("killed")
            async with contextlib.aclosing(super().submit(key, order)) as found:
                async for each in found:
                    yield each

    async def main() -> None:
        worker = Twice(None, None)
        async with replicas(worker) as front:
            late = asyncio.create_task(ask(front, name="late"))
            await asyncio.sleep(0)
            await ask(front, name="soon")
            worker.later.set()
            events, _ = await late
            assert len(events) == 10 and front.deaths == 1 and list(front._alive.values()) == [1]

    run(main())


def test_of_several_samples_each_goes_on_by_itself():
    async def main() -> None:
        first, second = Scripted(14), Scripted(None)
        async with replicas(first, second, router="round_robin") as front:
            events, requests = await ask(front, n=3)
            for request in requests:
                own = [event for event in events if event.index == request.sample_index]
                assert [event.token_id for event in own] == list(range(10)) and "".join(e.text for e in own) == "abcdefghij"
            assert [heir.num_output_tokens for heir in second.orders] == [4, 0], "one was complete, one begun, one not"
            assert [heir.sample_index for heir in second.orders] == [1, 2]

    run(main())


def test_what_is_known_of_the_prompt_is_not_asked_again():
    async def main() -> None:
        first, second = Scripted(3), Scripted(None)
        async with replicas(first, second, router="round_robin") as front:
            _, (request,) = await ask(front, prompt_logprobs=1)
            assert request.prompt_logprobs == [{1: -1.0}] and second.orders[0].params.prompt_logprobs is None

    run(main())


def test_a_full_queue_is_no_reason_to_lose_a_text():
    async def main() -> None:
        async with replicas(Scripted(3), Scripted(None, full=2), router="round_robin") as front:
            events, _ = await ask(front)
            assert [event.token_id for event in events] == list(range(10)) and front.resumed == 3

    run(main())


def test_a_full_queue_is_told_to_whoever_comes_new():
    class Full(Scripted):
        async def submit(self, key: int, order: Any) -> AsyncGenerator[Any]:
            raise QueueFull("max_num_queued_reqs=0")
            yield

    async def main() -> None:
        async with replicas(Full(None)) as front:
            with pytest.raises(QueueFull, match="max_num_queued_reqs=0"):
                await ask(front)
            assert front.num_open == 0 and not any(front._coming)

    run(main())


def test_who_waits_for_a_replica_gets_one():
    """The only one dies and is started again."""

    async def main() -> None:
        worker = Scripted(4, 0, None)
        async with replicas(worker) as front:
            events, _ = await ask(front)
            assert [event.token_id for event in events] == list(range(10)) and front.deaths == 2

    run(main())


def test_a_text_that_kills_every_replica_is_given_up():
    async def main() -> None:
        worker = Scripted(*[2] + [0] * 50)
        async with replicas(worker) as front:
            with pytest.raises(EngineFailed, match=f"{MOST_DEATHS} replicas have died"):
                await ask(front)
            assert front.deaths == MOST_DEATHS and front.num_open == 0

    run(main())


def test_if_none_comes_back_everybody_is_told():
    async def main() -> None:
        worker = Scripted(2, starts=1)
        async with replicas(worker) as front:
            with pytest.raises(EngineFailed, match="no replica is left: it does not come up"):
                await ask(front)
            with pytest.raises(EngineFailed):
                front.check()
            assert front.failure is not None

    run(main())


def test_the_router_sees_what_is_under_way_and_a_new_number_after_a_death():
    seen: list[list[Load]] = []

    class Watching(Router):
        def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
            seen.append(list(loads))
            return 0

    async def main() -> None:
        first = Scripted(5, None)
        async with replicas(first, Scripted(None), router=Watching()) as front:
            await asyncio.gather(ask(front, name="a"), ask(front, name="b"))
            await asyncio.sleep(0.05)
            await ask(front, name="c")

    run(main())
    assert seen[0] == [Load(replica=0), Load(replica=1)]
    assert seen[1][0].waiting + seen[1][0].running == 1 and seen[1][0].tokens >= 3, "a request counts before it is queued"
    assert {load.replica for load in seen[-1]} == {1, 2} and all(load.tokens == 0 for load in seen[-1])


def test_an_abort_reaches_the_worker_and_stopping_tells_who_waits():
    async def main() -> None:
        slow = Scripted(None)
        prompts, endless = [{"prompt": None, "prompt_token_ids": [1]}], SamplingParams(max_tokens=10**6)
        async with replicas(slow) as front:
            feed = await front.submit(prompts, endless, request_ids=["a"])
            feed.close()
            for _ in range(100):
                await asyncio.sleep(0)
            assert slow.aborted and front.num_open == 0 and not any(front._texts)
            feed = await front.submit(prompts, endless, request_ids=["b"])
            await front.stop()
            with pytest.raises(EngineStopping):
                async for _ in feed:
                    pass
            with pytest.raises(EngineStopping):
                await front.submit([], SamplingParams())

    run(main())


def test_expositions_become_one():
    one = '# HELP a b\n# TYPE a counter\na{engine="0"} 1.0\n# HELP c d\n# TYPE c gauge\nc{engine="0"} 2.0\n'
    assert merged([one, one.replace('"0"', '"1"')]) == (
        '# HELP a b\n# TYPE a counter\na{engine="0"} 1.0\na{engine="1"} 1.0\n'
        '# HELP c d\n# TYPE c gauge\nc{engine="0"} 2.0\nc{engine="1"} 2.0\n'
    )
    assert merged([]) == ""


# -- the command --------------------------------------------------------------------------------------------------


def children(pid: int) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(pid).children(recursive=True) if "minieng.server.replica" in " ".join(child.cmdline())
    ]


def gone(processes: Sequence[psutil.Process], seconds: float = 15.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


@pytest.mark.apart
def test_serve_two_replicas(tmp_path):
    """Answers like one; a killed one is replaced; SIGTERM ends all of them."""
    body = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 30, "temperature": 0}
    with ServerProcess(tmp_path / "said", "--replicas", "2") as server:
        own = children(server.process.pid)
        assert len(own) == 2
        first = found(server.client.post("/v1/completions", json=body))
        assert first["usage"]["completion_tokens"] > 5 and first["choices"][0]["text"]
        own[0].kill()
        for _ in range(4):
            again = found(server.client.post("/v1/completions", json=body))
            assert again["choices"][0]["text"] == first["choices"][0]["text"]
            assert again["usage"]["total_tokens"] == first["usage"]["total_tokens"]
        metrics = server.client.get("/metrics").text
        assert 'vllm:generation_tokens_total{engine="1",model_name="tiny"}' in metrics
        assert metrics.count("# HELP vllm:generation_tokens_total") == 1
        for path in ("/", "/events"):
            assert "looks into one engine: use --replicas 1" in refused(server.client.get(path), 404)
        own += children(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        code, _, said = server.end()
        assert code == 0 and "killed by SIGKILL; its texts go on elsewhere" in said and "Traceback" not in said
    assert gone(own), "a process is left"


@pytest.mark.apart
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_server(tmp_path, signal_):
    with ServerProcess(tmp_path / "said", "--replicas", "2") as server:
        own = children(server.process.pid)
        assert len(own) == 2
        server.process.send_signal(signal_)
        server.end()
    assert gone(own), "a process is left"


@pytest.mark.apart
def test_no_process_outlives_a_front_that_is_killed_while_they_load():
    command = [sys.executable, "-m", "minieng", "serve", "--model", "tiny", "--port", "0", "--device", "cpu", "--replicas", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until, own = time.monotonic() + 60, []
        while len(own) < 2:
            assert time.monotonic() < until and process.poll() is None
            own = children(process.pid)
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert gone(own), "a process is left"


def test_a_replica_that_cannot_load_is_told(tmp_path):
    command = [sys.executable, "-m", "minieng", "serve", "--model", str(tmp_path), "--port", "0", "--replicas", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "before it was ready" in done.stderr.splitlines()[-1] and not done.stdout


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--replicas", "0"], "replicas=0"),
        (["--replicas", "65"], "replicas=65"),
        (["--router", "best", "--replicas", "2"], "round_robin"),
        (["--replicas", "2", "--trace", "t.jsonl"], "each replica has steps of its own"),
        (["--ray-address", "ray://here:1"], "ray_address='ray://here:1': must be local, auto, or HOST:PORT"),
        (["--replicas", "2", "--scheduler", "static"], "waits for batch_size"),
    ],
)
def test_flags_that_cannot_be(flags, told, capsys):
    from minieng.cli import main

    assert main(["serve", "--model", "tiny", *flags]) == 2
    assert told in capsys.readouterr().err


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    from minieng.server.ray_worker import connect

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeError, match=r"ray is not installed: pip install 'minieng\[scale\]'"):
        connect("local")


def test_sigterm_while_actors_load_ends_them_as_ctrl_c_does(monkeypatch):
    class Loads(Scripted):
        async def start(self) -> Hello:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.Event().wait()
            raise AssertionError

    worker, before = Loads(None), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("minieng.server.ray_worker.ray_workers", lambda *_: [worker])
    config = ServerConfig(ray_address="local", port=0)
    try:
        with bind(config) as sock, pytest.raises(KeyboardInterrupt):
            serve_replicas(SPEC, config, sock)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert worker.lives == [], "it was stopped"


def test_settings_name_the_routers():
    with pytest.raises(ValueError, match="router='best'.*least"):
        ServerConfig(router="best")
    assert not ServerConfig().apart and ServerConfig(replicas=2).apart and ServerConfig(ray_address="auto").apart


# -- the two ends of a pipe ---------------------------------------------------------------------------------------


def child_of(replica: Any) -> tuple[Child, list[tuple[int, Any]]]:
    """A child without a process, in the running event loop, and what it tells."""
    child, told = Child.__new__(Child), []
    child.replica, child.loop, child._tasks = replica, asyncio.get_running_loop(), {}
    child.tell = lambda key, what: told.append((key, what))
    return child, told


def test_an_abort_ends_a_text_however_early_it_comes():
    """Before the text's task has begun, before the engine has opened it, after it has ended, and for what never was."""
    order = Ask([{"prompt": None, "prompt_token_ids": [1, 2]}], SamplingParams(max_tokens=100), {})

    async def main() -> None:
        replica = Replica.__new__(Replica)
        replica.engine = AsyncEngine(fake_llm())
        child, told = child_of(replica)
        replica.engine.start()
        try:
            for key, turns in ((1, 0), (2, 1), (3, 2)):
                child._do("submit", key, order)
                for _ in range(turns):
                    await asyncio.sleep(0)
                child._do("abort", key, None)
            child._do("submit", 4, order)
            while (4, None) not in told or child._tasks:
                await asyncio.sleep(0.001)
            child._do("abort", 4, None)
            child._do("abort", 5, None)
            assert {key for key, _ in told} == {4} and replica.engine.num_open == 0
        finally:
            await replica.engine.stop()

    run(main())
    nothing_runs()


@pytest.mark.parametrize("what", ["a greeting", "an error"])
def test_a_replica_that_cannot_say_something_ends_and_says_why(what, monkeypatch, capsys):
    ended: list[int] = []
    monkeypatch.setattr("minieng.server.replica.os._exit", ended.append)

    async def refuse(order: Any) -> AsyncGenerator[Any]:
        raise ValueError(lambda: "no pickle")
        yield

    async def main() -> None:
        child, _ = child_of(SimpleNamespace(start=lambda: lambda: "no pickle", submit=refuse))
        del child.tell  # the real one
        if what == "a greeting":
            child.greet()
        else:
            await child._serve(1, None)

    run(main())
    assert ended == [1] and "pickle" in capsys.readouterr().err


SAYS = """
import os, sys, time
from minieng.server.replica import HEAD, Hello, framed, read_frame
read_frame(sys.stdin.buffer)
sys.stdout.buffer.write({what})
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
"""


def test_the_end_of_an_earlier_life_is_not_taken_for_the_end_of_the_next(monkeypatch):
    said = SAYS.format(what='framed((0, Hello("says", 9, 9, None, None, "nowhere")))')
    monkeypatch.setattr("minieng.server.worker.COMMAND", ["-c", said])

    async def main() -> None:
        (worker,), deaths = workers(1), []
        worker.on_death = deaths.append
        await worker.start()
        first, reader = worker.process, worker._reader
        await worker.start()
        first.kill()
        await reader
        assert not deaths
        worker.process.kill()
        await worker._reader
        assert [str(death) for death in deaths] == ["replica 0 ended: killed by SIGKILL"]

    run(main())


def test_a_replica_that_talks_nonsense_is_ended_however_much_it_says(monkeypatch):
    (worker,) = workers(1)

    def read(_: bytes) -> None:  # by now so much more has come that asyncio reads no further, and sees no end
        worker.process.stdout.feed_data(bytes(10**6))
        raise pickle.UnpicklingError("nonsense")

    monkeypatch.setattr("minieng.server.worker.COMMAND", ["-c", SAYS.format(what='HEAD.pack(3) + b"???"')])
    monkeypatch.setattr("minieng.server.worker.pickle.loads", read)

    async def main() -> None:
        with pytest.raises(WorkerDied, match="killed by SIGKILL"):
            await asyncio.wait_for(worker.start(), 20)

    run(main())
