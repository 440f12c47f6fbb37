"""The front door: ``LLM("smollm2-135m").generate(["Hello"])``.

It loads a model, sizes the cache, turns prompts into requests and tokens into text. All deciding is done by
the engine and its scheduler; all computing by the runner.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from .answers import Answers
from .engine import Engine
from .params import INT_MAX, SamplingParams, integer
from .parts import Parts, loaded_parts
from .prompts import Prompt, as_list, bad_word_tokens, check_times, each_of, names_of, progress_bar, tokens_of
from .request import Request, RequestOutput, Status, TokenEvent, sample_key
from .ticket import Ticket
from .turn import Turn

if TYPE_CHECKING:
    from .bench import Report
    from .observe.trace import StepRecord, Trace
    from .sim.executor import SimExecutor
    from .sim.hardware import GPU, ModelSpec
    from .workload import Workload


class LLM:
    """A model behind an engine. Every keyword is a knob of ``EngineConfig``; see there,
    or ``minieng generate --help``.

    model  short name ("smollm2-135m", "tiny"), Hugging Face repo id, or local directory

    A context manager; ``close()`` gives the cache's memory back. Engines of one process share a model's
    weights. One thread at a time may use it; a second one is told so with a RuntimeError.
    """

    def __init__(self, model: str | Parts = "smollm2-135m", *, checked: bool = False, **knobs: Any) -> None:
        parts = model if isinstance(model, Parts) else loaded_parts(str(model), checked, knobs)
        self.engine: Engine = parts.engine
        self.config = parts.engine.config
        self.runner: Any = parts.engine.executor
        self.model_name, self.path = parts.name, parts.path
        self.tokenizer = parts.tokenizer
        self.max_model_len, self.vocab_size = parts.max_model_len, parts.vocab_size
        self.eos_token_ids = parts.eos_token_ids
        # Whoever holds the turn keeps other threads out.
        self._answers, self.turn = Answers(parts.tokenizer), Turn()
        self._streams = self._answers.streams
        self._ids = itertools.count()
        self._last_trace = parts.engine.trace
        self.engine.on_token = self._answers.on_token

    @classmethod
    def simulated(
        cls, model: str | ModelSpec = "llama-7b", gpu: str | GPU = "A100-80G", *, tensor: int = 1,
        stages: int = 1, depth: int = 1, host: float | tuple[float, float] | None = None,
        checked: bool = False, **knobs: Any,
    ) -> LLM:  # fmt: skip
        """The same face on a GPU that is not here: the real scheduler and block tables,
        a formula for each step's time.

        Nothing is computed: prompts are token ids, the answers have the right length and no text. Time is
        virtual.

        model, gpu      names or specs of ``minieng.sim.hardware``
        tensor, stages  tensor-parallel ranks, and pipeline stages
        depth           batches in flight at once, for a pipeline (1: a batch passes all stages before the
        next one starts)
        host            seconds a step takes outside the GPU, or (a step, each request in it) (default: 1 ms,
        vLLM of 2025)
        knobs           those of ``EngineConfig``
        """
        from .sim.simulated import simulated_engine
        from .text import NoTokenizer

        own: dict[str, Any] = {} if host is None else {"host": host}
        engine = simulated_engine(
            model, gpu, tensor=tensor, stages=stages, depth=depth, checked=checked, **own, **knobs
        )
        spec = cast("SimExecutor", engine.executor).model.model
        return cls(
            Parts(
                engine, spec.name, NoTokenizer(), engine.config.max_model_len or spec.max_len, spec.vocab, []
            )
        )

    # -- what a reader types ----------------------------------------------------------------------------

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        priority: int | Sequence[int] = 0,
        deadline: float | Sequence[float | None] | None = None,
        user: str | Sequence[str] = "",
        request_ids: Sequence[str] | None = None,
        arrivals: Sequence[float] | None = None,
        progress: bool = False,
    ) -> list[RequestOutput]:
        """Answers in the order of the prompts. All prompts are checked before any is queued.

        prompts   a string, token ids, chat messages, or a list of any of these
        params, priority, deadline, user   one for all, or one for each prompt; deadline in seconds from now
        arrivals  seconds from now at which each prompt comes (default: all at once)
        progress  show a bar
        """
        with self.turn:
            ticket = self.submit(
                prompts,
                params,
                priority=priority,
                deadline=deadline,
                user=user,
                request_ids=request_ids,
                arrivals=arrivals,
            )
            try:
                with progress_bar(progress, len(ticket.requests)) as bar:
                    while not ticket.done:
                        if record := self.step():
                            bar.update(len(record.finished))
                return ticket.outputs()
            finally:
                ticket.close()

    def stream(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        priority: int | Sequence[int] = 0,
        deadline: float | Sequence[float | None] | None = None,
        user: str | Sequence[str] = "",
        request_ids: Sequence[str] | None = None,
    ) -> Generator[TokenEvent, None, None]:
        """Token by token, of one prompt or of several at once. Leaving the loop early aborts the requests.

        The keywords are those of ``generate``. Prompts are checked and queued when the first token is asked
        for.
        """
        with self.turn:
            ticket = self.submit(
                prompts, params, priority=priority, deadline=deadline, user=user, request_ids=request_ids
            )
            try:
                while not ticket.done:
                    self.step()
                    yield from ticket.events()
                yield from ticket.events()  # of what was aborted since
            finally:
                ticket.close()

    def submit(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        priority: int | Sequence[int] = 0,
        deadline: float | Sequence[float | None] | None = None,
        user: str | Sequence[str] = "",
        request_ids: Sequence[str] | None = None,
        arrivals: Sequence[float] | None = None,
    ) -> Ticket:
        """Queue prompts and return at once. ``step()`` computes; the ticket tells what came,
        and must be closed.

        ``generate`` and ``stream`` are loops over these. The keywords are those of ``generate``.
        """
        with self.turn:
            groups = self._submit(prompts, params, priority, deadline, user, request_ids, arrivals)
            return Ticket(groups, self._answers, self._forget)

    def go_on(self, request: Request) -> Ticket:
        """Queue a text that another engine has begun (``resume.going_on``); else as ``submit``. The ticket
        tells of the tokens that are new, and of all text.
        """
        with self.turn:
            self._check_open()
            request.arrival_time = self.engine.clock.now()
            self._answers.open([request])
            try:
                self.engine.add_request(request)
            except BaseException:
                self._answers.drop(request)
                raise
            return Ticket([[request]], self._answers, self._forget)

    def step(self, until: float | None = None) -> StepRecord | None:
        """One step for all who have a ticket; None if nothing was computed. until: see ``Engine.step``."""
        with self.turn:
            self._check_open()
            return self.engine.step(until)

    def serve_workload(
        self, workload: Workload, *, virtual: bool = False, progress: bool = False,
        goodput: Mapping[str, float] | None = None, seed: int = 0,
    ) -> Report:  # fmt: skip
        """Requests that come when the workload says, in real time; what happened, and what it was worth.

        virtual   waiting costs nothing: the clock is moved by the measured duration of each step
        goodput   objectives in milliseconds, such as {"ttft": 200, "tpot": 50}
        seed      of the random prompts
        """
        self._check_open()
        from .bench import requests_of, serve

        requests = requests_of(workload, self.vocab_size, seed)
        with self.turn:
            return serve(
                self.engine, requests, self.max_model_len, virtual=virtual, progress=progress, goodput=goodput
            )

    def chat(self, messages: list[dict], params: SamplingParams | None = None) -> str:
        """The model's answer to a conversation, as text."""
        return self.generate([messages], params)[0].outputs[0].text

    def abort(self, request_id: str) -> None:
        """End a request and all its samples. Raises KeyError for an unknown id."""
        with self.turn:
            samples = [r for r in self.engine.requests.values() if r.prompt_id == request_id]
            if not samples:
                raise KeyError(f"no request {request_id!r}: unknown, or finished already")
            for request in samples:
                if request.status is not Status.FINISHED:  # an abort may let others of a static batch go
                    self.engine.abort(request.request_id)

    @property
    def trace(self) -> Trace:
        """What was done, step by step; still readable after ``close()``."""
        return self.engine.trace if self.engine is not None else self._last_trace

    def replay(self, trace: Trace) -> Trace:
        """Carry the plans of a trace out again, here; what happened, as a trace of its own.

        The same model gives the same tokens: compare ``outputs()`` of both. The knobs must be those of the
        recorded engine. Raises TraceError if the trace does not begin at the beginning, or does not fit.
        """
        self._check_open()
        from .replay import replay

        with self.turn:
            return replay(trace, self.engine)

    def explain(self) -> str:
        """What runs here, on what, and why: device, precision, attention, linears, cache."""
        self._check_open()
        kv, config = self.engine.kv, self.config.as_plain()
        refused = [text for record in self.trace for _, text in record.refused]
        lines = {
            "model": self.model_name + (f", {self.path}" if self.path else ""),
            **self.runner.facts(),
            "scheduler": f"{type(self.engine.scheduler).__name__}, "
            f"order {self.engine.scheduler.order.in_words()}, "
            f"admission {config['admission']}, victim {config['victim'] or 'the last in the order'}, "
            f"preemption {config['preemption']}",
            "cache": f"{kv.pool.num_blocks} blocks of {kv.block_size} = {kv.num_slots} tokens, "
            f"{self.runner.kv_nbytes_per_token * kv.num_slots / 2**20:.0f} MiB "
            f"({self.runner.kv_nbytes_per_token:.0f} bytes a token), {kv.pool.num_free} blocks free, prefix "
            f"caching {'on' if config['enable_prefix_caching'] else 'off'}",
            "longest text": f"{self.max_model_len} tokens",
            "steps": f"{len(self.trace)}, {self.trace.total('num_tokens')} tokens computed, "
            f"{len(refused)} refusals" + (f", the last: {refused[-1]}" if refused else ""),
        }
        return "\n".join(f"{name:13} {text}" for name, text in lines.items())

    def close(self) -> None:
        """Abort what runs and give the cache's memory back."""
        with self.turn:
            if self.engine is not None:
                while self.engine.requests:  # an abort may let others of a static batch go
                    self.engine.abort(next(iter(self.engine.requests)))
                self._last_trace = self.engine.trace
                self.runner.close()
            self.runner = None
            self.engine = None  # type: ignore[assignment]  # all that follows is refused by _check_open

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.engine is None:
            raise RuntimeError("this LLM is closed: make a new one")

    # -- from prompts to requests -----------------------------------------------------------------------

    def _submit(
        self, prompts, params, priority, deadline, user, request_ids, arrivals
    ) -> list[list[Request]]:
        """One list of ``n`` requests for each prompt, all queued; or ValueError (QueueFull), and none is."""
        self._check_open()
        prompts = as_list(prompts)
        count, now = len(prompts), self.engine.clock.now()
        spread = {
            "params": each_of(
                "params", params if params is not None else SamplingParams(), count, SamplingParams
            ),
            "priority": each_of("priority", priority, count, int),
            "deadline": each_of("deadline", deadline, count, (int, float, type(None))),
            "user": each_of("user", user, count, str),
            "arrivals": each_of("arrivals", 0.0 if arrivals is None else arrivals, count, (int, float)),
        }
        for each in spread["priority"]:
            integer("priority", each, -INT_MAX, INT_MAX)
        taken = {r.prompt_id for r in self.engine.requests.values()}
        ids = names_of(
            [str(next(self._ids)) for _ in prompts] if request_ids is None else request_ids, count, taken
        )
        groups: list[list[Request]] = []
        try:
            for i, prompt in enumerate(prompts):
                own = {name: values[i] for name, values in spread.items()}
                groups.append(self._requests(ids[i], prompt, now, **own))
            self._name_apart(itertools.chain.from_iterable(groups))
            if here := [r for r in itertools.chain.from_iterable(groups) if r.arrival_time <= now]:
                self.engine.check_room(here)
            self._answers.open(itertools.chain.from_iterable(groups))
            for first, *others in groups:
                self.engine.add_request(first)
                self.engine.add_siblings(first, others)
        except BaseException:
            self._forget(groups)
            raise
        return groups

    def _name_apart(self, requests: Iterable[Request]) -> None:
        """No two sequences bear one name: "doc#1" may be a sample of "doc" or a user's own name."""
        names = set(self.engine.requests)
        for request in requests:
            while request.request_id in names:
                request.request_id += "'"
            names.add(request.request_id)

    def _requests(self, request_id, prompt, now, params, priority, deadline, user, arrivals) -> list[Request]:
        """The ``n`` samples of one prompt. Raises ValueError naming what is wrong with the prompt."""
        text, token_ids = tokens_of(prompt, self.tokenizer, self.vocab_size, self.model_name)
        for name, token in params.token_ids_named():
            if token >= self.vocab_size:
                raise ValueError(
                    f"{name}: token {token} is out of range: the vocabulary has {self.vocab_size} tokens"
                )
        if len(token_ids) >= self.max_model_len:
            raise ValueError(
                f"request {request_id!r}: the prompt has {len(token_ids)} tokens, the longest text is "
                f"{self.max_model_len} with at least one token of output: shorten the prompt or raise "
                "max_model_len"
            )
        check_times(request_id, arrivals, deadline)
        bad_words, longest = bad_word_tokens(params.bad_words, self.tokenizer), self.max_model_len
        # No more than the whole cache holds, where that is less; the last needs no KV.
        if params.max_tokens is None:
            longest = max(len(token_ids) + 1, min(longest, self.engine.kv.num_slots + 1))
        return [
            Request(
                request_id if params.n == 1 else f"{request_id}#{index}", token_ids, params, prompt=text,
                prompt_id=request_id, sample_index=index,
                sample_key=sample_key(params.seed, self.config.seed, request_id, index),
                arrival_time=now + arrivals, priority=priority,
                deadline=None if deadline is None else now + deadline, user=user, max_model_len=longest,
                eos_token_ids=self.eos_token_ids, bad_words=bad_words,
            )
            for index in range(params.n)
        ]  # fmt: skip

    def _forget(self, groups: list[list[Request]]) -> None:
        """Whatever of these still runs is aborted (Ctrl-C, an early exit, a refused neighbour)."""
        with self.turn:
            for request in itertools.chain.from_iterable(groups):
                if self.engine is not None and self.engine.requests.get(request.request_id) is request:
                    self.engine.abort(request.request_id)
                self._answers.drop(request)
