"""What a stage did otherwise than it should have, in one tick, and what each such mistake is called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...task import CANNOT_TELL, Finding, likeliest

Rows = dict[str, int]  # request -> activation or token
Made = list[tuple[str, str]]  # (cause, slip) of mistakes that give the same answer

FORM = "step returns three dicts: what goes to the next stage, what goes back to the first, and answers that are complete"
TAKES = "a stage computes what comes to it, all of it, and nothing else"
VALUES = "a stage sends what it makes of the value that came"
FEEDS = "the token that comes back is what the first stage goes on with"
ENDS = "a request is over when it has all its tokens: the first stage gives the answer once, and nobody computes for it any more"
FORGETS = "a request that was answered is forgotten: what a stage holds is for requests that are under way"


def made_of(value: int, stage: int) -> int:
    """What a stage makes of a value."""
    return (31 * value + 7 * stage + 5) % 997


@dataclass
class Talk:
    """A request as the judge knows it."""

    token: int  # of the prompt
    wanted: int
    text: list[int] = field(default_factory=list)


@dataclass
class Moment:
    """What a stage was given in one tick, what it gave back, and what the judge knows besides."""

    tick: int
    number: int
    last: bool
    new: Mapping[str, Sequence[int]]
    came: Rows  # tokens that came back to the first stage, activations that came to a later one
    gave: list[Any]
    right: list[Any]
    sent: Rows  # what this stage sent of each request when it last did
    live: Mapping[str, Talk]
    old: Mapping[str, list[int]]  # answers that were given
    calls: int

    def wrong(self, rule: str, made: Made) -> Finding | None:
        names = ("to_next", "to_first", "results")

        def one(cause: str, slip: str) -> Finding:
            text = f"tick {self.tick}, stage {self.number}: {cause}"
            return Finding(rule, text, slip, dict(zip(names, self.right)), dict(zip(names, self.gave)))

        return likeliest(one, made)


def look(m: Moment) -> Finding | None:
    return astray(m) or lacking(m) or too_much(m) or other_values(m) or answers(m) or computed(m)


def astray(m: Moment) -> Finding | None:
    """Given to the wrong place."""
    if m.gave[0] and m.last:
        cause = "the last stage gives to a next one, and there is none: tokens go back to the first stage"
        return m.wrong(FORM, [(cause, "last stage gives on")])
    if m.gave[1] and not m.last:
        return m.wrong(FORM, [("only the last stage has tokens, and gives them back: this one gives on", "back too early")])
    if m.gave[2] and m.number:
        return m.wrong(
            FORM, [("only the first stage knows how many tokens are wanted: it gives the answers", "answers elsewhere")]
        )
    return None


def rows_of(m: Moment) -> tuple[Rows, Rows]:
    """(what it gave on or back, what it should have)"""
    side = 1 if m.last and m.number else 0
    return m.gave[side], m.right[side]


def lacking(m: Moment) -> Finding | None:
    gave, right = rows_of(m)
    missing = [name for name in right if name not in gave]
    if not missing:
        return None
    name = missing[0]
    if m.number:
        if len(missing) == len(right):
            cause = (
                f"a message has come with {listed(m.came)}, and nothing is made of it: a later stage works on what it receives"
            )
            return m.wrong(TAKES, [(cause, "never receives")])
        cause = f"{name} has come and is left out, though {listed(n for n in right if n in gave)} is not"
        return m.wrong(TAKES, [(cause, "leaves some out")])
    if name in m.new:
        made = [(f"{name} is new, and nobody computes for it", "new ones left out")]
        if m.came:
            cause = f"{name} is new and is lost, because tokens have come back in the same tick: take both"
            made.insert(0, (cause, "new ones lost"))
        return m.wrong(TAKES, made)
    talk = m.live[name]
    if name in m.gave[2]:
        cause = f"{name} wants {talk.wanted} tokens and has {len(talk.text)}: it is given up too early"
        return m.wrong(ENDS, [(cause, "given up too early")])
    cause = f"the token {m.came[name]} of {name} has come back, and nothing goes on: the first stage computes it next"
    made = [(cause, "never feeds back")]
    if m.new:
        cause = f"the token of {name} is lost, because somebody new has come in the same tick: take both"
        made.insert(0, (cause, "tokens lost"))
    return m.wrong(FEEDS, made)


def too_much(m: Moment) -> Finding | None:
    gave, right = rows_of(m)
    extra = [name for name in gave if name not in right]
    if not extra:
        return None
    name = extra[0]
    if name in m.right[2]:
        talk = m.live[name]
        cause = f"{name} has all its {talk.wanted} tokens, and it goes on: forget it"
        made = [(cause, "never forgets")]
        if name not in m.gave[2]:
            cause = f"{name} wants {talk.wanted} tokens, the one that just came is the last of them, and one more is asked for"
            made.insert(0, (cause, "one too many"))
        return m.wrong(ENDS, made)
    if name in m.live:
        cause = f"{name} is sent again, though it has not come back: it is in flight. Send what came, only"
        return m.wrong(TAKES, [(cause, "sends again")])
    if name in m.old:
        return m.wrong(ENDS, [(f"{name} was answered before, and still it is computed for: forget it", "never forgets")])
    return m.wrong(TAKES, [(f"nobody has asked for {name}", "unknown request")])


def other_values(m: Moment) -> Finding | None:
    gave, right = rows_of(m)
    name = next((n for n in right if gave[n] != right[n]), None)
    if name is None:
        return None
    value, at = gave[name], m.number
    talk = m.live.get(name)
    base = m.new[name][0] if name in m.new else m.came[name]
    others = [v for n, v in m.came.items() if n != name]
    tests = (
        (
            value == made_of(m.sent.get(name, -1), at),
            f"{name} goes on with what this stage itself made, not with what came",
            "own",
        ),
        (value == base, f"{name} is passed on as it came: compute it first", "not computed"),
        (value == made_of(made_of(base, at), at), f"{name} is computed twice over", "twice over"),
        (
            talk is not None and value == made_of(talk.token, at),
            f"{name} begins anew with its prompt: go on with what came",
            "anew",
        ),
        (value in [made_of(v, at) for v in others], f"{name} goes on with what came for another request", "another's"),
        (value == m.sent.get(name), f"{name} is sent as it was the last time: compute what came", "the old value"),
    )
    made = [(cause, f"wrong value: {slip}") for holds, cause, slip in tests if holds]
    return m.wrong(
        FEEDS if at == 0 and name in m.came else VALUES, made or [(f"{CANNOT_TELL}: {name} has another value", "value")]
    )


def answers(m: Moment) -> Finding | None:
    gave, right = m.gave[2], m.right[2]
    if gave == right:
        return None
    early = next((name for name in gave if name not in right), None)
    if early is not None:
        talk = m.live.get(early)
        if talk is None:
            said = "is given again" if early in m.old else "was asked for by nobody"
            return m.wrong(ENDS, [(f"the answer to {early} {said}", "answered again")])
        cause = f"{early} wants {talk.wanted} tokens and has {len(talk.text)}: its answer is given when it is complete"
        return m.wrong(ENDS, [(cause, "answered too early")])
    late = next((name for name in right if name not in gave), None)
    if late is not None:
        cause = f"{late} has all its {len(right[late])} tokens, and no answer is given"
        return m.wrong(ENDS, [(cause, "no answer")])
    name = next(n for n in right if gave[n] != right[n])
    text, whole, talk = gave[name], right[name], m.live[name]
    if not isinstance(text, list):
        return m.wrong(ENDS, [(f"the answer to {name} is a list of its tokens", "no list")])
    tests = (
        (
            text == [talk.token, *whole] or text == [talk.token, *whole[:-1]],
            "it begins with the token of the prompt",
            "the prompt",
        ),
        (text == whole[:-1], "the last token is missing", "last missing"),
        (text == whole[1:], "the first token is missing", "first missing"),
        (text == whole[::-1], "its tokens stand in reverse order", "reversed"),
        (text == whole[-1:], "it holds the last token alone", "last alone"),
        (
            len(text) > len(whole) and text[-len(whole) :] == whole,
            "tokens of an earlier request of that name are in it: forget",
            "old",
        ),
    )
    made = [(f"the answer to {name} is not its text: {why}", f"answer: {slip}") for holds, why, slip in tests if holds]
    return m.wrong(ENDS, made or [(f"{CANNOT_TELL}: the answer to {name} has other tokens", "answer")])


def computed(m: Moment) -> Finding | None:
    """Work that nobody gets to see."""
    rows = len(rows_of(m)[1])
    if m.calls <= rows:
        return None
    cause = f"it computes {m.calls} times to send {rows}: a stage computes each value that came once, and nothing else"
    return m.wrong(TAKES, [(cause, "computes in vain")])


def kept(held: Sequence[Sequence[str]], over: Mapping[str, int], newest: int, end: int) -> Finding | None:
    """What a stage still holds in the last tick of requests that were answered before the newest came."""
    for number, names in enumerate(held):
        name = next((n for n in names if over[n] < newest), None)
        if name is not None:
            cause = (
                f"tick {end}, stage {number}: {name} was answered in tick {over[name]}, others have come since, and the stage "
                "still holds its name. Nobody is served wrongly, but a server that runs for weeks would keep every request it had"
            )
            return Finding(FORGETS, cause, "holds on to it", "nothing of it is held", f"{name} is held")
    return None


def listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:4])
