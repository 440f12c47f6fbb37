"""Answers to task 02.2, ``padding_waste``: wrong ones with the words of their diagnoses, and right ones."""

import functools
import statistics
from fractions import Fraction

import numpy as np


def share(lengths):
    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0


def waste_over_tokens(lengths):
    return (len(lengths) * max(lengths) - sum(lengths)) / sum(lengths) if lengths else 0.0


def waste_useful(lengths):
    return 1 - share(lengths) if lengths else 0.0


def waste_percent(lengths):
    return 100 * share(lengths)


def waste_count(lengths):
    return len(lengths) * max(lengths) - sum(lengths) if lengths else 0


def waste_no_empty(lengths):
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


def waste_too_wide(lengths):
    return 1 - sum(lengths) / (len(lengths) * (max(lengths) + 1)) if lengths else 0.0


def waste_whole(lengths):
    return (len(lengths) * max(lengths) - sum(lengths)) // (len(lengths) * max(lengths)) if lengths else 0


def waste_by_mean(lengths):
    longest = max(lengths, default=0)
    return 1 - (sum(lengths) / len(lengths)) / longest if longest else 0


def waste_by_counting(lengths):
    cells = [c < n for n in lengths for c in range(max(lengths))]
    return cells.count(False) / len(cells) if cells else 0.0


def as_wide_as(width):
    """A padding_waste whose rectangle has another width."""

    def waste(lengths):
        return 1 - sum(lengths) / (len(lengths) * width(lengths)) if lengths else 0.0

    return waste


def waste_of_prompts(lengths):
    return sum(n < max(lengths) for n in lengths) / len(lengths) if lengths else 0.0


def waste_each(lengths):
    return share(lengths) * max(lengths) if lengths else 0.0


def waste_one_row(lengths):
    return share(lengths) * len(lengths)


def waste_square(lengths):
    return 1 - sum(lengths) / max(lengths) ** 2 if lengths else 0.0


def waste_negative(lengths):
    return -share(lengths)


def waste_rounded(lengths):
    return round(share(lengths), 2)


def waste_text(lengths):
    return f"{share(lengths):.1%}"


def waste_pair(lengths):
    return waste_count(lengths), len(lengths) * max(lengths, default=0)


def waste_empty_is_all(lengths):
    return share(lengths) if lengths else 1.0


def waste_nothing_for_nobody(lengths):
    if lengths:
        return share(lengths)


def waste_numpy(lengths):
    return np.mean(1 - np.array(lengths) / max(lengths)) if lengths else np.float64(0)


def waste_statistics(lengths):
    return statistics.fmean((max(lengths) - n) / max(lengths) for n in lengths) if len(lengths) else 0


def waste_row_by_row(lengths):
    """Adds up gap after gap."""
    empty = cells = 0
    for n in lengths:
        empty += max(lengths) - n
        cells += max(lengths)
    try:
        return empty / cells
    except ZeroDivisionError:
        return 0.0


def waste_folded(lengths):
    """Keeps (tokens, longest) of what was read so far."""
    tokens, longest = functools.reduce(lambda kept, n: (kept[0] + n, max(kept[1], n)), lengths, (0, 0))
    return (len(lengths) * longest - tokens) / (len(lengths) * longest or 1)


def waste_drawn(lengths):
    """Draws the rectangle, and counts dots."""
    drawn = "".join(("x" * n).ljust(max(lengths), ".") for n in lengths)
    return drawn.count(".") / max(1, len(drawn))


def waste_no_brackets(lengths):
    return 1 - sum(lengths) / len(lengths) * max(lengths) if lengths else 0.0


def waste_exact(lengths):
    return float(1 - Fraction(sum(lengths), len(lengths) * max(lengths))) if lengths else 0


def waste_compared(lengths):
    """Each cell against its column number."""
    return (np.arange(max(lengths)) >= np.array(lengths)[:, None]).mean() if len(lengths) else 0.0


WRONG = [
    (waste_over_tokens, "the denominator is wrong"),
    (waste_useful, "the useful share"),
    (waste_percent, "percentage"),
    (waste_count, "number of padded cells"),
    (waste_no_empty, "a batch can be empty"),
    (waste_too_wide, "one column too wide"),
    (waste_whole, "throws the fraction away"),
    (as_wide_as(min), "as wide as the shortest"),
    (as_wide_as(lambda lengths: lengths[-1]), "as wide as the last"),
    (as_wide_as(lambda lengths: lengths[0]), "as wide as the first"),
    (waste_of_prompts, "share of the prompts that are padded"),
    (waste_each, "padding of a prompt on average"),
    (waste_one_row, "the cells of one row"),
    (waste_square, "as high as it is wide"),
    (waste_negative, "this is negative"),
    (waste_rounded, "rounded to two digits"),
    (waste_text, "this is a text"),
    (waste_pair, "one number between 0 and 1"),
    (waste_empty_is_all, "wastes nothing: 0.0"),
    (waste_nothing_for_nobody, "is it reached on every path"),
    (waste_no_brackets, "put brackets around the product"),
]

RIGHT = [
    share,
    waste_by_mean,
    waste_by_counting,
    waste_numpy,
    waste_statistics,
    waste_row_by_row,
    waste_folded,
    waste_drawn,
    waste_exact,
    waste_compared,
]
