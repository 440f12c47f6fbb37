"""The live page: what it is sent is what the trace says; nobody who watches holds anything up; no key, no look."""

from __future__ import annotations

import json
import re
import socket
import threading
import time

import pytest
from support.door import Door, fake_llm, nothing_runs, raw, read_all, refused
from support.fakes import nothing_left

from minieng.draw.look import FILLS, OWNERS
from minieng.server import watch

PAGE = watch.PAGE.read_text(encoding="utf-8")


def looks(door: Door, until, **headers: str) -> list[dict]:
    """Looks that come, until one (the last) is such that ``until`` of all of them."""
    found: list[dict] = []
    with door.client.stream("GET", "/events", headers=headers) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if until(found):
                    return found
    return found


def steps_of(found: list[dict]) -> list[list]:
    return [step for look in found for step in look["steps"]]


@pytest.fixture
def door():
    llm = fake_llm(slow=0.005)
    with Door(llm) as door:
        yield door
    nothing_left(llm.engine)
    nothing_runs()


def test_who_watches_sees_the_steps_of_the_trace_each_once(door):
    """From rows that wait and run to none, with each request's tokens and blocks as the trace has them."""
    asked = [threading.Thread(target=door.complete, args=([[i] * 20 for i in range(1, 13)],), kwargs={"max_tokens": 40})]
    asked[0].start()
    found = looks(door, lambda all: all[-1]["rows"] == [] and len(steps_of(all)) > 0)
    asked[0].join()
    trace = list(door.llm.trace)
    told, first = steps_of(found), steps_of(found)[0][0]
    assert [step[0] for step in told] == [record.step for record in trace[first:]]
    for step, record in zip(told, trace[first:], strict=True):
        assert [cell[2] for cell in step[3]] == [n for _, _, n in record.slices]
        assert [watch.KINDS[cell[1]] for cell in step[3]] == record.kinds
        left = [watch.short(name) for name in (*record.finished, *record.preempted)]
        assert step[2] == record.num_waiting and step[4] == left
    busy = [look for look in found if look["rows"]]
    assert busy and all(look["running"] == len(look["blocks"]["held"]) for look in busy)
    assert all(len(look["rows"]) == look["running"] + look["waiting"] for look in busy)
    assert found[-1]["blocks"]["free"] == found[-1]["blocks"]["total"] and found[-1]["running"] == 0


def test_a_look_has_no_word_of_a_text(door):
    door.complete([7, 7, 7], max_tokens=30)
    (look,) = looks(door, lambda all: True)
    assert set(look) == {"model", "scheduler", "over", "now", "running", "waiting", "rows", "blocks", "steps"}
    assert all(set(map(type, cell)) <= {str, int, float} for step in look["steps"] for cell in step[3])


def test_only_the_last_two_hundred_steps_are_sent(door):
    door.llm.engine.executor.execute = type(door.llm.engine.executor).execute.__get__(
        door.llm.engine.executor
    )  # as fast as it can
    for _ in range(5):
        door.complete([3], max_tokens=60)
    (look,) = looks(door, lambda all: True)
    assert len(look["steps"]) == watch.MOST_STEPS and look["steps"][-1][0] == len(door.llm.trace) - 1


def test_nobody_watches_nothing_is_looked_at(door, monkeypatch):
    made = []
    monkeypatch.setattr(watch.Watch, "_look", lambda self, last: made.append(last) or (last, {}))
    door.complete([1, 2], max_tokens=20)
    assert door.get("/").status_code == 200 and made == []


def test_those_who_ask_together_get_one_look(door, monkeypatch):
    seen = next(route.endpoint.__self__ for route in door.service.config.app.routes if route.path == "/events")
    made = []
    monkeypatch.setattr(seen, "_look", lambda last: (made.append(last), (last, {}))[1])
    assert [seen.look(5) for _ in range(3)] == [(5, {})] * 3 and made == [5]
    time.sleep(watch.EVERY)
    seen.look(5)
    assert made == [5, 5]


def test_a_watcher_who_reads_nothing_is_cut_off_and_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 0.005)  # what fills the buffers between them comes sooner
    llm = fake_llm()
    with Door(llm, write_seconds=0.5) as door:
        dead = socket.socket()
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        dead.connect(("127.0.0.1", door.port))
        dead.sendall(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        seen = next(route.endpoint.__self__ for route in door.service.config.app.routes if route.path == "/events")
        soon = time.monotonic() + 60
        while seen.num_watchers == 0 and time.monotonic() < soon:
            time.sleep(0.01)
        assert seen.num_watchers == 1
        while seen.num_watchers and time.monotonic() < soon:  # others are answered all the while
            answer = door.complete([[i] * 12 for i in range(1, 9)], max_tokens=50)
            assert answer["usage"]["completion_tokens"] == 400
        assert seen.num_watchers == 0
        dead.close()
    nothing_left(llm.engine)
    nothing_runs()


def test_who_goes_away_is_forgotten_and_too_many_are_refused(door, monkeypatch):
    monkeypatch.setattr(watch, "MOST_WATCHERS", 2)
    asking = b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n"
    watching = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(2)]
    for connection in watching:
        connection.sendall(asking)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
    response = door.get("/events")
    assert "2 pages watch already" in refused(response, 503) and response.headers["retry-after"]
    for connection in watching:
        connection.close()
    seen = next(route.endpoint.__self__ for route in door.service.config.app.routes if route.path == "/events")
    soon = time.monotonic() + 10
    while seen.num_watchers and time.monotonic() < soon:
        time.sleep(0.01)
    assert seen.num_watchers == 0
    looks(door, lambda all: True)


def test_the_page_needs_no_key_and_shows_nothing_without_one():
    llm = fake_llm()
    with Door(llm, api_key="secret") as door:
        page = door.get("/")
        assert page.status_code == 200 and page.text == PAGE
        refused(door.get("/events"), 401)
        refused(door.get("/events", headers={"authorization": "Bearer wrong"}), 401)
        assert looks(door, lambda all: True, authorization="Bearer secret")[0]["model"] == "fake"


def test_when_the_server_stops_the_watchers_are_told():
    llm = fake_llm()
    with Door(llm) as door:
        connection = socket.create_connection(("127.0.0.1", door.port))
        connection.sendall(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        door.service.stop_asked = True
        assert b'"over":"the server has stopped"' in read_all(connection)
    nothing_runs()


def test_the_page_is_whole_in_itself(door):
    """No other resource is named, and the browser is told to load none; the script that may run is the page's own."""
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", PAGE) == ["data:,"] and "http" not in PAGE.replace("http-equiv", "")
    policy = door.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "connect-src 'self'" in policy
    assert b"text/html" in raw(door.port, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")


def test_colours_and_words_are_those_of_the_lessons():
    told = dict(re.findall(r"--([a-z0-9-]+): (#[0-9A-Fa-f]{6});", PAGE.partition("@media")[0]))
    assert {kind: told[kind] for kind in FILLS if kind != "idle"} == {k: f.face for k, f in FILLS.items() if k != "idle"}
    assert tuple(told[f"owner-{i}"] for i in range(6)) == OWNERS
    assert tuple(FILLS) == watch.KINDS
    assert f"KINDS = {json.dumps(list(FILLS))}" in PAGE
    words = dict(re.findall(r"(\w+): \"([^\"]+)\"", PAGE.partition("WORDS = {")[2].partition("}")[0]))
    assert words == {kind: fill.label for kind, fill in FILLS.items()}


def test_names_are_short():
    name = "chatcmpl-" + "0123456789abcdef" * 2
    assert [watch.short(name + end) for end in ("-0", "-0#1", "-2")] == ["01234567", "01234567#1", "01234567-2"]
    assert watch.short("7") == "7"
