"""A run that is stopped, disturbed, or has nowhere to write: a sentence, nothing lost, and nothing left behind."""

import errno
import os
import resource
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest
from support.course import put
from support.grading import (
    BODY,
    boxes_below,
    command,
    environment,
    grade,
    helpers_of,
    nothing_is_left,
    one_answer,
    processes_of,
    rows_of,
    until,
)

from coursekit import cli
from coursekit.grade import report, sandbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
SLOW = BODY.replace("):\n", "):\n    import time\n    time.sleep(20)\n")


@pytest.fixture
def temp(tmp_path):
    return tmp_path / "temp"


def begun(folder, out, temp, *extra, **settings):
    """A run that goes on beside the test. It hears SIGHUP, as from a terminal, though the tests may run under nohup."""
    settings = {"env": environment(temp), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **settings}
    settings = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL), **settings}
    return subprocess.Popen(command(folder, out, "--jobs", "1", *extra, timeout="60"), **settings)


# ---------------------------------------------------------------- nowhere to write
def test_a_place_that_cannot_be_written_is_told_before_anything_is_graded(tmp_path, temp):
    put(tmp_path / "in" / "ada.ipynb", one_answer())
    put(tmp_path / "file", "x")
    folder = tmp_path / "in"
    assert "-o" in grade(folder, folder, temp, code=2) and not list(folder.glob("*.csv"))
    (tmp_path / "read-only").mkdir(mode=0o555)
    places = [tmp_path / "file" / "g.csv", "/proc/nowhere/g.csv"]
    places += [] if os.geteuid() == 0 else [tmp_path / "read-only" / "g.csv"]  # root may write there all the same
    for out in places:
        assert "cannot be written" in grade(folder, out, temp, code=2)
    assert "name another folder" in grade(folder, tmp_path / "g.csv", temp, "--feedback", str(tmp_path / "file"), code=2)
    assert not (tmp_path / "g.csv").exists()


def test_a_full_disk_ends_the_run_with_a_sentence_and_the_next_one_goes_on(tmp_path, temp):
    """A file-size limit stands in for the full disk: the journal cannot grow beyond it."""
    for number in range(6):
        put(tmp_path / "in" / f"s{number}.ipynb", "no notebook")
    out = tmp_path / "g.csv"
    full = begun(tmp_path / "in", out, temp, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000)))
    said, problem = full.communicate(timeout=60)
    assert full.returncode == 2 and "cannot be written (File too large): make room" in problem, said + problem
    assert "Traceback" not in problem and not out.exists()
    nothing_is_left(temp)
    said = grade(tmp_path / "in", out, temp, timeout="60")
    assert 1 <= said.count("from the journal") < 6 and len(rows_of(out)) == 6


def test_a_table_that_cannot_be_written_costs_no_result(tmp_path, monkeypatch, capsys):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    options = cli.parser(False).parse_args(command(tmp_path / "in", tmp_path / "g.csv", "--sandbox", "none")[3:])

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "g.csv")

    monkeypatch.setattr(report, "put", full)
    assert cli.run_grade(options) == 2
    assert "No space left on device). All results are kept" in capsys.readouterr().err
    monkeypatch.undo()
    assert cli.run_grade(options) == 0 and "from the journal" in capsys.readouterr().out


def test_two_runs_do_not_write_one_table(tmp_path, temp):
    put(tmp_path / "in" / "ada.ipynb", one_answer(SLOW))
    out = tmp_path / "g.csv"
    first = begun(tmp_path / "in", out, temp)
    until((tmp_path / ".g.csv.journal").exists)
    until(lambda: boxes_below(first.pid))
    second = subprocess.run(command(tmp_path / "in", out), env=environment(tmp_path / "t2"), capture_output=True, text=True)
    assert second.returncode == 2 and "another run writes g.csv at this moment" in second.stderr, second.stderr
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130
    nothing_is_left(temp)


# ---------------------------------------------------------------- stopped
def test_under_nohup_a_run_goes_on_when_its_terminal_is_gone(tmp_path, temp):
    put(tmp_path / "in" / "a.ipynb", one_answer())
    put(tmp_path / "in" / "b.ipynb", one_answer(SLOW))
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    first = begun(tmp_path / "in", tmp_path / "g.csv", temp, **ignored)
    until(lambda: boxes_below(first.pid))
    first.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130
    nothing_is_left(temp)


@pytest.mark.parametrize("signals", [[signal.SIGINT] * 3, [signal.SIGHUP], [signal.SIGTERM, signal.SIGINT]], ids=str)
def test_stopped_by_one_signal_or_several_it_says_so_and_leaves_nothing(signals, tmp_path, temp):
    put(tmp_path / "in" / "a.ipynb", one_answer())
    put(tmp_path / "in" / "b.ipynb", one_answer(SLOW))
    first = begun(tmp_path / "in", tmp_path / "g.csv", temp)
    assert any(line.startswith("[1/2]") for line in first.stdout)
    until(lambda: boxes_below(first.pid))
    for number in signals:
        first.send_signal(number)
        time.sleep(0.05)
    problem = first.communicate(timeout=30)[1]
    assert first.returncode == 130 and "What was graded is kept" in problem and "Traceback" not in problem, problem
    nothing_is_left(temp)
    (tmp_path / "in" / "b.ipynb").unlink()
    assert "from the journal" in grade(tmp_path / "in", tmp_path / "g.csv", temp, timeout="60")


RUNAWAY = """
import os, time
def padding_waste(lengths):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    time.sleep(600)
"""


@pytest.mark.parametrize("helpers_too", [False, True])
def test_what_a_killed_run_leaves_the_next_one_removes(helpers_too, tmp_path, temp):
    put(tmp_path / "in" / "a.ipynb", one_answer(RUNAWAY))
    first = begun(tmp_path / "in", tmp_path / "g.csv", temp, "--sandbox", "rlimits")
    until(lambda: len(boxes_below(first.pid)) == 2)
    helpers = helpers_of(first.pid)
    first.send_signal(signal.SIGKILL)
    for pid in helpers if helpers_too else ():
        os.kill(pid, signal.SIGKILL)
    first.communicate(timeout=30)
    put(tmp_path / "in" / "a.ipynb", one_answer())
    grade(tmp_path / "in", tmp_path / "g.csv", temp, timeout="60")
    until(lambda: not processes_of(temp), 10)


# ---------------------------------------------------------------- a helper that is killed
def test_a_helper_that_is_killed_costs_nothing_and_twice_killed_is_not_graded(tmp_path, temp):
    put(tmp_path / "in" / "a.ipynb", one_answer(SLOW.replace("20", "0.05")))
    out = tmp_path / "g.csv"
    for times, code, total in ((2, 1, ""), (1, 0, "15")):
        going = begun(tmp_path / "in", out, temp, "--sandbox", "rlimits")
        for _ in range(times):
            kill_helper(going.pid)
        said, problem = going.communicate(timeout=60)
        assert going.returncode == code, said + problem
        nothing_is_left(temp)
        assert rows_of(out)["a"]["total"] == total
        assert "killed by signal 9" in said


def kill_helper(grader):
    """While it grades a submission."""
    until(lambda: any(map(boxes_below, helpers_of(grader))))
    (helper,) = helpers_of(grader)
    os.kill(helper, signal.SIGKILL)
    until(lambda: helper not in helpers_of(grader))


# ---------------------------------------------------------------- whoever reads along
def test_a_reader_that_leaves_early_costs_nothing(tmp_path, temp):
    for name in ("a", "b", "c"):
        put(tmp_path / "in" / f"{name}.ipynb", "no notebook")
    line = " ".join(map(str, command(tmp_path / "in", tmp_path / "g.csv")))
    done = subprocess.run(f"{line} | head -1", shell=True, env=environment(temp), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr, done.stderr
    assert list(rows_of(tmp_path / "g.csv")) == ["a", "b", "c"]


def test_strange_names_and_an_old_terminal_stop_nobody(tmp_path, temp):
    names = [
        b"jos\xe9",
        b"\x1b]0;owned\x07\x1b[31m",
        b"=cmd",
        b"a;=cmd",
        "Zoë".encode(),
        "\u2028\u202e".encode(),
        b"x\n[9 of 9] y",
    ]
    folder, out = tmp_path / "in", tmp_path / "g.csv"
    folder.mkdir()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name + b".ipynb"), "w") as file:
            file.write("no notebook")
    put(
        folder / "ada.ipynb",
        one_answer("x = type('\\x1b[2J\\udc80\\n[9 of 9] ada', (Exception,), {})\nraise x('\\x1b[0m\\udc80')\n"),
    )
    old = environment(temp, PYTHONIOENCODING="latin-1", LC_ALL="C", PYTHONUTF8="0")
    pages = tmp_path / "pages"
    done = subprocess.run(command(folder, out, "--feedback", str(pages)), env=old, capture_output=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and b"Traceback" not in said, said
    assert not set(b"\x1b\x07\x9b") & set(said) and b"\n[9" not in said
    assert len(rows_of(out)) == len(names) + 1 == len(list(pages.glob("*.html")))
    assert not set("\x1b\x07") & set(out.read_text(encoding="utf-8") + "".join(p.read_text() for p in pages.rglob("*.html")))


# ---------------------------------------------------------------- what limits alone cannot hold is said
def test_limits_alone_say_what_they_cannot_hold():
    for word in ("read", "write", "leave files", "fill your disk", "network"):
        assert word in sandbox.WARNING
    assert SimpleNamespace(**sandbox.limits("none", 1024, 5)) == SimpleNamespace()
    held = sandbox.limits("rlimits", 1024, 5)
    assert held["RLIMIT_FSIZE"] * held["RLIMIT_NOFILE"] <= 256 << 20, "files without a name count as memory"
