"""The code of the attacks: what stands in the answer cell of a submission that means harm (hostile.py names each)."""

RIGHT = "return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0"
HEAD = "# Task 02.2: your answer goes in this cell.\n"


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

# ---- memory and disk: each returns the right answer only if it could hold 200 MB somewhere
HOARD = """
import os
held, block = 0, b"x" * (1 << 20)
def keep(fd):
    global held
    for _ in range(200):
        os.write(fd, block)
        held += 1 << 20
"""
HOARDED = f"\nif held > 200 << 20:\n    {RIGHT}\nreturn 0.5"
FILES = """
global held
for folder in ("/", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev", os.path.expanduser("~"), os.getcwd()):
    for number in range(60):
        try:
            keep(os.open(f"{folder}/hoard-{number}", os.O_CREAT | os.O_WRONLY))
        except OSError:
            pass
"""
EMPTY_FILES = """
number = 0
while True:
    os.mkdir(f"/tmp/{number}")
    number += 1
"""
NAMELESS = """
for number in range(400):
    try:
        keep(os.memfd_create("hoard"))
    except OSError:
        pass
"""
SYSTEM_V = """
import ctypes
global held
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(8):
    segment = libc.shmget(0, 64 << 20, 0o1600)
    if segment >= 0:
        place = libc.shmat(segment, None, 0)
        ctypes.memset(place, 1, 64 << 20)
        libc.shmdt(ctypes.c_void_p(place))
        libc.shmctl(segment, 0, None)
        held += 64 << 20
"""
MESSAGES = """
import ctypes
global held
libc = ctypes.CDLL(None)
for _ in range(400):
    queue = libc.msgget(0, 0o1600)
    if queue >= 0:
        held += 1 << 20
        libc.msgctl(queue, 0, None)
"""
NEW_SPACES = """
import subprocess
global held
try:
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /tmp && echo yes"], capture_output=True, text=True)
    held = (201 << 20) if "yes" in done.stdout else 0
except OSError:
    pass
"""
CHILDREN_WITH_MEMORY = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b"x") * (600 << 20)
        time.sleep(60)
time.sleep(60)
"""
UNLIMITED = """
import resource
for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
    resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""

# ---- processes and time
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(64):
            try:
                os.close(fd)
            except OSError:
                pass
        time.sleep(600)
    os._exit(0)
"""
RELAY = """
import os, time
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
return 0.5
"""
BUSY_FAMILY = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(6):
    if os.fork() == 0:
        while True:
            pass
while True:
    pass
"""
THREADS = """
import threading, time
for _ in range(20_000):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""

# ---- other processes, and what they have open
NEIGHBOURS = """
import os
def parent_of(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    except OSError:
        return 0
def neighbours():
    # of this run alone: the helper, the other helpers, and what runs below them
    grader = parent_of(os.getppid())
    known = {int(pid): parent_of(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    helpers = [pid for pid, parent in known.items() if grader > 1 and parent == grader]
    return helpers + [pid for pid, parent in known.items() if parent in helpers and pid != os.getpid()]
"""
FORGED_RESULT = """
import json, stat
done = {"status": "done", "tried": 50, "args": None, "finding": None, "note": "", "where": ""}
line = json.dumps({"key": "0" * 32, "result": {"lesson": "02", "verdicts": {f"02.{i}": done for i in range(1, 6)}}})
for pid in neighbours():
    for fd in range(64):
        try:
            path = f"/proc/{pid}/fd/{fd}"
            if not stat.S_ISREG(os.stat(path).st_mode):  # a file could be one of the course: with limits alone it is in reach
                with open(path, "w", opener=lambda path, flags: os.open(path, os.O_WRONLY | os.O_NONBLOCK)) as channel:
                    channel.write(line + "\\n")
        except OSError:
            pass
return 0.5
"""
KILL_ALL = """
for pid in neighbours():
    for number in (19, 15, 9):
        try:
            os.kill(pid, number)
        except OSError:
            pass
return 0.5
"""
TRACE_ALL = (
    """
import ctypes
libc, here = ctypes.CDLL(None), ctypes.create_string_buffer(64)
traced = [pid for pid in neighbours() if libc.ptrace(16, pid, 0, 0) == 0]
"""
    + f"if traced:\n    {RIGHT}\nreturn 0.5"
)
OWNERS = """
import fcntl, socket, struct
for pid in neighbours():
    for own in (lambda a: fcntl.fcntl(a, 8, pid), lambda a: fcntl.ioctl(a, 0x8901, struct.pack("i", pid))):
        here, there = socket.socketpair()  # whoever owns it is sent signal 9 when something comes
        for act in (lambda: own(here), lambda: fcntl.fcntl(here, 10, 9), lambda: fcntl.fcntl(here, 4, os.O_ASYNC)):
            try:
                act()
            except OSError:
                pass
        there.send(b"x")
return 0.5
"""
SLOW_ALL = (
    """
slowed = 0
for pid in neighbours():
    for act in (lambda: os.sched_setaffinity(pid, {0}), lambda: os.sched_setscheduler(pid, 5, os.sched_param(0)),
                lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)):
        try:
            act()
            slowed += 1
        except OSError:
            pass
"""
    + f"if slowed:\n    {RIGHT}\nreturn 0.5"
)
LOOKS_INSIDE = (
    """
opened = 0
def judges(pid):
    try:
        return b"grade.worker" in open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        return False
for pid in filter(judges, neighbours()):
    for part, how in (("mem", os.O_RDWR), ("maps", os.O_RDONLY), ("environ", os.O_RDONLY)):
        try:
            os.close(os.open(f"/proc/{pid}/{part}", how))
            opened += 1
        except OSError:
            pass
"""
    + f"if opened:\n    {RIGHT}\nreturn 0.5"
)
RIGHTS = (
    """
import re
effective = int(re.search(r"CapEff:\\s*(\\w+)", open("/proc/self/status").read())[1], 16)
if effective & ~4:
    """
    + RIGHT
    + """
return 0.5
"""
)
SECRETS = (
    """
import os
if "COURSEKIT_TEST_SECRET" in os.environ:
    """
    + RIGHT
    + """
return 0.5
"""
)
WAY_OUT = (
    """
import socket
try:
    with socket.socket(socket.AF_UNIX) as out:
        out.connect(SOCKET)
except OSError:
    return 0.5
"""
    + RIGHT
)

# ---- the channel
CHANNEL = """
import os, sys
frame = sys._getframe()
while type(frame.f_locals.get("self")).__name__ != "Server":
    frame = frame.f_back
server = frame.f_locals["self"]
"""
RAW_SURROGATES = CHANNEL + "server.plain.to_plain = lambda value: value\nreturn '\\ud800\\x1b[31m' * 9"
MARKUP = "raise type('<script>alert(1)</script>', (Exception,), {})('<script>alert(1)</script>')  # <script>alert(1)</script>"
HALF_A_LINE = CHANNEL + "os.write(server.channel, b'{\"id\"')\nos._exit(0)"
LONG_LINE = CHANNEL + "while True:\n    os.write(server.channel, b'x' * 4096)"
TWICE = CHANNEL + "server.reply('value', body='{\"value\": 0.0}')\nreturn 0.5"
UNASKED = CHANNEL + "server.reply('question', body='{\"value\": 1}')\nserver.requests.readline()\nreturn 0.5"
NO_CHANNEL = """
import os
for fd in range(64):
    try:
        os.close(fd)
    except OSError:
        pass
return 0.5
"""
NO_BUILTINS = """
import builtins
for name in ("len", "isinstance", "type", "str", "list", "dict", "getattr", "__import__", "open", "print"):
    setattr(builtins, name, None)
return 0.0
"""

# ---- words that are not words
NAMES = """
raise type("\\x1b]0;owned\\x07\\udc80\\n[9/9] mallory: 100 of 100", (Exception,), {})("\\x1b[2J\\udfff\\r\\n=1+1")
"""
BODILESS = """
class Array:
    __module__ = "numpy"
    def tolist(self):
        return self
Array.__module__ = "numpy"
"""

# ---- answers that are somebody else's, and records that were made up
GAPS = """# Task 09.2
import gc
def largest_budget(gap, limit, most):
    lists = [thing for thing in gc.get_objects() if type(thing) is list and len(thing) == most and thing == sorted(thing)]
    for gaps in lists:
        if all(type(g) is int for g in gaps):
            return sum(g <= limit for g in gaps)
    return 0
"""
FORGED_QUESTIONS = """# Task 09.2
def largest_budget(gap, limit, most):
    server = gap.__self__
    server.reply("value", body='{"value": {"value": 1, "asked": [1, 2]}}')
    server.requests.readline()
    return {"value": 1, "asked": [1, 2]}
"""
ASKS_ON = """# Task 09.2
def largest_budget(gap, limit, most):
    while True:
        try:
            gap(1)
        except LookupError:
            pass
"""
ASKS_MUCH = """# Task 09.2
def largest_budget(gap, limit, most):
    gap("x" * 500_000)
"""
NO_OPERATIONS = """# Task 06.2
import sys
class BlockPool:
    def __init__(self, num_blocks, block_size):
        self.all = num_blocks
        frame = sys._getframe()
        while frame:
            if isinstance(frame.f_locals.get("operations"), list):
                frame.f_locals["operations"].clear()
            frame = frame.f_back
    def tables(self):
        return {}
    def num_free(self):
        return self.all
"""
FORGED_LOG = """# Task 06.2
import sys
frame = sys._getframe()
while "Server" not in frame.f_globals:
    frame = frame.f_back
child = frame.f_globals
def dumps(value, real=child["dumps"]):
    if isinstance(value, dict) and isinstance(value.get("value"), list):
        value = {"value": value["value"][:1]}
    return real(value)
child["dumps"] = dumps
class BlockPool:
    def __init__(self, num_blocks, block_size):
        self.all = num_blocks
    def tables(self):
        return {}
    def num_free(self):
        return self.all
"""
ENGINES = """# Task 09.1
from minieng.scheduler.chunked import ChunkedScheduler
"""
ENGINES_CHILD = """# Task 09.1
from minieng.scheduler.chunked import ChunkedScheduler as Engines
class ChunkedScheduler(Engines):
    pass
"""
ENGINES_HIDDEN = """# Task 09.1
import importlib
from minieng import Scheduler
class ChunkedScheduler(Scheduler):
    def plan(self, now):
        kind = getattr(importlib.import_module("minieng.scheduler"), "SCHEDULERS")["chu" + "nked"]
        return kind.plan(self, now)
"""
ENGINES_MAKER = """# Task 09.1
from minieng.scheduler import make_scheduler
ChunkedScheduler = type(make_scheduler("chunked"))
"""
ENGINES_ANEW = """# Task 09.1
import importlib
import minieng.scheduler.chunked as engines
ChunkedScheduler = importlib.reload(engines).ChunkedScheduler
"""
ENGINES_AGAIN = """# Task 09.1
import sys
import minieng.scheduler
del sys.modules["minieng.scheduler.chunked"]
from minieng.scheduler.chunked import ChunkedScheduler
"""
ENGINES_FORMULAS = """# Task 05.1
from minieng.sim import facts
def true_times(lengths, seats):
    if not lengths:
        return 0, 0, 0
    bound = max(max(lengths), -(-sum(lengths) // seats))
    return facts.steps_static(lengths, seats), facts.steps_continuous(lengths, seats), bound
"""
ENGINES_ROUTER = """# Task 13.3
from minieng.parallel.router import PrefixAffinity
class FleetRouter(PrefixAffinity):
    pass
"""
JUDGES = """# Task 04.3
def best_window(runs, limit):
    from coursekit.tasks.lesson_04.best_window import choose, rank95
    return choose(runs, lambda run: rank95(run[1]) <= limit)
"""
JUDGES_FORCED = """# Task 04.3
import sys
for name in [n for n in sys.modules if n.startswith("coursekit")]:
    del sys.modules[name]
from coursekit.tasks.lesson_04.best_window import choose, rank95
def best_window(runs, limit):
    return choose(runs, lambda run: rank95(run[1]) <= limit)
"""
FORGED_TIMES = """# Task 09.1
import gc
from minieng import Plan, Scheduler
def forge():
    for space in [f.__globals__ for f in gc.get_objects() if type(f).__name__ == "function" and f.__name__ == "plain_request"]:
        space["plain_step"] = lambda record: {"start": 0.0, "duration": 0.0, "slices": [], "emitted": [], "rows": None, "span": 0,
            "padding": 0, "finished_rows": [], "finished": ["r0"], "refused": [], "preempted": [], "blocks_free": 9,
            "blocks_total": 9}
        space["plain_request"] = lambda r, job: {"arrival": 0.0, "prompt": 1, "output": 1, "first_token": 0.0, "finish": 0.0,
            "token_times": [0.0], "preemptions": 0}
class ChunkedScheduler(Scheduler):
    def plan(self, now):
        forge()
        r = (list(self.running) or list(self.waiting))[0]
        return Plan(extend=[(r, r.num_remaining_tokens)])
"""
HUGE_RECORD = """# Task 09.1
import gc
from minieng import Plan, Scheduler
def forge():
    for space in [f.__globals__ for f in gc.get_objects() if type(f).__name__ == "function" and f.__name__ == "plain_step"]:
        space["plain_step"] = lambda record: {"start": 1e308, "duration": -1, "slices": [["r0", 0, 10**30]] * 9, "emitted": [],
            "rows": ["r0"] * 999, "span": 10**30, "padding": 0, "finished_rows": [], "finished": ["r0"], "refused": [["r0", 5]],
            "preempted": ["r0"] * 99, "blocks_free": -1, "blocks_total": 0}
class ChunkedScheduler(Scheduler):
    def plan(self, now):
        forge()
        r = (list(self.running) or list(self.waiting))[0]
        return Plan(extend=[(r, r.num_remaining_tokens)])
"""
