"""transformers as it comes: one request at a time, padded static batches, or its own continuous batching.

With ``packed`` its linear layers are replaced by minieng's packed ones and nothing else changes.
"""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

from peers.protocol import Peer, Skip, serve

CACHE = {"num_blocks": 256, "page_size": 32, "max_batch_tokens": 512}
LOGIT_DIGITS = 7


def load(job: dict) -> Peer:
    """The model, and the way of batching that the job names."""
    torch.set_num_threads(job["threads"])
    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(job["model_dir"], dtype=getattr(torch, job["dtype"])).eval()
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)  # no eos: it is a token like any other
    if job.get("packed"):
        pack(model)
    settings = {"attention": model.config._attn_implementation, "packed_linears": bool(job.get("packed"))}
    if job["batching"] == "continuous":
        return continuous_peer(model, settings)
    last: dict = {}

    def generate(requests: list[dict]) -> list[list[int]]:
        last["tokens"] = static(model, requests, job["batch_size"])
        return last["tokens"]

    extras = {"gaps": lambda requests: gaps(model, requests, last["tokens"])}
    return Peer(generate, {**settings, "batch_size": job["batch_size"]}, extras)


def pack(model: torch.nn.Module) -> None:
    """minieng's packed linears into the unchanged transformers model."""
    try:
        from minieng.kernels.linear import pack_linears
    except ImportError as error:
        raise Skip(f"minieng.kernels.linear.pack_linears is not to be had: {error}") from None
    before = sum(type(m) is torch.nn.Linear for m in model.modules())
    pack_linears(model)
    after = sum(type(m) is torch.nn.Linear for m in model.modules())
    if after == before:
        raise Skip("packed linears are not faster on this processor, so minieng does not use them either")


@torch.inference_mode()
def static(model: torch.nn.Module, requests: list[dict], batch_size: int) -> list[list[int]]:
    """Left-padded batches in order of arrival; each runs to its longest, a request's own length is kept."""
    outputs = []
    for first in range(0, len(requests), batch_size):
        batch = requests[first : first + batch_size]
        width = max(len(r["prompt"]) for r in batch)
        ids = torch.tensor([[0] * (width - len(r["prompt"])) + r["prompt"] for r in batch])
        mask = torch.tensor([[0] * (width - len(r["prompt"])) + [1] * len(r["prompt"]) for r in batch])
        longest = max(r["max_tokens"] for r in batch)
        out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=longest)
        outputs += [row[width : width + r["max_tokens"]].tolist() for row, r in zip(out, batch, strict=True)]
    return outputs


def continuous_peer(model: torch.nn.Module, settings: dict) -> Peer:
    """transformers' continuous batching with a cache of explicit size, opened once, and no sharing between runs."""
    from transformers import ContinuousBatchingConfig

    config = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
    cache = ContinuousBatchingConfig(**CACHE, allow_block_sharing=False)
    context = model.continuous_batching_context_manager(config, continuous_batching_config=cache)
    manager = context.__enter__()
    peer = Peer(lambda requests: continuous(manager, requests), {**settings, "continuous_batching": CACHE})
    peer.close = lambda: context.__exit__(None, None, None)
    return peer


def continuous(manager, requests: list[dict]) -> list[list[int]]:
    """All requests at once into the running manager; the answers in the order of the requests."""
    names = [manager.add_request(r["prompt"], max_new_tokens=r["max_tokens"]) for r in requests]
    finished = {}
    while len(finished) < len(requests):
        result = manager.get_result(timeout=1)
        if result is not None and result.is_finished():
            if result.error:
                raise RuntimeError(f"request {result.request_id}: {result.error}")
            finished[result.request_id] = list(result.generated_tokens)
        elif result is None and not manager.is_running():
            raise RuntimeError("the continuous batching thread ended before its requests did")
    return [finished[name] for name in names]


@torch.inference_mode()
def gaps(model: torch.nn.Module, requests: list[dict], tokens: list[list[int]]) -> list[list[float]]:
    """How far apart the two best logits were at every emitted token: small where another order of sums may decide."""
    answer = []
    for request, out in zip(requests, tokens, strict=True):
        ids = torch.tensor([request["prompt"] + out[:-1]])
        logits = model(ids).logits[0, len(request["prompt"]) - 1 :].float()
        best = logits.topk(2, dim=-1).values
        answer.append([round(g, LOGIT_DIGITS) for g in (best[:, 0] - best[:, 1]).tolist()])
    return answer


if __name__ == "__main__":
    serve(load)
