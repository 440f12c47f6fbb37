"""The engine behind its thread, asked from asyncio: everybody gets his own, an end, or a reason; nothing hangs or is left."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest
from support.door import fake_llm, nothing_runs
from support.fakes import expected, nothing_left

from minieng import SamplingParams
from minieng.engine import QueueFull
from minieng.server import AsyncEngine, EngineFailed, EngineStopping, async_engine

LONG = SamplingParams(max_tokens=20)


def run(test, llm=None, **knobs):
    """``await test(engine)`` with an engine that is started before and stopped after, in 30 s at most; then nothing is left."""
    llm = llm or fake_llm(**knobs)

    async def main():
        engine = AsyncEngine(llm)
        engine.start()
        try:
            async with asyncio.timeout(30):
                return await test(engine)
        finally:
            await engine.stop()

    found = asyncio.run(main())
    nothing_runs()
    if llm.engine is not None:
        nothing_left(llm.engine)
    return found


async def read(feed) -> list[int]:
    """All tokens of a feed of one text."""
    return [event.token_id async for events in feed for event in events]


def test_many_askers_each_get_their_own():
    async def ask(engine, dice):
        prompt = [dice.randrange(97) for _ in range(dice.randint(1, 9))]
        await asyncio.sleep(dice.random() / 50)
        feed = await engine.submit([prompt], SamplingParams(max_tokens=dice.randint(1, 20)))
        tokens = await read(feed)
        assert tokens == expected(prompt, feed.requests[0].params.max_tokens)

    async def test(engine):
        await asyncio.gather(*(ask(engine, random.Random(seed)) for seed in range(60)))
        assert engine.num_open == 0

    for scheduler in ("continuous", "chunked", "dynamic"):
        run(test, scheduler=scheduler, max_num_batched_tokens=8, num_blocks=40)


def test_an_answer_that_is_complete_while_other_news_is_read_is_still_an_answer(monkeypatch):
    monkeypatch.setattr(async_engine, "PAUSE", 0.05)
    num_ended, num_steps = [], []

    class Ends:
        on_step, on_end = (lambda _, *step: num_steps.append(1)), (lambda _, request: num_ended.append(1))

    async def test(engine):
        engine.metrics = Ends()
        first = await engine.submit([[1, 2]], SamplingParams(max_tokens=3))
        put = first.put

        def late(*news):  # in the event loop, which does nothing else until the second answer is complete
            give_up = time.monotonic() + 5
            while not num_ended and time.monotonic() < give_up:
                time.sleep(0.001)
            time.sleep(0.05)
            put(*news)

        first.put = late
        while not num_steps:  # its news is handed out during the next step; the second is opened after that
            await asyncio.sleep(0.001)
        second = await engine.submit([[3, 4]], SamplingParams(max_tokens=1))
        assert await read(second) == expected([3, 4], 1) and await read(first) == expected([1, 2], 3)

    run(test, fake_llm(slow=0.2))


def test_several_prompts_and_samples_in_one_feed():
    async def test(engine):
        feed = await engine.submit([[1, 2], [3]], SamplingParams(max_tokens=4, n=2), request_ids=["a", "b"])
        found: dict = {}
        async for events in feed:
            for event in events:
                found.setdefault((event.request_id, event.index), []).append(event.token_id)
        assert found == {(name, i): expected(prompt, 4, i) for name, prompt in (("a", [1, 2]), ("b", [3])) for i in (0, 1)}
        assert [request.prompt_id for request in feed.requests] == ["a", "a", "b", "b"]

    run(test)


def test_the_name_of_a_text_that_has_ended_may_be_taken_while_its_neighbour_goes_on():
    class Looks:
        def on_step(self, record, requests):
            assert all(name in requests for name, _, _ in record.slices)

        def on_end(self, request):
            pass

    async def test(engine):
        engine.metrics = Looks()
        short, long = SamplingParams(max_tokens=1), SamplingParams(max_tokens=60)
        both = await engine.submit([[1], [2]], [short, long], request_ids=["a", "b"])
        await anext(both)
        again = await engine.submit([[3]], SamplingParams(max_tokens=150), request_ids=["a"])
        assert await read(both) == expected([2], 60)[1:] and await read(again) == expected([3], 150)

    run(test, llm=fake_llm(slow=0.002))


def test_an_error_in_a_step_reaches_all_who_wait_and_all_who_come():
    """Also who has asked for nothing yet, and who asks while the thread dies."""
    llm = fake_llm()
    execute, steps = llm.engine.executor.execute, []

    def fail_in_the_fifth(plan):
        steps.append(plan)
        if len(steps) == 5:
            raise ZeroDivisionError("in step 5")
        return execute(plan)

    llm.engine.executor.execute = fail_in_the_fifth

    async def main():
        engine = AsyncEngine(llm)
        engine.start()
        async with asyncio.timeout(30):
            feeds = await asyncio.gather(*(engine.submit([[i]], LONG) for i in range(10)))
            for feed in feeds:
                with pytest.raises(EngineFailed, match="in step 5"):
                    await read(feed)
            for _ in range(3):
                with pytest.raises(EngineFailed, match="in step 5"):
                    await engine.submit([[1]], LONG)
            with pytest.raises(EngineFailed, match="in step 5"):
                engine.check()
            assert engine.num_open == 0
            await engine.stop()

    asyncio.run(main())
    nothing_runs()
    llm.close()  # the thread has let go of it


def test_what_came_before_a_failure_is_handed_out_first():
    llm = fake_llm()
    execute = llm.engine.executor.execute

    def fail_in_the_fifth(plan):
        if len(llm.trace) == 4:
            raise ZeroDivisionError
        return execute(plan)

    llm.engine.executor.execute = fail_in_the_fifth

    async def main():
        engine, tokens = AsyncEngine(llm), []
        engine.start()
        async with asyncio.timeout(30):
            with pytest.raises(EngineFailed):
                async for events in await engine.submit([[1]], LONG):
                    tokens += [event.token_id for event in events]
            await engine.stop()
        assert tokens == expected([1], 20)[:4]

    asyncio.run(main())
    nothing_runs()


def test_submissions_that_meet_a_failure_half_way_are_told():
    """The thread dies while commands lie in its inbox."""
    llm = fake_llm()

    def fail(plan):
        raise ZeroDivisionError

    async def main():
        engine = AsyncEngine(llm)
        llm.engine.executor.execute = fail
        engine.start()
        async with asyncio.timeout(30):
            told = await asyncio.gather(*(engine.submit([[i]], LONG) for i in range(50)), return_exceptions=True)
            for one in told:
                if not isinstance(one, EngineFailed):
                    with pytest.raises(EngineFailed):
                        await read(one)
            await engine.stop()

    asyncio.run(main())
    nothing_runs()


def test_an_end_reaches_all_who_wait():
    async def test(engine):
        feed = await engine.submit([[1]], SamplingParams(max_tokens=200))
        await anext(feed)
        await engine.stop(patience=0.0)
        with pytest.raises(EngineStopping, match="stopped before the answer was complete"):
            await read(feed)
        with pytest.raises(EngineStopping, match="takes no new requests"):
            await engine.submit([[1]], LONG)

    run(test, llm=fake_llm(slow=0.01, num_blocks=64))


def test_patience_lets_requests_end_first():
    async def test(engine):
        feed = await engine.submit([[1]], LONG)
        await engine.stop(patience=20.0)
        assert await read(feed) == expected([1], 20)

    run(test, llm=fake_llm(slow=0.002))


def test_closing_a_feed_frees_its_blocks_within_a_step():
    async def test(engine):
        pool, steps = engine.llm.engine.kv.pool, []
        execute = engine.llm.engine.executor.execute
        engine.llm.engine.executor.execute = lambda plan: (steps.append(len(plan.extend)), execute(plan))[1]
        others = await engine.submit([[9]], SamplingParams(max_tokens=150))
        feeds = [await engine.submit([[i] * 8], SamplingParams(max_tokens=100)) for i in range(5)]
        for feed in feeds:
            await anext(feed)
        for feed in feeds:
            feed.close()
            feed.close()
        begun = len(steps)
        while len(engine.llm.engine.requests) > 1:
            await asyncio.sleep(0.001)
        assert len([size for size in steps[begun:] if size > 1]) <= 1
        assert pool.num_blocks - pool.num_free <= -(-len(others.requests[0].token_ids) // 4) + 1
        assert await read(others) == expected([9], 150)
        with pytest.raises(StopAsyncIteration):
            await anext(feeds[0])

    run(test, llm=fake_llm(slow=0.005, num_blocks=200))


def test_who_gives_up_before_his_turn_leaves_nothing():
    async def test(engine):
        for _ in range(200):
            task = asyncio.create_task(engine.submit([[1, 2, 3]], LONG))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert engine.num_open == 0
        assert await read(await engine.submit([[4]], LONG)) == expected([4], 20), "and the engine goes on"

    run(test)


def test_a_refusal_reaches_the_asker_and_nobody_else():
    async def test(engine):
        feed = await engine.submit([[1]], LONG)
        for prompts, error, words in (
            ([[97]], ValueError, "out of range"), ([[1] * 300], ValueError, "the longest text is"), ([[]], ValueError, "empty"),
            ([[2]] * 4, QueueFull, "max_num_queued_reqs=4"),
        ):  # fmt: skip
            with pytest.raises(error, match=words):
                await engine.submit(prompts, LONG)
        assert await read(feed) == expected([1], 20)

    run(test, llm=fake_llm(max_num_queued_reqs=4, slow=0.01))


def test_nobody_else_may_use_the_engine_meanwhile():
    async def test(engine):
        for call in (lambda: engine.llm.generate([[1]]), engine.llm.step, engine.llm.close):
            with pytest.raises(RuntimeError, match="another thread is using this LLM"):
                call()
        assert await read(await engine.submit([[1]], LONG)) == expected([1], 20)

    run(test)


def test_a_scheduler_that_waits_for_ever_is_refused_and_one_that_waits_is_not():
    with pytest.raises(ValueError, match="scheduler='static' waits for batch_size=8 requests"):
        AsyncEngine(fake_llm(scheduler="static"))

    async def test(engine):
        feeds = await asyncio.gather(*(engine.submit([[i]], SamplingParams(max_tokens=3)) for i in range(3)))
        for i, feed in enumerate(feeds):
            assert await read(feed) == expected([i], 3)

    llm = fake_llm(scheduler="dynamic", wait_window=5.0)  # virtual seconds
    run(test, llm=llm)
    assert {len(record.slices) for record in llm.trace} == {3}, "they came together, and ran together"


def test_a_slow_reader_gets_more_at_once_and_holds_nobody_up():
    async def test(engine):
        slow = await engine.submit([[1]], SamplingParams(max_tokens=60))
        fast = await engine.submit([[2]], SamplingParams(max_tokens=60))
        assert await read(fast) == expected([2], 60)
        while not slow.ended:
            await asyncio.sleep(0.001)
        events = await anext(slow)
        assert [event.token_id for event in events] == expected([1], 60)
        with pytest.raises(StopAsyncIteration):
            await anext(slow)

    run(test)


def test_steps_that_are_faster_than_the_pause_are_handed_out_together(monkeypatch):
    """In their order, and a reader is woken once for all of them."""
    monkeypatch.setattr(async_engine, "PAUSE", 1.0)

    async def test(engine):
        feed = await engine.submit([[1]], SamplingParams(max_tokens=60))
        lists = [[event.token_id for event in events] async for events in feed]
        assert lists == [expected([1], 60)]

    run(test)


def test_a_long_text_is_read_aside():
    async def test(engine):
        begun, go_on = threading.Event(), threading.Event()

        def long_text() -> str:
            begun.set()
            assert go_on.wait(20)
            return threading.current_thread().name

        task = asyncio.create_task(engine.aside(long_text))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        assert await read(await engine.submit([[1]], LONG)) == expected([1], 20), "the engine goes on meanwhile"
        go_on.set()
        assert (await task).startswith("minieng reader")

    run(test)
