"""llm-d, September 2025: four ways to pick a replica, for customers whose prompts begin alike.

The benchmark's report has its workload, its routers' settings and the figures of every rate.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple, cast

from ...config import EngineConfig
from ...engine import Engine
from ...kv.blocks import ROOT, block_hash
from ...observe.latency import percentile, ttft
from ...parallel.router import Load, Router
from ...request import Request
from ..cluster import Cluster, engines_of
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_request
from .table import Row, Table

PODS, KV_TOKENS, BLOCK = 8, 307_328, 16
CUSTOMERS, USERS = 150, 5
SHARED, OWN, OUTPUT = 6_000, 1_200, 1_000  # tokens: a customer's prefix, a user's question, an answer
WARM_UP = (15, 50)  # requests/s, seconds
STAGES = {20: 38, 40: 38}  # requests/s → seconds; theirs has fourteen more rates between 3 and 60
HISTORY, MOST = (
    31_250,
    256,
)  # the estimated cache: blocks remembered for each pod; blocks of a prompt looked at


class Policy(NamedTuple):
    """Weights of a pod's score. prefix: share of the prompt that it has; kv: share of its cache that is free;
    queue: how much shorter its queue is than the longest. knows: the caches themselves, else what was sent.
    """

    prefix: float
    kv: float
    queue: float
    knows: bool = False


class Outcome(NamedTuple):
    """Output tokens/s, seconds, seconds."""

    throughput: float
    ttft_p90: float
    ttft_mean: float


POLICIES = {
    "precise": Policy(3, 2, 2, knows=True),
    "estimated": Policy(1, 1, 1),
    "random": Policy(0, 0, 0),
    "load": Policy(0, 1, 1),
}
PUBLISHED = {
    "precise": {20: (9184.5, 0.600, 0.363), 40: (10270.8, 0.488, 0.269)},
    "estimated": {20: (8082.6, 0.600, 0.329), 40: (8045.9, 43.018, 13.160)},
    "random": {20: (4933.1, 70.273, 25.073), 40: (4773.8, 101.272, 54.196)},
    "load": {20: (4902.5, 77.707, 29.229), 40: (4946.4, 100.911, 53.545)},
}
FRONT = (
    "a cached prompt takes a few hundredths of a second here; there HTTP, two tokenisers and the gateway "
    "come on top"
)
BLIND = (
    "an overloaded queue grows with the difference between what comes and what is served, and more is served "
    "here; how many are let in at once there, and how much is preempted, is not in the report"
)
EDGE = (
    "whether the estimated caches hold is decided by how fast they drift from the real ones, and a queue "
    "that once begins feeds itself"
)


def run(seed: int) -> Table:
    table = Table(
        'llm-d, "KV-Cache Wins You Can See" (September 2025) and its benchmark report',
        f"Qwen3-32B, {PODS} pods of two H100 (tensor parallel) with {KV_TOKENS:,} tokens of KV each; "
        f"{CUSTOMERS} customers with {SHARED:,} tokens of their own, {USERS} users each with a question of "
        f"{OWN:,}, answers of {OUTPUT:,}; Poisson, 750 requests to warm up, then "
        f"{', '.join(map(str, STAGES))} requests/s for {', '.join(map(str, STAGES.values()))} s, each to its "
        "end before the next",
        {
            "rates": "two of the report's sixteen; all together precise has 8,730 and random 4,429 tokens/s",
            "load": "the report's figures; the blog post repeats those of random in its row",
            "tokens of a step, requests": "8,192 and 1,024 (vLLM's defaults on an H100; not in the report)",
            "host time": "1 ms a step (vLLM of 2025)",
            "tokens of a hashed block": "16, of 64 characters, for the estimated caches",
        },
        ["HTTP, tokenisation, the gateway", "loads and caches that a router sees late"],
    )
    ours = {name: serve(name, seed) for name in POLICIES}
    for rate in STAGES:
        for name in POLICIES:
            theirs, mine = Outcome(*PUBLISHED[name][rate]), ours[name][rate]
            calm = theirs.ttft_p90 < 1  # no queue
            why = FRONT if calm else {"estimated": EDGE}.get(name, BLIND)
            table.rows += [
                Row(
                    f"{rate}/s, {name}: output tokens/s",
                    theirs.throughput,
                    mine.throughput,
                    0.75,
                    1.25,
                    why=why,
                ),
                Row(f"{rate}/s, {name}: TTFT P90, s", theirs.ttft_p90, mine.ttft_p90, 0.75, 1.25, why=why),
            ]
    return add_shape(table, ours)


def add_shape(table: Table, ours: dict[str, dict[int, Outcome]]) -> Table:
    """The order of the four, and what knowing the caches is worth."""
    for rate in STAGES:
        theirs = PUBLISHED["precise"][rate][0] / PUBLISHED["random"][rate][0]
        factor = ours["precise"][rate].throughput / ours["random"][rate].throughput
        table.rows.append(
            Row(f"{rate}/s: precise over random, output tokens/s", theirs, factor, 0.75, 1.25, counts=False)
        )
    total = {name: mean(each.throughput for each in stages.values()) for name, stages in ours.items()}
    blind = max(total["random"], total["load"])
    order = total["precise"] > total["estimated"] > blind
    table.rows.append(
        Row(
            "precise, then estimated, then the two that are blind (1: so)", 1, order, 1, 1, True, counts=False
        )
    )
    return table


def serve(name: str, seed: int, stages: dict[int, int] = STAGES, scale: float = 1.0) -> dict[int, Outcome]:
    """rate → what came of it, with one policy.

    scale  of all lengths, of the caches and of the time between requests: smaller, there is less to do, and
           the order stays
    """
    times = StepTimeModel.named("qwen3-32b", "H100", tensor=2, host=HOST_SECONDS["vllm 2025"])
    config = EngineConfig(
        scheduler="chunked", max_num_seqs=1024, max_num_batched_tokens=8192, block_size=BLOCK,
        num_blocks=int(scale * KV_TOKENS) // BLOCK,
    )  # fmt: skip
    engines = engines_of([times] * PODS, config)
    cluster, rng, found = Cluster(engines, Scored(POLICIES[name], engines, seed)), random.Random(seed), {}
    for rate, seconds in (WARM_UP, *stages.items()):
        asked = stage(rate, seconds, cluster.seconds, rng, scale)
        begin = asked[0].arrival_time
        done = cluster.run(asked)
        tokens = sum(r.num_output_tokens for r in done)
        first = sorted(map(ttft, done))
        found[rate] = Outcome(tokens / (cluster.seconds - begin), percentile(first, 90), mean(first))
    return {rate: found[rate] for rate in stages}


def stage(rate: float, seconds: float, begin: float, rng: random.Random, scale: float) -> list[Request]:
    """Requests of all 750 users in a mixed-up order, again and again."""
    asked: list[Request] = []
    shared, own, output = (round(scale * tokens) for tokens in (SHARED, OWN, OUTPUT))
    order: list[int] = []
    for number in range(round(rate * seconds)):
        order = order or rng.sample(range(CUSTOMERS * USERS), CUSTOMERS * USERS)
        user, begin = order.pop(), begin + scale * rng.expovariate(rate)
        prompt = [user // USERS] * shared + [CUSTOMERS + user] * own
        name = f"{rate}/s {number}"
        asked.append(scripted_request(number, prompt, output, begin, name=name, token=1_000_000 + len(asked)))
    return asked


class Scored(Router):
    """The highest weighted score; chance among equals."""

    def __init__(self, policy: Policy, engines: Sequence[Engine], seed: int = 0) -> None:
        super().__init__(seed)
        self.policy, self.engines = policy, engines
        self.sent: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in engines]
        self._keys: dict[tuple[int, int], list[bytes]] = {}

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        policy, pods = self.policy, [cast(int, load.replica) for load in loads]
        keys = self.keys(prompt) if policy.prefix else []
        waiting = [load.waiting for load in loads]
        most, spread = max(waiting), max(waiting) - min(waiting)
        scores = [
            policy.prefix * self.share(pod, keys) + policy.kv * self.free(pod)
            + policy.queue * ((most - w) / spread if spread else 1.0)
            for pod, w in zip(pods, waiting, strict=True)
        ]  # fmt: skip
        best = max(scores)
        i = self.random.choice([i for i, score in enumerate(scores) if score == best])
        self.remember(pods[i], keys)
        return i

    def share(self, pod: int, keys: list[bytes]) -> float:
        """Of the prompt's blocks, how many the pod has, or is taken to have."""
        if not keys:
            return 0.0
        if self.policy.knows:
            return len(self.engines[pod].kv.pool.longest_prefix(keys)) / len(keys)
        known, found = self.sent[pod], 0
        for key in keys[:MOST]:
            if key not in known:
                break
            found += 1
        return found / min(len(keys), MOST)

    def free(self, pod: int) -> float:
        pool = self.engines[pod].kv.pool
        return pool.num_free / pool.num_blocks

    def remember(self, pod: int, keys: list[bytes]) -> None:
        if self.policy.knows:
            return
        known = self.sent[pod]
        for key in keys[:MOST]:
            known[key] = None
            known.move_to_end(key)
        while len(known) > HISTORY:
            known.popitem(last=False)

    def keys(self, prompt: Sequence[int]) -> list[bytes]:
        """Names of the prompt's blocks; of each user's once."""
        user = prompt[0], prompt[-1]
        if user not in self._keys:
            keys: list[bytes] = []
            for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
                keys.append(block_hash(keys[-1] if keys else ROOT, prompt[start : start + BLOCK]))
            self._keys[user] = keys
        return self._keys[user]
