"""OpenVINO GenAI's continuous batching on a CPU, in its own environment, on weights that export_openvino.py wrote."""

from __future__ import annotations

import json
from pathlib import Path

from peers.protocol import Peer, Skip, serve

PRECISION = {"float32": "f32", "bfloat16": "bf16"}


def load(job: dict) -> Peer:
    """The pipeline in the precision asked for, weights and KV cache alike; prompts go in as token ids."""
    try:
        import openvino
        import openvino_genai as genai
    except ImportError as error:
        raise Skip(f"OpenVINO GenAI does not import: {error}") from None

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 2
    scheduler.dynamic_split_fuse = True
    scheduler.max_num_seqs = 32
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = job["prefix_caching"]
    properties = {
        "INFERENCE_PRECISION_HINT": PRECISION[job["dtype"]],
        "KV_CACHE_PRECISION": PRECISION[job["dtype"]],
        "INFERENCE_NUM_THREADS": job["threads"],
    }
    pipelines = [genai.ContinuousBatchingPipeline(job["ir_dir"], scheduler, "CPU", properties)]

    def config(request: dict) -> genai.GenerationConfig:
        made = genai.GenerationConfig(max_new_tokens=request["max_tokens"], ignore_eos=True, do_sample=False)
        made.apply_chat_template = False
        return made

    def generate(requests: list[dict]) -> list[list[int]]:
        prompts = [openvino.Tensor(_row(r["prompt"])) for r in requests]
        results = pipelines[-1].generate(prompts, [config(r) for r in requests])
        return [[int(t) for t in result.m_generation_ids[0]] for result in results]

    def forget(requests: list[dict]) -> None:
        """It cannot empty its cache, so it is made anew, and warmed up on the same lengths with every prompt backwards."""
        if job["prefix_caching"]:
            pipelines.clear()
            pipelines.append(genai.ContinuousBatchingPipeline(job["ir_dir"], scheduler, "CPU", properties))
            generate([{**r, "prompt": r["prompt"][::-1]} for r in requests])

    config_of = json.loads((Path(job["ir_dir"]) / "config.json").read_text())
    settings = {
        **properties,
        "cache_size_gb": 2,
        "enable_prefix_caching": job["prefix_caching"],
        "dynamic_split_fuse": True,
        "max_num_seqs": 32,
        "max_num_batched_tokens": 512,
        "model_type": config_of.get("model_type"),
    }
    return Peer(generate, settings, forget=forget)


def _row(ids: list[int]):
    import numpy as np

    return np.array([ids], dtype=np.int64)


if __name__ == "__main__":
    serve(load)
