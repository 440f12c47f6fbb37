"""Many HTTP requests at given times from one thread: what was sent, what came, and when each part of it came.

A client shares the processors with the server that it measures, so it does little while it waits: it keeps
what comes with the time, and reads it when all is there. Each request has a connection of its own, which the
server closes.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
PART = 1 << 16
PATIENCE = 600.0  # seconds without a byte after which a request is given up
PROBE_SECONDS = 5.0
AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Address:
    """Where a server is: ``Address.of("http://127.0.0.1:8000/v1")``.

    root  what stands before /v1 in its paths
    """

    host: str
    port: int
    tls: bool = False
    root: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """From a base URL, with or without /v1. Raises ValueError for what is none."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
                raise ValueError
            tls = parts.scheme == "https"
            port = parts.port or (443 if tls else 80)
        except ValueError:
            raise ValueError(f"--base-url {url}: write http://HOST:PORT or https://HOST") from None
        return cls(parts.hostname, port, tls, parts.path.rstrip("/").removesuffix("/v1"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{self.root}"

    def request(self, method: str, path: str, body: bytes = b"", key: str | None = None) -> bytes:
        """The bytes of a request, after whose answer the server closes the connection."""
        head = [f"{method} {self.root}{path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Connection: close"]
        if key is not None:
            head.append(f"Authorization: Bearer {key}")
        if method == "POST":
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*head, "", ""]).encode() + body


@dataclass(eq=False)
class Exchange:
    """A request and what came of it; times in seconds after the start of all.

    due      when it is to be sent
    begun    when it was
    marks    (time, bytes until then) of each part of the answer that came
    problem  why there is no whole answer, or nothing
    """

    data: bytes
    due: float = 0.0
    begun: float = 0.0
    raw: bytearray = field(default_factory=bytearray)
    marks: list[tuple[float, int]] = field(default_factory=list)
    problem: str = ""

    @property
    def status(self) -> int:
        """Of HTTP; 0 if there is none."""
        word = bytes(self.raw[:64]).split(b" ")
        return (
            int(word[1][:3])
            if len(word) > 1 and word[0].startswith(b"HTTP/") and word[1][:3].isdigit()
            else 0
        )

    def body(self) -> tuple[bytes, Callable[[int], float]]:
        """What was answered, and a function that tells when so many bytes of it had come.

        Raises ValueError if it breaks off.
        """
        head, gap, _ = bytes(self.raw).partition(b"\r\n\r\n")
        if not gap:
            raise ValueError("the head of the answer is not whole")
        begin = len(head) + len(gap)
        if b"transfer-encoding: chunked" not in head.lower():
            return bytes(self.raw[begin:]), lambda count: self.when(begin + count)
        parts, ends, places, size = [], [], [], 0
        while True:
            line_end = self.raw.find(b"\r\n", begin)
            if line_end < 0:
                raise ValueError("the answer breaks off")
            length = int(self.raw[begin:line_end].split(b";")[0], 16)
            begin = line_end + 2
            if length == 0:
                break
            if begin + length > len(self.raw):
                raise ValueError("the answer breaks off")
            parts.append(bytes(self.raw[begin : begin + length]))
            begin += length
            size += length
            ends.append(size)  # in the body
            places.append(begin)  # in what came
            begin += 2

        def when(count: int) -> float:
            part = bisect_left(ends, count)
            return self.when(places[part] - (ends[part] - count))

        return b"".join(parts), when

    def when(self, count: int) -> float:
        """When so many bytes had come."""
        return self.marks[bisect_left(self.marks, count, key=lambda mark: mark[1])][0]


def exchange(
    address: Address, requests: Sequence[Exchange], *, look: float = 0.0, patience: float = PATIENCE,
    told: Callable[[], object] = lambda: None,
) -> float:  # fmt: skip
    """Send each request when it is due, whatever became of the others; returns when all have ended.

    look      seconds to sleep between two looks at what has come; 0: be woken by each part
    patience  seconds without a byte after which a request is given up
    told      called for each request that ends
    Returns the seconds from the start to the last end. What goes wrong is written into the requests.
    """
    waiting = sorted(requests, key=lambda request: -request.due)
    family, where = reachable(address)
    with selectors.DefaultSelector() as watch:
        run = _Run(watch, address, patience, told)
        while waiting or watch.get_map():
            while waiting and waiting[-1].due <= run.now():
                run.begin(waiting.pop(), family, where)
            if look:
                time.sleep(look)
            pause = max(0.0, min(1.0, waiting[-1].due - run.now())) if waiting else 1.0
            for key, _ in watch.select(0 if look else pause):
                run.go_on(key.data)
            run.give_up()
        return run.now()


def reachable(address: Address) -> tuple[int, tuple]:
    """Family and address to connect to: of several that a name has, the first that answers."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    for family, *_, where in found if len(found) > 1 else ():
        with socket.socket(family, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.settimeout(PROBE_SECONDS)
            probe.connect(where)
            return family, where
    return found[0][0], found[0][4]


class _Talk:
    """One connection. ``steps`` yields what it waits for, until all has come."""

    def __init__(self, connection: socket.socket, request: Exchange, run: _Run) -> None:
        self.connection, self.request, self.run = connection, request, run
        self.number, self.steps = connection.fileno(), self.talk()

    def talk(self) -> Generator[int, None, None]:
        yield WRITE
        if problem := self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(problem, os.strerror(problem))
        if self.run.tls is not None:
            yield from self.shake_hands(self.run.tls)
        rest = memoryview(self.request.data)
        while rest:
            try:
                rest = rest[self.connection.send(rest) :]
            except AGAIN:
                yield WRITE
        while True:
            try:
                part = self.connection.recv(PART)
            except AGAIN:
                yield READ
                continue
            if not part:
                return
            self.request.raw += part
            self.request.marks.append((self.run.now(), len(self.request.raw)))

    def shake_hands(self, tls: ssl.SSLContext) -> Generator[int, None, None]:
        host = self.run.address.host
        secure = tls.wrap_socket(self.connection, server_hostname=host, do_handshake_on_connect=False)
        self.connection = secure
        while True:
            try:
                secure.do_handshake()
                return
            except AGAIN as want:
                yield WRITE if isinstance(want, ssl.SSLWantWriteError) else READ


class _Run:
    """The connections of one ``exchange``."""

    def __init__(
        self, watch: selectors.BaseSelector, address: Address, patience: float, told: Callable[[], object]
    ) -> None:
        self.watch, self.address, self.patience, self.told = watch, address, patience, told
        self.tls = ssl.create_default_context() if address.tls else None
        self.start, self.looked = time.perf_counter(), 0.0

    def now(self) -> float:
        return time.perf_counter() - self.start

    def begin(self, request: Exchange, family: int, where: tuple) -> None:
        request.begun = self.now()
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as problem:
            self.end(request, problem)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connection.connect_ex(where)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            connection.close()
            self.end(request, OSError(code, os.strerror(code)))
            return
        talk = _Talk(connection, request, self)
        self.watch.register(talk.number, next(talk.steps), talk)

    def go_on(self, talk: _Talk) -> None:
        try:
            wanted = next(talk.steps)
        except StopIteration:
            self.end(talk.request, None, talk)
        except OSError as problem:
            self.end(talk.request, problem, talk)
        else:
            self.watch.modify(talk.number, wanted, talk)

    def give_up(self) -> None:
        """Those of whom nothing has been heard for too long; looked for a few times a second."""
        now = self.now()
        if now < self.looked + 0.2:
            return
        self.looked = now
        for key in list(self.watch.get_map().values()):
            marks = key.data.request.marks
            if now > (marks[-1][0] if marks else key.data.request.begun) + self.patience:
                problem = TimeoutError(f"nothing came for {self.patience:g} s")
                self.end(key.data.request, problem, key.data)

    def end(self, request: Exchange, problem: OSError | None, talk: _Talk | None = None) -> None:
        if talk is not None:
            self.watch.unregister(talk.number)
            talk.connection.close()
        if problem is not None:
            request.problem = problem.strerror or str(problem)
        self.told()
