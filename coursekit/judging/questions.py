"""Tasks whose answer is handed a function and calls it: the judge answers each call, and counts them.

    from ...judging.questions import Asking

    ASKING = Asking(
        shown=lambda args: [len(args[0])],                          # what the answer is told of the arguments
        reply=lambda args, question, count: args[0][question],      # what a call of the function gives
        run=lambda answer, told, ask: answer(ask, *told),           # how the answer is called
    )
    Task(..., drive=ASKING.drive, asking=ASKING)

The judge is given {"value": what the answer returned, "asked": [its questions, in order]}. In grading, ``reply`` runs beside
the judge and not beside the answer: what was never asked is nowhere to be read, and the questions are those that came.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..plain import to_plain
from ..task import Args

Ask = Callable[[Any], Any]


@dataclass(frozen=True)
class Asking:
    """shown(args): plain values. reply(args, question, count): a plain value, or LookupError for a question that is none;
    count: how many came up to this one. run(answer, shown, ask): what the answer returns.
    """

    shown: Callable[[Args], list[Any]]
    reply: Callable[[Args, Any, int], Any]
    run: Callable[[Any, list[Any], Ask], Any]

    def drive(self, answer: Any, args: Args) -> dict[str, Any]:
        """All of it in one process, as ``check`` does."""
        asked: list[Any] = []

        def ask(question: Any) -> Any:
            return heard(self.told(args, to_plain(question), asked))

        return self.record(self.run(answer, self.shown(args), ask), asked)

    def told(self, args: Args, question: Any, asked: list[Any]) -> dict[str, Any]:
        """Note the question; {"value": the reply}, or {"refused": why there is none}."""
        asked.append(question)
        try:
            return {"value": self.reply(args, question, len(asked))}
        except LookupError as problem:
            return {"refused": str(problem)}

    def record(self, value: Any, asked: list[Any]) -> dict[str, Any]:
        return {"value": value, "asked": asked}


def heard(reply: dict[str, Any]) -> Any:
    """The value in what ``told`` gave; raises LookupError where there is none."""
    if "refused" in reply:
        raise LookupError(reply["refused"])
    return reply["value"]
