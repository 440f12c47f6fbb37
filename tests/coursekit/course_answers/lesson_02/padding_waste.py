"""Answers to task 02.2, ``padding_waste``: wrong ones with the words of their diagnoses, and right ones."""


def share(lengths):
    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0


def waste_over_tokens(lengths):
    return (len(lengths) * max(lengths) - sum(lengths)) / sum(lengths) if lengths else 0.0


def waste_useful(lengths):
    return 1 - share(lengths) if lengths else 0.0


def waste_percent(lengths):
    return 100 * share(lengths)


def waste_count(lengths):
    return len(lengths) * max(lengths) - sum(lengths) if lengths else 0


def waste_no_empty(lengths):
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


def waste_too_wide(lengths):
    return 1 - sum(lengths) / (len(lengths) * (max(lengths) + 1)) if lengths else 0.0


def waste_whole(lengths):
    return (len(lengths) * max(lengths) - sum(lengths)) // (len(lengths) * max(lengths)) if lengths else 0


def waste_by_mean(lengths):
    longest = max(lengths, default=0)
    return 1 - (sum(lengths) / len(lengths)) / longest if longest else 0


def waste_by_counting(lengths):
    cells = [c < n for n in lengths for c in range(max(lengths))]
    return cells.count(False) / len(cells) if cells else 0.0


WRONG = [
    (waste_over_tokens, "the denominator is wrong"),
    (waste_useful, "the useful share"),
    (waste_percent, "percentage"),
    (waste_count, "number of padded cells"),
    (waste_no_empty, "a batch can be empty"),
    (waste_too_wide, "one column too wide"),
    (waste_whole, "throws the fraction away"),
]

RIGHT = [share, waste_by_mean, waste_by_counting]
