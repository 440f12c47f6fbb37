"""Fairness in Serving Large Language Models, OSDI 2024: who is served how much, by arrival and by counters.

Their artifact holds what they measured, request by request. The same requests come at the same times here,
and the same few lines measure both runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import mean
from typing import NamedTuple

from ...config import EngineConfig
from ...job import Job
from ...request import Request
from ...workload_file import trace_file
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_requests
from .measure import serve
from .table import Row, Table

POOL = 10_000  # KV slots of their server, which gives them out one by one
INPUT, OUTPUT = 1, 2  # what a token of a prompt, and of an answer, counts as service
ORDERS = {"FCFS": "fcfs", "VTC": "fair"}  # folder of the artifact → our order
SCENARIOS = {
    "overload": "two clients, 1.5 and 3 requests/s",
    "proportional": "three clients, 0.25, 0.5 and 1.5 requests/s",
    "on_off_less": "one client at 2 requests/s, one at 0.5 that pauses every other minute",
    "real": "27 clients of a real trace",
}
SOURCE = (
    "The measurements come from https://github.com/Ying1123/VTC-artifact (fair_bench, Apache-2.0): save its "
    f"result files as vtc/FCFS/NAME.jsonl and vtc/VTC/NAME.jsonl, one of each for {', '.join(SCENARIOS)}, in "
    "the folder that MINIENG_TRACES names"
)
SPEED = (
    "the GPU's shares are a guess, and the wait in an overloaded queue grows with the difference between "
    "what comes and what is served: a few per cent of speed are many of waiting"
)
CALM = (
    "who asks for little waits for the first room that others leave. Their server looks at its queue once in "
    "ten steps of decodes, and more has gathered by then; here room is given away at every step"
)


class Answer(NamedTuple):
    """One request as it was served. Times in seconds after the start."""

    client: str
    prompt: int
    output: int
    arrival: float
    first: float
    end: float

    def service(self, until: float) -> float:
        """Weighted tokens up to a moment: a prompt with the first token, its answer evenly after it."""
        if self.first > until:
            return 0.0
        share = 1.0 if self.end <= until else (until - self.first) / (self.end - self.first)
        return INPUT * self.prompt + OUTPUT * self.output * share


def run(seed: int) -> Table:
    table = Table(
        "Fairness in Serving Large Language Models (OSDI 2024): what its artifact measured",
        f"Llama-7B, A10G, a pool of {POOL:,} KV slots; prompts and answers of 256 tokens, but for the real "
        "trace; service: a token of a prompt counts 1, one of an answer 2, until the last arrival",
        {
            "GPU": "A10G: data sheet, shares of bandwidth and FLOP/s guessed",
            "host time": "2 ms a step and 82 us a request (vLLM of mid-2024; theirs is not published)",
            "admission": "all must fit at the peak to come, as in their server; every length is known",
        },
        ["ten steps of decodes between two looks at the queue, as their server has it", "HTTP, tokenisation"],
    )
    for scenario in SCENARIOS:
        theirs = {system: measured(system, scenario) for system in ORDERS}
        ours = {system: served(theirs[system], order) for system, order in ORDERS.items()}
        table.rows += ROWS[scenario](theirs, ours)
    return table


Answers = dict[str, list[Answer]]  # system → its answers


def by_client(answers: list[Answer], value: Callable[[list[Answer]], float]) -> dict[str, float]:
    clients = sorted({a.client for a in answers})
    return {client: value([a for a in answers if a.client == client]) for client in clients}


def service(answers: list[Answer]) -> dict[str, float]:
    """Weighted tokens a second for each client, while requests come."""
    last = max(a.arrival for a in answers)
    return by_client(answers, lambda own: sum(a.service(last) for a in own) / last)


def first_token(answers: list[Answer]) -> dict[str, float]:
    """Mean seconds to the first token for each client."""
    return by_client(answers, lambda own: mean(a.first - a.arrival for a in own))


def overload(theirs: Answers, ours: Answers) -> list[Row]:
    rows = []
    for system in ORDERS:
        published, here = service(theirs[system]), service(ours[system])
        for number, client in enumerate(published, 1):
            what = f"overload, {system}: service of client {number}"
            rows.append(Row(what, published[client], here[client], why=SPEED))
        (a, b), (c, d) = published.values(), here.values()
        what = f"overload, {system}: service of client 2 over client 1"
        rows.append(Row(what, b / a, d / c, 0.9, 1.1, counts=False))
    return rows


def proportional(theirs: Answers, ours: Answers) -> list[Row]:
    rows = []
    for system in ORDERS:
        published, here = service(theirs[system]), service(ours[system])
        for number, client in enumerate(published, 1):
            what = f"proportional, {system}: service of client {number}"
            rows.append(Row(what, published[client], here[client], why=SPEED))
    return rows + waits("proportional", theirs, ours)


def waits(scenario: str, theirs: Answers, ours: Answers) -> list[Row]:
    rows = []
    for system in ORDERS:
        published, here = first_token(theirs[system]), first_token(ours[system])
        for number, client in enumerate(published, 1):
            what = f"{scenario}, {system}: TTFT of client {number}, s"
            why = CALM if published[client] < max(published.values()) / 2 else SPEED
            rows.append(Row(what, published[client], here[client], 0.7, 1.3, why=why))
    return rows


def real(theirs: Answers, ours: Answers) -> list[Row]:
    rows = []
    for system in ORDERS:
        published, here = (mean(first_token(some[system]).values()) for some in (theirs, ours))
        rows.append(
            Row(f"real trace, {system}: mean of the clients' TTFT, s", published, here, 0.7, 1.3, why=SPEED)
        )
    for system in ORDERS:
        pace, own = (
            sum(a.output for a in some[system]) / max(a.end for a in some[system]) for some in (theirs, ours)
        )
        rows.append(Row(f"real trace, {system}: output tokens/s", pace, own, why=SPEED))
    return rows


ROWS = {
    "overload": overload,
    "proportional": proportional,
    "on_off_less": lambda theirs, ours: waits("on and off", theirs, ours),
    "real": real,
}


def measured(system: str, scenario: str) -> list[Answer]:
    """What they measured. Raises MissingTrace saying where it is to be had."""
    path = trace_file([f"vtc/{system}/{scenario}.jsonl"], "vtc", SOURCE)
    rows = json.loads(path.read_text(encoding="utf-8").splitlines()[0])["result"]["responses"]
    return [
        Answer(
            row["adapter_dir"], row["prompt_len"], row["output_len"], row["req_time"],
            row["req_time"] + row["first_token_latency"], row["req_time"] + row["request_latency"],
        )
        for row in rows
    ]  # fmt: skip


def served(requests: list[Answer], order: str) -> list[Answer]:
    """The same requests at the same times, on the simulator."""
    times = StepTimeModel.named("llama-7b", "A10G", host=HOST_SECONDS["vllm 2024"])
    config = EngineConfig(
        scheduler="continuous", order=order, admission="future_peak", max_num_seqs=256,
        max_prefill_tokens=POOL, num_blocks=POOL, block_size=1, enable_prefix_caching=False,
    )  # fmt: skip
    jobs = sorted(
        (Job(a.arrival, a.prompt, a.output, a.client) for a in requests), key=lambda job: job.arrival_s
    )
    _, done = serve(times, config, scripted_requests(jobs))
    return [answered(request) for request in done]


def answered(r: Request) -> Answer:
    assert r.finish_time is not None  # all are served to their end
    return Answer(
        r.user, r.num_prompt_tokens, r.num_output_tokens, r.arrival_time, r.token_times[0], r.finish_time
    )
