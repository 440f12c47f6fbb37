"""DeepSpeed-FastGen, January 2024: sixteen replicas behind a load balancer, each on four GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from ...config import EngineConfig
from ...job import Job
from ...request import Request
from ..cluster import Cluster
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_request
from .table import Row, Table

PROMPT, OUTPUT, SPREAD = 2600, 60, 0.3  # tokens, on average; standard deviation as a share of it
CLIENTS, REQUESTS = 16, 512  # of each replica
BUDGET = 2048  # tokens of a step
PUBLISHED = {1: 1.46, 16: 23.7}  # replicas → queries/s
SIZES = (1, 2, 4, 8, 16)
KERNELS = (
    "nothing here takes the time that their host and their kernels of 2023 took: prompts are computed at the "
    "speed of today's products, and they are nearly all of the work"
)


def run(seed: int) -> Table:
    table = Table(
        "DeepSpeed-FastGen (arXiv 2401.08671 and its blog post), figure 6: replicas behind a load balancer",
        "Llama-2-70B, each replica on four A100-80G (tensor parallel); prompts and answers normal around "
        f"{PROMPT:,} and {OUTPUT} tokens, standard deviation 30 %; the next replica in turn takes a request",
        {
            "clients": f"{CLIENTS} for each replica, with one request at a time (not said)",
            "requests": f"{REQUESTS} for each replica, as in their other experiments",
            "tokens of a step": f"{BUDGET:,} (not published)",
            "host time": "2 ms a step and 82 us a request (vLLM of 2024; theirs is not published)",
        },
        ["HTTP, tokenisation, the load balancer itself", "two replicas on one machine share its CPU"],
    )
    speeds = {size: throughput(size, REQUESTS, seed) for size in SIZES}
    for size, speed in speeds.items():
        table.rows.append(
            Row(f"{size} replica{'s' * (size > 1)}: queries/s", PUBLISHED.get(size), speed, why=KERNELS)
        )
    table.rows.append(
        Row(
            "16 replicas over 1",
            PUBLISHED[16] / PUBLISHED[1],
            speeds[16] / speeds[1],
            0.95,
            1.05,
            counts=False,
        )
    )
    least = throughput(16, REQUESTS, seed, "least")
    table.rows.append(Row("16 replicas, least work in place of turns: queries/s", None, least))
    return table


def throughput(replicas: int, each: int, seed: int, router: str = "round_robin") -> float:
    """Queries a second, with ``each`` requests for each replica."""
    times = StepTimeModel.named("llama-2-70b", "A100-80G", tensor=4, host=HOST_SECONDS["vllm 2024"])
    config = EngineConfig(
        scheduler="chunked",
        max_num_seqs=256,
        max_num_batched_tokens=BUDGET,
        enable_prefix_caching=False,
        seed=seed,
    )
    cluster = Clients.replicas(replicas, times, config, router)
    served = cluster.serve(jobs(replicas * each, seed), CLIENTS * replicas)
    return len(served) / cluster.seconds


class Clients(Cluster):
    """So many clients, each of which sends its next request when the last is answered."""

    hears = True

    def serve(self, work: Iterator[Job], clients: int) -> list[Request]:
        self._work, self._sent = work, []  # type: Iterator[Job], list[Request]
        for _ in range(clients):
            self.ask(0.0)
        self.work()
        return self._sent

    def ask(self, now: float) -> None:
        if (job := next(self._work, None)) is not None:
            self._sent.append(scripted_request(len(self._sent), job.prompt_tokens, job.output_tokens, now))
            self.submit(self._sent[-1], now)

    def finished(self, i: int, request: Request, now: float) -> None:
        self.ask(now)


def jobs(count: int, seed: int) -> Iterator[Job]:
    rng = Random(seed)
    for _ in range(count):
        prompt, output = (max(1, round(rng.gauss(mean, SPREAD * mean))) for mean in (PROMPT, OUTPUT))
        yield Job(0.0, prompt, output)
