"""Plain values in, plain values out: what a page's script, or another program, asks of the playground."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..scheduler import SCHEDULERS
from ..workload import PRESETS, Workload
from ..workload_file import jobs_of_text, text_of_jobs
from .choice import EXAMPLE, OWN, Choice
from .outcome import SMALL, run
from .show import comparison
from .situations import SITUATIONS

MOST_JOBS = 500
UNLESS = ", ".join(f"{name}={value}" for name, value in SMALL.items())
MORE = (  # under the fields of knobs
    f"Llama 7B on an A100 with {UNLESS}, unless a knob says otherwise. Knobs: max_num_seqs, num_blocks, "
    "block_size · max_num_batched_tokens (chunked) · max_prefill_tokens, mixed (continuous) · batch_size, "
    "wait_window (static, dynamic) · order (fcfs, sjf, priority, hrrn, lpm, fair, …) · admission, watermark, "
    "victim, preemption · enable_prefix_caching · model, gpu, tensor, stages, depth, host"
)


def face() -> dict[str, Any]:
    """What a form is made from: words to choose among, and the situations."""
    return {
        "schedulers": [*SCHEDULERS, OWN],
        "presets": list(PRESETS),
        "example": EXAMPLE,
        "knobs": MORE,
        "situations": [
            {
                "name": each.name, "lesson": each.lesson, "title": each.title, "look": each.look,
                "workload": each.text, "left": vars(each.left), "right": vars(each.right),
            }
            for each in SITUATIONS
        ],
    }  # fmt: skip


def drawn(preset: str, n: int, rate: float | None, seed: int = 0) -> str:
    """A workload drawn from a preset, as ``answer`` takes it. Raises ValueError with the reason."""
    if n > MOST_JOBS:
        raise ValueError(f"{n} requests: at most {MOST_JOBS} are drawn here")
    workload = Workload.preset(preset, n, rate=rate, seed=seed)
    jobs = [job._replace(arrival_s=round(job.arrival_s, 4)) for job in workload]
    return text_of_jobs(jobs)


def workload_of(text: str) -> Workload:
    """The text box's rows. Raises ValueError naming the line of each bad one."""
    jobs = jobs_of_text(text, "workload")
    if len(jobs) > MOST_JOBS:
        raise ValueError(f"{len(jobs)} requests: at most {MOST_JOBS} are simulated here")
    return Workload("workload", tuple(jobs))


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Run what was asked: {"workload": rows as text, "left": a choice, "right": another, or None}.

    A choice is {"scheduler", "knobs", "source"}. Returns {"html", "outcomes"}: counts, broken rule, error and
    line of each; or {"error"} where the workload cannot be read.
    """
    try:
        workload = workload_of(asked["workload"])
    except ValueError as problem:
        return {"error": str(problem)}
    choices = [Choice(**asked[name]) for name in ("left", "right") if asked.get(name)]
    outcomes = [run(workload, choice) for choice in choices]
    told = [
        {
            "label": each.choice.label(),
            "counts": each.counts(),
            "rule": each.rule,
            "error": each.error,
            "line": each.line,
        }
        for each in outcomes
    ]  # fmt: skip
    return {"html": comparison(outcomes), "outcomes": told}


def plans(asked: Mapping[str, Any]) -> list[list]:
    """What was decided in each step under the left choice, as JSON can hold it: for comparing two Pythons."""
    trace = run(workload_of(asked["workload"]), Choice(**asked["left"])).trace
    return [list(step) for step in trace.plans()] if trace else []


def reply(text: str) -> str:
    """JSON in, JSON out: {"do": "face"}, {"do": "answer", …}, {"do": "draw", …} or {"do": "plans", …}.

    Returns the value, or {"error"} for a workload that cannot be drawn.
    """
    asked = json.loads(text)
    do = asked.pop("do")
    try:
        value = {"face": lambda: face(), "draw": lambda: drawn(**asked)}.get(do)
        return json.dumps(value() if value else {"answer": answer, "plans": plans}[do](asked))
    except ValueError as problem:
        return json.dumps({"error": str(problem)})
