"""Static batches of a list of numbers, as two tasks cut them."""


def batches_of(items, batch_size):
    """In order of arrival, ``batch_size`` at a time; the last batch may be smaller."""
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool)
