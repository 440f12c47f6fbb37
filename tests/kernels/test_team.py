"""The C kernel's threads: whoever computes a piece, the numbers are the same; nobody is left over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from support.native_cases import SIZES, native_model, random_step, tokens_of

from minieng.kernels import linear, native
from minieng.kernels.backend import BACKENDS
from minieng.kernels.batch import LayerKV
from minieng.kernels.choose import Attention

pytestmark = [
    pytest.mark.skipif(not native.shutil.which("cc"), reason="no C compiler on this machine"),
    pytest.mark.apart,  # several threads share the work
]
NUMBERS = (1, 2, 3, 5)


def with_each_number(compute):
    """What is computed with each number of threads, several times: who does what differs from time to time."""
    before = torch.get_num_threads()
    try:
        for number in NUMBERS:
            torch.set_num_threads(number)
            for _ in range(3):
                yield compute()
    finally:
        torch.set_num_threads(before)


def skip_unless_here(dtype, form):
    if form not in map(type, linear.every_form(torch.randn(2, 2).to(dtype))):
        pytest.skip("this processor has no products of pairs")


def assert_all_equal(results):
    first, *others = results
    assert len(others) == 3 * len(NUMBERS) - 1
    for other in others:
        assert torch.equal(first, other)


FORMS = [(torch.float32, linear.Native), (torch.bfloat16, linear.Native), (torch.bfloat16, linear.Widened)]


@pytest.mark.parametrize("rows", [1, 2, 19, 300])
@pytest.mark.parametrize("dtype, form", FORMS, ids=str)
def test_a_product_is_the_same_with_any_number_of_threads(rows, dtype, form):
    torch.manual_seed(0)
    skip_unless_here(dtype, form)
    x, layer = torch.randn(rows, 576).to(dtype), form(torch.randn(1000, 576).to(dtype))
    assert_all_equal(with_each_number(lambda: layer(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [[(1, 300)], [(1, 70), (2, 33), (1, 500)], [(1, 90)] * 30 + [(270, 270), (40, 600)]])
def test_attention_is_the_same_with_any_number_of_threads(sizes, dtype):
    q, layer, batch = random_step(sizes, 9, 3, 64, 16, dtype)

    def compute():
        batch.step = None  # it is cut up for the number of threads
        return native.native_attention(q, layer, batch)

    assert_all_equal(with_each_number(compute))


@pytest.mark.parametrize("operation", ["rms_norm", "rotate", "silu_mul"])
def test_rows_are_the_same_with_any_number_of_threads(operation):
    torch.manual_seed(0)
    x, weight, cos = torch.randn(100, 8, 64), torch.randn(64), torch.randn(100, 1, 64)
    calls = {"rms_norm": lambda: native.rms_norm(x, weight, 1e-5), "rotate": lambda: native.rotate(x.clone(), cos, cos),
             "silu_mul": lambda: native.silu_mul(x.view(100, -1))}  # fmt: skip
    assert_all_equal(with_each_number(calls[operation]))


@pytest.mark.parametrize("sizes", [*SIZES.values(), [(300, 300), (1, 40), (250, 256)]], ids=[*SIZES, "many"])
@pytest.mark.parametrize("dtype, form", FORMS, ids=str)
def test_whole_layers_are_the_same_with_any_number_of_threads(shape, sizes, dtype, form, monkeypatch):
    skip_unless_here(dtype, form)
    cache, batch = tokens_of([(min(new, 250), min(keys, 256)) for new, keys in sizes], dtype)
    batch.logit_rows = torch.tensor(batch.q_starts[1:]) - 1
    model = native_model(shape, torch.bfloat16, monkeypatch, form, dtype)
    chosen = Attention(BACKENDS["native"], "a test asked for it")

    def compute():
        batch.step = None
        kv = [LayerKV(cache.k.clone(), cache.v.clone(), cache.scale, window) for window in model.windows]
        with torch.inference_mode():
            return torch.cat([model.hidden(batch, kv, chosen).flatten(), *(layer.k.flatten() for layer in kv)])

    assert_all_equal(with_each_number(compute))


def test_callers_in_several_threads_get_what_is_theirs():
    torch.manual_seed(0)
    layer, inputs, found = linear.Native(torch.randn(1000, 576)), [torch.randn(50, 576) for _ in range(4)], {}

    def call(number):
        found[number] = [layer(inputs[number]) for _ in range(50)]

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for number, x in enumerate(inputs):
        want = layer(x)
        assert len(found[number]) == 50 and all(torch.equal(got, want) for got in found[number])


IN_A_PROCESS = """
import os, sys, torch
from minieng.kernels import linear
torch.manual_seed(0)
layer, x = linear.Native(torch.randn(1000, 576)), torch.randn(30, 576)
torch.set_num_threads(2)  # from here on torch's own would be no good to a copy
want = layer(x)
"""
IN_A_COPY = """
child = os.fork()
got = layer(x)
if not child:
    again = layer(x)
    threads = len(os.listdir('/proc/self/task'))
    os._exit(0 if torch.equal(got, want) and torch.equal(again, want) and threads == 2 else 1)
assert torch.equal(got, want) and os.waitpid(child, 0)[1] == 0
"""


def test_a_process_with_such_threads_ends_by_itself():
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and not done.stderr


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(os, "fork"), reason="counts threads as Linux shows them")
def test_a_forked_copy_starts_threads_of_its_own():
    command = [sys.executable, "-W", "ignore", "-c", IN_A_PROCESS + IN_A_COPY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux shows of threads")
def test_threads_sleep_between_calls_and_hear_no_signals():
    """Whatever OpenMP's variables say: a thread that waits is not seen computing."""
    code = IN_A_PROCESS + (
        "import time; from pathlib import Path; before = {t.name for t in Path('/proc/self/task').iterdir()}\n"
        "time.sleep(0.5)\n"
        "for task in Path('/proc/self/task').iterdir():\n"
        "    text = (task / 'status').read_text(); print(task.name == str(os.getpid()), text)\n"
    )
    environment = os.environ | {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    others = [text for text in done.stdout.split("Name:") if "State" in text][1:]
    states = [re.search(r"State:\s+(\w)", text)[1] for text in others]
    deaf = [int(re.search(r"SigBlk:\s+(\w+)", text)[1], 16) for text in others]
    assert states.count("S") == len(states) and any(mask & (1 << 1) for mask in deaf), "SIGINT is for the interpreter"


def test_openmp_is_not_among_what_the_kernel_needs():
    text = "\n".join(file.read_text(encoding="utf-8") for file in native.SOURCES)
    assert "omp.h" not in text and set(re.findall(r"#pragma omp (\w+)", text)) <= {"simd"}
    assert Path(native.SOURCE).parent.joinpath("team.h") in native.SOURCES
