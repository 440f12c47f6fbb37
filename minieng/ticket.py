"""A ticket: what somebody holds whose prompts are in the engine. It is asked for what has come;
it computes nothing.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator

from .answers import Answers
from .request import Request, RequestOutput, Status, TokenEvent


class Ticket:
    """Prompts under way: their tokens as they come, and their answers when all are done.

    ``LLM.submit`` makes one, ``LLM.step`` moves all of them on. Whoever has one closes it.

    groups  for each prompt its samples, as requests
    """

    def __init__(
        self, groups: list[list[Request]], answers: Answers, forget: Callable[[list[list[Request]]], None]
    ) -> None:
        self.groups, self._answers, self._forget = groups, answers, forget
        self._left = deque(self.requests)
        self._seen: dict[Request, int | None] = {request: request.num_output_tokens for request in self._left}

    @property
    def requests(self) -> list[Request]:
        """The samples of all prompts, in order."""
        return list(itertools.chain.from_iterable(self.groups))

    @property
    def done(self) -> bool:
        """Whether all have left the engine."""
        # All must end, so it is enough to look at one.
        while self._left and self._left[0].status is Status.FINISHED:
            self._left.popleft()
        return not self._left

    def events(self) -> Iterator[TokenEvent]:
        """The tokens that have come since this was asked before.
        The last of a text bears the reason why it ended.
        """
        for request in list(self._seen):
            yield from self._answers.events(request, self._seen)
            if self._seen[request] is None:
                del self._seen[request]

    def outputs(self) -> list[RequestOutput]:
        """The answers, in the order of the prompts: whole when ``done``. Not after ``close()``,
        which drops the texts.
        """
        return [self._answers.output(group) for group in self.groups]

    def close(self) -> None:
        """Abort what still runs, and drop the texts. It may be called again."""
        self._forget(self.groups)
