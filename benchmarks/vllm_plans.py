"""Is what the tests take for vLLM's scheduler (tests/support/vllm.py) what vLLM's own scheduler does? Needs vLLM beside us.

    DIR/vllm/bin/python benchmarks/vllm_plans.py MODEL_DIRECTORY [--workloads 60]

DIR is where ``cpu_peers.py --setup-peers`` put the other engines; of the model only ``config.json`` is read. Both plan the same
random workloads, without a model; tokens are a function of the text. Prints how often all steps were the same.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import zlib
from array import array
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from support.vllm import V1, Asked, plans, workload
from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

LONGEST = 4096


def next_token(text: list[int]) -> int:
    return zlib.crc32(array("q", text).tobytes()) % 97


def vllm_scheduler(model: ModelConfig, blocks: int, size: int, seats: int, budget: int, caching: bool) -> Scheduler:
    limits = SchedulerConfig(
        max_num_seqs=seats, max_num_batched_tokens=budget, max_model_len=LONGEST, enable_chunked_prefill=True,
        is_encoder_decoder=False, async_scheduling=False,
    )  # fmt: skip
    cache = CacheConfig(block_size=size, cache_dtype="auto", enable_prefix_caching=caching)
    config = VllmConfig(scheduler_config=limits, model_config=model, cache_config=cache)
    spec = FullAttentionSpec(block_size=size, num_kv_heads=1, head_size=1, dtype=torch.float32)
    cache.num_gpu_blocks = blocks + 1  # one is a placeholder that nobody gets
    layout = KVCacheConfig(num_blocks=blocks + 1, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)])
    return Scheduler(
        vllm_config=config, kv_cache_config=layout, log_stats=False, structured_output_manager=StructuredOutputManager(config),
        block_size=size, hash_block_size=size,
    )  # fmt: skip


def vllm_plans(scheduler: Scheduler, asked: list[Asked], hasher: Callable | None) -> list[tuple[list, list]]:
    steps, now, future, live = [], 0.0, sorted(asked, key=lambda r: r.arrival), {}
    while future or scheduler.has_unfinished_requests():
        if not scheduler.has_unfinished_requests():
            now = max(now, future[0].arrival)
        while future and future[0].arrival <= now:
            r = future.pop(0)
            params = SamplingParams(max_tokens=r.longest - len(r.tokens), ignore_eos=True)
            live[r.name] = Request(r.name, list(r.tokens), params, None, arrival_time=r.arrival, block_hasher=hasher)
            scheduler.add_request(live[r.name])
        plan = scheduler.schedule()
        names = list(plan.num_scheduled_tokens)
        done = [live[name].num_computed_tokens == live[name].num_tokens for name in names]  # counted while planning
        tokens = [[next_token(list(live[name].all_token_ids))] if whole else [] for name, whole in zip(names, done, strict=True)]
        slices = [(name, live[name].num_computed_tokens - n, n) for name, n in plan.num_scheduled_tokens.items()]
        steps.append((sorted(slices), sorted(plan.preempted_req_ids or [])))
        numbers = {name: i for i, name in enumerate(names)}
        result = ModelRunnerOutput(
            req_ids=names,
            req_id_to_index=numbers,
            sampled_token_ids=tokens,
            logprobs=None,
            prompt_logprobs_dict={},
            pooler_output=[],
        )
        scheduler.update_from_output(plan, result)
        now += 1
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's directory")
    parser.add_argument("--workloads", type=int, default=60, help="of each kind (default: %(default)s)")
    args = parser.parse_args()
    init_none_hash(sha256)
    model = ModelConfig(model=args.model, dtype="float32", skip_tokenizer_init=True, max_model_len=LONGEST)
    for kind, alike, room in (("no prefix cache", 0.0, 20), ("prefix cache, full", 0.8, 20), ("prefix cache, ample", 0.8, 500)):
        same = preempted = 0
        for number in range(args.workloads):
            dice = random.Random(number)
            asked, size = workload(dice, alike), dice.choice([1, 2, 4, 16])
            blocks = -(-max(r.longest for r in asked) // size) + dice.randint(room // 2, room) // size
            seats, budget = dice.randint(2, 8), dice.choice([8, 20, 64])
            hasher = get_request_block_hasher(size, sha256) if alike else None
            theirs = vllm_plans(vllm_scheduler(model, blocks, size, seats, budget, bool(alike)), deepcopy(asked), hasher)
            ours = plans(V1(blocks, size, seats, budget, caching=bool(alike)), asked, next_token)
            same += theirs == [(sorted(slices), sorted(victims)) for slices, victims in ours]
            preempted += sum(len(victims) for _, victims in theirs)
        print(f"{kind}: the same plans in {same} of {args.workloads} workloads, {preempted} preemptions")


if __name__ == "__main__":
    main()
