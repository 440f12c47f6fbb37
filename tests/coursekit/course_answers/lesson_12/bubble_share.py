"""Answers to task 12.1, ``bubble_share``: wrong ones with the words of their diagnoses, and right ones."""

import functools


def spans(order, times, back="last", follows=True, alone=True):
    """When each batch is on each stage, with rules that can be switched off."""
    free, ready, rows = [0] * len(times[0]), {}, []
    for group, row in zip(order, times):
        at = start = 0 if back == "nobody" else max(ready.values(), default=0) if back == "everybody" else ready.get(group, 0)
        rows.append([])
        for s, ms in enumerate(row):
            begin = max(at if follows else start, free[s] if alone else 0)
            at = begin + ms
            free[s] = max(at, free[s])
            rows[-1].append((begin, at))
        ready[group] = max(end for _, end in rows[-1])
    return rows


def share_of(rows):
    end = max(e for row in rows for _, e in row)
    return 1 - sum(e - b for row in rows for b, e in row) / (len(rows[0]) * end)


def by_recurrence(order, times):
    """A matrix: when batch i leaves stage s."""
    out = [[0] * len(row) for row in times]
    for i, row in enumerate(times):
        before = [j for j in range(i) if order[j] == order[i]]
        for s, ms in enumerate(row):
            ready = out[i][s - 1] if s else out[before[-1]][-1] if before else 0
            out[i][s] = max(ready, out[i - 1][s] if i else 0) + ms
    return 1 - sum(map(sum, times)) / (len(times[0]) * out[-1][-1])


def by_recursion(order, times):
    @functools.cache
    def left(i, s):
        if i < 0:
            return 0
        if s < 0:
            return left(max((j for j in range(i) if order[j] == order[i]), default=-1), len(times[0]) - 1)
        return max(left(i, s - 1), left(i - 1, s)) + times[i][s]

    stages, batches = len(times[0]), len(order)
    idle = [left(batches - 1, stages - 1) - sum(row[s] for row in times) for s in range(stages)]
    return sum(idle) / stages / left(batches - 1, stages - 1)


def by_events(order, times):
    """One ms after the other: every stage that has somebody goes on."""
    stages, waiting = len(times[0]), list(range(len(order)))
    queues, at_work = [[] for _ in range(stages)], [None] * stages
    under_way, done, idle, now = set(), 0, 0, 0
    while done < len(order):
        for s in range(stages - 1, -1, -1):
            if at_work[s] and at_work[s][1] == 0:
                i, at_work[s] = at_work[s][0], None
                if s + 1 < stages:
                    queues[s + 1].append(i)
                else:
                    done += 1
                    under_way.discard(order[i])
        if waiting and at_work[0] is None and not queues[0] and order[waiting[0]] not in under_way:
            under_way.add(order[waiting[0]])
            queues[0].append(waiting.pop(0))
        for s in range(stages):
            if at_work[s] is None and queues[s]:
                i = queues[s].pop(0)
                at_work[s] = [i, times[i][s]]
        if done < len(order):
            idle += at_work.count(None)
            at_work = [w and [w[0], w[1] - 1] for w in at_work]
            now += 1
    return idle / (stages * now)


def by_heap(order, times):
    """Events on a heap: (when, what number, stage)."""
    import heapq

    stages, free, back, begun = len(times[0]), [0] * len(times[0]), {}, []
    for i, group in enumerate(order):
        heap = [(back.get(group, 0), 0)]
        while heap:
            when, stage = heapq.heappop(heap)
            if stage == stages:
                back[group] = when
            else:
                start = max(when, free[stage])
                begun.append((start, times[i][stage]))
                free[stage] = start + times[i][stage]
                heapq.heappush(heap, (free[stage], stage + 1))
    end = max(start + ms for start, ms in begun)
    return (stages * end - sum(ms for _, ms in begun)) / (stages * end)


def by_numpy(order, times):
    import numpy as np

    work = np.array(times, dtype=float)
    free, back = np.zeros(work.shape[1]), {}
    for group, row in zip(order, work):
        at = back.get(group, 0.0)
        for s, ms in enumerate(row):
            at = free[s] = max(at, free[s]) + ms
        back[group] = at
    return float(1 - work.sum() / (free[-1] * len(free)))


def share_without_feedback(order, times):
    return share_of(spans(order, times, back="nobody"))


def share_one_in_flight(order, times):
    """Every batch is a group of its own mistake: nobody follows anybody."""
    return share_of(spans(order, times, back="everybody"))


def share_everywhere_at_once(order, times):
    return share_of(spans(order, times, follows=False))


def share_crowded(order, times):
    return share_of(spans(order, times, alone=False))


def share_by_formula(order, times):
    stages = len(times[0])
    return (stages - 1) / (len(order) + stages - 1)


def share_of_the_last_stage(order, times):
    rows = spans(order, times)
    return 1 - sum(row[-1] for row in times) / rows[-1][-1][1]


def share_of_the_first_stage(order, times):
    return 1 - sum(row[0] for row in times) / spans(order, times)[-1][-1][1]


def share_of_the_idlest(order, times):
    end = spans(order, times)[-1][-1][1]
    return max(1 - sum(row[s] for row in times) / end for s in range(len(times[0])))


def share_busy(order, times):
    return 1 - by_numpy(order, times)


def share_in_per_cent(order, times):
    return 100 * by_numpy(order, times)


def share_of_one_stage(order, times):
    return len(times[0]) * by_numpy(order, times)


def share_of_work(order, times):
    share = by_numpy(order, times)
    return share / (1 - share)


def share_in_ms(order, times):
    end = spans(order, times)[-1][-1][1]
    return len(times[0]) * end - sum(map(sum, times))


def share_end(order, times):
    return spans(order, times)[-1][-1][1]


def share_without_fill_and_drain(order, times):
    rows = spans(order, times)
    total = sum(rows[-1][s][1] - rows[0][s][0] for s in range(len(times[0])))
    return 1 - sum(map(sum, times)) / total


def share_of_equal_stages(order, times):
    return by_numpy(order, [[row[0]] * len(row) for row in times])


def share_and_end(order, times):
    return by_numpy(order, times), share_end(order, times)


def share_rounded(order, times):
    return round(by_numpy(order, times), 1)


WRONG = [
    (share_without_feedback, "its next token needs the last one"),
    (share_one_in_flight, "batches of other groups may follow it"),
    (share_everywhere_at_once, "on several stages at once"),
    (share_crowded, "works on several batches at once"),
    (share_by_formula, "(p - 1) / (m + p - 1)"),
    (share_of_the_last_stage, "the last stage alone"),
    (share_of_the_first_stage, "the first stage alone"),
    (share_of_the_idlest, "the idlest stage alone"),
    (share_busy, "the bubble is the rest"),
    (share_in_per_cent, "in per cent"),
    (share_of_one_stage, "divided by the time of one"),
    (share_of_work, "idle time is divided by work"),
    (share_in_ms, "the idle time in ms"),
    (share_end, "when the last batch is out, in ms"),
    (share_without_fill_and_drain, "the time before and after counts"),
    (share_of_equal_stages, "each has a time of its own"),
    (share_and_end, "return one number"),
    (share_rounded, "I cannot tell which mistake"),
]

RIGHT = [by_recurrence, by_recursion, by_events, by_heap, by_numpy]
