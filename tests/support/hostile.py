"""Submissions that mean harm: an answer cell each, and the words (a pattern) that name it in the remarks.

The words SECRET_ROOT, CANARY, PORT and SOCKET in a source stand for what the test puts in reach: the course with its
solutions, a file, a listening port and a listening socket.
"""

from dataclasses import dataclass

from . import attacks
from .attacks import RIGHT, answer


@dataclass(frozen=True)
class Attack:
    """walls: only bubblewrap can hold it, because with limits alone files and network are within reach."""

    source: str
    said: str
    task: str = "02.2"
    walls: bool = False


HOSTILE = {
    "endless loop": Attack(answer("while True:\n    pass"), "did not finish"),
    "loop that swallows exceptions": Attack(
        answer("while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"),
        "did not finish",
    ),
    "loop at import": Attack(answer(RIGHT, "while True:\n    pass"), "did not finish"),
    "loop inside C code": Attack(answer("import itertools\nreturn sum(itertools.repeat(1))"), "did not finish"),
    "crash at import": Attack(answer(RIGHT, "1 / 0"), "cell raises ZeroDivisionError"),
    "syntax error": Attack(attacks.HEAD + "def padding_waste(lengths:\n    return", "cell raises SyntaxError"),
    "leaves by os._exit": Attack(answer("import os\nos._exit(0)"), "ended the program"),
    "leaves by sys.exit": Attack(answer("raise SystemExit(0)"), "ended the program"),
    "leaves by a signal": Attack(answer("import os\nos.kill(os.getpid(), 11)"), "ended the program"),
    "swarm of children": Attack(answer(attacks.SWARM + RIGHT), "processes|channel"),
    "swarm at import": Attack(answer(RIGHT, attacks.SWARM), "processes|channel"),
    "memory bomb": Attack(answer("return len([0] * 10**11)"), "raises MemoryError"),
    "slow memory bomb": Attack(
        answer("x = []\nwhile True:\n    x.append(bytearray(10**7))"),
        "raises MemoryError|did not finish|ended the program|of memory",
    ),
    "ten gigabytes of output": Attack(
        answer("for _ in range(10**4):\n    print('x' * 10**6)\n" + RIGHT),
        "printed more than",
    ),
    "huge list": Attack(answer("return [0.0] * 10**7"), "not plain data"),
    "huge number": Attack(answer("return 1 << 10**6"), "not plain data"),
    "deep list": Attack(answer("x = 0.0\nfor _ in range(10**5):\n    x = [x]\nreturn x"), "not plain data"),
    "equal to everything": Attack(
        answer("return Yes()", "class Yes:\n    def __eq__(self, other): return True\n    def __float__(self): return 0.0"),
        "not plain data",
    ),
    "lying int": Attack(answer("return Int(0)", attacks.LIARS), "not plain data"),
    "lying str": Attack(answer("return Str('0')", attacks.LIARS), "not plain data"),
    "lying list": Attack(answer("return List([0])", attacks.LIARS), "not plain data"),
    "patches the checker": Attack(answer(attacks.PATCHES), "02.2: "),
    "fakes the protocol": Attack(answer(attacks.FAKE), "wrote into the grader's channel"),
    "writes to every descriptor": Attack(answer(attacks.SPRAY), "wrote into the grader's channel"),
    "kills its parent": Attack(answer("import os\nos.kill(os.getppid(), 9)\nreturn 0.5"), "raises PermissionError|other number"),
    "reads the solutions": Attack(answer(attacks.SEEK), "02.2: other number", walls=True),
    "deletes and writes files": Attack(answer(attacks.VANDAL), "02.2: other number", walls=True),
    "calls home": Attack(answer(attacks.CALL_HOME), "02.2: other number", walls=True),
    "cell deleted": Attack("# gone", "the answer cell is gone"),
    "function renamed": Attack(attacks.HEAD + "def wasted(lengths):\n    " + RIGHT, "does not define `padding_waste`"),
    # memory and disk
    "files everywhere": Attack(answer(attacks.FILES + attacks.HOARDED, attacks.HOARD), "02.2: other number", walls=True),
    "empty files": Attack(answer(attacks.EMPTY_FILES, "import os"), "made .* files", walls=True),
    "files without names": Attack(answer(attacks.NAMELESS + attacks.HOARDED, attacks.HOARD), "02.2: other number"),
    "System V memory": Attack(answer(attacks.SYSTEM_V + attacks.HOARDED, attacks.HOARD), "02.2: other number"),
    "System V messages": Attack(answer(attacks.MESSAGES + attacks.HOARDED, attacks.HOARD), "02.2: other number"),
    "a name space of its own": Attack(answer(attacks.NEW_SPACES + attacks.HOARDED, attacks.HOARD), "02.2: other number"),
    "shared memory map": Attack(answer("import mmap\nmmap.mmap(-1, 3 << 30)\n" + RIGHT), "raises (OSError|MemoryError)"),
    "children with memory": Attack(answer(attacks.CHILDREN_WITH_MEMORY + RIGHT), "of memory|did not finish"),
    "a thousand open files": Attack(
        answer("import os\nx = [os.open('/dev/null', 0) for _ in range(1000)]\n" + RIGHT), "raises OSError"
    ),
    "lifts its limits": Attack(answer(attacks.UNLIMITED + RIGHT), "raises ValueError"),
    "one large file": Attack(
        answer("import tempfile\nwith tempfile.TemporaryFile() as f:\n    f.write(b'x' * (50 << 20))\n" + RIGHT), "raises OSError"
    ),
    # processes and time
    "daemon": Attack(answer(attacks.DAEMON + RIGHT), "(left|started) .* processes|channel"),
    "daemon of the shell": Attack(
        answer("import subprocess\nsubprocess.run('sleep 600 </dev/null >/dev/null 2>&1 &', shell=True)\n" + RIGHT),
        "(left|started) .* processes|channel",
    ),
    "hands itself on for ever": Attack(answer(attacks.RELAY), "did not finish|ended the program|left"),
    "a busy family": Attack(answer(attacks.BUSY_FAMILY), "did not finish"),
    "twenty thousand threads": Attack(
        answer(attacks.THREADS + RIGHT), "raises (RuntimeError|MemoryError)|did not finish|processes"
    ),
    "sleeps": Attack(answer("import time\ntime.sleep(10**6)"), "did not finish"),
    "stops itself": Attack(answer("import os\nos.kill(os.getpid(), 19)\n" + RIGHT), "did not finish"),
    "recursion without end": Attack(
        answer("import sys\nsys.setrecursionlimit(10**9)\nreturn padding_waste(lengths)"),
        "ended the program|raises (RecursionError|MemoryError)|of memory|did not finish",
    ),
    "a pattern without end": Attack(
        answer("import re\nreturn float(bool(re.match('(a+)+$', 'a' * 60 + 'b')))"), "did not finish"
    ),
    "a power without end": Attack(answer("return 7 ** 10 ** 10"), "did not finish|raises MemoryError"),
    # other processes
    "forges its helper's result": Attack(answer(attacks.FORGED_RESULT, attacks.NEIGHBOURS), "02.2: other number"),
    "kills and stops everybody": Attack(answer(attacks.KILL_ALL, attacks.NEIGHBOURS), "02.2: other number"),
    "traces everybody": Attack(answer(attacks.TRACE_ALL, attacks.NEIGHBOURS), "02.2: other number"),
    "signals by way of a file": Attack(answer(attacks.OWNERS, attacks.NEIGHBOURS), "02.2: other number"),
    "slows everybody down": Attack(answer(attacks.SLOW_ALL, attacks.NEIGHBOURS), "02.2: other number"),
    "opens the memory of a judge": Attack(answer(attacks.LOOKS_INSIDE, attacks.NEIGHBOURS), "02.2: other number"),
    "root's rights": Attack(answer(attacks.RIGHTS), "02.2: other number"),
    "looks for the teacher's secrets": Attack(answer(attacks.SECRETS), "02.2: other number"),
    "a socket out": Attack(answer(attacks.WAY_OUT), "02.2: other number", walls=True),
    # the channel
    "surrogates, as they are": Attack(answer(attacks.RAW_SURROGATES), "02.2: "),
    "half a line": Attack(answer(attacks.HALF_A_LINE), "ended the program"),
    "a line without end": Attack(answer(attacks.LONG_LINE), "larger than"),
    "answers twice": Attack(answer(attacks.TWICE), "wrote into the grader's channel"),
    "asks what nobody may": Attack(answer(attacks.UNASKED), "wrote into the grader's channel"),
    "closes everything": Attack(answer(attacks.NO_CHANNEL), "ended the program|did not finish"),
    "breaks the builtins": Attack(answer(attacks.NO_BUILTINS), "02.2: "),
    # values and words
    "not a number": Attack(answer("return float('nan')"), "02.2: "),
    "text for a number": Attack(answer("return '0.25'"), "02.2: "),
    "never ends to give": Attack(answer("while True:\n    yield 0.0"), "not plain data"),
    "an array without an end": Attack(answer("return Array()", attacks.BODILESS), "not plain data"),
    "markup": Attack(answer(attacks.MARKUP), "02.2: raises"),
    "strange names": Attack(answer(attacks.NAMES), "02.2: raises"),
    "deep source": Attack(attacks.HEAD + "x = " + "(" * 50_000 + "1" + ")" * 50_000, "cell raises|ended the program"),
    "a sign too many": Attack(attacks.HEAD + "x = " + "-" * 500_000 + "1", "cell raises|ended the program|of memory"),
    "a NUL": Attack(attacks.HEAD + "x = '\x00'\n", "cell raises"),
    # answers that are somebody else's
    "reads the gaps": Attack(attacks.GAPS, "09.2: ", "09.2"),
    "makes up its questions": Attack(
        attacks.FORGED_QUESTIONS, "wrote into the grader's channel|ended the program|09.2: ", "09.2"
    ),
    "asks on and on": Attack(attacks.ASKS_ON, "asked more than|did not finish", "09.2"),
    "asks a large question": Attack(attacks.ASKS_MUCH, "asked a question of", "09.2"),
    "clears what was asked for": Attack(attacks.NO_OPERATIONS, "06.2: ", "06.2"),
    "forges the record": Attack(attacks.FORGED_LOG, "06.2: ", "06.2"),
    "the engine's scheduler": Attack(attacks.ENGINES, "09.1: the engine's own work", "09.1"),
    "a child of the engine's": Attack(attacks.ENGINES_CHILD, "09.1: the engine's own work", "09.1"),
    "the engine's, hidden": Attack(attacks.ENGINES_HIDDEN, "09.1: the engine's own work", "09.1"),
    "the engine's, made": Attack(attacks.ENGINES_MAKER, "09.1: the engine's own work", "09.1"),
    "the engine's, loaded anew": Attack(attacks.ENGINES_ANEW, "09.1: the engine's own work", "09.1"),
    "the engine's, imported again": Attack(attacks.ENGINES_AGAIN, "09.1: the engine's own work", "09.1"),
    "the engine's formulas": Attack(attacks.ENGINES_FORMULAS, "05.1: the engine's own work", "05.1"),
    "the engine's router": Attack(attacks.ENGINES_ROUTER, "13.3: the engine's own work", "13.3"),
    "a judge's answer": Attack(attacks.JUDGES, "04.3: raises ModuleNotFoundError", "04.3"),
    "a judge's answer, forced": Attack(attacks.JUDGES_FORCED, "04.3: cell raises ModuleNotFoundError", "04.3", walls=True),
    "forged times": Attack(attacks.FORGED_TIMES, "09.1: ", "09.1"),
    "a record that cannot be": Attack(attacks.HUGE_RECORD, "09.1: ", "09.1"),
}

UNREADABLE = {
    "not JSON": ("this is no notebook", "not a notebook"),
    "JSON, but no notebook": ("[1, 2, 3]", "not a notebook"),
    "nested JSON": ("[" * 200_000, "not a notebook"),
    "fifty megabytes": ('{"cells": [], "x": "' + "x" * 50_000_000, "MB"),
}
