"""A small stand-in for a GPU with graphs: kernels work on lists, and a tape keeps what was launched.

tape.launch(kernel, *arguments)     runs the kernel now; while a recording is under way, only notes it
tape.begin(), tape.end()            around what is to be recorded: nothing is computed in between, as on a GPU
tape.replay()                       runs what was noted, with the very lists and numbers of then
"""

from collections.abc import Callable
from typing import Any

EMPTY = -1  # a slot that is none: nothing is stored there


class Tape:
    """Notes kernels with their arguments: a list as the list itself, wherever it lies; a number as its value."""

    def __init__(self) -> None:
        self.noted: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.recording, self.recordings, self.launches, self.replays = False, 0, 0, 0

    def begin(self) -> None:
        self.recording, self.recordings, self.noted = True, self.recordings + 1, []

    def end(self) -> None:
        self.recording = False

    def launch(self, kernel: Callable[..., None], *arguments: Any) -> None:
        if self.recording:
            self.noted.append((kernel, arguments))
        else:
            self.launches += 1
            kernel(*arguments)

    def replay(self) -> None:
        if self.recording:
            raise RuntimeError("replay() while a recording is under way: end() it first")
        self.replays += 1
        for kernel, arguments in self.noted:
            kernel(*arguments)


def store(cache: list[int], tokens: list[int], slots: list[int]) -> None:
    """Row i's token goes into slot slots[i] of the cache; slot -1 is none."""
    for token, slot in zip(tokens, slots):
        if slot != EMPTY:
            cache[slot] = token


def attend(cache: list[int], tables: list[list[int]], lengths: list[int], most: int, out: list[int]) -> None:
    """Row i's next token, from the slots tables[i][0], … of its tokens so far, lengths[i] of them, at most ``most``."""
    for row, table in enumerate(tables):
        seen = table[: min(lengths[row], most)]
        out[row] = sum((place + 1) * cache[slot] for place, slot in enumerate(seen)) % 97
