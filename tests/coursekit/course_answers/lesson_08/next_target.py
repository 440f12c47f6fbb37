"""Answers to task 08.3, ``next_target``: wrong ones with the words of their diagnoses, and right ones."""

import math


def aimd(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1, target - target / 10)
    return min(most, target + 0.25) if waiting and running >= int(target) else target


def in_proportion(target, step_ms, limit_ms, running, waiting, most):
    """By the logarithm of how much room there is."""
    change = 0.4 * math.log(limit_ms / step_ms)
    if step_ms > limit_ms:
        return max(1.0, target * math.exp(min(change, -0.08)))
    if not waiting or running < int(target):
        return target
    return min(float(most), target * math.exp(min(0.03, 0.2 * change)))


def by_share(target, step_ms, limit_ms, running, waiting, most):
    """Up by a little more than a hundredth, down by a tenth, both as shares."""
    used = running == min(int(target), most) and waiting > 0
    changed = target * (0.9 if step_ms > limit_ms else 1.012 if used else 1.0)
    return sorted((1.0, changed, float(most)))[1]


def straight_to_it(target, step_ms, limit_ms, running, waiting, most):
    """Over the limit: as many as would have fitted, had all of the step been for requests, and a little less."""
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target * limit_ms / step_ms)
    if waiting == 0 or running < math.floor(target):
        return target
    return min(most, target + 0.3)


def in_exact_parts(target, step_ms, limit_ms, running, waiting, most):
    from fractions import Fraction

    seats = Fraction(target)
    if step_ms > limit_ms:
        seats *= Fraction(7, 8)
    elif waiting and running == int(target):
        seats += Fraction(1, 4)
    return float(min(max(seats, 1), most))


def winds_up(target, step_ms, limit_ms, running, waiting, most):
    return max(1.0, 0.9 * target) if step_ms > limit_ms else min(most, target + 0.25)


def though_seats_are_free(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target)
    return min(most, target + 0.25) if waiting else target


def one_up_one_down(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1, target - 1)
    return min(most, target + 1) if waiting and running >= int(target) else target


def doubles(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1, target / 2)
    return min(most, target * 2) if waiting and running >= int(target) else target


def to_nothing(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return 0.9 * target
    return min(most, target + 0.25) if waiting and running >= int(target) else target


def without_most(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target)
    return target + 0.25 if waiting and running >= int(target) else target


def never_less(target, step_ms, limit_ms, running, waiting, most):
    if step_ms <= limit_ms and waiting and running >= int(target):
        return min(most, target + 0.25)
    return target


def back_to_one(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return 1.0
    return min(most, target + 0.25) if waiting and running >= int(target) else target


def wrong_way(target, step_ms, limit_ms, running, waiting, most):
    if step_ms < limit_ms:
        return max(1.0, 0.9 * target)
    return min(most, target + 0.25) if waiting and running >= int(target) else target


def cuts_fractions(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1, int(0.9 * target))
    return min(most, int(target + 0.25)) if waiting and running >= int(target) else target


def takes_the_queue(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target)
    return min(most, target + waiting) if running >= int(target) else target


def crumbs(target, step_ms, limit_ms, running, waiting, most):
    """Gives up one seat in a hundred."""
    if step_ms > limit_ms:
        return max(1.0, 0.99 * target)
    return min(most, target + 0.25) if waiting and running >= int(target) else target


def snail(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target)
    return min(most, target + 0.02) if waiting and running >= int(target) else target


def at_the_limit(target, step_ms, limit_ms, running, waiting, most):
    if step_ms >= limit_ms:
        return max(1.0, 0.9 * target)
    return min(most, target + 0.25) if waiting and running >= int(target) else target


def falls_asleep(target, step_ms, limit_ms, running, waiting, most):
    """Nobody waits: why keep the seats?"""
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target)
    if not waiting:
        return max(1.0, target - 1)
    return min(most, target + 0.25) if running >= int(target) else target


def whichever(target, step_ms, limit_ms, running, waiting, most):
    """Grows at every step, a little less at one over the limit."""
    return max(1.0, min(most, target + (0.1 if step_ms > limit_ms else 0.25)))


def forgets_to_return(target, step_ms, limit_ms, running, waiting, most):
    if step_ms > limit_ms:
        return max(1.0, 0.9 * target)
    if waiting and running >= int(target):
        return min(most, target + 0.25)


def two_numbers(target, step_ms, limit_ms, running, waiting, most):
    return target, step_ms


WRONG = [
    (winds_up, "the target grows although nobody waits"),
    (though_seats_are_free, "the target grows although seats are free"),
    (one_up_one_down, "comes down as slowly as it goes up"),
    (doubles, "grows by half or more at once"),
    (to_nothing, "below 1 nobody runs"),
    (without_most, "there are no more seats than most"),
    (never_less, "the target never shrinks"),
    (back_to_one, "gives up half or more at one step"),
    (wrong_way, "the comparison is the wrong way round"),
    (cuts_fractions, "Is a fraction cut off each time"),
    (takes_the_queue, "jumps by as many as wait"),
    (crumbs, "gives up so little"),
    (snail, "still on its way up"),
    (at_the_limit, "just as long as the limit"),
    (falls_asleep, "shrinks although nobody waits"),
    (whichever, "grows at a step over the limit"),
    (forgets_to_return, "it returned None"),
    (two_numbers, "this is no target"),
]

RIGHT = [aimd, in_proportion, by_share, straight_to_it, in_exact_parts]
