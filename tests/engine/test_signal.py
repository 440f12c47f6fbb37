"""A real Ctrl-C between any two instructions of the engine leaves nothing half done."""

from __future__ import annotations

import random
import signal
import sys

import pytest
from support.content import check, random_engine, random_requests
from support.fakes import expected, nothing_left

from minieng.interrupt import uninterrupted


class CtrlC:
    """Raises SIGINT when so many more lines of the engine's own code have run."""

    def __init__(self, lines: int) -> None:
        self.lines = lines

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)

    def trace(self, frame, event, arg):
        if "minieng" not in frame.f_code.co_filename or "interrupt.py" in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines -= 1
            if self.lines == 0:
                signal.raise_signal(signal.SIGINT)
        return self.trace


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_ctrl_c_between_any_two_lines_harms_nobody(first):
    came = 0
    for number in range(first, first + 100):
        dice = random.Random(number)
        longest = dice.randint(3, 30)
        engine = random_engine(dice, longest)
        requests = random_requests(dice, engine, longest)
        for _ in range(3_000):
            try:
                with CtrlC(dice.randint(1, 700) if dice.random() < 0.4 else 10**9):
                    if engine.step() is None:
                        break
            except KeyboardInterrupt:
                came += 1
                engine.kv.check_invariants([*engine.scheduler.waiting, *engine.scheduler.running])
        nothing_left(engine)
        check(requests)
    assert came > 100


def test_ctrl_c_while_requests_come_and_go():
    for lines in range(1, 120):
        dice = random.Random(lines)
        engine = random_engine(dice, 12)
        requests = random_requests(dice, engine, 12)
        engine.step()
        try:
            with CtrlC(lines):
                for request in requests:
                    if request.request_id in engine.requests:
                        engine.abort(request.request_id)
        except KeyboardInterrupt:
            engine.kv.check_invariants([*engine.scheduler.waiting, *engine.scheduler.running])
        engine.run()
        nothing_left(engine)
        check(requests)


def test_what_is_held_back_comes_at_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
            done.append(expected([1], 1))
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
