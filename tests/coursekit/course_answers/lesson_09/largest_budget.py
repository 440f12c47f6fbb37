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
]

RIGHT = [halve, halve_by_jumps, with_bisect]
