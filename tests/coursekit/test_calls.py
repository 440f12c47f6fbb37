"""The filter of system calls: what it refuses, on both kinds of machine, run here line by line as the kernel runs it."""

import os
import re
from pathlib import Path

import pytest

from coursekit.grade import calls

OWN = 4711
NAMED = {**calls.REFUSED, **calls.ON_ITSELF, "prlimit64": calls.PRLIMIT, "clone": calls.CLONE, "clone3": calls.CLONE3}
NAMED |= {name: numbers for name, numbers in zip(("fcntl", "ioctl"), calls.ORDERS)}
ALLOWED, REFUSED, UNKNOWN = calls.ALLOW, calls.REFUSE, calls.UNKNOWN


def answer(machine, name, *args):
    """What the filter says of a call, by its name or its number."""
    column, kernel = calls.MACHINES[machine]
    number = NAMED[name][column] if isinstance(name, str) else name
    record = {calls.NUMBER: number, calls.MACHINE: kernel}
    for place, value in enumerate([*args, 0, 0, 0, 0][:4]):
        record |= {16 + 8 * place: value & 0xFFFFFFFF, 20 + 8 * place: value >> 32 & 0xFFFFFFFF}
    lines, at, held = calls.program(machine, OWN), 0, 0
    tests = {calls.EQUAL: lambda x, y: x == y, calls.AT_LEAST: lambda x, y: x >= y, calls.ANY_BIT: lambda x, y: bool(x & y)}
    while True:
        code, if_true, if_false, operand = lines[at]
        if code == calls.RETURN:
            return operand
        if code == calls.LOAD:
            held = record[operand]
        at += 1 + (0 if code == calls.LOAD else if_true if tests[code](held, operand) else if_false)


machines = pytest.mark.parametrize("machine", calls.MACHINES)


@machines
def test_each_is_refused(machine):
    assert all(answer(machine, name) == REFUSED for name in calls.REFUSED)
    assert answer(machine, "clone3") == UNKNOWN, "the C library takes clone then"
    assert all(answer(machine, number) == ALLOWED for number in (0, 1, 3, 9, 12, 60, 61, 231))
    assert all(max(line[1:3]) < 256 for line in calls.program(machine, OWN)), "a jump has one byte"


@machines
@pytest.mark.parametrize("name", calls.ON_ITSELF)
def test_oneself_alone(name, machine):
    assert [answer(machine, name, who) for who in (OWN, 0, OWN + 1, 1, -1, -OWN)] == [ALLOWED] * 2 + [REFUSED] * 4


@machines
def test_by_their_arguments(machine):
    assert answer(machine, "prlimit64", 0, 7, 0) == ALLOWED and answer(machine, "prlimit64", 0, 7, 1) == REFUSED
    assert answer(machine, "prlimit64", 0, 7, 1 << 32) == REFUSED
    assert answer(machine, "clone", 0x11) == ALLOWED == answer(machine, "clone", 0x3D0F00), "a child, a thread"
    assert answer(machine, "clone", 0x10000011) == REFUSED, "a name space of its own"
    assert [answer(machine, "fcntl", 3, order) for order in (1, 3, 4, 1030, 8, 10, 15)] == [ALLOWED] * 4 + [REFUSED] * 3
    assert [answer(machine, "ioctl", 3, order) for order in (0x5401, 0x541B, 0x8901, 0x8902, 0x5412)] == [ALLOWED] * 2 + [
        REFUSED
    ] * 3


def test_no_other_machine_and_no_second_number():
    lines = calls.program("x86_64", OWN)
    assert lines[:3] == [(calls.LOAD, 0, 0, calls.MACHINE), (calls.EQUAL, 1, 0, 0xC000003E), (calls.RETURN, 0, 0, REFUSED)]
    assert answer("x86_64", calls.OTHER_NUMBERS + 62) == REFUSED


@pytest.mark.parametrize("column, header", [(0, "x86_64-linux-gnu/asm/unistd_64.h"), (1, "asm-generic/unistd.h")])
def test_the_numbers_are_the_kernels(column, header):
    place = Path("/usr/include") / header
    if not place.exists():
        pytest.skip(f"{place} is not here")
    known = {
        name: int(number)
        for name, number in re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", place.read_text(), re.MULTILINE)
    }
    for name, numbers in NAMED.items():
        assert known.get(name, numbers[column]) == numbers[column], name
    assert len(NAMED.keys() & known.keys()) > 0.9 * len(NAMED)


def test_root_gives_up_its_rights_and_goes_on():
    """In a copy of this process: nothing of it can be taken back."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            agreed = calls.refuse()
            rights = re.search(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[1]
            os.write(write, f"{agreed} {int(rights, 16) & ~calls.READ_ALL}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as said:
        assert said.read() in ("True 0", "False 0")
