"""minieng under one scheduler."""

from __future__ import annotations

from peers.protocol import Peer, serve


def load(job: dict) -> Peer:
    """An ``LLM`` of the job's scheduler. Every run repeats the same prompts, so what the cache found is forgotten before each."""
    from minieng import LLM, SamplingParams

    knobs = {
        "scheduler": job["scheduler"],
        "dtype": job["dtype"],
        "max_num_seqs": 32,
        "device": "cpu",
        "enable_prefix_caching": job["prefix_caching"],
        **job.get("engine", {}),
    }
    llm = LLM(job["model_dir"], **knobs)

    def generate(requests: list[dict]) -> list[list[int]]:
        llm.trace.clear()
        params = [SamplingParams(temperature=0.0, max_tokens=r["max_tokens"], ignore_eos=True) for r in requests]
        outputs = llm.generate([r["prompt"] for r in requests], params)
        return [list(o.outputs[0].token_ids) for o in outputs]

    def steps(_: list[dict]) -> dict:
        """Of the last run: tokens, logits and seconds of every step."""
        rows = [[s.num_tokens + s.padding + s.finished_rows, sum(t is not None for t in s.tokens)] for s in llm.trace]
        return {"rows": rows, "model_s": sum(s.duration for s in llm.trace)}

    settings = {**knobs, "explain": str(llm.explain())}
    return Peer(generate, settings, {"steps": steps}, lambda _: llm.engine.kv.forget_prefixes(), llm.close)


if __name__ == "__main__":
    serve(load)
