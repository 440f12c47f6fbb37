"""Answers to task 13.1, ``goodput``: wrong ones with the words of their diagnoses, and right ones."""


def waits(requests):
    """(TTFT, TPOT, tokens) of those that were answered."""
    return [(t[0] - a, (t[-1] - t[0]) / (len(t) - 1) if len(t) > 1 else 0, len(t)) for a, t in requests if t]


def per_second(requests, limits, seconds):
    good = 0
    for arrival, times in requests:
        if not times:
            continue
        gaps = max(len(times) - 1, 1)
        if times[0] - arrival <= limits["ttft"] and (times[-1] - times[0]) / gaps <= limits["tpot"]:
            good += 1
    return good / seconds


def by_filter(requests, limits, seconds):
    in_time = [t for a, t in requests if t and t[0] <= a + limits["ttft"]]
    return len([t for t in in_time if t[-1] <= t[0] + limits["tpot"] * (len(t) - 1)]) / seconds


def by_gaps(requests, limits, seconds):
    total = 0.0
    for arrival, times in requests:
        gaps = [after - before for before, after in zip(times, times[1:])]
        if times and times[0] - arrival <= limits["ttft"] and sum(gaps) <= limits["tpot"] * len(gaps):
            total += 1 / seconds
    return total


def by_numpy(requests, limits, seconds):
    import numpy as np

    rows = np.array(waits(requests), dtype=float).reshape(-1, 3)
    return float(((rows[:, 0] <= limits["ttft"]) & (rows[:, 1] <= limits["tpot"])).sum() / seconds)


def by_exceptions(requests, limits, seconds):
    def good(arrival, times):
        try:
            wait = times[0] - arrival
        except IndexError:
            return False
        try:
            gap = (times[-1] - times[0]) / (len(times) - 1)
        except ZeroDivisionError:
            gap = 0
        return wait <= limits["ttft"] and gap <= limits["tpot"]

    return sum(good(*request) for request in requests) / seconds


def goodput_of_means(requests, limits, seconds):
    rows = waits(requests) or [(0, 0, 0)]
    ttft, tpot = (sum(row[i] for row in rows) / len(rows) for i in (0, 1))
    return len(waits(requests)) / seconds if ttft <= limits["ttft"] and tpot <= limits["tpot"] else 0.0


def goodput_strict(requests, limits, seconds):
    return sum(w < limits["ttft"] and g < limits["tpot"] for w, g, _ in waits(requests)) / seconds


def goodput_share(requests, limits, seconds):
    return seconds * per_second(requests, limits, seconds) / max(1, len(requests))


def goodput_count(requests, limits, seconds):
    return seconds * per_second(requests, limits, seconds)


def goodput_of_all(requests, limits, seconds):
    return len(requests) / seconds


def goodput_first_token(requests, limits, seconds):
    return sum(w <= limits["ttft"] for w, _, _ in waits(requests)) / seconds


def goodput_gaps_alone(requests, limits, seconds):
    return sum(g <= limits["tpot"] for _, g, _ in waits(requests)) / seconds


def goodput_either(requests, limits, seconds):
    return sum(w <= limits["ttft"] or g <= limits["tpot"] for w, g, _ in waits(requests)) / seconds


def goodput_over_n(requests, limits, seconds):
    return sum(w <= limits["ttft"] and g * (n - 1) / n <= limits["tpot"] for w, g, n in waits(requests)) / seconds


def goodput_from_arrival(requests, limits, seconds):
    return sum(
        t[0] - a <= limits["ttft"] and (t[-1] - a) / max(1, len(t) - 1) <= limits["tpot"] for a, t in requests if t
    ) / seconds  # fmt: skip


def goodput_largest_gap(requests, limits, seconds):
    def worst(t):
        return max((y - x for x, y in zip(t, t[1:])), default=0)

    return sum(t[0] - a <= limits["ttft"] and worst(t) <= limits["tpot"] for a, t in requests if t) / seconds


def goodput_without_arrival(requests, limits, seconds):
    return per_second([[0, t] for _, t in requests], limits, seconds)


def goodput_of_one_token(requests, limits, seconds):
    return per_second([[a, t] for a, t in requests if len(t) > 1], limits, seconds)


def goodput_of_the_lost(requests, limits, seconds):
    return per_second(requests, limits, seconds) + sum(not t for _, t in requests) / seconds


def goodput_in_tokens(requests, limits, seconds):
    return sum(n for w, g, n in waits(requests) if w <= limits["ttft"] and g <= limits["tpot"]) / seconds


def goodput_no_gap(requests, limits, seconds):
    return sum(bool(t) and t[0] - a <= limits["ttft"] and (t[-1] - t[0]) / (len(t) - 1) <= limits["tpot"] for a, t in requests)


def goodput_no_token(requests, limits, seconds):
    return (
        sum(t[0] - a <= limits["ttft"] and (t[-1] - t[0]) / max(1, len(t) - 1) <= limits["tpot"] for a, t in requests) / seconds
    )


def goodput_and_share(requests, limits, seconds):
    return per_second(requests, limits, seconds), 1.0


WRONG = [
    (goodput_of_means, "held against the mean of all requests"),
    (goodput_strict, "compare with <="),
    (goodput_share, "this is the share of good requests"),
    (goodput_count, "how many requests are good"),
    (goodput_of_all, "that is the throughput"),
    (goodput_first_token, "only the first token is looked at"),
    (goodput_gaps_alone, "only the gaps are looked at"),
    (goodput_either, "one limit is enough for your answer"),
    (goodput_over_n, "n tokens have n - 1 gaps between them: you divide by n"),
    (goodput_from_arrival, "TPOT begins at the first token"),
    (goodput_largest_gap, "the largest gap is held against the limit"),
    (goodput_without_arrival, "the first token's time is taken for its wait"),
    (goodput_of_one_token, "you leave it out"),
    (goodput_of_the_lost, "you count it as good"),
    (goodput_in_tokens, "goodput counts requests"),
    (goodput_no_gap, "a single token has none"),
    (goodput_no_token, "has no token at all"),
    (goodput_and_share, "return one number"),
]

RIGHT = [per_second, by_filter, by_gaps, by_numpy, by_exceptions]
