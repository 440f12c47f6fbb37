"""Answers to task 13.2, ``max_rate_under_slo``: wrong ones with the words of their diagnoses, and right ones."""

import math


def halving(attainment, low, high, want):
    """On a logarithmic scale, until good and bad are near each other."""
    if attainment(low) < want:
        return 0
    if attainment(high) >= want:
        return high
    good, bad = low, high
    while bad > 1.02 * good:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return good


def halving_sums(attainment, low, high, want):
    """Arithmetic: more runs, as the range is wide, and still few."""
    if attainment(low) < want:
        return 0
    kept, step = low, (high - low) / 2
    while step > 0.01 * kept:
        if kept + step <= high and attainment(kept + step) >= want:
            kept += step
        else:
            step /= 2
    return kept


def doubling(attainment, low, high, want):
    """Up in doubled rates until it breaks, then halve what lies between."""
    kept = 0
    rate = low
    while attainment(rate) >= want:
        kept = rate
        if rate >= high:
            return high
        rate = min(high, 2 * rate)
    if not kept:
        return 0
    for _ in range(6):
        middle = (kept + rate) / 2
        if attainment(middle) >= want:
            kept = middle
        else:
            rate = middle
    return kept


def recursive(attainment, low, high, want):
    def between(good, bad):
        if bad / good < 1.03:
            return good
        middle = math.exp((math.log(good) + math.log(bad)) / 2)
        return between(middle, bad) if attainment(middle) >= want else between(good, middle)

    if attainment(low) < want:
        return 0
    return between(low, high) if attainment(high) < want else high


def finer_and_finer(attainment, low, high, want):
    """A coarse grid, then a finer one where it broke."""
    if attainment(low) < want:
        return 0
    good, bad = low, high
    for points in (5, 5, 5, 2):
        factor = (bad / good) ** (1 / (points + 1))
        for rate in [good * factor ** (i + 1) for i in range(points)]:
            if attainment(rate) < want:
                bad = rate
                break
            good = rate
    return good


def by_bits(attainment, low, high, want):
    """Which of 128 rates: one bit of its number after the other."""
    if attainment(low) < want:
        return 0
    place = 0
    for bit in (64, 32, 16, 8, 4, 2, 1):
        if attainment(low * (high / low) ** ((place + bit) / 127)) >= want:
            place += bit
    return low * (high / low) ** (place / 127)


def rate_one_after_the_other(attainment, low, high, want):
    rates = [low * (high / low) ** (i / 60) for i in range(61)]
    return max((rate for rate in rates if attainment(rate) >= want), default=0)


def rate_that_breaks(attainment, low, high, want):
    if attainment(low) < want:
        return 0
    good, bad = low, high
    while bad > 1.02 * good:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return bad


def rate_in_the_middle(attainment, low, high, want):
    if attainment(low) < want:
        return 0
    good, bad = low, high
    while bad > 1.02 * good:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return math.sqrt(good * bad)


def rate_without_low(attainment, low, high, want):
    good, bad = low, high
    while bad > 1.02 * good:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return good


def rate_exactly(attainment, low, high, want):
    if attainment(low) < want:
        return 0
    good, bad = low, high
    while True:
        middle = (good + bad) / 2
        share = attainment(middle)
        if share == want:
            return middle
        good, bad = (middle, bad) if share > want else (good, middle)


def rate_after_four(attainment, low, high, want):
    if attainment(low) < want:
        return 0
    good, bad = low, high
    for _ in range(3):
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return good


def rate_turned(attainment, low, high, want):
    if attainment(low) < want:
        return 0
    good, bad = low, high
    while bad > 1.02 * good:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if attainment(middle) < want else (good, middle)
    return good


def rate_of_whole(attainment, low, high, want):
    good, bad = math.ceil(low), math.floor(high)
    if attainment(low) < want:
        return 0
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return good if attainment(good) >= want else low


def rate_of_most_good_ones(attainment, low, high, want):
    if attainment(low) < want:
        return 0
    rates = [low * (high / low) ** (i / 17) for i in range(18)]
    return max(rates, key=lambda rate: rate * attainment(rate))


def rate_share(attainment, low, high, want):
    return attainment(halving(attainment, low, high, want) or low)


def rate_and_share(attainment, low, high, want):
    return halving(attainment, low, high, want), want


def rate_always_high(attainment, low, high, want):
    return high


def rate_never_none(attainment, low, high, want):
    return halving(attainment, low, high, want) or low


def rate_gives_up(attainment, low, high, want):
    return 0


def rate_from_zero(attainment, low, high, want):
    good, bad = 0.0, high
    while bad - good > 0.01:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if attainment(middle) >= want else (good, middle)
    return good


WRONG = [
    (rate_one_after_the_other, "Do not try one rate after the other"),
    (rate_that_breaks, "return the end of the range that keeps it"),
    (rate_in_the_middle, "return a rate that was tried"),
    (rate_without_low, "nobody has tried whether low"),
    (rate_exactly, "No run gives exactly what is wanted"),
    (rate_after_four, "the search stops too early"),
    (rate_turned, "turns the wrong way"),
    (rate_of_whole, "only whole rates are tried"),
    (rate_of_most_good_ones, "rate times share is largest"),
    (rate_share, "this is a share of good requests"),
    (rate_and_share, "return the rate, one number"),
    (rate_always_high, "is an end of the range, and it was never tried"),
    (rate_never_none, "say so by returning 0"),
    (rate_gives_up, "you return 0, which says"),
    (rate_from_zero, "a rate lies between low and high"),
]

RIGHT = [halving, halving_sums, doubling, recursive, finer_and_finer, by_bits]
