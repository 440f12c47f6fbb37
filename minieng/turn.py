"""Whose turn it is: an engine keeps no locks, so one thread at a time may use it."""

from __future__ import annotations

import threading


class Turn:
    """A context manager that one thread may enter as often as it likes, and no other before that has left.

    Who comes in between is told so at once, before anything is touched; nobody waits.
    """

    def __init__(self) -> None:
        self._lock, self._thread, self._depth = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._lock:
            if self._depth and self._thread != me:
                raise RuntimeError(
                    "another thread is using this LLM: let its calls return and its streams end first, "
                    "or give each thread an LLM of its own (they share the weights)"
                )
            self._thread = me
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
