"""What a learner meets: check, hint, predict, reveal, progress. They never block, never crash, never lose a file."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import deque
from types import SimpleNamespace

import pytest
from course_answers.lesson_02 import left_pad, packed_mask, padding_waste
from support.course import ROOT

import coursekit
from coursekit import guard, show, store
from coursekit.plain import NotPlain, same, to_plain
from coursekit.shrink import shrink
from coursekit.task import Finding

linux = pytest.mark.skipif(not guard.can_fork(), reason="only a forked copy can be stopped inside C code")


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("COURSEKIT_STRICT", raising=False)
    monkeypatch.setattr(store, "_memory", None)
    monkeypatch.setattr("coursekit.hints._opened", {})
    monkeypatch.setattr("coursekit.checking._right", {})
    monkeypatch.setattr("coursekit.guesses._here", {})
    return tmp_path / "progress.json"


def stored(path):
    return json.loads(path.read_text())


def test_check_says_that_all_is_right_and_keeps_it(capsys, own_progress):
    assert coursekit.check("02.1", {"left_pad": left_pad.padded}) is None
    assert "✓ 02.1 left_pad: right on all" in capsys.readouterr().out
    assert stored(own_progress)["tasks"]["02.1"] == {"done": True, "tries": 1}


def test_a_failed_check_shows_rule_call_values_and_cause(capsys):
    coursekit.check("02.1", {"left_pad": left_pad.pad_right})
    out = capsys.readouterr().out
    for piece in (
        "should hold:",
        "smallest failing call: left_pad([[5], [6, 7]], 0)",
        "expected",
        "got",
        "the padding is on the right",
        "hint(",
    ):
        assert piece in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    "space, said",
    [
        ({}, "`left_pad` is not defined"),
        ({"left_pad": 3}, "is a int, neither a function nor a class"),
        ("text", "globals()"),
    ],
)
def test_check_explains_what_it_cannot_find(space, said, capsys):
    coursekit.check("02.1", space)
    assert said in capsys.readouterr().out


def test_unknown_tasks_are_answered_with_what_there_is(capsys):
    coursekit.check("02.9", {})
    coursekit.check("77.1", {})
    coursekit.hint("02.9")
    assert capsys.readouterr().out.count("02") >= 3


def test_strict_raises_for_the_sake_of_the_solutions(monkeypatch):
    monkeypatch.setenv("COURSEKIT_STRICT", "1")
    with pytest.raises(AssertionError, match="padding is on the right"):
        coursekit.check("02.1", {"left_pad": left_pad.pad_right})
    coursekit.check("02.1", {"left_pad": left_pad.padded})


def swallow(*args):
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:  # noqa: S110
            pass


@linux
@pytest.mark.parametrize(
    "code, said",
    [
        ("while True: pass", "did not finish in 10 s"),
        ("import itertools; sum(itertools.repeat(1))", "did not finish in 10 s"),
        ("import os; os._exit(3)", "ended the whole program"),
        ("raise SystemExit", "ended the whole program"),
        ("return [0] * 10**12", "MemoryError"),
        ("return padding_waste(lengths)", "RecursionError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended the whole program"),
    ],
)
def test_nothing_a_learner_writes_ends_the_kernel(code, said, capsys, monkeypatch):
    monkeypatch.setattr("coursekit.checking.verdict_on.__defaults__", (1.5 if "while" in code or "repeat" in code else 10,))
    space = {}
    exec(f"def padding_waste(lengths):\n    {code}\n", space)
    begun = time.monotonic()
    coursekit.check("02.2", space)
    assert said.replace("10 s", "1.5 s" if "while" in code or "repeat" in code else "10 s") in capsys.readouterr().out
    assert time.monotonic() - begun < 10


@pytest.mark.skipif(os.name != "posix", reason="needs a timer signal")
def test_without_a_copy_a_timer_stops_even_a_loop_that_swallows_everything():
    result, last, printed, state = guard.guarded(lambda tell: (tell([1]), swallow()), 0.3, stay=True)
    assert (state, last, sys.gettrace()) == ("late", [1], None)


def test_what_the_code_prints_is_shown_and_cut():
    result, last, printed, state = guard.guarded(lambda tell: print("x" * 10**6), 5)
    assert state == "ok" and 0 < len(printed) <= 2 * guard.SHOWN_OUTPUT


def test_hints_open_one_rung_at_a_time(capsys, own_progress):
    for rung in (1, 2, 3, 4, 4):
        coursekit.hint("02.3")
        assert f"({rung} of 4)" in capsys.readouterr().out
    assert stored(own_progress)["tasks"]["02.3"]["hints"] == 4
    coursekit.hint("02.3", 9)
    assert "hints 1 to 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "guess, value, said",
    [
        (0.4, 0.375, "very close"),
        (0.375, 0.375, "Exactly right"),
        (0.5, 0.375, "Close."),
        (1, 2.5, "The right size"),
        (1, 40, "40 times off"),
        (-1, 1, "Off by 2"),
        ("left", "left", "Right."),
        ("right", "left", "Not this time"),
        (0, 0, "Exactly right"),
        (0, 5, "Off by 5"),
        (float("nan"), 1, "nothing to compare"),
    ],
)
def test_guesses_are_scored_kindly(guess, value, said, capsys):
    coursekit.predict("a", guess)
    coursekit.reveal("a", value)
    assert said in capsys.readouterr().out


def test_no_guess_is_no_obstacle_and_a_late_guess_is_no_guess(capsys, own_progress):
    coursekit.predict("a", None)
    coursekit.reveal("a", 3)
    assert "You wrote no guess" in capsys.readouterr().out
    coursekit.predict("a", 1)
    coursekit.reveal("a", 3)
    coursekit.predict("a", 3)
    assert stored(own_progress)["guesses"]["a"] == {"guess": 1, "value": 3}
    coursekit.predict("b", [1])
    assert "a number or a word" in capsys.readouterr().out


def test_progress_shows_tasks_hints_and_guesses(capsys):
    coursekit.check("02.1", {"left_pad": left_pad.padded})
    coursekit.check("02.2", {"padding_waste": padding_waste.waste_percent})
    coursekit.hint("02.2")
    coursekit.predict("waste", 0.4)
    coursekit.reveal("waste", 0.6)
    coursekit.progress()
    out = capsys.readouterr().out
    assert "■◪□□□" in out and "25 of 100" in out and "Close." in out


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"version": 1}', "damaged"),
        ('{"version": 1, "tasks": {"a": 3}, "guesses": {}}', "damaged"),
        ('{"version": 99, "tasks": {}, "guesses": {}}', "newer-v99"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside_and_never_lost(text, why, own_progress, capsys):
    own_progress.write_text(text)
    coursekit.hint("02.1")
    kept = list(own_progress.parent.glob(f"progress.{why}-*.json"))
    assert [p.read_text() for p in kept] == [text] and "kept as" in capsys.readouterr().out
    assert stored(own_progress)["tasks"]["02.1"]["hints"] == 1


def test_where_no_file_can_be_written_progress_lives_in_memory(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "file" / "below" / "progress.json"))
    coursekit.check("02.1", {"left_pad": left_pad.padded})
    coursekit.progress()
    assert "25 of 100" in capsys.readouterr().out


def test_export_and_import_add_up(tmp_path, monkeypatch, own_progress, capsys):
    coursekit.check("02.1", {"left_pad": left_pad.padded})
    coursekit.export_progress(tmp_path / "away.json")
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "other.json"))
    coursekit.check("02.5", {"packed_mask": packed_mask.mask_right})
    coursekit.import_progress(tmp_path / "away.json")
    done = {name for name, row in stored(tmp_path / "other.json")["tasks"].items() if row["done"]}
    assert done == {"02.1", "02.5"}
    (tmp_path / "bad.json").write_text("{")
    coursekit.import_progress(tmp_path / "bad.json")
    coursekit.import_progress(tmp_path / "none.json")
    out = capsys.readouterr().out
    assert "is damaged" in out and "cannot be read" in out


def test_two_kernels_may_write_at_once(own_progress):
    code = "from coursekit import hint\nfor i in range(20): hint('02.{}', 1)"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code.format(n)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        for n in (1, 2, 3)
    ]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert set(stored(own_progress)["tasks"]) == {"02.1", "02.2", "02.3"}


@pytest.mark.apart
def test_importing_is_light():
    code = (
        "import sys, time; t = time.perf_counter(); import coursekit; from coursekit.task import lessons, tasks_of; "
        "[tasks_of(number) for number in lessons()]; "
        "t = time.perf_counter() - t; heavy = {'numpy', 'torch', 'IPython', 'matplotlib', 'minieng'}; "
        "heavy &= set(sys.modules); "
        "assert not heavy, heavy; print(t)"
    )
    times = [
        float(
            subprocess.run(
                [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(times) < 0.3


# ---------------------------------------------------------------- plain data and shrinking
class Endless:
    """An iterator of its own class."""

    def __iter__(self):
        return self

    def __next__(self):
        return 1


class Sly(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value, said",
    [
        (Sly(3), "`Sly`"),
        ([Sly(3)], "`Sly`"),
        (object(), "`object`"),
        ({1, 2}, "a set"),
        (Endless(), "list(...)"),
        ({(1,): 2}, "key is a tuple"),
        ([0] * 600_000, "more than 500,000"),
        (1 << 100_000, "digits"),
        (b"x", "`bytes`"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_is_not_plain_is_refused_by_name(value, said):
    with pytest.raises(NotPlain, match="answer"):
        to_plain(value)
    with pytest.raises(NotPlain) as caught:
        to_plain(value)
    assert said in str(caught.value)


def test_what_comes_in_order_is_a_list():
    """Any iterable will do whose order is fixed: a set has none."""
    given = (range(2), (x for x in "ab"), map(abs, [-1]), zip([1], [2]), {"k": 1}.items(), itertools.chain([3]), deque([4]))
    assert to_plain(given) == [[0, 1], ["a", "b"], [1], [[1, 2]], [["k", 1]], [3], [4]]
    with pytest.raises(NotPlain, match="more than 500,000"):
        to_plain(itertools.count())


def test_tuples_arrays_and_tensors_are_plain():
    numpy = pytest.importorskip("numpy")
    assert to_plain((1, [2.5, None, True], {"a": (1,)})) == [1, [2.5, None, True], {"a": [1]}]
    assert to_plain([numpy.arange(3), numpy.float64(0.5)]) == [[0, 1, 2], 0.5]


@pytest.mark.parametrize(
    "a, b, equal",
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        ([1, [2]], [1, [2]], True),
        (1, "1", False),
        (None, 0, False),
        ([1], [1, 2], False),
        (10**400, 1.5, False),
        ({"a": 1}, {"a": 1.0}, True),
        (True, 1, True),
        (float("nan"), 1.0, False),
    ],
    ids=lambda v: repr(v)[:20] if not isinstance(v, int) or v < 100 else "huge",
)
def test_equality_of_plain_values(a, b, equal):
    assert same(a, b) is equal


def test_expected_and_got_are_drawn_alike():
    """Two grids line up; where one of them is none, or has one row only, both are written out: [[0]] is not 0."""
    task = SimpleNamespace(returns="a list", picture="auto")

    def lines(expected, got):
        return show.compare_text(Finding("", "", "", expected, got), task).split("\n")

    assert lines([[1], [2]], [[10], [2]]) == ["  expected    got", "   1          10", "   2           2"]
    assert lines([[0], [1]], [[0]]) == ["  expected      got", "  [[0], [1]]    [[0]]"]
    assert lines([[0], [1]], [0, 1]) == ["  expected      got", "  [[0], [1]]    [0, 1]"]
    mask = SimpleNamespace(returns="a list", picture="mask")
    assert "■" in show.compare_text(Finding("", "", "", [[True]], [[False]]), mask)
    assert "■" not in show.compare_text(Finding("", "", "", [[True]], [[0.5]]), mask)
    assert show.compare_html(Finding("", "", "", [[0]], [[0]]), task).count("[[0]]") == 2


def test_shrinking_finds_the_smallest_failing_call():
    def fails(args):
        return sum(args[0]) >= 5 and len(args[0]) >= 2

    small = shrink(([3, 9, 4, 4, 1, 7],), fails, lambda args: True)
    assert len(small[0]) == 2 and sum(small[0]) == 5


def test_numbers_with_digits_and_settings_shrink_too():
    def fails(args):
        return args[0][:1] > [0.5] and args[0][0] < 1 and args[1].get("seats", 9) >= 3

    small = shrink(([0.625, 4.125], {"seats": 7, "blocks": 3}), fails, lambda args: "seats" in args[1])
    assert small == ([0.6], {"seats": 3})


def test_shrinking_gives_up_in_time():
    begun = time.monotonic()
    shrink(([9] * 50,), lambda args: time.sleep(0.05) or True, lambda args: True, seconds=0.5)
    assert time.monotonic() - begun < 10  # all of its tries would take minutes
