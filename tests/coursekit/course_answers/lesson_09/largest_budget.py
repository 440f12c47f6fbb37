"""Answers to task 09.2, ``largest_budget``: wrong ones with the words of their diagnoses, and right ones."""


def halve(gap, limit, most):
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if gap(middle) <= limit:
            good = middle
        else:
            bad = middle
    return good


def halve_by_jumps(gap, limit, most):
    """Jumps of a power of two, each half of the one before."""
    budget, jump = 0, 1 << most.bit_length()
    while jump:
        if budget + jump <= most and gap(budget + jump) <= limit:
            budget += jump
        jump //= 2
    return budget


def with_bisect(gap, limit, most):
    import bisect

    return bisect.bisect_right(range(1, most + 1), limit, key=gap)


def budget_scan(gap, limit, most):
    for budget in range(most, 0, -1):
        if gap(budget) <= limit:
            return budget
    return 0


def budget_first_bad(gap, limit, most):
    return min(most, halve(gap, limit, most) + 1) if gap(1) <= limit else 0


def budget_strict(gap, limit, most):
    return halve(gap, limit - 0.5, most)


def budget_at_least_one(gap, limit, most):
    return max(1, halve(gap, limit, most))


def budget_without_most(gap, limit, most):
    return halve(gap, limit, most - 1)


def budget_smallest(gap, limit, most):
    return 1 if gap(1) <= limit else 0


def budget_gap(gap, limit, most):
    found = halve(gap, limit, most)
    return gap(found) if found else 0


def budget_none(gap, limit, most):
    return halve(gap, limit, most) or None


def budget_beyond(gap, limit, most):
    return halve(gap, limit, 2 * most)


def budget_stuck(gap, limit, most):
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if gap(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low if gap(low) <= limit else 0


def budget_doubles(gap, limit, most):
    """The largest power of two that keeps the limit."""
    budget = 0
    while max(1, 2 * budget) <= most and gap(max(1, 2 * budget)) <= limit:
        budget = max(1, 2 * budget)
    return budget


def budget_float(gap, limit, most):
    return float(halve(gap, limit, most))


def budget_halves(gap, limit, most):
    """Divides with /, and asks for half a token."""
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if gap(middle) <= limit else (good, middle)
    return good


def budget_and_gap(gap, limit, most):
    found = halve(gap, limit, most)
    return found, gap(found) if found else None


def budget_one_less(gap, limit, most):
    return max(1, halve(gap, limit, most) - 1) if gap(1) <= limit else 0


def budget_always_most(gap, limit, most):
    return most if gap(1) <= limit else 0


def budget_first_of_equals(gap, limit, most):
    found = halve(gap, limit, most)
    return halve(gap, gap(found) - 0.5, most) + 1 if found else 0


def budget_gives_up(gap, limit, most):
    """The comparison is the wrong way round."""
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if gap(middle) > limit else (good, middle)
    return good if good < most and gap(good + 1) > limit else 0


def budget_without_a_guard(gap, limit, most):
    low = range(1, most + 1) if most < 10 else [halve(gap, limit, most)]
    return max(budget for budget in low if budget and gap(budget) <= limit)


def budget_of_limit(gap, limit, most):
    return int(limit) + most if gap(1) <= limit else 0


def halve_recursive(gap, limit, most, good=0):
    """Looks at the upper or the lower half, and so on."""
    if most == good:
        return good
    middle = (good + most + 1) // 2
    return halve_recursive(gap, limit, most, middle) if gap(middle) <= limit else halve_recursive(gap, limit, middle - 1, good)


def gallop(gap, limit, most):
    """Doubles until the limit breaks, then halves what lies between."""
    high = 1
    while high <= most and gap(high) <= limit:
        high *= 2
    low, high = high // 2, min(high, most + 1)
    while high - low > 1:
        middle = low + (high - low) // 2
        low, high = (middle, high) if gap(middle) <= limit else (low, middle)
    return low


def remembers(gap, limit, most):
    """Never asks for one budget twice."""
    import functools

    gap = functools.cache(gap)
    low, high = 1, most
    while low <= high:
        middle = (low + high) // 2
        if gap(middle) > limit:
            high = middle - 1
        else:
            low = middle + 1
    return max(0, high) if high < 1 or gap(high) <= limit else 0


class Breaks:
    """A list that is never written down: does this budget break the limit?"""

    def __init__(self, gap, limit, most):
        self.gap, self.limit, self.most = gap, limit, most

    def __len__(self):
        return self.most

    def __getitem__(self, at):
        return self.gap(at + 1) > self.limit


def over_breaks(gap, limit, most):
    import bisect

    return bisect.bisect_left(Breaks(gap, limit, most), True)


def by_numpy(gap, limit, most):
    import numpy as np

    bits = np.array([], dtype=int)
    for bit in 2 ** np.arange(most.bit_length())[::-1]:
        budget = int(bits.sum() + bit)
        if budget <= most and gap(budget) <= limit:
            bits = np.append(bits, bit)
    return int(bits.sum())


WRONG = [
    (budget_scan, "was asked"),
    (budget_first_bad, "smallest budget that breaks the limit"),
    (budget_strict, "compare with <="),
    (budget_at_least_one, "not even 1"),
    (budget_without_most, "most itself is allowed"),
    (budget_smallest, "everybody's first token waits for it"),
    (budget_gap, "this is the gap of the right budget"),
    (budget_none, "as a whole number"),
    (budget_beyond, "a budget is a whole number from 1 to most"),
    (budget_stuck, "the search does not end"),
    (budget_doubles, "larger ones do as well"),
    (budget_float, "no whole number: divide with //"),
    (budget_halves, "a whole number: divide with //"),
    (budget_and_gap, "return the budget alone"),
    (budget_one_less, "one step too early"),
    (budget_always_most, "the largest of all budgets"),
    (budget_first_of_equals, "the first of them"),
    (budget_gives_up, "0 says that no budget keeps the limit"),
    (budget_without_a_guard, "nothing to take the largest of"),
    (budget_of_limit, "a budget lies between 1 and most"),
]

RIGHT = [halve, halve_by_jumps, with_bisect, halve_recursive, gallop, remembers, over_breaks, by_numpy]
