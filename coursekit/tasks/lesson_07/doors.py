"""What a cache holds, who fits into it, and whom each likely mistake lets in."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Load(NamedTuple):
    """What a request holds in step s from now: held + s tokens, for s up to left. made: output tokens that it has."""

    held: int
    left: int
    made: int = 0


Fits = Callable[[list[Load], list[Load], Load], bool]  # who runs, who is new in this plan, who wants in


class Cache(NamedTuple):
    """How much there is: blocks, and tokens in each."""

    blocks: int
    size: int

    def of(self, tokens: int) -> int:
        return -(-tokens // self.size)

    def peak(self, loads: Sequence[Load]) -> int:
        """Blocks held when most are: it lies where somebody leaves."""
        ends = {load.left for load in loads}
        return max((sum(self.of(r.held + s) for r in loads if r.left >= s) for s in ends), default=0)

    def careful_peak(self, loads: Sequence[Load]) -> int:
        """The same, if the last block of each counts as full: as a formula on tokens has it."""
        return self.of(self.careful_tokens(loads))

    def careful_tokens(self, loads: Sequence[Load]) -> int:
        ends = {load.left for load in loads}
        return max((sum(r.held + s + self.size - 1 for r in loads if r.left >= s) for s in ends), default=0)

    def tokens(self, loads: Sequence[Load]) -> int:
        return max((sum(r.held + s for r in loads if r.left >= s) for s in {load.left for load in loads}), default=0)

    def held(self, loads: Sequence[Load]) -> int:
        """Blocks held before the next step."""
        return sum(self.of(load.held) for load in loads)

    def now(self, loads: Sequence[Load]) -> int:
        """Blocks held after the next step."""
        return sum(self.of(load.held + 1) for load in loads)


def likely_doors(cache: Cache) -> list[tuple[str, str, Fits]]:
    """What each likely mistake lets in, with its words; those that let in too many come first, the rarest of them before all."""
    many = cache.blocks
    return [
        (
            "you count in tokens: each request holds whole blocks, so its last one may be nearly empty. Round up for each of "
            "them",
            "blocks not rounded up",
            lambda old, new, one: cache.tokens([*old, *new, one]) <= many * cache.size,
        ),
        (
            "you forget those whom this very plan has let in: they are not in self.running yet, and grow as well",
            "same plan forgotten",
            lambda old, new, one: cache.peak([*old, one]) <= many,
        ),
        (
            "you ask only whether a newcomer's prompt fits now. All who run grow, and then somebody has to go",
            "fits now",
            lambda old, new, one: cache.now([*old, *new, one]) <= many,
        ),
        (
            "you look at the newcomer's own end alone: those who run grow beside it",
            "newcomer alone",
            lambda old, new, one: cache.now([*old, *new]) + cache.of(one.held + one.left) <= many,
        ),
        (
            "the text of a request ends at prompt and answer together: r.max_num_tokens, not r.params.max_tokens",
            "prompt forgotten",
            lambda old, new, one: cache.peak([shorter(r) for r in [*old, *new, one]]) <= many,
        ),
        (
            "those who run hold their prompts and all they have written: r.num_tokens, not r.num_prompt_tokens",
            "output forgotten",
            lambda old, new, one: cache.peak([r._replace(held=r.held - r.made) for r in [*old, *new, one]]) <= many,
        ),
        (
            "you reserve everybody's whole text at once, as reserve_max does. They end at different times, and who leaves frees "
            "all",
            "reserves everything",
            lambda old, new, one: sum(cache.of(r.held + r.left) for r in [*old, *new, one]) <= many,
        ),
        *doors_too_narrow(cache),
        *doors_on_a_wrong_scale(cache),
    ]


def doors_too_narrow(cache: Cache) -> list[tuple[str, str, Fits]]:
    many = cache.blocks
    return [
        (
            "you let in one request a step: as many as fit may enter in the same step",
            "one a step",
            lambda old, new, one: not new and (not old or cache.peak([*old, one]) <= many),
        ),
        (
            "you let somebody in only when nobody runs: others fit beside it",
            "one at a time",
            lambda old, new, one: not old and not new,
        ),
        (
            "a peak of as many blocks as there are still fits: compare with <=",
            "strictly below",
            lambda old, new, one: cache.peak([*old, *new, one]) < many or not (old or new),
        ),
        (
            "you count a token too many for each: the one that was sampled last has no KV yet (r.num_tokens - 1), and the last "
            "one of an answer is never computed",
            "last token counted",
            lambda old, new, one: cache.peak([r._replace(left=r.left + 1) for r in [*old, *new, one]]) <= many,
        ),
        (
            "nobody ever leaves in your peak: who ends before the others frees all it holds. (If you add up in order of steps "
            "left: begin with those that have most)",
            "nobody leaves",
            lambda old, new, one: nobody_leaves(cache, [*old, *new, one]) <= many,
        ),
    ]


def doors_on_a_wrong_scale(cache: Cache) -> list[tuple[str, str, Fits]]:
    """The peak is right, and compared with something else than all blocks. Alone everybody enters."""
    free = (
        "you compare the peak with the blocks that are free now. It counts what those who run hold already, so compare it with "
        "all blocks: self.kv.pool.num_blocks",
        "peak against free blocks",
    )
    tokens = (
        "you compare tokens with blocks: there is room for self.kv.pool.num_blocks * self.kv.block_size tokens",
        "tokens against blocks",
    )
    many = cache.blocks
    return [
        (*free, lambda old, new, one: not (old or new) or cache.peak([*old, *new, one]) <= many - cache.now([*old, *new])),
        (*free, lambda old, new, one: not (old or new) or cache.peak([*old, *new, one]) <= many - cache.held(old)),
        (*tokens, lambda old, new, one: not (old or new) or cache.tokens([*old, *new, one]) <= many),
        (*tokens, lambda old, new, one: not (old or new) or cache.careful_tokens([*old, *new, one]) <= many),
    ]


def shorter(load: Load) -> Load:
    """Its end as that of a text of max_tokens tokens in all, the prompt left out."""
    prompt = load.held + 1 - load.made
    return load._replace(left=max(1, load.left - prompt))


def nobody_leaves(cache: Cache, loads: Sequence[Load]) -> int:
    last = max(load.left for load in loads)
    return sum(cache.of(load.held + last) for load in loads)
