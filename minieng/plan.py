"""A decision as a value: what one step will do, and what came of it.

A scheduler makes a ``Plan``, the engine checks and carries it out, an executor turns it into a
``StepResult``. Model, simulator and trace know plans; none of them knows a scheduler.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from .request import Logprob, Request


class Mode(enum.StrEnum):
    """What kind of step a plan is. Derived from the slices, for readers and pictures;
    no rule depends on it.
    """

    EXTEND = "extend"  # prompts only
    DECODE = "decode"  # one token for each of some running requests
    MIXED = "mixed"  # both in one step
    IDLE = "idle"  # nothing runs


class Refusal(NamedTuple):
    """A waiting request that was looked at and left waiting, and why."""

    request: Request
    reason: str


class Moves(NamedTuple):
    """KV blocks that the executor copies before the step, in this order. Pairs are (from, to)."""

    swap_out: list[tuple[int, int]]  # device block → host block
    swap_in: list[tuple[int, int]]  # host block → device block
    copy: list[tuple[int, int]]  # device block → device block (copy-on-write)


@dataclass
class Plan:
    """One step, before it happens.

    extend      (request, number of tokens to compute) in the order in which they are laid out
    preempt     running requests that give up their KV; they wait again
    refuse      waiting requests that did not get in, with the reason
    rows        a padded rectangle instead of a packed batch: its rows from top to bottom, rows that are
                done but still computing included (None: packed)
    span        slots of KV that each row of a new rectangle holds until the batch ends
    wait_until  for a plan that runs nothing: seconds on the clock at which to ask again, or None for
                "when the next request arrives"
    """

    extend: list[tuple[Request, int]] = field(default_factory=list)
    preempt: list[Request] = field(default_factory=list)
    refuse: list[Refusal] = field(default_factory=list)
    rows: list[Request] | None = None
    span: int = 0
    wait_until: float | None = None
    moves: Moves = field(default_factory=lambda: Moves([], [], []))  # filled when blocks are named

    def __post_init__(self) -> None:
        """Any iterable will do: what is no list yet becomes one, because it is read more than once."""
        for name in ("extend", "preempt", "refuse", "rows"):
            given = getattr(self, name)
            if given is not None and type(given) is not list:
                setattr(self, name, list(given))

    @property
    def num_tokens(self) -> int:
        """Tokens computed for requests, padding not counted."""
        return sum(n for _, n in self.extend)

    @property
    def width(self) -> int:
        """Length of a row of the rectangle in tokens; 0 for a packed plan."""
        return max((n for _, n in self.extend), default=0) if self.rows is not None else 0

    @property
    def num_padding_tokens(self) -> int:
        """Positions of the rectangle that hold padding, in rows that still have work."""
        return len(self.extend) * self.width - self.num_tokens if self.rows is not None else 0

    @property
    def num_finished_row_tokens(self) -> int:
        """Positions computed for rows that are done already."""
        return (len(self.rows) - len(self.extend)) * self.width if self.rows is not None else 0

    @property
    def mode(self) -> Mode:
        """Valid until the plan is carried out (a request's progress changes then)."""
        decodes = sum(1 for r, _ in self.extend if r.is_decode)
        if not self.extend:
            return Mode.IDLE
        if decodes == len(self.extend):
            return Mode.DECODE
        return Mode.MIXED if decodes else Mode.EXTEND

    def drop(self, request: Request) -> None:
        """Take a request out again (a victim that had been planned already)."""
        self.extend = [(r, n) for r, n in self.extend if r is not request]
        if self.rows is not None:
            self.rows = [r for r in self.rows if r is not request]

    def __str__(self) -> str:
        parts = [self.mode.value]
        if self.extend:
            parts.append(" ".join(f"{r.request_id}+{n}" for r, n in self.extend))
        if self.rows is not None and self.extend:
            parts.append(f"rectangle {len(self.rows)}x{self.width}")
        if self.preempt:
            parts.append("preempt " + " ".join(r.request_id for r in self.preempt))
        parts += [f"refuse {r.request_id}: {reason}" for r, reason in self.refuse]
        if not self.extend and self.wait_until is not None:
            parts.append(f"until {self.wait_until:.3f} s")
        return " | ".join(parts)


@dataclass
class Reservation:
    """What carrying out the first half of a plan, its reservation, did to queues and blocks.

    newcomers    waiting requests that run now
    cached       tokens that they found in the prefix cache, with a sibling or earlier in the plan
    cached_again  the same for newcomers that have run before and were preempted
    shared       blocks that hold all these tokens, and that the newcomers need not write
    taken        (request, blocks) that its table grew by, shared ones included
    copied       (request, old block, new block): a shared block was copied before it is written
    freed        blocks that nobody holds any more since victims gave them up
    blocks_free  blocks that are free now
    """

    newcomers: list[Request] = field(default_factory=list)
    cached: int = 0
    cached_again: int = 0
    shared: int = 0
    taken: list[tuple[Request, list[int]]] = field(default_factory=list)
    copied: list[tuple[Request, int, int]] = field(default_factory=list)
    freed: int = 0
    blocks_free: int = 0


@dataclass
class StepResult:
    """What an executor gives back for a plan.

    tokens[i]    the token sampled for plan.extend[i], or None where the prompt is not complete yet
    duration     seconds the step took (measured by a runner, predicted by a simulator)
    logprobs[i]  {token id: Logprob} where the request asked for it; None if nobody did
    foretold[i]  the same for each token of its prompt that the slice's tokens foretell, where it asked for
    that
    stages       when each stage of a pipeline began and ended its part, in seconds before the result came (so
    negative)
    """

    tokens: list[int | None]
    duration: float
    logprobs: list[dict[int, Logprob] | None] | None = None
    foretold: list[list[dict[int, Logprob]] | None] | None = None
    stages: list[tuple[float, float]] = field(default_factory=list)


class PlanError(RuntimeError):
    """A plan that breaks a rule. ``rule`` names it; the message says which request, by how much,
    and what to do.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"rule '{rule}' broken: {message}")
        self.rule = rule
