"""What a user may ask of one text: how its tokens are chosen, where it ends, what is told besides.

A number that passes here can be computed with: nothing overflows later, in the middle of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, cast

MAX_LOGPROBS = 20
MAX_N = 16_384  # texts of one prompt
MAX_BIAS = 100.0  # added to a logit: more than this is the same as "always" or "never"
FLOAT_MAX = float.fromhex("0x1.fffffep127")  # of fp32, in which is sampled
INT_MAX = 2**63 - 1  # tensors and files hold whole numbers in 64 bits


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen and when a text ends. Names and meanings are vLLM's.

    ``temperature=0`` is greedy. ``top_k=0`` (or -1), ``top_p=1`` and ``min_p=0`` switch those filters off;
    ``min_p`` keeps tokens that are at least that share as likely as the likeliest. ``max_tokens`` counts
    output tokens; None: as many as ``max_model_len`` and the cache have room for. ``stop`` strings end the
    text before them, also where they cross a token border; so do tokens of ``stop_token_ids``, which stay in
    the list of tokens. With ``include_stop_str_in_output`` the text keeps what ended it. Within the first
    ``min_tokens`` tokens nothing ends a text. ``skip_special_tokens=False`` shows them in the text; with
    ``detokenize=False`` no text is made at all. ``n`` samples of one prompt share its KV. ``seed`` makes a
    sampled text the same on every run, whatever else is in the batch.

    ``repetition_penalty`` divides positive logits of tokens that prompt or output hold, and multiplies
    negative ones; of tokens that the output holds, ``presence_penalty`` is taken off once,
    ``frequency_penalty`` for each time. ``logit_bias`` is added to the logits of some tokens; it is kept as
    pairs. Only ``allowed_token_ids`` can be chosen, if they are given; none of ``bad_words`` is ever
    completed, at the beginning of a word or within one.

    ``logprobs=k`` returns the k most likely tokens beside the chosen one, ``prompt_logprobs=k`` the same for
    the tokens of the prompt: what the model said, before everything that is named above.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int | None = 64
    min_tokens: int = 0
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    detokenize: bool = True
    n: int = 1
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]] = ()
    allowed_token_ids: Sequence[int] | None = None
    bad_words: str | Sequence[str] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        for name in ("stop", "bad_words"):
            value = getattr(self, name)
            self._keep(name, (value,) if isinstance(value, str) else sequence(name, value))
        self._keep("stop_token_ids", sequence("stop_token_ids", self.stop_token_ids))
        self._keep("logit_bias", pairs("logit_bias", self.logit_bias))
        if self.allowed_token_ids is not None:
            self._keep("allowed_token_ids", sequence("allowed_token_ids", self.allowed_token_ids))
        self._check_numbers()
        self._check_lists()
        for field in fields(self):
            if field.type == "bool" and not isinstance(getattr(self, field.name), bool):
                raise ValueError(f"{field.name}={getattr(self, field.name)!r}: must be True or False")
        if self.stop and not self.detokenize:
            raise ValueError(
                f"stop={list(self.stop)}: stop strings are looked for in the text: leave detokenize=True, "
                "or use stop_token_ids"
            )

    def _keep(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        number("temperature", self.temperature, 0.0)
        number("top_p", self.top_p, 0.0, 1.0, low_open=True)
        number("min_p", self.min_p, 0.0, 1.0)
        number("repetition_penalty", self.repetition_penalty, 1e-6, 1e6)
        number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        integer("top_k", self.top_k, -1, None)
        # More than the vocabulary is the same as all of it.
        self._keep("top_k", min(max(0, self.top_k), INT_MAX))
        integer("min_tokens", self.min_tokens, 0)
        integer("n", self.n, 1, MAX_N)
        if self.max_tokens is not None:
            integer("max_tokens", self.max_tokens, 1)
            if self.min_tokens > self.max_tokens:
                raise ValueError(
                    f"min_tokens={self.min_tokens} is more than max_tokens={self.max_tokens}: lower it"
                )
        if self.seed is not None:
            integer("seed", self.seed, -INT_MAX - 1)
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), 0, MAX_LOGPROBS)

    def _check_lists(self) -> None:
        for name in ("stop", "bad_words"):
            for text in getattr(self, name):
                if not isinstance(text, str) or not text.strip() and (name == "bad_words" or not text):
                    raise ValueError(f"{name}={text!r}: each must be a string of at least one character")
        for token in self.stop_token_ids:
            integer("stop_token_ids", token, 0)
        for token, bias in self.biases:
            integer("logit_bias: token", token, 0)
            number(f"logit_bias: token {token}", bias, -MAX_BIAS, MAX_BIAS)
        for token in self.allowed_token_ids or ():
            integer("allowed_token_ids", token, 0)
        if self.allowed_token_ids == ():
            raise ValueError("allowed_token_ids=[]: no token could be chosen: name some, or None for all")

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        """``logit_bias`` as it is kept: (token, what is added to its logit)."""
        return cast("tuple[tuple[int, float], ...]", self.logit_bias)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @cached_property
    def follows_text(self) -> bool:
        """Whether a choice depends on which tokens came before, besides what the model says."""
        penalties = self.presence_penalty, self.frequency_penalty, self.repetition_penalty - 1.0
        return any(penalties) or bool(self.bad_words)

    @cached_property
    def moves_logits(self) -> bool:
        """Whether anything is done to the logits before temperature and filters: mostly not,
        and that must be quick.
        """
        return bool(self.follows_text or self.min_tokens or self.logit_bias or self.allowed_token_ids)

    @cached_property
    def filters(self) -> bool:
        """Whether some tokens are left out of a draw."""
        return bool(self.top_k or self.top_p < 1 or self.min_p)

    def token_ids_named(self) -> list[tuple[str, int]]:
        """(parameter, token) of each token that must be in the vocabulary."""
        named = [("logit_bias", token) for token, _ in self.biases]
        return named + [("allowed_token_ids", token) for token in self.allowed_token_ids or ()]


def sequence(name: str, value: Any) -> tuple:
    if value is not None and not isinstance(value, Sequence):
        raise ValueError(f"{name}={value!r}: must be a list, not {type(value).__name__}")
    return tuple(value or ())


def pairs(name: str, value: Any) -> tuple[tuple[int, float], ...]:
    """{token: number} as pairs. JSON has text for keys and lists for pairs: both are taken."""
    if isinstance(value, Mapping):
        value = [
            (int(key) if isinstance(key, str) and key.isdecimal() else key, item)
            for key, item in value.items()
        ]
    value = sequence(name, value)
    for pair in value:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f"{name}={pair!r}: must be a dictionary from token ids to numbers")
    return tuple((token, item) for token, item in value)


def number(name: str, value: Any, low: float, high: float = FLOAT_MAX, low_open: bool = False) -> None:
    """Raise ValueError unless the value is a number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}={value!r}: must be a number, not {type(value).__name__}")
    inside = (low < value if low_open else low <= value) and value <= high
    if not inside:  # NaN fails every comparison, so it lands here too
        raise ValueError(f"{name}={shown(value)}: must lie in {'(' if low_open else '['}{low:g}, {high:g}]")


def integer(name: str, value: Any, low: int, high: int | None = INT_MAX) -> None:
    """Raise ValueError unless the value is a whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}={value!r}: must be a whole number, not {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name}={shown(value)}: must be at least {low}")
    if high is not None and value > high:
        raise ValueError(f"{name}={shown(value)}: must be at most {high}")


def shown(value: float | None) -> str:
    """A number for a message; Python itself does not print one of more than 4,300 digits."""
    if isinstance(value, int) and value.bit_length() > 80:
        return f"{'-' if value < 0 else ''}2**{value.bit_length() - 1} or more"
    return repr(value)


def longest_text(prompt_tokens: int, max_tokens: int | None, max_model_len: int | None) -> int:
    """Tokens of prompt and output together, at most."""
    if max_tokens is None and max_model_len is None:
        raise ValueError("max_tokens=None means: up to max_model_len. Give the request one, or a max_tokens")
    limits = [prompt_tokens + max_tokens] if max_tokens is not None else []
    return min(limits + ([max_model_len] if max_model_len is not None else []))
