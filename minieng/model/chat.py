"""Chat templates are programs that come with a model: they run in a child process, for a bounded time,
in bounded memory.

Their sandbox (Jinja's) keeps them from files and from Python's inside, but a loop in it may be endless, and
9**(9**9) is computed in C, where no thread can stop it. One child serves the whole process; one that is late
is killed.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from typing import Any

from ..hub.shelf import ModelError

START_SECONDS, SECONDS, MEMORY = 120.0, 5.0, 4 << 30
OF_THE_CALL = {"tokenize", "chat_template", "return_tensors", "return_dict", "padding", "truncation",
               "max_length", "return_assistant_tokens_mask", "tokenizer_kwargs"}  # fmt: skip
_lock = threading.Lock()
_child: Child | None = None


def bounded(tokenizer: Any) -> Any:
    """The same tokenizer; its ``apply_chat_template`` now runs the template in the child first."""
    tokenizer.apply_chat_template = functools.partial(apply, tokenizer)
    return tokenizer


def apply(tokenizer: Any, conversation: list, *, tokenize: bool = True, **options: Any) -> Any:
    """``apply_chat_template``; ModelError if the template is late, too large, or breaks out.
    The text is the child's.
    """
    given = {name: value for name, value in options.items() if name not in OF_THE_CALL}
    template = tokenizer.get_chat_template(options.get("chat_template"), options.get("tools"))
    chats = conversation if conversation and isinstance(conversation[0], list) else [conversation]
    job = tokenizer.special_tokens_map | given | {"conversations": chats, "chat_template": template}
    texts = render(job, f"the chat template of {tokenizer.name_or_path}")
    if not tokenize:
        return texts if chats is conversation else texts[0]
    return type(tokenizer).apply_chat_template(tokenizer, conversation, tokenize=True, **options)


def render(job: dict, what: str) -> list[str]:
    """The texts that the child makes of a job: the arguments of transformers' ``render_jinja_template``."""
    global _child
    with _lock:
        if _child is None or _child.process.poll() is not None:
            _child = Child()
        answer = _child.ask(json.dumps(job, default=str), SECONDS)
    if answer is None:
        raise ModelError(
            f"{what} does not end within {SECONDS:.0f} s: write the prompt as text, or mend the template"
        )
    if "problem" in answer:
        raise ModelError(
            f"{what} fails ({answer['problem']:.200}): change the messages, or write the prompt as text"
        )
    return answer["texts"]


class Child:
    """A Python that answers a line of JSON with a line of JSON."""

    def __init__(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"], env=environment, text=True,
            encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if self.ask("null", START_SECONDS) is None:
            raise ModelError("no process for chat templates could be started: write the prompt as text")

    def ask(self, line: str, seconds: float) -> dict | None:
        """The child's answer, or None if it gives none in time; then it is dead."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None  # both are pipes
        late = threading.Timer(seconds, self.process.kill)
        late.start()
        try:
            stdin.write(line + "\n")
            stdin.flush()
            answer = stdout.readline()
        except OSError:
            answer = ""
        finally:
            late.cancel()
        if answer.endswith("\n"):
            return json.loads(answer)
        self.process.kill()
        self.process.wait()
        return None


def serve() -> None:
    """The child's side, until its input ends. It ends itself when it has computed far too long:
    its parent may be gone.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    with open(os.devnull) as nothing:  # the template's own process reads nothing but jobs
        jobs, sys.stdin = sys.stdin, nothing
        for line in jobs:
            bound()
            try:
                job = json.loads(line)
                answer = {"texts": render_jinja_template(**job)[0] if job else []}
            except Exception as problem:
                answer = {"problem": f"{type(problem).__name__}: {problem}"}
            print(json.dumps(answer), flush=True)


def bound() -> None:
    """Let the system stop this process at MEMORY bytes, and after twice SECONDS of computing from now."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock has to do
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soonest = int(used.ru_utime + used.ru_stime + 2 * SECONDS) + 1
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, soonest)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
