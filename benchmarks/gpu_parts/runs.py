"""One engine, one workload, one time: minieng and the engines beside it."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

import torch

from minieng import LLM, SamplingParams

from .machine import free_memory, importable, wait
from .weights import Model


@dataclass(frozen=True)
class Job:
    """A prompt and how many tokens are wanted, whatever they are."""

    prompt: list[int]
    max_tokens: int


class Skipped(Exception):
    """This engine cannot run here; the message is the line that says why."""


def nano_workload(count: int, low: int, high: int, vocabulary: int) -> list[Job]:
    """nano-vllm's, drawn as its bench.py draws it: with 256, 100, 1024 that is 142,827 tokens in and 133,966 out."""
    dice = random.Random(0)
    prompts = [[dice.randint(0, vocabulary) for _ in range(dice.randint(low, high))] for _ in range(count)]
    return [Job(prompt, dice.randint(low, high)) for prompt in prompts]


def figures(jobs: list[Job], seconds: float, **more) -> dict:
    out = sum(job.max_tokens for job in jobs)
    return {"requests": len(jobs), "prompt_tokens": sum(len(job.prompt) for job in jobs), "output_tokens": out,
            "seconds": seconds, "output_tokens_per_s": out / seconds, **more}  # fmt: skip


def sampling(jobs: list[Job]) -> list[SamplingParams]:
    return [SamplingParams(max_tokens=job.max_tokens, ignore_eos=True) for job in jobs]


class Watch:
    """Seconds in which the host waited for the device, step by step, and the device's own time of each decode step."""

    def __init__(self, llm: LLM) -> None:
        self.waited: list[float] = []
        self.device: list[float] = []
        decodes = llm.runner.decodes
        if decodes is None:
            return
        ask = type(decodes.cuda).seconds.__get__(decodes.cuda)  # not that of an earlier watch

        def seconds(begin, end) -> float:
            before = time.perf_counter()
            found = ask(begin, end)
            self.waited.append(time.perf_counter() - before)
            self.device.append(found)
            return found

        decodes.cuda.seconds = seconds


def make_llm(model: Model, device: torch.device, **knobs) -> LLM:
    dtype = str(model.dtype).removeprefix("torch.")
    return LLM(str(model.path), device=str(device), dtype=dtype, **{"enable_prefix_caching": False, **knobs})


def run_minieng(model: Model, device: torch.device, jobs: list[Job], **knobs) -> dict:
    """All requests at once; the time from the first to the last token, the engine loaded and warm."""
    longest = max(len(job.prompt) + job.max_tokens for job in jobs)
    with make_llm(model, device, max_model_len=longest, **knobs) as llm:
        llm.generate([job.prompt for job in jobs], sampling(jobs))  # once untimed, as the peers
        wait(device)
        steps, decodes = len(llm.trace), llm.runner.decodes
        before = (decodes.num_ahead, decodes.num_served) if decodes else (0, 0)
        begin = time.perf_counter()
        outs = llm.generate([job.prompt for job in jobs], sampling(jobs))
        seconds = time.perf_counter() - begin
        assert [len(out.outputs[0].token_ids) for out in outs] == [job.max_tokens for job in jobs]
        ahead = {"sent_ahead": decodes.num_ahead - before[0], "served": decodes.num_served - before[1]} if decodes else {}
        found = figures(jobs, seconds, steps=len(llm.trace) - steps, facts=llm.runner.facts(), **ahead,
                        preempted=sum(len(record.preempted) for record in list(llm.trace)[steps:]))  # fmt: skip
        decodes = None  # or its buffers would outlive the engine
    free_memory(device)
    return found


def load_transformers(model: Model, device: torch.device):
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    loaded = AutoModelForCausalLM.from_pretrained(model.path, dtype=model.dtype).to(device).eval()
    loaded.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    return loaded


def run_continuous_transformers(model: Model, device: torch.device, jobs: list[Job], small: bool) -> dict:
    """transformers' continuous batching, sized by itself on a GPU. The second run of the workload is timed: in the first
    it compiles, and captures a graph for each size it meets.
    """
    from peers.run_transformers import continuous
    from transformers import ContinuousBatchingConfig, GenerationConfig

    loaded = load_transformers(model, device)
    own = {"num_blocks": 256, "page_size": 32, "max_batch_tokens": 512} if small else {}
    cache = ContinuousBatchingConfig(**own, allow_block_sharing=False)
    config = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
    asked = [{"prompt": job.prompt, "max_tokens": job.max_tokens} for job in jobs]
    with loaded.continuous_batching_context_manager(config, continuous_batching_config=cache) as manager:
        continuous(manager, asked)
        wait(device)
        begin = time.perf_counter()
        outs = continuous(manager, asked)
        seconds = time.perf_counter() - begin
    assert sum(map(len, outs)) == sum(job.max_tokens for job in jobs)
    return figures(jobs, seconds, attention=str(loaded.config._attn_implementation), settings=own or "its own")


@torch.inference_mode()
def run_padded_transformers(model: Model, device: torch.device, jobs: list[Job], rows: int, limit: float) -> dict:
    """``generate`` by static batches in order of arrival, the first batch twice. After ``limit`` seconds none is begun."""
    loaded = load_transformers(model, device)

    def answer(batch: list[Job]) -> None:
        width = max(len(job.prompt) for job in batch)
        ids = torch.tensor([[0] * (width - len(job.prompt)) + job.prompt for job in batch], device=device)
        mask = torch.tensor([[0] * (width - len(job.prompt)) + [1] * len(job.prompt) for job in batch], device=device)
        loaded.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max(job.max_tokens for job in batch)).tolist()

    answer(jobs[:rows])
    wait(device)
    begin, done = time.perf_counter(), 0
    while done < len(jobs) and time.perf_counter() - begin < limit:
        answer(jobs[done : done + rows])
        done += len(jobs[done : done + rows])
    seconds = time.perf_counter() - begin
    whole = {} if done == len(jobs) else {"note": f"only the first {done} of {len(jobs)} requests: the time limit"}
    return figures(jobs[:done], seconds, rows=rows, attention=str(loaded.config._attn_implementation), **whole)


def run_nano_vllm(model: Model, jobs: list[Job]) -> dict:
    if why := importable("nanovllm"):
        raise Skipped(why)
    from nanovllm import LLM as Nano
    from nanovllm import SamplingParams as Params

    llm = Nano(str(model.path), enforce_eager=False, max_model_len=4096)
    params = [Params(temperature=0.6, ignore_eos=True, max_tokens=job.max_tokens) for job in jobs]
    llm.generate([job.prompt for job in jobs], params, use_tqdm=False)
    begin = time.perf_counter()
    llm.generate([job.prompt for job in jobs], params, use_tqdm=False)
    return figures(jobs, time.perf_counter() - begin, note="sampled at 0.6: it refuses greedy")


def run_vllm(model: Model, jobs: list[Job]) -> dict:
    if why := importable("vllm"):
        raise Skipped(why)
    from vllm import LLM as Vllm
    from vllm import SamplingParams as Params

    llm = Vllm(str(model.path), enable_prefix_caching=False, gpu_memory_utilization=0.85,
               max_model_len=max(len(job.prompt) + job.max_tokens for job in jobs))  # fmt: skip
    asked = [{"prompt_token_ids": job.prompt} for job in jobs]
    params = [Params(temperature=0.0, ignore_eos=True, max_tokens=job.max_tokens) for job in jobs]
    llm.generate(asked, params, use_tqdm=False)
    begin = time.perf_counter()
    llm.generate(asked, params, use_tqdm=False)
    return figures(jobs, time.perf_counter() - begin)


def steady_decode(llm: LLM, rows: int, context: int, steps: int, model: Model, vocabulary: int) -> dict:
    """``rows`` requests that all decode at about ``context`` tokens: medians of a step's times in seconds, and its bytes.

    device_s   from event to event on the GPU; host_s: what the host did in a step, while it was not waiting;
    exposed_s  of the step's time, what the GPU was not busy with it
    """
    dice = random.Random(rows * 7919 + context)
    prompts = [[dice.randint(0, vocabulary) for _ in range(context - steps // 2)] for _ in range(rows)]
    watch, first = Watch(llm), len(llm.trace)
    groups = llm._submit(prompts, SamplingParams(max_tokens=steps + 1, ignore_eos=True), 0, None, "", None, None)
    walls, before = [], None
    try:
        while llm.engine.has_work:
            waits = len(watch.waited)
            record = llm.engine.step()
            now = time.perf_counter()
            if record.num_decodes == rows and len(record.slices) == rows and before is not None:
                walls.append((now - before, watch.waited[-1] if len(watch.waited) > waits else None))
            before = now
    finally:
        llm._forget(groups)
    walls = walls[len(walls) // 4 :]  # the first ones build tables and warm up
    step = statistics.median(wall for wall, _ in walls)
    hosts = [wall - waited for wall, waited in walls if waited is not None]
    device = statistics.median(watch.device[len(watch.device) // 4 :]) if watch.device else None
    moved = model.weight_bytes + rows * context * model.kv_bytes_per_token
    durations = [record.duration for record in list(llm.trace)[first:] if record.num_decodes == rows]
    return {
        "rows": rows, "context": context, "steps": len(walls), "step_s": step, "tokens_per_s": rows / step,
        "bytes_per_step": moved, "bytes_per_s": moved / step, "recorded_duration_s": statistics.median(durations),
        "device_s": device, "host_s": statistics.median(hosts) if hosts else None,
        "exposed_s": None if device is None else max(0.0, step - device),
    }  # fmt: skip
