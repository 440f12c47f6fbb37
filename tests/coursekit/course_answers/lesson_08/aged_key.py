"""Answers to task 08.2, ``aged_key``: wrong ones with the words of their diagnoses, and right ones."""

from fractions import Fraction


def by_wait(priority, arrival, now, ageing):
    wait = now - arrival
    return priority - ageing * wait


def never_sorted_again(priority, arrival, now, ageing):
    """All age alike, so now makes no difference."""
    return priority + ageing * arrival


def with_arrival(priority, arrival, now, ageing):
    return priority - ageing * (now - arrival), arrival


def by_score(priority, arrival, now, ageing):
    """The largest score goes first, so the smallest of its negatives does."""
    score = -priority
    score += ageing * (now - arrival)
    return -score


def exact(priority, arrival, now, ageing):
    points = Fraction(priority) + Fraction(ageing) * Fraction(arrival)
    return float(points)


def made_up_at(priority, arrival, now, ageing):
    """When it has made its points up; without ageing the priority alone."""
    return arrival + priority / ageing if ageing else priority


def sign(priority, arrival, now, ageing):
    return priority + ageing * (now - arrival)


def largest(priority, arrival, now, ageing):
    return ageing * (now - arrival) - priority


def lexicographic(priority, arrival, now, ageing):
    return priority, -(now - arrival)


def clock(priority, arrival, now, ageing):
    return priority - ageing * now


def no_ageing(priority, arrival, now, ageing):
    return priority - (now - arrival)


def divided(priority, arrival, now, ageing):
    return priority - (now - arrival) / ageing if ageing else priority


def factor(priority, arrival, now, ageing):
    return priority * (1 - ageing * (now - arrival))


def divisor(priority, arrival, now, ageing):
    return priority / (1 + ageing * (now - arrival))


def milliseconds(priority, arrival, now, ageing):
    return priority - 1000 * ageing * (now - arrival)


def at_zero(priority, arrival, now, ageing):
    return max(0, priority - ageing * (now - arrival))


def rounded(priority, arrival, now, ageing):
    return round(priority - ageing * (now - arrival))


def only_low(priority, arrival, now, ageing):
    return priority - ageing * (now - arrival) if priority > 0 else priority


def first_come(priority, arrival, now, ageing):
    return arrival


def squared(priority, arrival, now, ageing):
    return priority - ageing * (now - arrival) ** 2


def nothing(priority, arrival, now, ageing):
    if now - arrival > 1:
        return priority - ageing * (now - arrival)


def text(priority, arrival, now, ageing):
    return f"{priority - ageing * (now - arrival):08.2f}"


def mixed(priority, arrival, now, ageing):
    wait = now - arrival
    return priority - ageing * wait if priority else (priority - ageing * wait, arrival)


def by_a_wait_of_zero(priority, arrival, now, ageing):
    return priority - ageing / (1 / (now - arrival))


WRONG = [
    (sign, "waiting makes your key larger"),
    (largest, "your largest key belongs to who should go first"),
    (lexicographic, "the wait only among equals"),
    (clock, "the same for all: what counts is how long each has waited"),
    (no_ageing, "whatever the ageing"),
    (divided, "you divide by the ageing"),
    (factor, "the wait is a factor in your key"),
    (divisor, "you divide the priority by the wait"),
    (milliseconds, "a thousand times too strong"),
    (at_zero, "your key stops at 0"),
    (rounded, "you round to whole points"),
    (only_low, "only those with a larger number age"),
    (first_come, "the priority is left out"),
    (squared, "the square of the wait"),
    (nothing, "it returned None"),
    (text, "this is no key"),
    (mixed, "some keys are numbers and some are tuples"),
    (by_a_wait_of_zero, "ageing, or a wait, may be 0"),
]

RIGHT = [by_wait, never_sorted_again, with_arrival, by_score, exact, made_up_at]
