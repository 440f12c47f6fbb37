"""Answers to task 12.3, ``Stage``: wrong ones with the words of their diagnoses, and right ones."""

from collections import deque
from dataclasses import dataclass, field


class AsPrinted:
    """As it is handed out: four bugs."""

    def __init__(self, number, stages, compute):
        self.number, self.stages, self.compute = number, stages, compute
        self.active = {}

    def step(self, new, message, feedback):
        for name, (token, _) in new.items():
            self.active[name] = token
        outputs = {name: self.compute(value) for name, value in self.active.items()}
        self.active.update(outputs)
        if self.number < self.stages - 1:
            return outputs, {}, {}
        return {}, outputs, {}


class Right:
    """State on the first stage alone. What wrong answers do otherwise is a method."""

    def __init__(self, number, stages, compute):
        self.number, self.last, self.compute = number, number == stages - 1, compute
        self.wanted, self.texts = {}, {}

    def step(self, new, message, feedback):
        if self.number:
            return self.later(message)
        out, results = {}, {}
        for name, token in self.tokens(new, feedback).items():
            self.texts[name].append(token)
            if self.over(name):
                results[name] = self.answer(name)
                self.forget(name)
            else:
                out[name] = self.next(name, token)
        for name, (token, wanted) in self.newcomers(new, feedback).items():
            self.begin(name, token, wanted)
            out[name] = self.compute(token)
        return out, {}, results

    def later(self, message):
        out = {name: self.compute(value) for name, value in message.items()}
        return ({}, out, {}) if self.last else (out, {}, {})

    def tokens(self, new, feedback):
        return feedback

    def newcomers(self, new, feedback):
        return new

    def begin(self, name, token, wanted):
        self.wanted[name], self.texts[name] = wanted, []

    def over(self, name):
        return len(self.texts[name]) == self.wanted[name]

    def answer(self, name):
        return self.texts[name]

    def forget(self, name):
        del self.wanted[name], self.texts[name]

    def next(self, name, token):
        return self.compute(token)


class Stateless:
    """Later stages are one line; the first keeps pairs of what is wanted and the text."""

    def __init__(self, number, stages, compute):
        self.place, self.compute, self.requests = (number, stages), compute, {}

    def step(self, new, message, feedback):
        number, stages = self.place
        if number == stages - 1:
            return {}, {name: self.compute(x) for name, x in message.items()}, {}
        if number:
            return {name: self.compute(x) for name, x in message.items()}, {}, {}
        for name, token in feedback.items():
            self.requests[name][1].append(token)
        complete = {name: text for name, (wanted, text) in self.requests.items() if len(text) == wanted}
        for name in complete:
            self.requests.pop(name)
        going = {name: token for name, token in feedback.items() if name not in complete}
        self.requests |= {name: (wanted, []) for name, (_, wanted) in new.items()}
        going |= {name: token for name, (token, _) in new.items()}
        return {name: self.compute(token) for name, token in going.items()}, {}, complete


@dataclass
class Open:
    left: int
    text: list = field(default_factory=list)


class CountsDown:
    """Counts the tokens that are left."""

    def __init__(self, number, stages, compute):
        self.number, self.stages, self.compute, self.open = number, stages, compute, {}

    def step(self, new, message, feedback):
        todo, done = deque(message.items()), {}
        for name, token in feedback.items():
            one = self.open[name]
            one.left -= 1
            one.text.append(token)
            if one.left:
                todo.append((name, token))
            else:
                done[name] = self.open.pop(name).text
        for name, (token, wanted) in new.items():
            self.open[name] = Open(wanted)
            todo.append((name, token))
        out = {}
        while todo:
            name, value = todo.popleft()
            out[name] = self.compute(value)
        places = [out, {}] if self.number + 1 < self.stages else [{}, out]
        return *places, done


class ByGenerator:
    """The stage is a generator that is sent what comes."""

    def __init__(self, number, stages, compute):
        self.run = self.first(compute) if number == 0 else self.other(compute, number == stages - 1)
        next(self.run)

    @staticmethod
    def first(compute):
        texts, out, results = {}, {}, {}
        while True:
            new, _, feedback = yield out, {}, results
            out, results = {}, {}
            for name, (token, wanted) in new.items():
                texts[name, "wanted"], texts[name] = wanted, ()
                out[name] = compute(token)
            for name, token in feedback.items():
                texts[name] += (token,)
                if len(texts[name]) < texts[name, "wanted"]:
                    out[name] = compute(token)
                else:
                    results[name] = list(texts.pop(name))
                    del texts[name, "wanted"]

    @staticmethod
    def other(compute, last):
        out = {}
        while True:
            _, message, _ = yield ({}, out, {}) if last else (out, {}, {})
            out = {name: compute(value) for name, value in message.items()}

    def step(self, new, message, feedback):
        return self.run.send((new, message, feedback))


class TwoKinds:
    """Picks its kind when it is made."""

    def __new__(cls, number, stages, compute):
        return super().__new__(First if number == 0 else Later)

    def __init__(self, number, stages, compute):
        self.is_last, self.compute, self.log = number + 1 == stages, compute, {}


class First(TwoKinds):
    def step(self, new, message, feedback):
        for name, token in feedback.items():
            self.log[name].append(token)
        over = [name for name in feedback if len(self.log[name]) > self.log[name][0]]
        results = {name: self.log.pop(name)[1:] for name in over}
        out = {name: self.compute(self.log[name][-1]) for name in feedback if name not in over}
        for name, (token, wanted) in new.items():
            self.log[name] = [wanted]
            out[name] = self.compute(token)
        return out, {}, results


class Later(TwoKinds):
    def step(self, new, message, feedback):
        out = dict(zip(message, map(self.compute, message.values())))
        return ({}, out, {}) if self.is_last else (out, {}, {})


class SendsAgain(Right):
    """Bug 1 is out: later stages receive. All that is active is sent in every step."""

    def __init__(self, number, stages, compute):
        super().__init__(number, stages, compute)
        self.active = {}

    def step(self, new, message, feedback):
        self.active |= message
        self.active |= feedback
        self.active |= {name: token for name, (token, _) in new.items()}
        out = {name: self.compute(value) for name, value in self.active.items()}
        return ({}, out, {}) if self.last else (out, {}, {})


class NeverForgets(Right):
    def step(self, new, message, feedback):
        out, back, results = super().step(new, message, feedback)
        if results:
            out |= {name: self.compute(feedback[name]) for name in results}
        return out, back, results

    def tokens(self, new, feedback):
        return {name: token for name, token in feedback.items() if name in self.texts}


class GoesOnAfterwards(Right):
    """Whoever is complete is answered, and computed for when there is nothing else to do."""

    def __init__(self, number, stages, compute):
        super().__init__(number, stages, compute)
        self.active = {}

    def step(self, new, message, feedback):
        out, back, results = super().step(new, message, feedback)
        self.active = {name: token for name, token in {**self.active, **feedback}.items() if name not in self.texts}
        if self.number == 0 and not out and not results:
            out = {name: self.compute(token) for name, token in self.active.items()}
        return out, back, results

    def tokens(self, new, feedback):
        return {name: token for name, token in feedback.items() if name in self.texts}


class OwnActivation(Right):
    """The first stage goes on with what it made itself."""

    made = {}

    def step(self, new, message, feedback):
        given = super().step(new, message, feedback)
        self.made = {**self.made, **given[0]}
        return given

    def next(self, name, token):
        return self.compute(self.made[name])


class NoFeedback(Right):
    def tokens(self, new, feedback):
        return {}


class TokensLost(Right):
    """New requests and tokens that come back in one tick: the tokens are lost."""

    def tokens(self, new, feedback):
        return {} if new else feedback


class NewLost(Right):
    def newcomers(self, new, feedback):
        return {} if feedback else new


class AnothersToken(Right):
    """Tokens are handed out in the order of the names."""

    def tokens(self, new, feedback):
        names = list(feedback)
        return dict(zip(names[1:] + names[:1], feedback.values()))


class OneTooMany(Right):
    def over(self, name):
        return len(self.texts[name]) > self.wanted[name]


class OneTooFew(Right):
    def over(self, name):
        return len(self.texts[name]) >= max(1, self.wanted[name] - 1)


class NeverDeletes(Right):
    """Whoever is answered is answered once, and stays in the books. Its name may come again: then its row is written anew."""

    def forget(self, name):
        pass


class LaterStagesRemember(Right):
    """Each stage notes of whom it has heard."""

    def __init__(self, number, stages, compute):
        super().__init__(number, stages, compute)
        self.active = set()

    def later(self, message):
        self.active |= message.keys()
        return super().later(message)


class OldTexts(Right):
    """A name that is used again finds the text of the old request."""

    def begin(self, name, token, wanted):
        self.texts.setdefault(name, [])
        self.wanted[name] = wanted + len(self.texts[name])

    def forget(self, name):
        self.texts[name] = list(self.texts[name])


class WithThePrompt(Right):
    def begin(self, name, token, wanted):
        self.wanted[name], self.texts[name] = wanted + 1, [token]


class LastAlone(Right):
    def answer(self, name):
        return self.texts[name][-1:]


class GivesOn(Right):
    """The last stage gives its tokens to a stage that is not there."""

    def later(self, message):
        return {name: self.compute(value) for name, value in message.items()}, {}, {}


class BackFromEverywhere(Right):
    def later(self, message):
        out = {name: self.compute(value) for name, value in message.items()}
        return ({}, out, {}) if self.last else (out, out, {})


class PassesOn(Right):
    def later(self, message):
        return ({}, message, {}) if self.last else (message, {}, {})


class ComputesTwice(Right):
    def later(self, message):
        out = {name: self.compute(value) for name, value in message.items() if self.compute(value) >= 0}
        return ({}, out, {}) if self.last else (out, {}, {})


class AnswersElsewhere(Right):
    """The last stage gives every token as an answer."""

    def later(self, message):
        out = {name: self.compute(value) for name, value in message.items()}
        return ({}, out, {name: [token] for name, token in out.items()}) if self.last else (out, {}, {})


class PartByPart(Right):
    """Every token is an answer of its own at once."""

    def step(self, new, message, feedback):
        out, back, results = super().step(new, message, feedback)
        return out, back, results | {name: list(self.texts[name]) for name in feedback if name in self.texts}


class NoAnswer(Right):
    def step(self, new, message, feedback):
        out, back, _ = super().step(new, message, feedback)
        return out, back, {}


class OneDict(Right):
    def step(self, new, message, feedback):
        return super().step(new, message, feedback)[0]


class FirstOnly(Right):
    """Takes one request of a message."""

    def later(self, message):
        return super().later(dict(list(message.items())[:1]))


WRONG = [
    (AsPrinted, "a later stage works on what it receives"),
    (SendsAgain, "is sent again, though it has not come back"),
    (NeverForgets, "and it goes on: forget it"),
    (GoesOnAfterwards, "still it is computed for"),
    (OwnActivation, "what this stage itself made"),
    (NoFeedback, "the first stage computes it next"),
    (TokensLost, "is lost, because somebody new"),
    (NewLost, "is new and is lost"),
    (AnothersToken, "what came for another request"),
    (OneTooMany, "one more is asked for"),
    (OneTooFew, "it is given up too early"),
    (NeverDeletes, "stage 0: r0 was answered in tick"),
    (LaterStagesRemember, "stage 1: r0 was answered in tick"),
    (OldTexts, "an earlier request of that name"),
    (WithThePrompt, "begins with the token of the prompt"),
    (LastAlone, "the last token alone"),
    (GivesOn, "tokens go back to the first stage"),
    (BackFromEverywhere, "only the last stage has tokens"),
    (PassesOn, "is passed on as it came"),
    (ComputesTwice, "it computes 2 times to send 1"),
    (AnswersElsewhere, "knows how many tokens are wanted"),
    (PartByPart, "its answer is given when it is complete"),
    (NoAnswer, "and no answer is given"),
    (OneDict, "step returned"),
    (FirstOnly, "has come and is left out"),
]

RIGHT = [Right, Stateless, CountsDown, ByGenerator, TwoKinds]
