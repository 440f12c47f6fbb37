"""Are a peer's greedy tokens those of transformers, one request at a time? And where do they part first?"""

from __future__ import annotations

TIE = 1e-4


def equality(reference: list[list[int]], tokens: list[list[int]], gaps: list[list[float]] | None = None) -> dict:
    """Counts of equal requests and equal tokens (before a request's first difference), and the first difference.

    ``gaps`` are the distances of the reference's two best logits; a difference where they lie within ``TIE`` is a tie,
    which another order of the same sums may decide either way.
    """
    equal_requests = equal_tokens = ties = 0
    first = None
    for i, (expected, got) in enumerate(zip(reference, tokens, strict=True)):
        same = common_prefix(expected, got)
        equal_tokens += same
        if expected == got:
            equal_requests += 1
            continue
        gap = gaps[i][same] if gaps is not None and same < len(gaps[i]) else None
        ties += gap is not None and gap <= TIE
        if first is None:
            first = {
                "request": i,
                "position": same,
                "expected": expected[same] if same < len(expected) else None,
                "got": got[same] if same < len(got) else None,
                "reference_logit_gap": gap,
            }
    return {
        "requests": len(reference),
        "requests_equal": equal_requests,
        "tokens": sum(map(len, reference)),
        "tokens_equal": equal_tokens,
        "ties": ties,
        "first_divergence": first,
    }


def common_prefix(a: list[int], b: list[int]) -> int:
    """How many tokens two lists share from the start."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def check_lengths(requests: list[dict], tokens: list[list[int]]) -> str | None:
    """What is wrong with the shape of an answer: every request must give exactly the tokens it was asked for."""
    if len(tokens) != len(requests):
        return f"{len(tokens)} answers to {len(requests)} requests"
    for i, (request, out) in enumerate(zip(requests, tokens, strict=True)):
        if len(out) != request["max_tokens"]:
            return f"request {i} gave {len(out)} tokens, {request['max_tokens']} were asked for"
    return None
