"""Answers that do odd things to the process they run in: a check says what it can, and the kernel goes on as before."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from course_answers.lesson_06.shared_blocks import BlocksByStack

import coursekit
from coursekit import guard, show, store

pytestmark = pytest.mark.skipif(not guard.can_fork(), reason="only a forked copy keeps such answers away from the kernel")
RIGHT = "    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0"


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setattr(store, "_memory", None)
    monkeypatch.setattr("coursekit.checking._right", {})
    return tmp_path / "progress.json"


def checked(body, capsys, before=""):
    """What the check says of a padding_waste with this body."""
    space = {}
    exec(f"import os, sys, json, signal\n{before}\ndef padding_waste(lengths):\n    {body}\n{RIGHT}\n", space)
    assert coursekit.check("02.2", space) is None
    return capsys.readouterr().out


STILL_RIGHT = {
    "writes to every file": "[write(fd) for fd in range(2, 256)]",
    "writes a verdict to every file": '[write(fd, b\'r{"status": "done"}\\n\') for fd in range(2, 256)]',
    "writes half a line to every file": "[write(fd, b'\\xff\\xfe') for fd in range(2, 256)]",
    "ignores children": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "ignores what can be ignored": "[ignore(number) for number in range(1, 65)]",
    "breaks json": "json.dumps = json.loads = None",
    "breaks the encoder": "json.JSONEncoder.default = json.JSONDecoder.decode = None",
    "breaks os": "os.write = os._exit = os.kill = os.getpid = os.waitpid = None",
    "prints surrogates": "print('\\ud800')",
    "prints to stderr": "print('\\udfff' * 10**5, file=sys.stderr)",
    "prints escape sequences": "print('\\x1b[2J\\x1b]0;title\\x07')",
    "prints nul bytes": "sys.stdout.write('\\0' * 3)",
    "leaves a child behind": "child()",
    "goes elsewhere": "os.chdir('/')",
    "takes stdout away": "sys.stdout = sys.stderr = None",
    "changes recursion": "sys.setrecursionlimit(200)",
}

HELPERS = """
import time
def write(fd, data=b'x'):
    try:
        os.set_blocking(fd, False)
        os.write(fd, data)
    except OSError:
        pass
def ignore(number):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
def child():
    if os.fork() == 0:
        time.sleep(300)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", STILL_RIGHT)
def test_a_right_answer_stays_right_whatever_else_it_does(name, capsys):
    begun = time.monotonic()
    said = checked(STILL_RIGHT[name], capsys, HELPERS)
    assert "02.2 padding_waste: right on all" in said, said
    assert "\x1b" not in said and "\0" not in said and said.encode("utf-8")
    assert time.monotonic() - begun < 60  # nobody waits for what it left running


SAID = {
    "closes every file": ("os.closerange(0, 1024)", "close only what you opened"),
    "closes every file and sleeps": ("os.closerange(0, 1024); sleep(60)", "close only what you opened"),
    # both are true, and which is noticed first is chance
    "closes every file and ends": ("os.closerange(0, 1024); os._exit(0)", ("ended the whole program", "closed all open files")),
    "asks somebody": ("input('how many? ')", "your function asks for input()"),
    "aborts": ("os.abort()", "ended the whole program"),
    "interrupts": ("raise KeyboardInterrupt", "ended the whole program (KeyboardInterrupt"),
    "an odd name": ("raise type('\\x1b[31m', (Exception,), {})('why')", "\\x1b[31m: why"),
    "a long name": ("raise type('x' * 10**6, (Exception,), {})", "your code stopped with an error"),
    "an error that cannot be shown": ("raise Mute()", "its text cannot be shown: ZeroDivisionError"),
    "an error whose text is none": ("raise NoText()", "its text cannot be shown: TypeError"),
    "an error whose class lies": ("raise Lies('here')", "Lies: here"),
    "surrogates in its text": ("raise RuntimeError('\\udcff')", "\\udcff"),
    "surrogates as its answer": ("return '\\ud800'", "this is a text"),
    "a subclass of exit": ("raise type('Out', (SystemExit,), {})('\\ud800')", "ended the whole program (Out"),
    "a group of a thousand": ("raise ExceptionGroup('many', [ValueError(i) for i in range(1000)])", "ExceptionGroup: many"),
}

CLASSES = """
from time import sleep
class Mute(Exception):
    def __str__(self):
        return 1 / 0
class NoText(Exception):
    def __str__(self):
        return None
class Shy:
    def __getattribute__(self, name):
        return 1 / 0
    __str__ = __repr__ = __class__ = property(lambda self: 1 / 0)
class Liar(type):
    @property
    def __name__(cls):
        raise RuntimeError
    @property
    def __mro__(cls):
        raise RuntimeError
class Lies(Exception, metaclass=Liar):
    pass
"""


@pytest.mark.parametrize("name", SAID)
def test_what_cannot_be_judged_is_told_in_words(name, capsys, own_progress):
    body, expected = SAID[name]
    begun = time.monotonic()
    said = checked(body, capsys, CLASSES)
    assert any(words in said for words in ([expected] if isinstance(expected, str) else expected)), said
    assert "right on all" not in said
    assert "Traceback" not in said and "\x1b" not in said and said.encode("utf-8")
    assert len(said) < 5_000 and time.monotonic() - begun < 45  # it sleeps for 60 s
    assert json.loads(own_progress.read_text())["tasks"]["02.2"] == {"tries": 1}


LOOKED_AT = {
    "a thing that cannot be shown": (CLASSES + "thing = Shy()", "thing"),
    "a class whose metaclass lies": (CLASSES, "Lies"),
    "a function with another name": ("def helper(): pass\nhelper.__name__ = type('Sly', (str,), {'__eq__': 1})('x')", "helper"),
    "functions of libraries": ("from inspect import signature\nfrom asyncio import run\nfrom statistics import NormalDist",
                               "signature, run, NormalDist"),
    "helpers without end": ("\n".join(f"def f{i}(): f{i + 1}" for i in range(3_000)), "f0"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKED_AT)
def test_what_a_right_answer_names_is_looked_at_and_not_run(name, capsys):
    """Whether it is somebody else's work is found out in the kernel itself."""
    before, body = LOOKED_AT[name]
    begun = time.monotonic()
    said = checked(body, capsys, before)
    assert "right on all" in said and "remark" not in said, said
    assert time.monotonic() - begun < 10


def test_an_answer_of_a_class_that_lies_is_judged_like_others(capsys):
    space = {}
    exec(CLASSES + "class Honest(metaclass=Liar):\n    pass\nthing = Honest()", space)
    family = [space["Honest"], type("Blocks", (BlocksByStack, space["Honest"]), {})]
    coursekit.check("06.3", {"SharedBlocks": family[1]})
    assert "06.3 SharedBlocks: right on all" in capsys.readouterr().out
    coursekit.check("06.3", {"SharedBlocks": space["thing"]})
    assert "is a Honest, neither a function nor a class" in capsys.readouterr().out


def test_a_kernel_that_ignores_its_children_can_still_check(capsys):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert "right on all" in checked("pass", capsys)
        assert "ended the whole program" in checked("os._exit(1)", capsys)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_kernel_whose_json_is_broken_can_still_check(capsys, monkeypatch, own_progress):
    """The answer cell itself put something else there."""
    monkeypatch.setattr(json, "dumps", None)
    monkeypatch.setattr(json, "loads", None)
    assert "right on all" in checked("pass", capsys)
    monkeypatch.undo()
    assert '"done": true' in own_progress.read_text()


def test_the_files_of_the_kernel_are_out_of_reach(tmp_path, capsys):
    """A copy shares what its kernel has open, a socket or this file: the answer must not write there."""
    with (tmp_path / "log").open("wb") as file:
        for fd in (file.fileno(), 0, 1, 2):
            checked(f"write({fd}, b'not yours')", capsys, HELPERS)
    assert (tmp_path / "log").read_bytes() == b""


def children() -> set[int]:
    """The processes whose parent this one is, ended ones that nobody has waited for among them."""
    own = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended while we were looking
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                own.add(int(stat.parent.name))
    return own


def test_no_copy_and_no_descriptor_is_left_behind(capsys):
    before = len(os.listdir("/proc/self/fd"))
    others = children()  # an earlier test's file may have left helpers of its libraries: they are not ours to judge
    for body in ("pass", "os.closerange(0, 1024)", "os._exit(3)", "raise KeyboardInterrupt"):
        checked(body, capsys)
    assert len(os.listdir("/proc/self/fd")) == before
    assert children() <= others


def test_what_is_shown_is_readable_everywhere(capsys):
    show.show("a\ud800b\x1b[0m\tc\nd é ✓")
    assert capsys.readouterr().out == "a\\ud800b\\x1b[0m\tc\nd é ✓\n"
