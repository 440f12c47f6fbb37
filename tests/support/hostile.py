"""Submissions that mean harm, as the source of the answer cell to task 02.2, and the words (a pattern) that name each.

HOSTILE = {name: (source, words of the remark)}. The other cells of such a notebook are right
answers: they keep their points.
NEEDS_WALLS names those that only bubblewrap can hold: with limits alone files and network are within reach.
"""

HEAD = "# Task 02.2: your answer goes in this cell.\n"
RIGHT = "return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0"


def answer(body, before=""):
    """A cell: `before` at the left margin, then padding_waste with `body`."""
    inside = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return f"{HEAD}{before}\ndef padding_waste(lengths):\n{inside}\n"


LIARS = """
class Int(int):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    __hash__ = int.__hash__
class Str(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
class List(list):
    def __eq__(self, other): return True
    def __len__(self): return 1
"""

SWARM = """
import os, time
for _ in range(64):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
"""

PATCHES = """
import builtins, json, random, sys
json.dumps = lambda *a, **k: '{"kind": "value", "value": 0.0}'
json.loads = lambda *a, **k: {"args": [[1]]}
random.Random.randint = lambda *a: 1
builtins.isinstance = lambda *a: True
builtins.abs = lambda x: 0
for name, module in list(sys.modules.items()):
    for word in ("judge", "examine", "same", "check", "to_plain"):
        if hasattr(module, word):
            setattr(module, word, lambda *a, **k: None)
return 0.0
"""

FAKE = """
import sys, os, json
frame = sys._getframe()
while frame and "call" not in frame.f_locals:
    frame = frame.f_back
fake = json.dumps({"id": frame.f_locals["call"]["id"], "kind": "value", "value": 0.0, "score": 100, "verdict": "done"})
print(fake)
for fd in range(3, 20):
    try:
        os.write(fd, (fake + "\\n").encode())
    except OSError:
        pass
return 0.0
"""

SPRAY = """
import os
for fd in range(0, 64):
    try:
        os.write(fd, b"points: 100\\n")
    except OSError:
        pass
return 0.0
"""

SEEK = """
import glob, json, os
for root in (SECRET_ROOT, os.path.expanduser("~"), "/root", "/home", os.getcwd()):
    for path in glob.glob(root + "/solutions/*.ipynb") + glob.glob(root + "/*/solutions/*.ipynb"):
        for cell in json.load(open(path))["cells"]:
            text = "".join(cell["source"])
            if "def padding_waste" in text:
                space = {}
                exec(text, space)
                return space["padding_waste"](lengths)
return 0.5
"""

VANDAL = """
import os
for path in (CANARY, CANARY + ".new", "/usr/evil", "/evil"):
    write, rename = (lambda: open(path, "w").write("evil")), (lambda: os.rename(path, path + ".gone"))
    for act in (lambda: os.remove(path), write, rename):
        try:
            act()
        except OSError:
            pass
return 0.5
"""

CALL_HOME = (
    """
import socket
try:
    socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
except OSError:
    return 0.5
"""
    + RIGHT
)

HOSTILE = {
    "endless loop": (answer("while True:\n    pass"), "did not finish"),
    "loop that swallows exceptions": (
        answer("while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"),
        "did not finish",
    ),
    "loop at import": (answer(RIGHT, "while True:\n    pass"), "did not finish"),
    "loop inside C code": (answer("import itertools\nreturn sum(itertools.repeat(1))"), "did not finish"),
    "crash at import": (answer(RIGHT, "1 / 0"), "cell raises ZeroDivisionError"),
    "syntax error": (HEAD + "def padding_waste(lengths:\n    return", "cell raises SyntaxError"),
    "leaves by os._exit": (answer("import os\nos._exit(0)"), "ended the program"),
    "leaves by sys.exit": (answer("raise SystemExit(0)"), "ended the program"),
    "leaves by a signal": (answer("import os\nos.kill(os.getpid(), 11)"), "ended the program"),
    "swarm of children": (answer(SWARM + RIGHT), "processes"),
    "swarm at import": (answer(RIGHT, SWARM), "processes"),
    "memory bomb": (answer("return len([0] * 10**11)"), "raises MemoryError"),
    "slow memory bomb": (
        answer("x = []\nwhile True:\n    x.append(bytearray(10**7))"),
        "raises MemoryError|did not finish|ended the program|of memory",
    ),
    "ten gigabytes of output": (
        answer("for _ in range(10**4):\n    print('x' * 10**6)\n" + RIGHT),
        "printed more than",
    ),
    "huge list": (answer("return [0.0] * 10**7"), "not plain data"),
    "huge number": (answer("return 1 << 10**6"), "not plain data"),
    "deep list": (answer("x = 0.0\nfor _ in range(10**5):\n    x = [x]\nreturn x"), "not plain data"),
    "equal to everything": (
        answer("return Yes()", "class Yes:\n    def __eq__(self, other): return True\n    def __float__(self): return 0.0"),
        "not plain data",
    ),
    "lying int": (answer("return Int(0)", LIARS), "not plain data"),
    "lying str": (answer("return Str('0')", LIARS), "not plain data"),
    "lying list": (answer("return List([0])", LIARS), "not plain data"),
    "patches the checker": (answer(PATCHES), "02.2"),
    "fakes the protocol": (answer(FAKE), "wrote into the grader's channel"),
    "writes to every descriptor": (answer(SPRAY), "wrote into the grader's channel"),
    "kills its parent": (answer("import os\nos.kill(os.getppid(), 9)\n" + "return 0.5"), "02.2"),
    "reads the solutions": (answer(SEEK), "02.2: other number"),
    "deletes and writes files": (answer(VANDAL), "02.2: other number"),
    "calls home": (answer(CALL_HOME), "02.2: other number"),
    "cell deleted": ("# gone", "the answer cell is gone"),
    "function renamed": (HEAD + "def wasted(lengths):\n    " + RIGHT, "does not define `padding_waste`"),
}

NEEDS_WALLS = {"reads the solutions", "deletes and writes files", "calls home", "kills its parent"}
UNREADABLE = {
    "not JSON": ("this is no notebook", "not a notebook"),
    "JSON, but no notebook": ("[1, 2, 3]", "not a notebook"),
    "nested JSON": ("[" * 200_000, "not a notebook"),
    "fifty megabytes": ('{"cells": [], "x": "' + "x" * 50_000_000, "MB"),
}
