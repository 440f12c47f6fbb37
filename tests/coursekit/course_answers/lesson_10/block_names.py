"""Answers to task 10.1, ``block_names``: wrong ones with the words of their diagnoses, and right ones."""

import hashlib
import itertools


def short(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def blocks(tokens, size):
    return [tokens[i : i + size] for i in range(0, len(tokens) - size + 1, size)]


def chain(tokens, size, part=str):
    names, before = [], ""
    for block in blocks(tokens, size):
        before = short(before + "|" + part(block))
        names.append(before)
    return names


def own_tokens(tokens, size):
    return [short(block) for block in blocks(tokens, size)]


def place_and_own(tokens, size):
    return [short((i, block)) for i, block in enumerate(blocks(tokens, size))]


def one_back(tokens, size):
    cut = blocks(tokens, size)
    return [short(cut[max(0, i - 1) : i + 1]) for i in range(len(cut))]


def first_and_own(tokens, size):
    cut = blocks(tokens, size)
    return [short((cut[0], block)) if i else short(block) for i, block in enumerate(cut)]


def last_token_before(tokens, size):
    return [short((tokens[i * size - 1] if i else None, block)) for i, block in enumerate(blocks(tokens, size))]


def joined(tokens, size):
    return [short("".join(str(t) for t in tokens[: i + size])) for i in range(0, len(tokens) - size + 1, size)]


def summed(tokens, size):
    return chain(tokens, size, lambda block: str(sum(block)))


def order_lost(tokens, size):
    return chain(tokens, size, lambda block: str(sorted(block)))


def as_set(tokens, size):
    return chain(tokens, size, lambda block: str(sorted(set(block))))


def whole_text(tokens, size):
    return [short((i, tokens)) for i in range(len(tokens) // size)]


def with_length(tokens, size):
    return [short((len(tokens), tokens[: i + size])) for i in range(0, len(tokens) - size + 1, size)]


def own_missing(tokens, size):
    return [short(tokens[:i]) for i in range(0, len(tokens) - size + 1, size)]


def last_missing(tokens, size):
    return [short(tokens[: i + size - 1]) for i in range(0, len(tokens) - size + 1, size)]


def place_only(tokens, size):
    return [f"block {i}" for i in range(len(tokens) // size)]


def tail_too(tokens, size):
    return [short(tokens[: i + size]) for i in range(0, len(tokens), size)]


def last_block_left_out(tokens, size):
    return chain(tokens[: (len(tokens) - 1) // size * size], size) if tokens else []


def one_too_many(tokens, size):
    return ["", *chain(tokens, size)]


def each_token(tokens, size):
    return chain(tokens, 1)


def windows(tokens, size):
    return [short(tokens[: i + size]) for i in range(len(tokens) - size + 1)]


def in_bytes(tokens, size):
    return [name.encode() for name in chain(tokens, size)]


def as_numbers(tokens, size):
    return [int(name, 16) for name in chain(tokens, size)]


def python_hash(tokens, size):
    names, before = [], ""
    for block in blocks(tokens, size):
        before = str(hash(before + str(block)))
        names.append(before)
    return names


counter = itertools.count()


def counted(tokens, size):
    return [f"name {next(counter)}" for _ in blocks(tokens, size)]


def kept_list(tokens, size, names=[]):  # noqa: B006 (the mistake)
    names.extend(chain(tokens, size))
    return list(names)


def long_but_right(tokens, size):
    """The whole beginning is its own name."""
    return [repr(tokens[:end]) for end in range(size, len(tokens) + 1, size)]


def running_digest(tokens, size):
    """One digest that goes on, asked at the end of each block."""
    names, digest = [], hashlib.blake2b(digest_size=16)
    for i, token in enumerate(tokens, 1):
        digest.update(f"{token},".encode())
        if i % size == 0:
            names.append(digest.hexdigest())
    return names


def recursive(tokens, size):
    if len(tokens) < size:
        return []
    whole = tokens[: len(tokens) // size * size]
    before = recursive(whole[:-size], size)
    return [*before, short((before[-1:], whole[-size:]))]


def in_bytes_of_eight(tokens, size):
    names = []
    for end in range(size, len(tokens) + 1, size):
        names.append(hashlib.md5(b"".join(t.to_bytes(8, "little") for t in tokens[:end])).hexdigest())
    return names


def accumulated(tokens, size):
    return list(itertools.accumulate(blocks(tokens, size), lambda name, block: short((name, block)), initial=""))[1:]


WRONG = [
    (own_tokens, "tells the block's own tokens and nothing of those before it"),
    (place_and_own, "the block's place and its own tokens"),
    (one_back, "reaches one block back and no further"),
    (first_and_own, "Carry the name on from block to block"),
    (last_token_before, "the name tells only the last one"),
    (joined, "joined without anything in between"),
    (summed, "the sum of the tokens"),
    (order_lost, "the order of the tokens is lost"),
    (as_set, "a set forgets"),
    (whole_text, "depends on tokens that come after the block"),
    (with_length, "the length of the whole text"),
    (own_missing, "and not the block's own"),
    (last_missing, "the last token of the block is not in its name"),
    (place_only, "the place of the block and no token"),
    (tail_too, "the tail that does not fill a block has a name too"),
    (last_block_left_out, "the last full block has no name"),
    (one_too_many, "one name more than there are full blocks"),
    (each_token, "one name for each token"),
    (windows, "a name for every window"),
    (in_bytes, "holds a `bytes` object"),
    (as_numbers, "a name is a str"),
    (python_hash, "Python's hash() promises nothing"),
    (counted, "no name ever comes twice"),
    (kept_list, "a list that is kept from call to call"),
]

RIGHT = [chain, long_but_right, running_digest, recursive, in_bytes_of_eight, accumulated]
