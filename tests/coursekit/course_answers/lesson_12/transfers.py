"""Answers to task 12.2, ``transfers``: wrong ones with the words of their diagnoses, and right ones."""


def posted_first(rank, batches, depth):
    """Rank 0 listens before it talks; rank 1 takes and gives, one after the other."""
    if rank == 1:
        return [pair for i in range(batches) for pair in (("recv", f"x{i}"), ("send", f"t{i}"))]
    made = []
    for i in range(batches + depth):
        if depth <= i and i - depth < batches:
            made += [("wait", f"t{i - depth}"), ("wait", f"x{i - depth}")]
        if i < batches:
            made += [("irecv", f"t{i}"), ("isend", f"x{i}")]
    return made


def reads_ahead(rank, batches, depth):
    """Nothing but send and recv: rank 1 takes as many batches as may be out before it answers the first."""
    first, second = ("send", "recv") if rank == 0 else ("recv", "send")
    made = []
    for i in range(batches + depth):
        if i >= depth and i - depth < batches:
            made.append((second, f"t{i - depth}"))
        if i < batches:
            made.append((first, f"x{i}"))
    return made


def all_ears(rank, batches, depth):
    """All receives are started at once, on both sides, and all sends waited for at the end."""
    mine, other = ("x", "t") if rank == 0 else ("t", "x")
    made = [("irecv", f"{other}{i}") for i in range(batches)]
    for i in range(batches):
        if rank == 1 or i >= depth:
            made.append(("wait", f"{other}{i if rank == 1 else i - depth}"))
        made.append(("isend", f"{mine}{i}"))
    if rank == 0:
        made += [("wait", f"t{i}") for i in range(max(0, batches - depth), batches)]
    return made + [("wait", f"{mine}{i}") for i in range(batches)]


def sends_in_the_background(rank, batches, depth):
    """isend on both sides and plain receives."""
    if rank == 1:
        made = [pair for i in range(batches) for pair in (("recv", f"x{i}"), ("isend", f"t{i}"))]
        return made + [("wait", f"t{i}") for i in range(batches)]
    made = []
    for i in range(batches):
        made += [("recv", f"t{i - depth}")] * (i >= depth) + [("isend", f"x{i}")]
    made += [("recv", f"t{i}") for i in range(max(0, batches - depth), batches)]
    return made + [("wait", f"x{i}") for i in range(batches)]


def with_a_queue(rank, batches, depth):
    """Rank 0 keeps what is out in a queue; rank 1 starts each receive one batch early."""
    from collections import deque

    made, out = [], deque()
    if rank == 0:
        for i in range(batches):
            if len(out) == depth:
                made += out.popleft()
            made += [("irecv", f"t{i}"), ("send", f"x{i}")]
            out.append([("wait", f"t{i}")])
        return made + sum(out, [])
    made.append(("irecv", "x0"))
    for i in range(batches):
        made.append(("wait", f"x{i}"))
        if i + 1 < batches:
            made.append(("irecv", f"x{i + 1}"))
        made.append(("send", f"t{i}"))
    return made


def transfers_send_first(rank, batches, depth):
    """As many sends as may be out, then the receives, and so on; rank 1 answers each at once."""
    if rank == 1:
        return posted_first(1, batches, depth)
    made = [("send", f"x{i}") for i in range(min(depth, batches))]
    for i in range(batches):
        made += [("recv", f"t{i}")] + [("send", f"x{i + depth}")] * (i + depth < batches)
    return made


def transfers_receive_first(rank, batches, depth):
    return [("recv", f"t{i}") for i in range(batches)] + [("send", f"x{i}") for i in range(batches)] if rank == 0 else (
        posted_first(1, batches, depth)
    )  # fmt: skip


def transfers_one_at_a_time(rank, batches, depth):
    return posted_first(rank, batches, 1)


def transfers_two_at_a_time(rank, batches, depth):
    return posted_first(rank, batches, min(2, depth))


def transfers_one_more(rank, batches, depth):
    return posted_first(rank, batches, depth + 1)


def transfers_without_bound(rank, batches, depth):
    return posted_first(rank, batches, batches)


def transfers_forget_the_sends(rank, batches, depth):
    return [pair for pair in posted_first(rank, batches, depth) if rank or pair[0] != "wait" or pair[1][0] == "t"]


def transfers_forget_the_receives(rank, batches, depth):
    return [pair for pair in posted_first(rank, batches, depth) if rank or pair[0] != "wait" or pair[1][0] == "x"]


def transfers_take_no_tokens(rank, batches, depth):
    return [pair for pair in posted_first(rank, batches, depth) if rank or pair[1][0] == "x"]


def transfers_give_no_tokens(rank, batches, depth):
    return [pair for pair in posted_first(rank, batches, depth) if not rank or pair[1][0] == "x"]


def transfers_leave_the_last(rank, batches, depth):
    """Rank 0 ends when it has sent everything."""
    if rank == 1:
        return posted_first(1, batches, depth)
    made = []
    for i in range(batches):
        made += [("recv", f"t{i - depth}")] * (i >= depth) + [("isend", f"x{i}")]
    return made + [("wait", f"x{i}") for i in range(batches)]


def transfers_newest_first(rank, batches, depth):
    """What is left at the end is taken from a stack."""
    if rank == 1:
        return posted_first(1, batches, depth)
    made, out = [], []
    for i in range(batches):
        if len(out) == depth:
            made.append(("recv", f"t{out.pop(0)}"))
        made.append(("isend", f"x{i}"))
        out.append(i)
    return made + [("recv", f"t{i}") for i in out[::-1]] + [("wait", f"x{i}") for i in range(batches)]


def transfers_too_early(rank, batches, depth):
    """Rank 1 starts all its sends before it has anything."""
    if rank == 0:
        return posted_first(0, batches, depth)
    made = [("isend", f"t{i}") for i in range(batches)] + [("recv", f"x{i}") for i in range(batches)]
    return made + [("wait", f"t{i}") for i in range(batches)]


def transfers_same_on_both(rank, batches, depth):
    return posted_first(0, batches, depth)


def transfers_wait_twice(rank, batches, depth):
    made = posted_first(rank, batches, depth)
    return made + [("wait", "t0")] * (rank == 0)


def transfers_wait_too_soon(rank, batches, depth):
    """Waits for the tokens between starting to receive them and sending what they are made of."""
    if rank == 1:
        return posted_first(1, batches, depth)
    made = []
    for i in range(batches):
        made += [("irecv", f"t{i}"), ("wait", f"t{i}"), ("isend", f"x{i}"), ("wait", f"x{i}")]
    return made


def transfers_with_one_batch_more(rank, batches, depth):
    return posted_first(rank, batches + 1, depth)


def transfers_by_name_alone(rank, batches, depth):
    return [f"{what} {name}" for what, name in posted_first(rank, batches, depth)]


def transfers_send_again(rank, batches, depth):
    """Rank 1 sends the first tokens once more, to be sure."""
    return posted_first(rank, batches, depth) + [("send", "t0")] * rank


WRONG = [
    (transfers_send_first, "Start to receive first"),
    (transfers_receive_first, "irecv listens"),
    (transfers_one_at_a_time, "half asleep"),
    (transfers_two_at_a_time, "only 2 batches are under way"),
    (transfers_one_more, "one batch too many is out"),
    (transfers_without_bound, "sends whatever it has"),
    (transfers_forget_the_sends, "starts to send x0 and never waits"),
    (transfers_forget_the_receives, "starts to receive t0 and never waits"),
    (transfers_take_no_tokens, "rank 0 never receives tokens"),
    (transfers_give_no_tokens, "rank 1 never sends tokens"),
    (transfers_leave_the_last, "are the last batches still out"),
    (transfers_newest_first, "whatever you call it"),
    (transfers_too_early, "before x0 is there"),
    (transfers_same_on_both, "x goes from 0 to 1"),
    (transfers_wait_twice, "it was waited for before"),
    (transfers_wait_too_soon, "waited for too soon"),
    (transfers_with_one_batch_more, "a loop one too long"),
    (transfers_by_name_alone, "is no operation"),
    (transfers_send_again, "a message goes over once"),
]

RIGHT = [posted_first, reads_ahead, all_ears, sends_in_the_background, with_a_queue]
