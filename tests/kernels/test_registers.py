"""A tile's sums stay in registers: what the compiler makes of the C kernel's innermost loops, for each level of x86-64.

One sum in memory, and a product takes several times as long. Nothing else shows it: the numbers are the same.
"""

import functools
import platform
import re
import shutil
import subprocess

import pytest
import torch

from minieng.kernels import native, prebuilt

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or platform.machine() != "x86_64", reason="reads what gcc makes for x86-64"
)
TILES = {"avx512": (9, 3), "avx2": (6, 2)}  # rows of the tallest tile, registers of a line


@functools.cache
def assembled(level: str, source=native.SOURCE) -> list[str]:
    flags = prebuilt.flags_for(level, native.flags_of(torch.float32))
    ran = subprocess.run(["gcc", *flags, "-S", "-o", "-", str(source)], capture_output=True, text=True, check=True)
    return ran.stdout.split("\n")


def innermost_loops(lines: list[str]) -> list[list[str]]:
    """Bodies of the loops that hold no other loop; jumps back to its own begin count as one loop, the longest."""
    labels = {found[1]: at for at, line in enumerate(lines) if (found := re.match(r"(\.L\d+):", line))}
    jumps = [(at, labels.get(found[1], at)) for at, line in enumerate(lines) if (found := re.match(r"\s+j\w+\s+(\.L\d+)$", line))]
    back = [(to, at) for at, to in jumps if to < at]
    ends: dict[int, int] = {}
    for to, at in back:
        ends[to] = max(at, ends.get(to, at))
    return [
        lines[to : at + 1]
        for to, at in ends.items()
        if all(other == to for other, end in back if to <= other <= at and to < end <= at)
    ]


def multiplies(body: list[str]) -> bool:
    """Whether a loop is a product's: it multiplies, and has memory bring what comes next."""
    return any("vfmadd" in line for line in body) and sum("prefetcht1" in line for line in body) >= 5


def products(loops: list[list[str]]) -> dict[int, list[list[str]]]:
    """Of the products' loops: how many sums → for each, the vectors that pass by memory."""
    found: dict[int, list[list[str]]] = {}
    for body in loops:
        if multiplies(body):
            sums = {line.split("%")[-1] for line in body if "vfmadd" in line}
            through = [line.strip() for line in body if re.search(r"\(%rsp\).*%[xyz]mm|%[xyz]mm.*\(%rsp\)", line)]
            found.setdefault(len(sums), []).append(through)
    return found


@functools.cache
def its_own_compiler() -> bool:
    """Whether the compiler is the one that the source was written with. Others may place a few things otherwise."""
    version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    return version.split(".")[0].strip() == "12"


def most_through_memory(sums: int) -> int:
    return 0 if its_own_compiler() else sums // 2


@pytest.mark.parametrize("level, rows, wide", [(level, *tile) for level, tile in TILES.items()])
def test_sums_of_a_tile_stay_in_registers(level, rows, wide):
    found = products(innermost_loops(assembled(level)))
    assert {n * wide for n in range(1, rows + 1)} <= found.keys(), "a tile of each number of rows"
    assert [lines for sums, loops in found.items() for lines in loops if len(lines) > most_through_memory(sums)] == []


@pytest.mark.parametrize("level", TILES)
def test_no_address_waits_in_a_vector_register(level):
    """To fetch it takes a turn in which a sum could have been added to."""
    if not its_own_compiler():
        pytest.skip("another compiler's choice of registers")
    lines = assembled(level)
    assert products(innermost_loops(lines))
    fetched = re.compile(r"\s+vmov[dq]\s+%xmm\d+, %r")
    assert [body for body in innermost_loops(lines) if multiplies(body) and any(map(fetched.match, body))] == []


def test_a_vector_of_two_registers_is_found_out(tmp_path):
    """What the test above is for: 16 numbers to a vector, where a register holds 8."""
    for file in native.SOURCES:
        text = file.read_text(encoding="utf-8").replace("#define LANES 8", "#define LANES 16")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    found = products(innermost_loops(assembled("avx2", tmp_path / native.SOURCE.name)))
    assert any(len(lines) > sums // 2 for sums, loops in found.items() for lines in loops)
