"""Which sizes to record graphs for, if a few must serve batches of all sizes: the fewest padding rows."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

FEWEST = "no other choice of so many sizes pads with fewer rows in all"
HOLDS = "a batch of any size that occurs, up to the largest, finds a graph that holds it"
COUNT = "there are at most as many sizes as graphs may be recorded"
SIZES = "the answer is a list of different whole numbers, each at least 1"


def padding(counts: Sequence[int], sizes: Iterable[int]) -> int:
    """Padding rows over all steps: each step runs in the smallest size that holds it."""
    chosen = sorted(sizes)
    return sum(times * (next(s for s in chosen if s >= rows) - rows) for rows, times in enumerate(counts) if rows)


def least(counts: Sequence[int], graphs: int) -> int:
    """The fewest padding rows, and so the right answer's: fewest[n] is that of batches up to n rows, the largest size being n."""
    most = len(counts) - 1
    fewest: list[float] = [0.0] + [float("inf")] * most
    for _ in range(graphs):
        fewest = [
            min(fewest[n], *(fewest[low] + between(counts, low, n) for low in range(n))) if n else 0.0 for n in range(most + 1)
        ]
    return int(fewest[most])


def between(counts: Sequence[int], low: int, size: int) -> int:
    """Padding rows of the batches of more than ``low`` rows in a graph of ``size`` rows."""
    return sum(counts[rows] * (size - rows) for rows in range(low + 1, size + 1))


def judge(args: Args, got: Any) -> Finding | None:
    counts, graphs = args
    most = len(counts) - 1
    if not isinstance(got, list) or any(isinstance(s, bool) or not isinstance(s, int) for s in got):
        return Finding(
            SIZES,
            f"this is {got!r}: return the sizes as a list of whole numbers",
            "no list of sizes",
            "a list of sizes",
            str(got),
        )
    told = f"{graphs} graphs, steps by rows {counts}"
    fewest = least(counts, graphs)

    def wrong(rule: str, cause: str, slip: str, want: Any = None) -> Finding:
        return Finding(
            rule, f"{cause}. ({told})", slip, want if want is not None else f"{fewest} padding rows", shown(counts, got)
        )

    if not got:
        return wrong(HOLDS, f"there is no size at all, and a batch may have {most} rows", "no size")
    if min(got) < 1:
        return wrong(SIZES, f"a graph of {min(got)} rows holds no request: sizes begin at 1", "size 0")
    if max(got) < most:
        return wrong(
            HOLDS,
            f"the largest size is {max(got)}, and batches have up to {most} rows: {most} is always among the sizes",
            "largest left out",
        )
    if max(got) > most:
        return wrong(
            FEWEST, f"a graph of {max(got)} rows is larger than any batch: the largest size is {most}", "larger than any batch"
        )
    if len(set(got)) < len(got):
        return wrong(SIZES, f"a size is named twice: {sorted(got)}", "named twice")
    if len(got) > graphs:
        return wrong(COUNT, f"these are {len(got)} sizes, and {graphs} graphs may be recorded", "too many")
    if padding(counts, got) == fewest:
        return None
    made = mistakes(counts, graphs, sorted(got))
    found = likeliest(lambda cause, slip: wrong(FEWEST, cause, slip), made)
    better = f"{CANNOT_TELL}: {sorted(got)} pads with {padding(counts, got)} rows, and {fewest} are enough"
    return found or wrong(FEWEST, better, "more padding than needed")


def shown(counts: Sequence[int], got: Any) -> str:
    fits = bool(got) and min(got) >= 1 and max(got) >= len(counts) - 1
    return f"{padding(counts, got)} padding rows with {sorted(got)}" if fits else f"{got}"


def mistakes(counts: Sequence[int], graphs: int, got: list[int]) -> list[tuple[str, str]]:
    """(cause, slip) of all mistakes that give these very sizes, the likeliest first."""
    most = len(counts) - 1
    sizes = list(range(1, most + 1))
    ways = [
        (
            most_frequent(counts, graphs),
            "these are the sizes that occur most often, and the largest. A rare size far below its bucket costs more",
            "the commonest",
        ),
        (equal_steps(most, graphs), "the sizes stand at equal distances, whatever batches occur", "equal steps"),
        (powers_of_two(most, graphs), "these are powers of two, whatever batches occur", "powers of two"),
        (sizes[: graphs - 1] + [most], "these are the smallest sizes, and the largest", "the smallest"),
        (sizes[-graphs:], "these are the largest sizes", "the largest"),
        (
            quantiles(counts, graphs),
            "so many steps fall on each size as on any other: that evens out steps, not padding",
            "equal shares of steps",
        ),
        (
            greedy(counts, graphs),
            "one size after the other, each the best next to those chosen before. Later ones can make an early one a bad choice",
            "one after the other",
        ),
    ]
    made = [(cause, slip) for chosen, cause, slip in ways if sorted(set(chosen)) == got]
    even = [0] + [1] * most
    if padding(even, got) == least(even, graphs) and got != equal_steps(most, graphs):
        made.insert(
            0, ("this is the best choice if every size occurred equally often: weigh each size by its steps", "steps not weighed")
        )
    if got == [most]:
        made.insert(0, ("one size for all is allowed more company: use all the graphs that may be recorded", "one size"))
    if len(got) < graphs and padding(counts, got) > 0 and got != [most]:
        made.append((f"only {len(got)} of {graphs} graphs are used, and one more would save padding", "graphs left over"))
    return made


def most_frequent(counts: Sequence[int], graphs: int) -> list[int]:
    most = len(counts) - 1
    ranked = sorted(range(1, most), key=lambda rows: (-counts[rows], rows))
    return [*ranked[: graphs - 1], most]


def equal_steps(most: int, graphs: int) -> list[int]:
    return [-(-most * (i + 1) // graphs) for i in range(graphs)]


def powers_of_two(most: int, graphs: int) -> list[int]:
    powers = [1 << i for i in range(most.bit_length()) if 1 << i < most]
    return [*powers[len(powers) - min(graphs - 1, len(powers)) :], most]


def quantiles(counts: Sequence[int], graphs: int) -> list[int]:
    """The size up to which 1/graphs, 2/graphs, … of the steps lie."""
    total, chosen = sum(counts), []
    for i in range(1, graphs):
        seen = 0
        for rows, times in enumerate(counts):
            seen += times
            if seen * graphs >= total * i and rows:
                chosen.append(rows)
                break
    return [*chosen, len(counts) - 1]


def greedy(counts: Sequence[int], graphs: int) -> list[int]:
    most = len(counts) - 1
    chosen = [most]
    while len(chosen) < min(graphs, most):
        chosen.append(min((s for s in range(1, most) if s not in chosen), key=lambda s: (padding(counts, [*chosen, s]), s)))
    return chosen


def generate(rng: random.Random, size: int) -> tuple:
    most = rng.randint(2, 4 + size)
    if rng.random() < 0.4:  # all sizes occur about equally often
        counts = [0, *(rng.randint(4, 6) for _ in range(most))]
    else:
        counts = [0, *(rng.choice([0, 1, 2, rng.randint(0, 9), rng.randint(0, 60)]) for _ in range(most - 1)), rng.randint(1, 9)]
    return counts, rng.randint(1, min(most, 2 + size // 2))


def valid(args: Args) -> bool:
    counts, graphs = args
    return len(counts) >= 2 and counts[0] == 0 and counts[-1] >= 1 and min(counts) >= 0 and 1 <= graphs <= len(counts) - 1


def on_error(args: Args, error: str, text: str) -> str | None:
    if error in ("ValueError", "IndexError") and args[1] == 1:
        return "with one graph there is nothing to choose: the only size is the largest batch"
    return None


TASK = Task(
    id="11.3",
    name="best_buckets",
    title="The sizes worth recording",
    points=25,
    returns="a list of sizes, the largest of them len(counts) - 1",
    cases=(
        Case(([0, 1], 1), [1]),
        Case(([0, 3, 1], 1), [2]),
        Case(([0, 5, 0, 0, 1], 2), [1, 4]),
        Case(([0, 1, 9, 1, 1], 2), [2, 4]),
        Case(([0, 4, 4, 4, 4, 4, 4], 3), [2, 4, 6]),
        Case(([0, 9, 0, 0, 9, 8, 9, 0, 2], 2), [5, 8]),
        Case(([0, 0, 0, 7, 7, 7, 0, 0, 0, 0, 3], 3), [3, 5, 10]),
        Case(([0, 1, 2, 3, 5, 8, 13, 21, 13, 8, 5, 3, 2, 1, 1, 1, 1], 4), [6, 8, 11, 16]),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    hints=(
        "Two graphs, five batches of 1 row and one of 4. Write down the padding of every pair of sizes that is allowed.",
        "The largest size is fixed. Say the next smaller one is s: then the batches above s all run in the largest, and what is "
        "best below s has nothing to do with them. It is the same question again, with s as the largest and one graph less.",
        "cost(low, size): the padding of the batches of low + 1 to size rows in a graph of size rows\n"
        "best(size, graphs): the least padding of all batches up to size, size being among the sizes\n"
        "    with one graph: cost(0, size)\n"
        "    else: over all low < size the least of best(low, graphs - 1) + cost(low, size)\n"
        "keep the sizes beside each best; the answer is that of best(most, graphs)",
    ),
)
