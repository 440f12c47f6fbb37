"""What is asked of the engine, and what it answers.

A request is a list of tokens of which a prefix has been computed. There is no prefill phase and no decode
phase: a step lets ``num_computed_tokens`` catch up with ``num_tokens`` for some requests. This file knows
nothing of models, blocks or clocks; it holds the numbers that the other files move.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from .params import SamplingParams, longest_text


class Status(enum.Enum):
    WAITING = "waiting"  # holds no KV on the device
    RUNNING = "running"  # holds KV; may be planned
    FINISHED = "finished"  # gone


class Request:
    """One sequence inside the engine: tokens, how far they are computed, and where their KV lies.

    A prefix of ``token_ids`` has KV: it lies in the slots of ``block_table``, of which entry i is the block
    of slots [i·block_size, (i+1)·block_size). Token t lies in slot ``pad + t``; packed requests have ``pad =
    0``.
    """

    __slots__ = (
        # what is asked for
        "request_id",  # names this sequence; no two in an engine are equal
        "prompt_id",  # names the prompt, for its user: the same for all samples of one prompt
        "sample_index",  # which of the prompt's ``n`` samples it is
        "sample_key",  # what its random numbers depend on, besides the position (``sample_key()``)
        "prompt",  # the prompt as text, if it came as text
        "params",  # how tokens are chosen and when the text ends
        "bad_words",  # its ``bad_words`` as tokens: no choice completes one of these sequences
        "eos_token_ids",  # tokens that end the text, unless ``params`` says to ignore them
        "scripted_output",  # what a simulator answers; None: tokens until ``max_num_tokens``
        "max_num_tokens",  # prompt and output are never longer than this together
        # its place in line
        "arrival_time",  # seconds on the engine's clock
        "sequence",  # 1, 2, 3, … in the order in which the engine was given requests
        "priority",  # the smallest number goes first, as in vLLM
        "deadline",  # seconds on the engine's clock, or None
        "user",  # who shares with whom under the fair order
        # how far it is
        "status",  # waiting, running or finished
        "finish_reason",  # "stop", "length" or "abort"; None while the text grows
        "stop_reason",  # a stop string, a token of ``stop_token_ids``, or why it was turned away; else None
        "token_ids",  # the prompt, then the output
        "num_prompt_tokens",  # how many of them are the prompt
        "num_computed_tokens",  # how many of them have KV
        "num_cached_tokens",  # how many of the prompt's were found in the cache when it was first let in
        "high_water",  # the most that ever had KV: what lies below is computed again after a preemption
        "num_preemptions",  # how often it gave its KV up
        # where its KV lies
        "block_table",  # blocks on the device, in the order of the tokens
        "block_hashes",  # keys of its full blocks in the prefix index, as far as they were needed
        "num_published",  # how many of its blocks are in that index
        "host_blocks",  # blocks on the host while it is swapped out
        "pad",  # slots of padding on its left in a rectangle
        "span",  # slots reserved at admission; 0: blocks come as they are needed
        "fork_of",  # the sample whose prompt it shares, or None
        # what came of it; times in seconds on the engine's clock
        "logprobs",  # {token id: Logprob} for each output token, if asked for
        "prompt_logprobs",  # the same for each token of the prompt but the first
        "admitted_time",  # when it first ran
        "token_times",  # when each output token came
        "finish_time",  # when it left
    )

    def __init__(
        self,
        request_id: str,
        prompt_token_ids: Sequence[int],
        params: SamplingParams | None = None,
        *,
        prompt: str | None = None,
        prompt_id: str | None = None,
        sample_index: int = 0,
        sample_key: bytes = b"",
        arrival_time: float = 0.0,
        priority: int = 0,
        deadline: float | None = None,
        user: str = "",
        max_model_len: int | None = None,
        eos_token_ids: Sequence[int] = (),
        scripted_output: Sequence[int] | None = None,
        output_so_far: Sequence[int] = (),
        bad_words: Sequence[Sequence[int]] = (),
    ) -> None:
        self.request_id = request_id
        self.prompt_id = request_id if prompt_id is None else prompt_id
        self.sample_index, self.sample_key = sample_index, sample_key
        self.prompt = prompt
        self.params = params or SamplingParams()
        self.eos_token_ids = frozenset(eos_token_ids)
        self.scripted_output = scripted_output
        self.bad_words = as_tokens(bad_words, self.params)
        self.max_num_tokens = longest_text(len(prompt_token_ids), self.params.max_tokens, max_model_len)

        self.arrival_time = arrival_time
        self.sequence = 0
        self.priority = priority
        self.deadline = deadline
        self.user = user

        self.status = Status.WAITING
        self.finish_reason: str | None = None
        self.stop_reason: int | str | None = None
        self.token_ids = [*prompt_token_ids, *output_so_far]
        self.num_prompt_tokens = len(prompt_token_ids)
        if output_so_far and len(self.token_ids) >= self.max_num_tokens:
            what = f"{len(self.token_ids)} tokens so far, {self.max_num_tokens} at most"
            raise ValueError(f"request {request_id!r}: {what}: this text is complete")
        self.num_computed_tokens = self.num_cached_tokens = 0
        self.high_water = self.num_preemptions = 0

        self.block_table: list[int] = []
        self.block_hashes: list[bytes] = []
        self.num_published = 0
        self.host_blocks: list[int] = []
        self.pad = self.span = 0
        self.fork_of: Request | None = None

        self.logprobs: list[dict[int, Logprob]] = []
        self.prompt_logprobs: list[dict[int, Logprob]] = []
        self.admitted_time: float | None = None
        self.token_times: list[float] = []
        self.finish_time: float | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_remaining_tokens(self) -> int:
        """Tokens that exist but have no KV yet: the prompt at first, 1 for a request that decodes."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def is_decode(self) -> bool:
        """Only the token that was sampled last lacks its KV. A name for pictures; no rule depends on it."""
        return self.num_computed_tokens == len(self.token_ids) - 1 >= self.num_prompt_tokens

    @property
    def is_done(self) -> bool:
        """The text is complete. In a static batch the row may stay, and compute on, until the batch ends."""
        return self.finish_reason is not None

    @property
    def output_token_ids(self) -> list[int]:
        return self.token_ids[self.num_prompt_tokens :]

    def append(self, token: int, now: float) -> None:
        """One more output token; sets ``finish_reason`` if the token itself ends the text."""
        self.token_ids.append(token)
        self.token_times.append(now)
        if len(self.token_ids) >= self.max_num_tokens:
            self.finish_reason = "length"
        params = self.params
        if len(self.token_ids) - self.num_prompt_tokens >= params.min_tokens:
            if not params.ignore_eos and token in self.eos_token_ids:
                self.finish_reason = "stop"
            elif token in params.stop_token_ids:
                self.finish_reason, self.stop_reason = "stop", token

    def __repr__(self) -> str:
        done = f"{self.num_computed_tokens}/{self.num_tokens}"
        return f"Request({self.request_id!r}, {done} tokens, {self.status.value})"


@dataclass
class RequestMetrics:
    """Times in seconds on the engine's clock. ``token_times[i]`` is when output token i came.

    ``num_cached_tokens`` of the prompt's tokens were found in the cache when its first sample was first let
    in.
    """

    arrival_time: float
    admitted_time: float | None
    token_times: list[float]
    finish_time: float | None
    num_preemptions: int
    num_cached_tokens: int

    @property
    def first_token_time(self) -> float | None:
        return self.token_times[0] if self.token_times else None


class Logprob(float):
    """The logarithm of a token's probability: a number that also knows its rank and the token's text.

    rank           1 for the most likely token
    decoded_token  its text; None where no text is made
    """

    __slots__ = ("decoded_token", "rank")
    rank: int
    decoded_token: str | None

    def __new__(cls, logprob: float, rank: int, decoded_token: str | None = None) -> Logprob:
        self = super().__new__(cls, logprob)
        self.rank, self.decoded_token = rank, decoded_token
        return self

    @property
    def logprob(self) -> float:
        return float(self)

    def __getnewargs__(self) -> tuple:
        return float(self), self.rank, self.decoded_token

    def __repr__(self) -> str:
        return f"Logprob({float(self):.4f}, rank={self.rank}, decoded_token={self.decoded_token!r})"


@dataclass
class CompletionOutput:
    """One of the ``n`` texts of a prompt. ``finish_reason`` is "stop", "length" or "abort".

    ``stop_reason`` is the stop string, or the token of ``stop_token_ids``, that ended the text; of an aborted
    request "deadline" or "queue full" if it was turned away; None for the model's own end and all else.
    ``logprobs[i]`` maps token id to ``Logprob`` for output token i, and ``cumulative_logprob`` is the sum
    over the tokens chosen (None unless asked for).
    """

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None
    logprobs: list[dict[int, Logprob]] | None = None
    stop_reason: int | str | None = None
    cumulative_logprob: float | None = None


@dataclass
class RequestOutput:
    """The answer to one prompt, in vLLM's shape.

    ``prompt_logprobs[i]`` is for token i of the prompt: None for the first, which nothing foretells.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput] = field(default_factory=list)
    metrics: RequestMetrics | None = None
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None


@dataclass(frozen=True)
class TokenEvent:
    """One step of a stream: the new token and the text that became readable with it (may be empty)."""

    request_id: str
    index: int
    token_id: int | None
    text: str
    finish_reason: str | None
    stop_reason: int | str | None = None


def as_tokens(bad_words: Sequence[Sequence[int]], params: SamplingParams) -> list[tuple[int, ...]]:
    """The tokens of ``params.bad_words``; ValueError if the words are there and their tokens are not."""
    if params.bad_words and not bad_words:
        raise ValueError(f"bad_words={list(params.bad_words)}: give their tokens too: bad_words=[[…], …]")
    return [tuple(word) for word in bad_words]


def sample_key(seed: int | None, default_seed: int, request_id: str, sample_index: int) -> bytes:
    """What a request's noise depends on: its own seed, or else the engine's seed and its id;
    and which of n it is.
    """
    text = f"seed {seed}" if seed is not None else f"engine {default_seed} request {request_id}"
    return f"{text} sample {sample_index}".encode()
