"""Every knob of the server, once (name, default, range, and what ``--help`` prints), and its log."""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from ..config import EngineConfig, check_knob, knob
from ..parallel.router import make_router

# What a server sets otherwise than ``EngineConfig``: a queue without end is memory without end.
ENGINE_DEFAULTS = {"max_num_queued_reqs": 1_024}


def check_scheduler(config: EngineConfig) -> None:
    """Raise ValueError for a scheduler that waits for a full batch, which may never come."""
    if config.scheduler == "static":
        raise ValueError(
            f"scheduler='static' waits for batch_size={config.batch_size} requests: choose another to serve"
        )


@dataclass(frozen=True)
class ServerConfig:
    """The server's knobs. A value out of range raises ValueError naming the knob, the value and the range."""

    host: str = knob("127.0.0.1", "address to listen on; 0.0.0.0: all, for other machines too")
    port: int = knob(
        8000, "port to listen on; 0: any that is free, which is then printed", low=0, high=65_535
    )
    api_key: str | None = knob(
        None, "ask for this key; better given as MINIENG_API_KEY, which no list of processes shows"
    )
    served_model_name: str | None = knob(
        None, "what clients call the model; the name it was loaded by if not given"
    )
    chat_template: str | None = knob(None, "file with a chat template, instead of the model's own")
    replicas: int = knob(1, "engines, each in a process of its own with weights of its own", low=1, high=64)
    router: str = knob("least", "which replica takes a request")
    ray_address: str | None = knob(
        None, "let Ray run the replicas: on a cluster (auto, or HOST:PORT of its head), or here (local)"
    )
    trace: str | None = knob(
        None,
        "keep every step, not the last 2,000; written to this file at the end, as a page if it ends in .html",
    )
    max_connections: int = knob(1_000, "most connections at a time; more are answered 503", low=1)
    max_body_mb: float = knob(8.0, "largest request, in MiB; larger ones are answered 413", low=0.001)
    max_header_kb: int = knob(
        64, "largest head of a request, in KiB; larger ones are answered 400 or 431", low=1
    )
    header_seconds: float = knob(10.0, "time for the head of a request to come in", low=0.01)
    body_seconds: float = knob(
        30.0, "time for the body of a request to come in; then it is answered 408", low=0.01
    )
    write_seconds: float = knob(
        30.0, "how long a client may leave unread what was sent; then it is cut off", low=0.01
    )
    idle_seconds: float = knob(5.0, "how long a connection may stay open between two requests", low=0.01)
    stop_seconds: float = knob(30.0, "on SIGTERM: how long requests may go on before they are ended", low=0.0)

    def __post_init__(self) -> None:
        for knob_ in fields(self):
            check_knob(knob_, getattr(self, knob_.name))
        if self.chat_template is not None and not Path(self.chat_template).is_file():
            raise ValueError(f"chat_template={self.chat_template!r}: there is no such file")
        if self.trace is not None and not Path(self.trace).absolute().parent.is_dir():
            raise ValueError(
                f"--trace {self.trace}: there is no directory {Path(self.trace).absolute().parent}"
            )

        if not re.fullmatch(r"local|auto|[^/]+:\d+", self.ray_address or "auto"):
            raise ValueError(f"ray_address={self.ray_address!r}: must be local, auto, or HOST:PORT of a head")
        make_router(self.router)  # names those there are
        if self.trace is not None and self.apart:
            raise ValueError(f"--trace {self.trace}: each replica has steps of its own: use --replicas 1")

    @property
    def apart(self) -> bool:
        """Whether engines run in processes of their own."""
        return self.replicas > 1 or self.ray_address is not None

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 2**20)


def api_key_of(config: ServerConfig) -> str | None:
    """The flag's, else the environment's. An empty one is no key: ValueError,
    for the server would be open.
    """
    key = config.api_key if config.api_key is not None else os.environ.get("MINIENG_API_KEY")
    if key is not None and not key.strip():
        raise ValueError("the API key is empty: give one, or unset MINIENG_API_KEY")
    return key


def start_log() -> None:
    """One line a request on stderr, with the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("minieng.server")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
