"""llama.cpp on a CPU through its C interface, in its own environment: 32 sequences in one context, admitted as seats get free.

llama-cpp-python's own ``generate`` has one sequence, so the loop that llama.cpp's server has in C++ is here in a few lines: each
call of ``llama_decode`` gets a token of everybody who writes, and prompts in pieces into what is left of 512 tokens.
"""

from __future__ import annotations

import ctypes
from collections import deque

from peers.protocol import Peer, Skip, serve

SEATS, STEP_TOKENS = 32, 512


class Row:
    """A request on its seat: how much of its text is fed already, and what it has written."""

    def __init__(self, seat: int, request: dict) -> None:
        self.seat, self.most, self.tokens = seat, request["max_tokens"], list(request["prompt"])
        self.fed, self.out = 0, []

    def is_prompt(self) -> bool:
        return len(self.tokens) - self.fed > 1


class Context:
    """A model, its cache for all seats, and one batch that is filled anew for each step."""

    def __init__(self, c, gguf: str, longest: int, threads: int) -> None:
        self.c = c
        c.llama_backend_init()
        model = c.llama_model_load_from_file(gguf.encode(), c.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp does not load {gguf}")
        params = c.llama_context_default_params()
        params.n_ctx, params.n_seq_max = SEATS * longest, SEATS
        params.n_batch = params.n_ubatch = STEP_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = params.no_perf = True
        self.context = c.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp makes no context of {params.n_ctx} tokens")
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
        self.batch = c.llama_batch_init(STEP_TOKENS, 0, 1)

    def step(self, rows: list[Row]) -> None:
        """One call: who writes first, then prompts. Whoever's text is fed up to its end gets a token."""
        asked, n, batch = [], 0, self.batch
        for row in sorted(rows, key=Row.is_prompt):
            piece = row.tokens[row.fed : row.fed + STEP_TOKENS - n]
            for token in piece:
                batch.token[n], batch.pos[n], batch.n_seq_id[n] = token, row.fed, 1
                batch.seq_id[n][0], batch.logits[n] = row.seat, 0
                row.fed, n = row.fed + 1, n + 1
            if piece and row.fed == len(row.tokens):
                batch.logits[n - 1] = 1
                asked.append((row, n - 1))
        batch.n_tokens = n
        if answer := self.c.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode answered {answer}")
        for row, place in asked:
            token = self.best(place)
            row.tokens.append(token)
            row.out.append(token)

    def best(self, place: int) -> int:
        """The likeliest token after a position of the last step."""
        import numpy as np

        logits = ctypes.cast(self.c.llama_get_logits_ith(self.context, place), ctypes.POINTER(ctypes.c_float))
        return int(np.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

    def forget(self, seat: int) -> None:
        """The seat is free for somebody else."""
        self.c.llama_memory_seq_rm(self.c.llama_get_memory(self.context), seat, -1, -1)

    def generate(self, requests: list[dict]) -> list[list[int]]:
        waiting, seats = deque(enumerate(requests)), list(range(SEATS))
        running: dict[int, Row] = {}
        answers: list[list[int]] = [[] for _ in requests]
        while waiting or running:
            while waiting and seats:
                number, request = waiting.popleft()
                running[number] = Row(seats.pop(), request)
            self.step(list(running.values()))
            for number in [number for number, row in running.items() if len(row.out) == row.most]:
                row = running.pop(number)
                answers[number] = row.out
                self.forget(row.seat)
                seats.append(row.seat)
        return answers


def load(job: dict) -> Peer:
    """The model as a GGUF file in the precision that the row names; KV in 16 bits, as llama.cpp has it."""
    try:
        import llama_cpp
    except ImportError as error:
        raise Skip(f"llama.cpp does not import: {error}") from None
    context = Context(llama_cpp, job["gguf"], job["longest"], job["threads"])
    settings = {"weights": job["kind"], "n_seq_max": SEATS, "n_batch": STEP_TOKENS, "kv": "f16", "prefix_caching": False}
    return Peer(context.generate, settings)


if __name__ == "__main__":
    serve(load)
