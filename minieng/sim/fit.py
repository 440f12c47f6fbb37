"""The step-time formula for *this* machine: its constants from a trace of what really ran here.

    report = fit_report(llm.trace, ModelSpec.of_model(llm.runner.model), memory_bandwidth())
    print(report)                    # fitted on every other step, checked on the rest
    report.model.predict(record)     # seconds

Six constants are fitted, all of the formula that belong to the machine: FLOP/s of matrix products and of
attention, bytes/s of weights and of KV, and the fixed time of a step and of each request in it. The formula
itself stays as it is. Every step reads the same weights, so a trace tells that time and the fixed one apart
by a bend at best: a ``bandwidth`` that was measured (``minieng.doctor.memory_bandwidth``) settles it, and
without one only their sum is sure. Of the simulator, fitting alone needs numpy, and is imported only where a
trace is fitted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..observe.trace import StepRecord, Trace
from .cost_model import StepTimeModel, Work
from .hardware import GPU, ModelSpec

FEWEST = 16  # steps below which the constants cannot be told apart
ROUNDS = 80
RIDGE = 0.05  # a step is off by about a tenth, a first guess by a factor of a few: the ratio of the two
SOFT = 0.1  # relative error from which a step counts linearly


@dataclass(frozen=True)
class FitReport:
    """A fitted model and how wrong it is: medians of |predicted / measured - 1|."""

    model: StepTimeModel
    told_apart: bool  # the reading of the weights from the fixed time: a bandwidth was given
    num_fitted: int
    num_checked: int
    error_fitted: float
    error_checked: float
    worst_tenth: float  # the checked steps' 90th percentile

    def __str__(self) -> str:
        g, spec = self.model.gpu, self.model.model
        read = weights_nbytes(spec) / g.bandwidth * 1e3
        step = self.model.host_seconds(0)
        request = self.model.host_seconds(1) - step
        each = f"weights {read:.1f} ms a step (at {g.bandwidth / 1e9:.1f} GB/s), fixed {step * 1e3:.1f} ms"
        both = f"weights and fixed together {read + step * 1e3:.1f} ms a step"
        return (
            f"{spec.name} on this machine: {each if self.told_apart else both} and {request * 1e6:.0f} us a "
            f"request,\n    matrices {g.flops / 1e9:.1f} GFLOP/s, "
            f"KV {g.bandwidth * g.eta_kv / 1e9:.1f} GB/s\n"
            f"fitted on {self.num_fitted} steps: median error {self.error_fitted:.1%};\n"
            f"    predicted {self.num_checked} others: median error {self.error_checked:.1%}, "
            f"nine in ten within {self.worst_tenth:.1%}"
        )


def fit(
    trace: Trace | Sequence[StepRecord], model: ModelSpec, bandwidth: float | None = None
) -> StepTimeModel:
    """The formula with this machine's constants, from the steps of a trace.
    Raises ValueError for too few steps.

    bandwidth  bytes/s at which this machine reads its memory; fitted too if not given
    """
    records = measured(trace)
    work, seconds = stack(records), np.array([r.duration for r in records])
    start = np.log(first_guess(work, seconds, model, bandwidth))
    free = np.array([True, bandwidth is None, True, True, True, True])
    return machine(model, np.exp(_least_squares(work, seconds, model, start, free)))


def fit_report(
    trace: Trace | Sequence[StepRecord], model: ModelSpec, bandwidth: float | None = None
) -> FitReport:
    """Fit on every other step, predict the rest."""
    records = measured(trace)
    half, rest = records[::2], records[1::2]
    fitted = fit(half, model, bandwidth)
    errors = [np.abs(fitted.seconds(stack(part)) / [r.duration for r in part] - 1) for part in (half, rest)]
    seen, unseen = (float(np.median(e)) for e in errors)
    return FitReport(
        fitted, bandwidth is not None, len(half), len(rest), seen, unseen, float(np.quantile(errors[1], 0.9))
    )


def annotate(trace: Trace, model: StepTimeModel) -> Trace:
    """The trace with ``predicted`` seconds beside each step's duration."""
    predicted = [replace(r, predicted=float(model.predict(r)) if r.slices else None) for r in trace]
    return replace(trace, steps=deque(predicted))


def measured(trace: Trace | Sequence[StepRecord]) -> list[StepRecord]:
    records = [r for r in trace if r.slices and r.duration > 0]
    if len(records) < FEWEST:
        raise ValueError(
            f"{len(records)} steps with tokens and a duration: record at least {FEWEST}, of different sizes"
        )
    return records


def stack(records: Sequence[StepRecord]) -> Work:
    """The work of many steps as arrays."""
    return Work(*np.array([Work.of_record(r) for r in records], dtype=float).T)


def machine(model: ModelSpec, constants: np.ndarray) -> StepTimeModel:
    """constants: FLOP/s of matrices, bytes/s of weights, bytes/s of KV, FLOP/s of attention,
    seconds a step and a request.
    """
    flops, weights, kv, attention, step, request = (float(c) for c in constants)
    here = GPU(
        name="this machine", bandwidth=weights, flops=flops, memory=0.0, link=weights,
        eta_m=1.0, eta_c=1.0, eta_kv=kv / weights, eta_a=attention / flops,
        layer_seconds=0.0, standing="measured", source="fitted to a trace",
    )  # fmt: skip
    return StepTimeModel(model, here, host=(step, request))


def weights_nbytes(model: ModelSpec) -> float:
    """What every step reads, however many tokens it computes."""
    return model.weight_bytes * (model.linear_params + model.head_params)


def first_guess(work: Work, seconds: np.ndarray, model: ModelSpec, bandwidth: float | None) -> np.ndarray:
    """Orders of magnitude: the fastest step reads the weights, the densest one computes.
    None reads faster than it can.
    """
    weights = max(weights_nbytes(model) / np.min(seconds), bandwidth or 0.0)
    flops = float(np.max(2 * model.linear_params * work.new / seconds))
    fixed = max(0.1 * np.min(seconds), np.min(seconds) - weights_nbytes(model) / weights)
    return np.array([flops, weights, weights / 2, flops / 2, fixed, 0.1 * fixed / np.mean(work.requests)])


def _least_squares(
    work: Work, seconds: np.ndarray, model: ModelSpec, start: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """Levenberg-Marquardt on log(predicted / measured) over the ``free`` constants; large errors (a disturbed
    step) count by size, not square.

    A weak pull to the first guess keeps a constant that the trace says little about: without it, noise drives
    it to 0.
    """

    def residual(x: np.ndarray) -> np.ndarray:
        error = np.log(machine(model, np.exp(x)).seconds(work) / seconds)
        return np.concatenate(
            [np.sign(error) * np.sqrt(2 * (np.sqrt(1 + (error / SOFT) ** 2) - 1)) * SOFT, RIDGE * (x - start)]
        )

    x, damping, units = start, 1e-2, np.eye(len(start))[free]
    now = residual(x)
    for _ in range(ROUNDS):
        slope = np.stack([(residual(x + 1e-5 * unit) - now) / 1e-5 for unit in units], axis=1)
        normal = slope.T @ slope
        step = np.linalg.solve(
            normal + damping * (np.diag(np.diag(normal)) + 1e-9 * np.eye(len(units))), -slope.T @ now
        )
        there = x + np.clip(step, -1, 1) @ units
        new = residual(there)
        better = new @ new < now @ now
        if better:
            x, now = there, new
        damping = damping / 3 if better else damping * 4
    return x
