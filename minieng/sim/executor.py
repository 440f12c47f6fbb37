"""The simulator's half of a step: who gets a token, and how long the formula says it takes.
Nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from ..plan import Plan, StepResult
from ..request import Request, SamplingParams
from .cost_model import StepTimeModel, Work

if TYPE_CHECKING:
    from ..workload import Job

PART = 1_000_000_000  # tokens of parts of prompts begin here
END = -1  # the token that ends a scripted text; no real vocabulary has it


class Script(Sequence[int]):
    """An output of known length: ``length - 1`` times the request's own token, then END. Takes no memory."""

    __slots__ = ("length", "token")

    def __init__(self, length: int, token: int) -> None:
        self.length, self.token = length, token

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.length))]
        if 0 <= index < self.length - 1:
            return self.token
        if not -self.length <= index < self.length:
            raise IndexError(index)
        return END if index in (-1, self.length - 1) else self.token


def own_token(number: int) -> int:
    """A token that only request ``number`` has, so that the prefix cache hits nothing that is not shared."""
    return 1_000_000 + number


def scripted_request(
    number: int,
    prompt_tokens: int | Sequence[int],
    output_tokens: int,
    arrival: float = 0.0,
    max_tokens: int | None = None,
    max_model_len: int | None = None,
    name: str | None = None,
    token: int | None = None,
    **rest: Any,
) -> Request:
    """A request for the simulator: lengths in tokens, arrival in seconds.

    prompt_tokens  their number, or token ids where prompts share a prefix
    output_tokens  where the text ends by itself
    max_tokens     what the client asks for at most (default: no more than it gets); reservations go by it
    token          what its answer is made of (default: a token that only this request has)
    """
    if output_tokens < 1:
        raise ValueError(f"request {number}: output_tokens={output_tokens}: must be at least 1")
    token = own_token(number) if token is None else token
    prompt = [token] * prompt_tokens if isinstance(prompt_tokens, int) else prompt_tokens
    asked = SamplingParams(max_tokens=max(output_tokens, max_tokens or 0))
    return Request(
        name or str(number), prompt, asked, arrival_time=arrival, max_model_len=max_model_len,
        eos_token_ids=(END,), scripted_output=Script(output_tokens, token), **rest,
    )  # fmt: skip


def scripted_requests(
    workload: Iterable[Job], max_model_len: int | None = None, asked: Callable[[int], int] | None = None
) -> list[Request]:
    """Requests for a workload's jobs. ``asked``: what a client asks for, given the length it will get.

    A prompt that leaves no room for one output token is kept: ``Cluster.run`` refuses it and says why.
    """
    names: dict[str, int] = {}  # of parts: each has a token of its own, which no request has

    def token_of(name: str) -> int:
        return PART + names.setdefault(name, len(names))

    def prompt_of(number: int, job: Job) -> list[int]:
        shared = [token for name, tokens in job.parts for token in [token_of(name)] * tokens]
        return shared + [own_token(number)] * (job.prompt_tokens - len(shared))

    return [
        scripted_request(
            i, prompt_of(i, job) if job.parts else job.prompt_tokens, job.output_tokens, job.arrival_s,
            asked(job.output_tokens) if asked else None, max_model_len, user=job.user, priority=job.priority,
            deadline=None if job.deadline is None else job.arrival_s + job.deadline,
            token=token_of(job.answer) if job.answer else None,
        )
        for i, job in enumerate(workload)
    ]  # fmt: skip


class SimExecutor:
    """Carries plans out on paper. Tokens come from each request's script, else they are the request's own
    token until ``max_tokens``; durations come from the step-time model.
    """

    def __init__(self, model: StepTimeModel, block_size: int = 16) -> None:
        self.model, self.kv_nbytes_per_token = model, model.model.kv_nbytes_per_token
        self.block_nbytes = self.kv_nbytes_per_token * block_size

    @property
    def device_name(self) -> str:
        return f"simulated {self.model.gpu.name}"

    def facts(self) -> dict[str, str]:
        """What runs here, for ``explain()``."""
        return {
            "device": f"{self.model.gpu.name}, simulated: nothing is computed, "
            "a formula says how long each step takes"
        }

    def close(self) -> None:
        """There is no memory to give back."""

    def execute(self, plan: Plan) -> StepResult:
        work, tokens = Work.of_plan(plan), [self._token(request, n) for request, n in plan.extend]
        return StepResult(tokens, self.seconds(work) + self.move_seconds(plan))

    @staticmethod
    def _token(request: Request, n: int) -> int | None:
        """What a request says after ``n`` more tokens are computed; None while its prompt is not whole."""
        end = request.num_computed_tokens + n
        if end < len(request.token_ids):
            return None
        script, made = request.scripted_output, end - request.num_prompt_tokens
        return own_token(request.sequence) if script is None or made >= len(script) else script[made]

    def seconds(self, work: Work) -> float:
        return self.model.seconds(work) if work.new else 0.0

    def move_seconds(self, plan: Plan) -> float:
        """Blocks that go to the host or come back: their bytes over its link, and a latency for each copy.
        Keys and values of each layer lie apart, so a block takes two copies a layer. On the device copies
        are not charged.
        """
        blocks = len(plan.moves.swap_out) + len(plan.moves.swap_in)
        gpu = self.model.gpu
        copies = 2 * self.model.model.layers
        return blocks * (self.block_nbytes / gpu.host_link + copies * gpu.copy_seconds) if blocks else 0.0


@dataclass
class Sent:
    """A batch on its way through the stages: its tokens, when each stage works on it,
    and when it is through.
    """

    tokens: list[int | None]
    spans: list[tuple[float, float]]
    end: float


class PipelineExecutor(SimExecutor):
    """The stages of a pipeline, each with one batch at a time; ``PipelineEngine`` keeps several under way.

    ``free_at[k]`` is when stage k has done all it was given. A batch enters a stage when the stage is free
    and the batch has left the one before: what a stage waits for in between is the bubble. ``now`` asks the
    engine's clock.
    """

    def __init__(self, model: StepTimeModel, block_size: int = 16) -> None:
        super().__init__(model, block_size)
        self.free_at, self.busy = [0.0] * model.stages, 0.0
        self.now = lambda: 0.0

    def execute(self, plan: Plan) -> StepResult:
        return self.collect(self.submit(plan))

    def submit(self, plan: Plan) -> Sent:
        work, spans = Work.of_plan(plan), []
        leaves = self.now() + self.move_seconds(plan)
        for stage, seconds in enumerate(self.model.stage_seconds(work) if work.new else ()):
            enters = max(leaves + self.model.hop(work.new) if stage else leaves, self.free_at[stage])
            leaves = self.free_at[stage] = enters + seconds
            spans.append((enters, leaves))
            self.busy += seconds
        return Sent([self._token(request, n) for request, n in plan.extend], spans, leaves)

    def collect(self, sent: Sent) -> StepResult:
        """The clock has come to the end of the batch before:
        the duration is what this one takes beyond that.
        """
        end = max(self.now(), sent.end)
        return StepResult(
            sent.tokens,
            end - self.now(),
            stages=[(enters - end, leaves - end) for enters, leaves in sent.spans],
        )
