"""Many HTTP requests at given times from one thread: what was sent, what came, and when each part of it came.

A client shares the processors with the server that it measures, so it does little while it waits: it keeps
what comes with the time, and reads it when all is there. Each request has a connection of its own, which the
server closes.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
PART = 1 << 16
PATIENCE = 600.0  # seconds without a byte after which a request is given up
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
    tls = ssl.create_default_context() if address.tls else None
    family, *_, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    waiting = sorted(requests, key=lambda request: -request.due)
    with selectors.DefaultSelector() as watch:
        start = time.perf_counter()
        run = _Run(watch, start, patience, told)
        while waiting or watch.get_map():
            while waiting and waiting[-1].due <= run.now():
                run.begin(waiting.pop(), address, family, where, tls)
            if look:
                time.sleep(look)
            pause = max(0.0, min(1.0, waiting[-1].due - run.now())) if waiting else 1.0
            for key, _ in watch.select(0 if look else pause):
                run.go_on(key)
            run.give_up()
        return run.now()


Talk = Generator[int, None, None]


class _Run:
    """The connections of one ``exchange``. Each is a generator that yields what it waits for."""

    def __init__(
        self, watch: selectors.BaseSelector, start: float, patience: float, told: Callable[[], object]
    ) -> None:
        self.watch, self.start, self.patience, self.told = watch, start, patience, told
        self.looked = 0.0

    def now(self) -> float:
        return time.perf_counter() - self.start

    def begin(
        self, request: Exchange, address: Address, family: int, where: tuple, tls: ssl.SSLContext | None
    ) -> None:
        request.begun = self.now()
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as problem:
            self.end(request, problem)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect_ex(where)
        if tls is not None:
            connection = tls.wrap_socket(
                connection, server_hostname=address.host, do_handshake_on_connect=False
            )
        talk = self.talk(connection, request)
        self.watch.register(connection, next(talk), (connection, talk, request))

    def talk(self, connection: socket.socket, request: Exchange) -> Talk:
        """One connection, from when it is asked for to its end."""
        yield WRITE
        if problem := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(problem, "cannot connect")
        while isinstance(connection, ssl.SSLSocket):
            try:
                connection.do_handshake()
                break
            except AGAIN as want:
                yield WRITE if isinstance(want, ssl.SSLWantWriteError) else READ
        rest = memoryview(request.data)
        while rest:
            try:
                rest = rest[connection.send(rest) :]
            except AGAIN:
                yield WRITE
        while True:
            try:
                part = connection.recv(PART)
            except AGAIN:
                yield READ
                continue
            if not part:
                return
            request.raw += part
            request.marks.append((self.now(), len(request.raw)))

    def go_on(self, key: selectors.SelectorKey) -> None:
        connection, talk, request = key.data
        try:
            wanted = next(talk)
        except StopIteration:
            self.end(request, None, connection)
        except OSError as problem:
            self.end(request, problem, connection)
        else:
            if wanted != key.events:
                self.watch.modify(connection, wanted, key.data)

    def give_up(self) -> None:
        """Those of whom nothing has been heard for too long, looked for once a second."""
        now = self.now()
        if now < self.looked + 1:
            return
        self.looked = now
        for key in list(self.watch.get_map().values()):
            connection, _, request = key.data
            if now > (request.marks[-1][0] if request.marks else request.begun) + self.patience:
                self.end(request, TimeoutError(f"nothing came for {self.patience:g} s"), connection)

    def end(
        self, request: Exchange, problem: OSError | None, connection: socket.socket | None = None
    ) -> None:
        if connection is not None:
            self.watch.unregister(connection)
            connection.close()
        if problem is not None:
            request.problem = problem.strerror or str(problem)
        self.told()
