"""Answers to task 07.2, ``recompute_or_swap``: wrong ones with the words of their diagnoses, and right ones."""

import math
from dataclasses import dataclass

import numpy as np


def step(machine, tokens):
    return math.sqrt(machine["weights_ms"] ** 2 + (machine["token_ms"] * tokens) ** 2)


def again(tokens, busy, machine):
    return step(machine, busy + tokens) - step(machine, busy)


def moved(tokens, machine, blocks=None, copies=None, ways=2):
    blocks = math.ceil(tokens / machine["block"]) if blocks is None else blocks
    copies = blocks * machine["copies"] if copies is None else copies
    return ways * (blocks * machine["block"] * machine["kv_bytes"] / machine["link"] + copies * machine["copy_ms"])


def told(first, second):
    return ["recompute" if first <= second else "swap", first, second]


def cost_right(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine))


def cost_weights_again(tokens, busy, machine):
    return told(step(machine, tokens), moved(tokens, machine))


def cost_whole_step(tokens, busy, machine):
    return told(step(machine, tokens + busy), moved(tokens, machine))


def cost_busy_forgotten(tokens, busy, machine):
    return told(step(machine, tokens) - machine["weights_ms"], moved(tokens, machine))


def cost_plain_maximum(tokens, busy, machine):
    def longer(n):
        return max(machine["weights_ms"], machine["token_ms"] * n)

    return told(longer(tokens + busy) - longer(busy), moved(tokens, machine))


def cost_tokens_alone(tokens, busy, machine):
    return told(machine["token_ms"] * tokens, moved(tokens, machine))


def cost_sum(tokens, busy, machine):
    return told(machine["weights_ms"] + machine["token_ms"] * tokens, moved(tokens, machine))


def cost_no_root(tokens, busy, machine):
    return told(step(machine, tokens + busy) ** 2 - step(machine, busy) ** 2, moved(tokens, machine))


def cost_negative(tokens, busy, machine):
    return told(-again(tokens, busy, machine), moved(tokens, machine))


def cost_one_way(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine, ways=1))


def cost_not_rounded(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine, blocks=tokens / machine["block"]))


def cost_rounded_down(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine, blocks=tokens // machine["block"]))


def cost_copies_forgotten(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine, copies=0))


def cost_copies_once(tokens, busy, machine):
    blocks = math.ceil(tokens / machine["block"])
    return told(again(tokens, busy, machine), moved(tokens, machine, copies=blocks * machine["copies"] / 2))


def cost_copies_of_one_block(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine, copies=machine["copies"]))


def cost_copies_a_token(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine, copies=tokens * machine["copies"]))


def cost_bytes_of_a_token(tokens, busy, machine):
    blocks = math.ceil(tokens / machine["block"])
    ways = 2 * blocks * (machine["kv_bytes"] / machine["link"] + machine["copies"] * machine["copy_ms"])
    return told(again(tokens, busy, machine), ways)


def cost_link_multiplied(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, {**machine, "link": 1 / machine["link"]}))


def cost_busy_copied(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens + busy, machine))


def cost_seconds(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine) / 1e3)


def cost_larger_chosen(tokens, busy, machine):
    word, first, second = cost_right(tokens, busy, machine)
    return ["swap" if word == "recompute" else "recompute", first, second]


def cost_tie_swaps(tokens, busy, machine):
    first, second = again(tokens, busy, machine), moved(tokens, machine)
    return ["recompute" if first < second else "swap", first, second]


def cost_changed_places(tokens, busy, machine):
    word, first, second = cost_right(tokens, busy, machine)
    return [word, second, first]


def cost_word_alone(tokens, busy, machine):
    return cost_right(tokens, busy, machine)[0]


def cost_two_times(tokens, busy, machine):
    return cost_right(tokens, busy, machine)[1:]


def cost_misnamed(tokens, busy, machine):
    return told(again(tokens, busy, machine), moved(tokens, machine) * machine["block_size"])


def cost_as_a_tuple(tokens, busy, machine):
    """Whole division from the other side, and times in a dict."""
    blocks = (tokens + machine["block"] - 1) // machine["block"]
    times = {
        "recompute": math.hypot(machine["weights_ms"], machine["token_ms"] * (busy + tokens))
        - math.hypot(machine["weights_ms"], machine["token_ms"] * busy),
        "swap": 2 * blocks * (machine["block"] * machine["kv_bytes"] / machine["link"] + machine["copies"] * machine["copy_ms"]),
    }
    return min(times, key=times.get), *times.values()


def cost_by_numpy(tokens, busy, machine):
    n = np.array([busy, busy + tokens])
    before, after = np.linalg.norm([np.full(2, machine["weights_ms"]), machine["token_ms"] * n], axis=0)
    blocks = np.ceil(tokens / machine["block"])
    each = np.array([machine["block"] * machine["kv_bytes"] / machine["link"], machine["copies"] * machine["copy_ms"]])
    swap = float(2 * blocks * each.sum())
    return [["swap", "recompute"][int(after - before <= swap)], float(after - before), swap]


@dataclass
class Victim:
    tokens: int
    machine: dict

    @property
    def blocks(self):
        return -(-self.tokens // self.machine["block"])

    def copy_one_way(self):
        return sum(
            self.machine["block"] * self.machine["kv_bytes"] / self.machine["link"]
            + self.machine["copies"] * self.machine["copy_ms"]
            for _ in range(self.blocks)
        )


def cost_by_a_class(tokens, busy, machine):
    victim = Victim(tokens, machine)
    return told(again(tokens, busy, machine), victim.copy_one_way() + victim.copy_one_way())


def cost_by_complex(tokens, busy, machine):
    """The length of a complex number is the root of two squares."""

    def long(n):
        return abs(complex(machine["weights_ms"], machine["token_ms"] * n))

    full, rest = divmod(tokens, machine["block"])
    slots = (full + (rest > 0)) * machine["block"]
    per_slot = machine["kv_bytes"] / machine["link"] + machine["copies"] * machine["copy_ms"] / machine["block"]
    pair = long(busy + tokens) - long(busy), 2 * slots * per_slot
    return ["swap" if pair[1] < pair[0] else "recompute", *pair]


WRONG = [
    (cost_weights_again, "reads the weights once more"),
    (cost_whole_step, "take off what it takes without the victim"),
    (cost_busy_forgotten, "added to an empty one"),
    (cost_plain_maximum, "the larger of both times"),
    (cost_tokens_alone, "the time of the tokens alone"),
    (cost_sum, "added up"),
    (cost_no_root, "the root is missing"),
    (cost_negative, "the wrong way round"),
    (cost_one_way, "this is one way"),
    (cost_not_rounded, "the blocks are not whole"),
    (cost_rounded_down, "round up, not down"),
    (cost_copies_forgotten, "each copy has a latency too"),
    (cost_copies_once, "one way only"),
    (cost_copies_of_one_block, "those of one block"),
    (cost_copies_a_token, "counted for each token"),
    (cost_bytes_of_a_token, "the bytes of one token"),
    (cost_link_multiplied, "the link is multiplied"),
    (cost_busy_copied, "they belong to others"),
    (cost_seconds, "in seconds"),
    (cost_larger_chosen, "the slower one"),
    (cost_tie_swaps, "needs no memory on the host"),
    (cost_changed_places, "changed places"),
    (cost_word_alone, "only the word"),
    (cost_two_times, "return three things"),
    (cost_misnamed, "has no entry"),
]

RIGHT = [cost_right, cost_as_a_tuple, cost_by_numpy, cost_by_a_class, cost_by_complex]
