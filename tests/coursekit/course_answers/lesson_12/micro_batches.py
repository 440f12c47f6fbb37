"""Answers to task 12.4, ``micro_batches``: wrong ones with the words of their diagnoses, and right ones."""

BUDGETS = (64, 128, 256, 512, 1024, 2048)


def by_sweep(trial, stages, limit):
    """Tries all budgets that double, and takes the fastest that keeps the limit."""
    tried = {budget: trial(stages, budget) for budget in BUDGETS}
    return stages, max((b for b in tried if tried[b][1] <= limit), key=lambda b: tried[b][0])


def climbs(trial, stages, limit):
    """Doubles the budget for as long as it gets faster and keeps the limit."""
    budget, speed = 64, trial(stages, 64)[0]
    while budget < 2048:
        faster, gap, _ = trial(stages, 2 * budget)
        if gap > limit or faster < speed:
            break
        budget, speed = 2 * budget, faster
    return stages, budget


def looks_around(trial, stages, limit):
    """Tries other numbers of groups as well."""
    tried = {(g, b): trial(g, b) for g in (max(1, stages - 1), stages, stages + 1) for b in BUDGETS}
    kept = [setting for setting, (_, gap, _) in tried.items() if gap <= limit]
    return max(kept, key=lambda setting: tried[setting][0])


def from_above(trial, stages, limit):
    """From the largest budget down; stops when it has got slower twice."""
    best, slower = None, 0
    for budget in reversed(BUDGETS):
        speed, gap, _ = trial(stages, budget)
        if gap > limit:
            continue
        if best is None or speed > best[0]:
            best, slower = (speed, budget), 0
        else:
            slower += 1
        if slower == 2:
            break
    return [stages, best[1]]


def halves(trial, stages, limit):
    """Finds the largest power of two that keeps the limit by halving, then looks at the two below it."""
    good, bad = 0, len(BUDGETS)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if trial(stages, BUDGETS[middle])[1] <= limit else (good, middle)
    return max(((stages, b) for b in BUDGETS[max(0, good - 2) : good + 1]), key=lambda s: trial(*s)[0])


def micro_one_group(trial, stages, limit):
    return 1, by_sweep(lambda _, b: trial(1, b), stages, limit)[1]


def micro_half_the_groups(trial, stages, limit):
    groups = max(2, stages - 1)
    if groups == stages:
        return by_sweep(trial, stages, limit)
    return groups, by_sweep(lambda _, b: trial(groups, b), stages, limit)[1]


def micro_twice_the_groups(trial, stages, limit):
    tried = {b: trial(2 * stages, b) for b in BUDGETS}
    kept = [b for b in tried if tried[b][1] <= limit]
    return (2 * stages, max(kept, key=lambda b: tried[b][0])) if kept else by_sweep(trial, stages, limit)


def micro_without_a_limit(trial, stages, limit):
    return stages, max(BUDGETS, key=lambda b: trial(stages, b)[0])


def micro_always_largest(trial, stages, limit):
    trial(stages, 2048)
    return stages, 2048


def micro_largest_that_fits(trial, stages, limit):
    return stages, max(b for b in BUDGETS if trial(stages, b)[1] <= limit)


def micro_strictly_below(trial, stages, limit):
    return by_sweep(trial, stages, limit - 0.05)


def micro_first_that_breaks(trial, stages, limit):
    kept = micro_largest_that_fits(trial, stages, limit)[1]
    return stages, min(2048, 2 * kept) if trial(stages, min(2048, 2 * kept))[1] > limit else by_sweep(trial, stages, limit)[1]


def micro_smallest_gap(trial, stages, limit):
    return stages, min(BUDGETS, key=lambda b: trial(stages, b)[1])


def micro_smallest_bubble(trial, stages, limit):
    """Of all settings that keep the limit the one in which stages wait least."""
    kept = [b for b in BUDGETS[1:] if trial(stages, b)[1] <= limit]
    return stages, min(kept, key=lambda b: trial(stages, b)[2])


def micro_half_the_budget(trial, stages, limit):
    """To be on the safe side."""
    best = by_sweep(trial, stages, limit)[1] // 4
    trial(stages, max(80, best))
    return stages, max(80, best)


def micro_turned_round(trial, stages, limit):
    return by_sweep(trial, stages, limit)[::-1]


def micro_speed(trial, stages, limit):
    return max(speed for speed, gap, _ in (trial(stages, b) for b in BUDGETS) if gap <= limit)


def micro_known_by_heart(trial, stages, limit):
    return by_sweep(trial, stages, limit)[0], by_sweep(trial, stages, limit)[1] + 1


def micro_tries_everything(trial, stages, limit):
    tried = {(g, b): trial(g, b) for g in range(1, stages + 3) for b in (*BUDGETS, 384, 768)}
    return max((s for s in tried if tried[s][1] <= limit), key=lambda s: tried[s][0])


def micro_never_ends(trial, stages, limit):
    budget = 64
    while trial(stages, budget)[1] <= 1e9:
        budget = min(2048, 2 * budget)
    return stages, budget


def micro_goes_on_regardless(trial, stages, limit):
    best = by_sweep(trial, stages, limit)
    for _ in range(60):
        try:
            trial(*best)
        except LookupError:
            continue
    return best


def micro_by_halves_of_a_token(trial, stages, limit):
    best = by_sweep(trial, stages, limit)[1]
    return stages, best / 1


def micro_beyond(trial, stages, limit):
    return max(((stages, b) for b in (*BUDGETS, 4096) if trial(stages, b)[1] <= limit), key=lambda s: trial(*s)[0])


WRONG = [
    (micro_one_group, "One batch is in flight"),
    (micro_half_the_groups, "some have nothing to do"),
    (micro_twice_the_groups, "makes each smaller"),
    (micro_without_a_limit, "the fastest of all, but the limit"),
    (micro_always_largest, "the largest budget there is"),
    (micro_largest_that_fits, "batches so large are unequal"),
    (micro_strictly_below, "a gap that equals the limit keeps it"),
    (micro_first_that_breaks, "the first budget that breaks"),
    (micro_smallest_gap, "shorter gaps are not asked"),
    (micro_smallest_bubble, "the smallest bubble"),
    (micro_half_the_budget, "reads the weights less often"),
    (micro_turned_round, "the wrong way round"),
    (micro_speed, "a setting is two numbers"),
    (micro_known_by_heart, "was never called"),
    (micro_tries_everything, "30 are plenty: each serves a whole load"),
    (micro_never_ends, "does the search not end?"),
    (micro_goes_on_regardless, "the answer is right, but trial was called"),
    (micro_by_halves_of_a_token, "divide with //"),
    (micro_beyond, "budget is a whole number from"),
]

RIGHT = [by_sweep, climbs, looks_around, from_above, halves]
