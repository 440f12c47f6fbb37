"""Names of blocks: alike exactly where all tokens up to the end of the block are alike, in every process."""

import random
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from ...plain import to_plain
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Key = Callable[[list[int], int, int], Hashable]  # tokens, number of the block, tokens in a block → what its name tells apart

SAME_RULE = "two blocks bear one name exactly if all tokens up to their ends are the same"
COUNT_RULE = "there is one name for each full block"
NEVER_TWICE = (
    "no name ever comes twice: it is counted or drawn, or something is left over from the call before. The tokens alone must "
    "make it"
)
EVERYWHERE_RULE = "the same tokens have the same names in every call and in every process"


def drive_names(answer: Any, args: Args) -> dict[str, Any]:
    """The names of each text; then once more; then as another process would have them, whose ``hash`` has other secrets."""
    texts, size = args

    def all_names() -> Any:
        return [to_plain(answer(list(text), size)) for text in texts]

    first, second = all_names(), all_names()
    space = getattr(answer, "__globals__", {})
    if "hash" in space:  # a function of the learner's own
        return {"names": first, "again": second, "elsewhere": second}
    space["hash"] = lambda value: hash(("another process", value))
    try:
        return {"names": first, "again": second, "elsewhere": all_names()}
    finally:
        del space["hash"]


def block(tokens: list[int], i: int, size: int) -> tuple[int, ...]:
    """The tokens of block i alone."""
    return tuple(tokens[i * size : (i + 1) * size])


def until(tokens: list[int], i: int, size: int) -> tuple[int, ...]:
    """All tokens up to the end of block i."""
    return tuple(tokens[: (i + 1) * size])


def digits(tokens: Sequence[int]) -> str:
    return "".join(map(str, tokens))


# What a name tells apart when somebody errs; the likeliest mistakes first.
MISTAKES: list[tuple[Key, str, str]] = [
    (
        block,
        "the name tells the block's own tokens and nothing of those before it. Keys and values depend on all tokens before: "
        "a request would read those of another user's text",
        "own tokens only",
    ),
    (
        lambda t, i, s: (i, block(t, i, s)),
        "the name tells the block's place and its own tokens. The same words at the same place of another text have other keys "
        "and values: the tokens before belong into the name",
        "place and own tokens",
    ),
    (
        lambda t, i, s: block(t, i - 1, s) + block(t, i, s) if i else block(t, i, s),
        "the name reaches one block back and no further: let it hold the name of the block before, which reaches further",
        "one block back",
    ),
    (
        lambda t, i, s: (block(t, 0, s), block(t, i, s)) if i else block(t, i, s),
        "the name tells the first block and its own: what stands between them is missing. Carry the name on from block to block",
        "chain not carried on",
    ),
    (
        lambda t, i, s: (t[i * s - 1] if i else None, block(t, i, s)),
        "of the tokens before the block the name tells only the last one",
        "last token before",
    ),
    (
        lambda t, i, s: digits(until(t, i, s)),
        "the tokens are joined without anything in between, so that 1, 23 and 12, 3 look alike",
        "no separator",
    ),
    (
        lambda t, i, s: tuple(digits(block(t, k, s)) for k in range(i + 1)),
        "the tokens of a block are joined without anything in between, so that 1, 23 and 12, 3 look alike",
        "no separator",
    ),
    (
        lambda t, i, s: tuple(tuple(sorted(block(t, k, s))) for k in range(i + 1)),
        "the order of the tokens is lost: the same words in another order are another text",
        "order lost",
    ),
    (
        lambda t, i, s: tuple(sorted(until(t, i, s))),
        "the order of the tokens is lost: the same words in another order are another text",
        "order lost",
    ),
    (
        lambda t, i, s: tuple(sum(block(t, k, s)) for k in range(i + 1)),
        "the name tells the sum of the tokens, and other tokens have the same sum",
        "sum",
    ),
    (lambda t, i, s: sum(until(t, i, s)), "the name tells the sum of the tokens, and other tokens have the same sum", "sum"),
    (
        lambda t, i, s: tuple(frozenset(block(t, k, s)) for k in range(i + 1)),
        "a set forgets how often a token occurs, and in which order",
        "set of tokens",
    ),
    (
        lambda t, i, s: frozenset(until(t, i, s)),
        "a set forgets how often a token occurs, and in which order",
        "set of tokens",
    ),
    (
        lambda t, i, s: (tuple(t), i),
        "the name depends on tokens that come after the block, so that two texts share nothing unless they are equal to the end",
        "whole text",
    ),
    (
        lambda t, i, s: (len(t), until(t, i, s)),
        "the name depends on the length of the whole text: a longer question after the same instructions must find them",
        "length of the text",
    ),
    (
        lambda t, i, s: tuple(t[: i * s]),
        "the name tells the tokens before the block and not the block's own",
        "own tokens missing",
    ),
    (
        lambda t, i, s: until(t, i, s)[:-1],
        "the last token of the block is not in its name",
        "last token missing",
    ),
    (lambda t, i, s: i, "the name tells the place of the block and no token", "place only"),
]


def partition(keys: Sequence[Hashable]) -> list[int]:
    """Which of them are alike: for each the number of the first one that equals it."""
    first: dict[Hashable, int] = {}
    return [first.setdefault(key, number) for number, key in enumerate(keys)]


def judge_names(args: Args, got: Any) -> Finding | None:
    texts, size = args
    names = got["names"]
    finding = judge_list(names, got["again"]) or judge_form(texts, size, names) or judge_pattern(texts, size, names)
    return finding or judge_calls(names, got["again"], got["elsewhere"])


def judge_list(names: list[Any], again: list[Any]) -> Finding | None:
    """Whether a second call gives as many names as the first."""
    for one, two in zip(names, again):
        if isinstance(one, list) and isinstance(two, list) and len(one) != len(two):
            cause = (
                "the second call gives another number of names for the same text: is there a list that is kept from call to "
                "call, such as a default argument?"
            )
            return Finding(EVERYWHERE_RULE, cause, "kept list", f"{len(one)} names", f"{len(two)} names")
    return None


def judge_form(texts: list[list[int]], size: int, names: list[Any]) -> Finding | None:
    """A list of words, as many as there are full blocks."""
    for text, own in zip(texts, names):
        want = len(text) // size
        if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
            cause = "a name is a str: hexdigest() gives one, digest() gives bytes, hash() a number"
            return Finding(COUNT_RULE, cause, "no words", "a list of str", repr(own)[:80])
        if len(own) == want:
            continue
        made = [(cause, slip) for count, cause, slip in counts(text, size) if count == len(own)]
        told = f"{len(text)} tokens in blocks of {size} fill {want}, and there are {len(own)} names"
        made = made or [(f"{CANNOT_TELL}. {told}", "other count")]
        expected, got = f"{want} names", f"{len(own)} names"
        return likeliest(partial(Finding, COUNT_RULE, expected=expected, got=got), made)
    return None


def counts(text: list[int], size: int) -> list[tuple[int, str, str]]:
    """How many names there are when somebody errs."""
    n = len(text)
    return [
        (
            -(-n // size),
            "the tail that does not fill a block has a name too: somebody will write into that block, and whoever found it "
            "would read that",
            "name for the tail",
        ),
        (
            max(0, n - 1) // size,
            "the last full block has no name. A hit never covers the last token of a text, but that is for the search to mind: "
            "a longer text may find this block",
            "last block left out",
        ),
        (n // size + 1, "there is one name more than there are full blocks", "one too many"),
        (n, "there is one name for each token: name whole blocks", "name for each token"),
        (max(0, n - size + 1), "a name for every window of tokens: blocks begin at 0, size, 2 x size", "windows"),
        (1, "there is one name for the whole text: name each block", "one name"),
        (0, "there are no names at all", "none"),
    ]


def judge_pattern(texts: list[list[int]], size: int, names: list[list[str]]) -> Finding | None:
    """Which blocks bear one name, beside which should."""
    where = [(t, i) for t, text in enumerate(texts) for i in range(len(text) // size)]
    got = partition([names[t][i] for t, i in where])

    def pattern(key: Key) -> list[int]:
        return partition([key(texts[t], i, size) for t, i in where])

    want = pattern(until)
    if got == want:
        return None
    made = [(cause, slip) for key, cause, slip in MISTAKES if pattern(key) == got]
    at = next(k for k in range(len(where)) if got[k] != want[k])
    other = want[at] if got[at] == at else got[at]
    alike = got[at] != at
    (t, i), (u, k) = where[at], where[other]
    told = f"block {i} of text {t} and block {k} of text {u}"
    if got == list(range(len(where))):
        made.append((NEVER_TWICE, "never twice"))
    if not made:
        why = "though the tokens up to their ends differ" if alike else "though all tokens up to their ends are the same"
        made = [(f"{CANNOT_TELL}. {told} have {'one name' if alike else 'two names'}, {why}", "other names")]
    words = ("one name", "two names")
    expected, have = f"{told}: {words[alike]}", f"{told}: {words[not alike]}"
    return likeliest(lambda cause, slip: Finding(SAME_RULE, cause, slip, expected, have), made)


def judge_calls(names: list[Any], again: list[Any], elsewhere: list[Any]) -> Finding | None:
    if again != names:
        return Finding(
            EVERYWHERE_RULE, NEVER_TWICE, "never twice", "equal names in a second call", "other names in a second call"
        )
    if elsewhere != names:
        cause = (
            "Python's hash() promises nothing outside its process: words get another number at each start, and numbers may get "
            "another one from another Python. Servers could not share a cache, nor a router guess. Use hashlib"
        )
        return Finding(EVERYWHERE_RULE, cause, "hash()", "equal names in every process", "other names in another process")
    return None


ALPHABET = (1, 2, 3, 12, 23, 123, 31)  # 1, 23 and 12, 3 are joined to the same digits


def generate_names(rng: random.Random, size: int) -> tuple:
    """A few texts; most begin as an earlier one does, or have a piece of it elsewhere."""
    block_size = rng.randint(1, 1 + size // 2)
    longest = block_size * (1 + size // 2) + rng.randint(0, block_size)

    def some(n: int) -> list[int]:
        return [rng.choice(ALPHABET[: 2 + size]) for _ in range(n)]

    texts = [some(rng.randint(0, longest))]
    for _ in range(rng.randint(1, 2 + size)):
        old, kind = rng.choice(texts), rng.random()
        cut = rng.randint(0, len(old) // block_size) * block_size
        if kind < 0.4:
            text = old[:cut] + some(rng.randint(0, block_size + 1))
        elif kind < 0.7:
            text = some(block_size) + old[block_size:]
        elif kind < 0.8:
            text = rng.sample(old, len(old))
        else:
            text = old[cut:] + some(rng.randint(0, block_size))
        texts.append(text[:longest])
    return texts, block_size


def valid_names(args: Args) -> bool:
    texts, size = args
    return size >= 1 and len(texts) >= 1 and all(token >= 0 for text in texts for token in text)


def scene(args: Args) -> str:
    texts, size = args
    return "; ".join(f"text {i}: block_names({text}, {size})" for i, text in enumerate(texts))


TASK = Task(
    id="10.1",
    name="block_names",
    title="Names that tell the whole context",
    points=25,
    returns="a list of str, one for each full block",
    cases=(
        Case(([[1, 2, 3]], 2), None),
        Case(([[1, 2, 3, 4]], 2), None),
        Case(([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7]], 2), None),
        Case(([[1, 2, 3, 4], [2, 1, 3, 4]], 2), None),
        Case(([[1, 2, 5, 6], [3, 4, 5, 6]], 2), None),
        Case(([[1, 2, 3, 4, 5, 6], [1, 2, 9, 9, 5, 6]], 2), None),
        Case(([[5, 6, 5, 6]], 2), None),
        Case(([[1, 23], [12, 3], [1, 4], [2, 3]], 2), None),
        Case(([[1, 1, 2], [1, 2, 2]], 3), None),
        Case(([[7, 8, 1, 1, 3, 3], [9, 8, 1, 1, 3, 3]], 2), None),
        Case(([[1, 2], [1, 3]], 1), None),
    ),
    judge=judge_names,
    generate=generate_names,
    valid=valid_names,
    drive=drive_names,
    scene=scene,
    asks_twice=True,
    exact=False,
    hints=(
        "Blocks of 2. The texts 1 2 5 6 and 3 4 5 6 end in the same block of words. May the second request read the keys and "
        "values of the first one's block? Which names must differ?",
        "A name is made of two things: the name of the block before, and the block's own tokens. The name before stands for all "
        "that came earlier. Put something between any two parts, and let hashlib make it short.",
        "names = []\n"
        "before = an empty word\n"
        "for each full block, from the first:\n"
        "    before = a digest of (before, a mark, the block's tokens with a mark between any two)\n"
        "    names gets before",
    ),
)
