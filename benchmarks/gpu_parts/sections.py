"""What is measured: one function a section, each gives plain data for the JSON and lines for the table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from minieng import LLM
from minieng.kernels.backend import BACKENDS
from minieng.kernels.batch import Batch, LayerKV
from minieng.workload import Workload, uniform

from . import runs
from .machine import cache_bytes, ceilings, free_memory, importable, room, seconds_of
from .runs import Skipped
from .weights import Model


@dataclass
class Bench:
    """What every section is given."""

    device: torch.device
    model: Model
    lessons: Model
    small: bool
    peer_seconds: float
    sweep: bool
    traces: Path
    known: dict  # the JSON's sections so far

    def ceiling(self, name: str) -> float:
        """From this file, else measured now."""
        if "ceilings" not in self.known:
            self.known["ceilings"] = ceilings(self.device, self.small)
        return self.known["ceilings"][name]

    def jobs(self) -> list[runs.Job]:
        vocabulary = min(10_000, self.model.config["vocab_size"] - 1)
        return runs.nano_workload(6, 8, 24, vocabulary) if self.small else runs.nano_workload(256, 100, 1024, vocabulary)


def run_ceilings(bench: Bench) -> dict:
    return ceilings(bench.device, bench.small)


# -- the attention kernel alone -----------------------------------------------------------------------------------


def attention(bench: Bench) -> dict:
    """One decode's attention at each batch and context, bytes of KV over time, beside the copy; FlashInfer if it is here."""
    rows_and_contexts = [(2, 40), (3, 70)] if bench.small else list(product((1, 8, 32, 128, 256), (512, 2048)))
    found = {"rows": [kernel(bench, rows, context) for rows, context in rows_and_contexts], "l2_bytes": cache_bytes(bench.device)}
    if why := importable("flashinfer"):
        found["flashinfer"] = why
    if bench.sweep:
        found["sweep"] = sweep(bench, 32 if bench.small else 2048)
    return found


def caches(bench: Bench, rows: int, context: int, size: int = 16) -> tuple[torch.Tensor, list[LayerKV], Batch]:
    """Queries, as many layers' caches as it takes to overflow the GPU's own cache, and the batch as a graph has it."""
    c, device = bench.model.config, bench.device
    heads, kv_heads, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    blocks = -(-context // size)
    per_layer = 2 * rows * blocks * size * kv_heads * dim * bench.model.dtype.itemsize
    most = room(bench.device)
    if per_layer > most:
        raise Skipped(f"skipped: one layer's KV takes {per_layer / 2**30:.1f} GiB, {most / 2**30:.1f} GiB may be claimed")
    enough = max(4 * cache_bytes(device), 1 << 29)
    count = 1 if bench.small else min(most // per_layer, max(1, -(-enough // per_layer)))
    shape = (rows * blocks, size, kv_heads, dim)
    layers = [
        LayerKV(*(torch.randn(shape, device=device, dtype=bench.model.dtype) for _ in range(2)), dim**-0.5) for _ in range(count)
    ]
    tables = torch.randperm(rows * blocks, device=device).view(rows, blocks).to(torch.int32)
    q = torch.randn((rows, heads, dim), device=device, dtype=bench.model.dtype)
    batch = Batch(tables, tables, tables, list(range(rows + 1)), [0] * rows, [context] * rows, tables, tables)
    numbers = (torch.arange(rows + 1), torch.zeros(rows), torch.full((rows,), context))
    batch.decode_rows = tuple(x.to(device, torch.int32) for x in numbers)
    return q, layers, batch


def kernel(bench: Bench, rows: int, context: int, names: tuple[str, ...] = ("triton", "padded", "flashinfer")) -> dict:
    copy = bench.ceiling("copy_bytes_per_s")
    try:
        q, layers, batch = caches(bench, rows, context)
    except Skipped as why:
        return {"rows": rows, "context": context, "skipped": str(why)}
    kv_bytes = 2 * rows * context * layers[0].k.shape[2] * layers[0].k.shape[3] * bench.model.dtype.itemsize
    names = names if bench.device.type == "cuda" else ("padded",)
    found: dict = {"rows": rows, "context": context, "kv_bytes": kv_bytes}
    if bench.device.type == "cuda" and len(layers) * kv_bytes < 2 * cache_bytes(bench.device):
        found["in_cache"] = True  # these bytes come from the L2: their rate says nothing of the memory's
    for name in (name for name in names if name in BACKENDS):

        def work(name: str = name) -> None:
            for layer in layers:
                BACKENDS[name].attend(q, layer, batch)

        try:
            seconds = seconds_of(captured(bench.device, work), bench.device) / len(layers)
            found[name] = {"seconds": seconds, "bytes_per_s": kv_bytes / seconds, "of_copy": kv_bytes / seconds / copy}
        except Exception as problem:
            found[name] = {"error": f"{type(problem).__name__}: {str(problem)[:200]}"}
    if "flashinfer" in names and not importable("flashinfer"):
        try:
            seconds = flashinfer(q, layers, batch, context)
            found["flashinfer"] = {"seconds": seconds, "bytes_per_s": kv_bytes / seconds, "of_copy": kv_bytes / seconds / copy}
        except Exception as problem:
            found["flashinfer"] = {"error": f"{type(problem).__name__}: {str(problem)[:200]}"}
    q = layers = batch = None
    free_memory(bench.device)
    return found


def captured(device: torch.device, work: Callable[[], None]) -> Callable[[], None]:
    """On a GPU as one graph, so that launching does not count."""
    if device.type != "cuda":
        return work
    from minieng.model.graphs import Cuda

    with torch.inference_mode():
        return Cuda(device).capture(work)


def flashinfer(q: torch.Tensor, layers: list[LayerKV], batch: Batch, context: int) -> float:
    """Its paged decode kernel on the same pages; launched piece by piece, which a large batch hides."""
    from flashinfer import BatchDecodeWithPagedKVCacheWrapper

    size, kv_heads, dim = layers[0].k.shape[1:]
    rows, blocks = batch.tables.shape
    space = torch.empty(256 << 20, dtype=torch.uint8, device=q.device)
    wrapper = BatchDecodeWithPagedKVCacheWrapper(space, "NHD", use_tensor_cores=q.shape[1] // kv_heads >= 4)
    starts = torch.arange(rows + 1, dtype=torch.int32, device=q.device) * blocks
    last = torch.full((rows,), context - (blocks - 1) * size, dtype=torch.int32, device=q.device)
    wrapper.plan(starts, batch.tables.flatten().contiguous(), last, q.shape[1], kv_heads, dim, size, q_data_type=q.dtype,
                 kv_data_type=q.dtype)  # fmt: skip

    def work() -> None:
        for layer in layers:
            wrapper.run(q, (layer.k, layer.v))

    return seconds_of(work, q.device) / len(layers)


def sweep(bench: Bench, context: int) -> list[dict]:
    """Other tile sizes, cuts and launch shapes for the kernel, best first: what the constants in triton_attention should be."""
    from minieng.kernels import triton_attention

    if bench.device.type != "cuda":
        return []
    names, found = ("TILE", "SPLIT", "WARPS", "STAGES", "PROGRAMS"), []
    kept = {name: getattr(triton_attention, name) for name in names}
    tile, split, *_, programs = kept.values()
    tried = [(*o, kept["WARPS"], kept["STAGES"], programs) for o in product((16, 32, 64, 128), (128, 256, 512, 1024))]
    tried += [(tile, split, *o, programs) for o in product((2, 4, 8), (2, 3, 4))]
    tried += [(tile, split, kept["WARPS"], kept["STAGES"], o) for o in (1024, 2048, 8192)]
    try:
        for values in tried:
            for name, value in zip(names, values, strict=True):
                setattr(triton_attention, name, value)
            times = {f"{rows}x{context}": kernel(bench, rows, context, ("triton",)).get("triton", {}) for rows in (1, 32, 256)}
            shares = {shape: got.get("of_copy", 0.0) for shape, got in times.items()}
            found.append({**dict(zip(names, values, strict=True)), "of_copy": shares})
    finally:
        for name, value in kept.items():
            setattr(triton_attention, name, value)
    return sorted(found, key=lambda entry: -math.prod(max(1e-9, x) for x in entry["of_copy"].values()))


# -- whole steps --------------------------------------------------------------------------------------------------


def that_fit(
    pairs: list[tuple[int, int]], steps: int, bytes_per_token: int, most: float
) -> tuple[list[tuple[int, int]], list[str]]:
    """Of (context, batch) those whose KV takes ``most`` bytes at most, and a line for each other. Raises Skipped if none does."""
    fit, skipped = [], []
    for context, batch in pairs:
        need = batch * (context + steps) * bytes_per_token
        if need <= most:
            fit.append((context, batch))
        else:
            skipped.append(
                f"batch {batch}, context {context}: skipped, its KV takes {need / 2**30:.1f} GiB, "
                f"{max(0.0, most) / 2**30:.1f} GiB may be claimed"
            )
    if not fit:
        raise Skipped("; ".join(skipped))
    return fit, skipped


def decode(bench: Bench) -> dict:
    """(b) steady decode, with graphs and without, against the bytes that a step must move."""
    batches, contexts, steps = ((1, 3), (48,), 8) if bench.small else ((1, 8, 32, 128, 256), (512, 2048), 64)
    copy, rows, skipped = bench.ceiling("copy_bytes_per_s"), [], []
    pairs = list(product(contexts, batches))
    if not bench.small:  # what minieng itself takes at most: 85 % of the memory, and 3 GiB for weights, steps and graphs
        most = 0.85 * room(bench.device) - (3 << 30)
        pairs, skipped = that_fit(pairs, steps, bench.model.kv_bytes_per_token, most)
    for eager in (False, True):
        longest = max(c for c, _ in pairs) + steps
        blocks = max(b * -(-(c + steps) // 16) for c, b in pairs) + 16
        knobs = {"max_num_seqs": max(b for _, b in pairs), "num_blocks": blocks, "max_model_len": longest}
        knobs["max_prefill_tokens"] = 16_384
        with runs.make_llm(bench.model, bench.device, enforce_eager=eager, **knobs) as llm:
            facts, graphs = llm.runner.facts(), llm.runner.decodes is not None
            for context, batch in pairs:
                if eager and not bench.small and (context == max(contexts) or batch not in (1, 32, 256)):
                    continue
                one = runs.steady_decode(llm, batch, context, steps, bench.model, min(10_000, llm.vocab_size - 1))
                floor = one["bytes_per_step"] / copy
                rows.append({"graphs": graphs, **one, "of_copy": one["bytes_per_s"] / copy, "times_floor": one["step_s"] / floor})
        free_memory(bench.device)
    return {"rows": rows, "facts": facts, "skipped_rows": skipped}


def nano(bench: Bench) -> dict:
    """(a) nano-vllm's workload on minieng."""
    knobs = {"max_num_seqs": 256, "max_prefill_tokens": 16_384, "max_num_batched_tokens": 4096}
    if bench.small:
        knobs = {"max_num_seqs": 6, "num_blocks": 64}
    jobs = bench.jobs()
    return {
        name: runs.run_minieng(bench.model, bench.device, jobs, scheduler=name, **knobs) for name in ("continuous", "chunked")
    }


def nano_transformers(bench: Bench) -> dict:
    """(a) on transformers' continuous batching."""
    found = runs.run_continuous_transformers(bench.model, bench.device, bench.jobs(), bench.small)
    free_memory(bench.device)
    return found


def nano_padded(bench: Bench) -> dict:
    """(a) on transformers' ``generate``, padded static batches of 32: with torch's own choice of kernels and without cuDNN.

    cuDNN makes a plan for each new shape, and each token is one; which way is faster is the peer's to have.
    """
    rows, found = 3 if bench.small else 32, {}
    for cudnn in (True, False):
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        one = runs.run_padded_transformers(bench.model, bench.device, bench.jobs(), rows, bench.peer_seconds / 2)
        found["with cuDNN" if cudnn else "without cuDNN"] = one
        free_memory(bench.device)
    best = max(found, key=lambda name: found[name]["output_tokens_per_s"])
    return {**found[best], "attention_by": best, "both": {name: one["output_tokens_per_s"] for name, one in found.items()}}


def nano_others(bench: Bench) -> dict:
    """(a) on nano-vllm and vLLM, where they can be imported."""
    found: dict = {}
    for name, run in (("nano-vllm", runs.run_nano_vllm), ("vllm", runs.run_vllm)):
        try:
            found[name] = run(bench.model, bench.jobs())
        except Skipped as why:
            found[name] = {"skipped": str(why)}
        except Exception as problem:
            found[name] = {"skipped": f"{name} failed: {type(problem).__name__}: {str(problem)[:200]}"}
        free_memory(bench.device)
    return found


def mixed(bench: Bench) -> dict:
    """(c) lesson 09's: prompts of very different lengths, arriving and all at once, by scheduler and token budget."""
    rate, counts, most = (100.0, (6, 6), (40, 8)) if bench.small else (16.0, (150, 96), (1800, 200))
    chat = {"prompt": uniform(min(16, most[0]), most[0]), "output": uniform(min(4, most[1]), most[1]), "seed": 1}
    if not bench.small:
        chat["output"] = uniform(16, 200)
    steady, crowd = Workload.synthetic(counts[0], rate=rate, **chat), Workload.synthetic(counts[1], **chat)
    budgets = (16, 64) if bench.small else (32, 64, 128, 256, 512, 1024, 2048, 8192)
    settings: list[dict] = [{"scheduler": "continuous"}, {"scheduler": "continuous", "mixed": True}]
    settings += [{"scheduler": "chunked", "max_num_batched_tokens": budget} for budget in budgets]
    found, blocks = [], {"num_blocks": 128} if bench.small else {}
    for knobs in settings:
        with runs.make_llm(bench.model, bench.device, max_num_seqs=32, max_model_len=sum(most), **blocks, **knobs) as llm:
            llm.generate([[1, 2, 3]])
            calm, busy = (llm.serve_workload(workload).metrics for workload in (steady, crowd))
            found.append({
                **knobs, "median_itl_ms": calm.median_itl_ms, "p99_itl_ms": calm.p99_itl_ms,
                "median_ttft_ms": calm.median_ttft_ms, "p99_ttft_ms": calm.p99_ttft_ms,
                "output_tokens_per_s_at_once": busy.output_throughput,
            })  # fmt: skip
        free_memory(bench.device)
    return {"workload": f"{steady}; all at once: {crowd}", "rows": found}


# -- traces of the lessons' workloads -----------------------------------------------------------------------------

LADDER = {"preset": "ladder", "n": 100, "rate": 16.0}
CHAT = {"prompt": uniform(16, 1800), "output": uniform(16, 200), "seed": 1, "n": 96, "rate": 16.0}
TRACES: dict[str, tuple[dict, dict]] = {
    "01_one_at_a_time": ({**LADDER, "n": 24}, {"scheduler": "static", "batch_size": 1}),
    "03_static": (LADDER, {"scheduler": "static", "batch_size": 8}),
    "04_dynamic": (LADDER, {"scheduler": "dynamic", "batch_size": 8, "wait_window": 0.05}),
    "05_continuous": (LADDER, {"scheduler": "continuous", "max_num_seqs": 8}),
    "06_paged": (LADDER, {"scheduler": "continuous", "admission": "reserve_max", "num_blocks": 128}),
    "07_preemption": (LADDER, {"scheduler": "continuous", "num_blocks": 48, "watermark": 0.0}),
    "08_order": (LADDER, {"scheduler": "continuous", "max_num_seqs": 4, "order": "sjf"}),
    "09_continuous": (CHAT, {"scheduler": "continuous"}),
    "09_chunked": (CHAT, {"scheduler": "chunked", "max_num_batched_tokens": 256}),
    "11_eager": ({"preset": "uniform_short", "n": 32, "rate": math.inf}, {"scheduler": "continuous", "enforce_eager": True}),
    "11_graphs": ({"preset": "uniform_short", "n": 32, "rate": math.inf}, {"scheduler": "continuous"}),
    "13_capacity": ({"preset": "bursty", "n": 100, "rate": 16.0}, {"scheduler": "chunked"}),
}


def traces(bench: Bench) -> dict:
    """A run of each lesson's workload, recorded: ``Trace.load(file)`` shows it to a reader without this device."""
    found, names = {}, list(TRACES)[:2] if bench.small else TRACES
    bench.traces.mkdir(parents=True, exist_ok=True)
    for name in names:
        kind, knobs = TRACES[name]
        kind = {**kind, "n": 4} if bench.small else dict(kind)
        preset = kind.pop("preset", None)
        workload = Workload.preset(preset, **kind) if preset else Workload.synthetic(**kind)
        dtype = str(bench.lessons.dtype).removeprefix("torch.")
        with LLM(str(bench.lessons.path), device=str(bench.device), dtype=dtype, **{"num_blocks": 1024, **knobs}) as llm:
            llm.generate([[1, 2, 3]])
            report = llm.serve_workload(workload)
        report.trace.meta |= {"lesson": name, "workload": str(workload), "weights": bench.lessons.label}
        report.trace.save(bench.traces / f"{name}.jsonl")
        m = report.metrics
        found[name] = {"file": f"{bench.traces.name}/{name}.jsonl", "steps": len(report.trace), "workload": str(workload),
                       "output_tokens_per_s": m.output_throughput, "median_ttft_ms": m.median_ttft_ms,
                       "median_itl_ms": m.median_itl_ms}  # fmt: skip
        free_memory(bench.device)
    return found


SECTIONS: dict[str, Callable[[Bench], dict]] = {
    "ceilings": run_ceilings,
    "attention": attention,
    "decode": decode,
    "nano": nano,
    "nano-transformers": nano_transformers,
    "nano-padded": nano_padded,
    "nano-others": nano_others,
    "mixed": mixed,
    "traces": traces,
}
