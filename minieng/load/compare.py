"""The same arrivals again on the simulator, with step times fitted to what a client saw: observe, replay,
compare.

A client sees tokens, no steps. But tokens of one step come together, and the scheduler says which tokens can
be of one step: so it plans the recorded arrivals anew, and each step takes as long as it took until the
tokens that it makes were seen. What comes of that is a trace, to which the step-time formula is fitted
(``sim.fit``). Then the simulator serves the arrivals with nothing but the formula.

    measured = Recording.load("seen.json")
    report = replay(measured, EngineConfig(scheduler="chunked", max_num_seqs=16), spec)
    print(report)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, cast

from ..config import EngineConfig
from ..engine import Engine
from ..observe.latency import Latency, e2el, percentile, samples
from ..observe.record import StepRecord
from ..plan import Plan, StepResult
from ..request import Request
from ..sim.cost_model import StepTimeModel, Work
from ..sim.executor import SimExecutor, scripted_requests
from ..sim.fit import fit, stack
from ..sim.hardware import GPUS, ModelSpec
from ..sim.simulated import engine_of
from ..workload import Workload
from .answer import Answer
from .recording import Recording

ROUNDS = 4  # of fitting: what a step without tokens took is only known from the fit before
SHORTEST = (
    1e-4  # seconds; a step that seems to take less is one that the scheduler does not plan like the server
)
CACHED = 0.05  # of all prompts' tokens: by so much may what was found in the caches differ without a word
LATENCIES = ("ttft", "itl", "e2el")
FIGURES = ("mean", "p90", "p99")


@dataclass(frozen=True)
class Fitted:
    """Step times, and what the way to the engine and back takes.

    door    seconds between client and engine, both ways
    steps   how many steps it was fitted to
    error   median of |predicted / seen - 1| over these
    """

    times: StepTimeModel
    door: float
    steps: int
    error: float

    def __str__(self) -> str:
        return (
            f"step times fitted to {self.steps} steps as they were seen from outside, median error "
            f"{self.error:.1%}; door {1e3 * self.door:.1f} ms"
        )


@dataclass(frozen=True)
class Replayed:
    """A recording beside its replay.

    seen, replayed  the answers that were complete, in the same order
    left_out        how many were not
    """

    fitted: Fitted
    seen: Sequence[Answer]
    replayed: Sequence[Answer]
    left_out: int

    def figures(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """For "ttft", "itl" and "e2el" and each of their mean, P90 and P99: seen and replayed, in
        milliseconds, and replayed / seen - 1.
        """
        found: dict[str, dict[str, tuple[float, float, float]]] = {}
        for name in LATENCIES:
            both = [
                Latency.of(samples(cast(Sequence[Request], each), name))
                for each in (self.seen, self.replayed)
            ]
            found[name] = {}
            for figure in FIGURES:
                seen, again = (getattr(latency, figure) for latency in both)
                found[name][figure] = (seen, again, again / seen - 1 if seen else 0.0)
        return found

    def request_errors(self) -> list[float]:
        """|replayed / seen - 1| of each request's E2E latency, ascending."""
        ends = [[e2el(cast(Request, answer)) for answer in each] for each in (self.seen, self.replayed)]
        return sorted(abs(again / seen - 1) for seen, again in zip(*ends, strict=True))

    def cached_tokens(self) -> tuple[int, int]:
        """Tokens of prompts that were found in the cache: the server's, if it told, and the replay's."""
        seen, again = (sum(a.num_cached_tokens for a in each) for each in (self.seen, self.replayed))
        return seen, again

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        errors = self.request_errors()
        named = {"seen_ms": 0, "replayed_ms": 1, "error": 2}
        figures = {
            name: {figure: {word: values[i] for word, i in named.items()} for figure, values in each.items()}
            for name, each in self.figures().items()
        }
        return {
            "requests": len(self.seen), "left_out": self.left_out, "steps": self.fitted.steps,
            "step_error": self.fitted.error, "door_ms": 1e3 * self.fitted.door, **figures,
            "cached_tokens": dict(zip(("seen", "replayed"), self.cached_tokens(), strict=True)),
            "e2el_error_median": percentile(errors, 50), "e2el_error_p90": percentile(errors, 90),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [
            str(self.fitted),
            f"{'ms':<6}" + "".join(f"{figure:>10}{'replayed':>10}{'error':>8}" for figure in FIGURES),
        ]
        for name, each in self.figures().items():
            cells = (f"{seen:>10.1f}{again:>10.1f}{error:>+8.1%}" for seen, again, error in each.values())
            lines.append(f"{name.upper():<6}" + "".join(cells))
        told = self.as_dict()
        lines.append(
            f"E2EL of each of {len(self.seen)} requests: half within {told['e2el_error_median']:.1%}, "
            f"nine in ten within {told['e2el_error_p90']:.1%}"
        )
        seen, again = self.cached_tokens()
        if abs(seen - again) > CACHED * sum(answer.num_prompt_tokens for answer in self.seen):
            lines.append(
                f"The server found {seen:,} tokens of prompts in its cache, the replay {again:,}. "
                "Did it know them from an earlier run? Record with another --seed, or serve with "
                "--no-enable-prefix-caching"
            )
        return "\n".join(lines)


def replay(
    recording: Recording, config: EngineConfig, model: ModelSpec, fitted: Fitted | None = None
) -> Replayed:
    """Serve the recorded arrivals on the simulator.

    config  the server's knobs, as far as they decide anything; a cache of unknown size is taken to suffice
    model   the shape of what it serves
    fitted  from another recording (``fit_to``); fitted to this one if not given
    Raises ValueError if no answer is complete, or too few steps can be made out.
    """
    fitted = fit_to(recording, config, model) if fitted is None else fitted
    workload, seen = complete(recording)
    requests = _serve(_engine(fitted.times, config, workload), _later(workload, fitted.door))
    again = []
    for job, request in zip(workload, requests, strict=True):
        times = request.token_times
        again.append(
            Answer(job.prompt_tokens, job.arrival_s, token_times=times, finish_time=times[-1],
                   finish_reason="length", num_output_tokens=len(times),
                   num_cached_tokens=request.num_cached_tokens)
        )  # fmt: skip
    return Replayed(fitted, seen, again, len(recording.answers) - len(seen))


def fit_to(recording: Recording, config: EngineConfig, model: ModelSpec) -> Fitted:
    """Step times of the server that was recorded. Raises ValueError for too few steps."""
    workload, seen = complete(recording)
    times = {str(i): token_times(answer) for i, answer in enumerate(seen)}
    quickest = min(
        (answer.token_times[0] - answer.arrival_time) / answer.num_prompt_tokens for answer in seen
    )
    guess: Callable[[Work], float] = lambda work: quickest * work.new  # noqa: E731 (it is replaced below)
    door, error, fitted = 0.0, 0.0, None
    for _ in range(ROUNDS):
        records, first = seen_steps(_later(workload, door), config, model, times, guess)
        records_of_use = [record for record in records if record.duration > SHORTEST]
        fitted = fit(records_of_use, model)
        errors = [
            seconds / record.duration - 1
            for seconds, record in zip(fitted.seconds(stack(records_of_use)), records_of_use, strict=True)
        ]
        error = float(median(map(abs, errors)))
        # The first step after an empty engine is seen to take what its tokens need for the way, too.
        over = [record.duration - float(fitted.predict(record)) for record in first]
        door = max(0.0, door + median(over)) if over else door
        guess = fitted.seconds
    assert fitted is not None
    return Fitted(fitted, door, len(records_of_use), error)


def complete(recording: Recording) -> tuple[Workload, list[Answer]]:
    """The jobs whose answers are complete, with as many tokens as came, and these.
    Raises ValueError if there is none.
    """
    both = zip(recording.workload, recording.answers, strict=True)
    kept = [(job._replace(output_tokens=a.num_output_tokens), a) for job, a in both if not a.problem]
    if not kept:
        raise ValueError("no request of the recording was answered to its end: nothing can be replayed")
    return Workload(recording.workload.name, tuple(job for job, _ in kept)), [answer for _, answer in kept]


def token_times(answer: Answer) -> list[float]:
    """A time for each token: of several in a chunk, that of the chunk which must have had them."""
    times, count = answer.token_times, answer.num_output_tokens
    last = max(1, count - 1)
    return [times[round(i * (len(times) - 1) / last)] for i in range(count)]


def seen_steps(
    workload: Workload, config: EngineConfig, model: ModelSpec, times: Mapping[str, Sequence[float]],
    guess: Callable[[Work], float],
) -> tuple[list[StepRecord], list[StepRecord]]:  # fmt: skip
    """The steps in which a server with these knobs made the tokens at these times; and those of them that
    were the first after the engine had been empty. Steps that made none are left out.

    guess  seconds of a step that makes no token
    """
    engine = _engine(
        StepTimeModel(model, GPUS["T4"]), config, workload
    )  # any GPU: its times are not asked for
    engine.executor = _Seen(cast(SimExecutor, engine.executor), times, engine.clock.now, guess)
    _serve(engine, workload)
    told = [record for record in engine.trace if any(token is not None for token in record.tokens)]
    ends = {record.step: record.start + record.duration for record in engine.trace}
    first = [r for r in told if r.start > ends.get(r.step - 1, -1.0) + 1e-9 and r.duration > SHORTEST]
    return told, first


class _Seen(SimExecutor):
    """A step lasts until the tokens that it makes were seen: the middle one of their times."""

    def __init__(
        self, other: SimExecutor, times: Mapping[str, Sequence[float]], now: Callable[[], float],
        guess: Callable[[Work], float],
    ) -> None:  # fmt: skip
        self.__dict__ |= other.__dict__
        self.times, self.now, self.guess = times, now, guess

    def execute(self, plan: Plan) -> StepResult:
        tokens = [self._token(request, n) for request, n in plan.extend]
        seen = []
        for (request, n), token in zip(plan.extend, tokens, strict=True):
            if token is not None:
                made = request.num_computed_tokens + n - request.num_prompt_tokens
                seen.append(self.times[request.request_id][made])
        seconds = median(seen) - self.now() if seen else float(self.guess(Work.of_plan(plan)))
        return StepResult(tokens, max(SHORTEST, seconds))


def _later(workload: Workload, seconds: float) -> Workload:
    return Workload(workload.name, tuple(job._replace(arrival_s=job.arrival_s + seconds) for job in workload))


def _engine(times: StepTimeModel, config: EngineConfig, workload: Workload) -> Engine:
    """A simulated engine; its cache holds everything at once, if nobody says how large it is."""
    if not config.num_blocks:
        need = sum(-(-(job.prompt_tokens + job.output_tokens) // config.block_size) + 1 for job in workload)
        config = replace(config, num_blocks=need)
    return engine_of(times, config)


def _serve(engine: Engine, workload: Workload) -> list[Request]:
    requests = scripted_requests(workload)
    for request in requests:
        engine.add_request(request)
    while engine.has_work:
        engine.step()
    if lost := [r for r in requests if len(r.token_times) != len(r.scripted_output or ())]:
        raise ValueError(
            f"request {lost[0].request_id} does not fit the engine of these knobs: "
            "is the cache as large as the server's?"
        )
    return requests
