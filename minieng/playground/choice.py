"""What a reader chose: a scheduler by name or as source, and knobs as one line of text."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from .. import scheduler as schedulers
from ..plan import Plan, Refusal
from ..request import Status
from ..scheduler import SCHEDULERS, Scheduler
from ..scheduler.chunked import ChunkedScheduler
from ..scheduler.continuous import ContinuousScheduler
from ..scheduler.dynamic import DynamicScheduler
from ..scheduler.static import StaticScheduler

OWN = "own"  # the scheduler is in the text box
FILE = "your scheduler"  # what an error calls the text box
EXAMPLE = '''\
class Mine(Scheduler):
    """Every running request decodes one token; then whoever fits gets in with its whole prompt."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if self.make_room(plan, kv, r, r.num_remaining_tokens):
                plan.extend.append((r, r.num_remaining_tokens))
        if not plan.preempt:
            self.admit(plan, kv, now, budget=2048)
        return plan
'''


@dataclass(frozen=True)
class Choice:
    """A scheduler and its knobs.

    scheduler  one of ``SCHEDULERS``, or "own": the last class of ``source`` that extends Scheduler
    knobs      such as "max_num_seqs=4, order=sjf": keywords of ``LLM.simulated``
    source     Python; the schedulers, Plan, Refusal and Status are there without an import
    """

    scheduler: str = "continuous"
    knobs: str = ""
    source: str = ""

    def label(self) -> str:
        return ", ".join(part for part in (self.scheduler, self.knobs.strip()) if part)


def knobs_of(text: str) -> dict[str, Any]:
    """ "max_num_seqs=4, order=sjf, mixed=True" as keywords. A bare word is a word.

    Raises ValueError that says what is no knob's value. Names and ranges are looked at by who takes them.
    """
    try:
        call = ast.parse(f"f({' '.join(text.split())})", mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
        raise ValueError(
            f"knobs {text!r}: write name=value, with commas between, such as max_num_seqs=4, order=sjf"
        )
    return {str(word.arg): value_of(str(word.arg), word.value) for word in call.keywords}


def value_of(name: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"knob {name}={ast.unparse(node)}: write a number, a word, True or False") from None


def scheduler_of(choice: Choice) -> str | Scheduler:
    """A name, or an instance of the reader's class.

    Raises ValueError if there is neither; whatever the source raises comes through.
    """
    if choice.scheduler != OWN:
        if choice.scheduler not in SCHEDULERS:
            words = ", ".join([*SCHEDULERS, OWN])
            raise ValueError(f"scheduler={choice.scheduler!r}: choose one of {words}")
        return choice.scheduler
    names: dict[str, Any] = {name: getattr(schedulers, name) for name in schedulers.__all__}
    given = (
        Plan, Refusal, Status, StaticScheduler, DynamicScheduler, ContinuousScheduler, ChunkedScheduler,
    )  # fmt: skip
    names |= {each.__name__: each for each in given} | {"__name__": FILE}
    exec(compile(choice.source, FILE, "exec"), names)
    own = [
        each
        for each in names.values()
        if isinstance(each, type) and issubclass(each, Scheduler) and each.__module__ == FILE
    ]
    if not own:
        raise ValueError(
            "the text defines no class that extends Scheduler: begin with class Mine(Scheduler):"
        )
    return own[-1]()
