"""Answers to task 08.4, ``key``: wrong ones with the words of their diagnoses, and right ones."""


def asked(r):
    return r.max_num_tokens - r.num_prompt_tokens


def put_off(r, now):
    """A point in time: the deadline or some seconds, and longer for those who want much."""
    due = r.arrival_time + 2 if r.deadline is None else r.deadline
    return due + 0.03 * asked(r)


def like_adaptive(r, now):
    """The share of the time that is used up, less a share for the length."""
    allowed = 2.0 if r.deadline is None else r.deadline - r.arrival_time
    return asked(r) / (asked(r) + 10) - 2 * min(1.0, (now - r.arrival_time) / allowed)


def shortest_of_a_bucket(r, now):
    """Deadlines in buckets of some tenths of a second, the shortest first in each."""
    due = r.arrival_time + 2 if r.deadline is None else r.deadline
    return int(due / 0.8), asked(r)


def by_slack(r, now):
    slack = (r.deadline if r.deadline is not None else r.arrival_time + 1.7) - now
    return slack + asked(r) / 40


class Key:
    """The same as an object that can be called."""

    patience, second = 2.0, 35.0

    def __call__(self, r, now):
        due = r.arrival_time + self.patience if r.deadline is None else r.deadline
        return self.second * due + asked(r)


def fcfs(r, now):
    return r.arrival_time


def sjf(r, now):
    return asked(r)


def shortest_prompt(r, now):
    return r.num_prompt_tokens


def longest_first(r, now):
    return -asked(r)


def edf(r, now):
    return r.deadline is None, r.deadline or 0


def latest(r, now):
    return r.deadline is None, -(r.deadline or 0)


def lifo(r, now):
    return -r.arrival_time


def none_first(r, now):
    return r.deadline or 0


def crash(r, now):
    return r.deadline - now


def not_alike(r, now):
    return r.deadline if r.deadline is not None else (r.arrival_time, asked(r))


def divides(r, now):
    return asked(r) / (now - r.arrival_time)


WRONG = [
    (fcfs, "this is first come, first served: it knows"),
    (sjf, "this is the shortest answer first"),
    (shortest_prompt, "this is the shortest prompt first"),
    (longest_first, "this is the longest first"),
    (edf, "this is the earliest deadline first"),
    (latest, "this is the latest deadline first"),
    (lifo, "this is last come, first served"),
    (none_first, "come first in your key, as if theirs were over"),
    (crash, "a deadline may be None"),
    (not_alike, "two keys cannot be compared"),
    (divides, "a wait, or the time to a deadline, may be 0"),
]

RIGHT = [put_off, like_adaptive, shortest_of_a_bucket, by_slack, Key()]
