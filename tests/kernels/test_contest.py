"""The form of the products in bfloat16 is that whose layer is fastest, and explain() says so."""

from __future__ import annotations

import pytest
import torch

from minieng import LLM
from minieng.kernels import contest, linear, native
from minieng.kernels.choose import choose_attention

SIZES = contest.Sizes(64, 96, 4, 2, 16)


@pytest.fixture(autouse=True)
def forget():
    contest.fastest_layers.cache_clear()
    yield
    contest.fastest_layers.cache_clear()


def forms_here():
    return [type(layer) for layer in linear.every_form(torch.randn(2, 2).bfloat16())]


def test_the_form_with_the_least_time_for_all_steps_wins(monkeypatch):
    times = {linear.Linear: [4, 4, 4, 4], linear.OneDNN: [9, 1, 1, 1], linear.Native: [1, 1, 1, 9], linear.Widened: [2, 3, 2, 4]}
    monkeypatch.setattr(contest, "steps_of", lambda form, *_: [form] * 4 if form in forms_here() else native.library(torch.int8))
    monkeypatch.setattr(contest, "fastest_of", lambda calls, repeats: [times[form][i % 4] for i, form in enumerate(calls)])
    form, why = contest.fastest_layers(SIZES, torch.bfloat16)
    assert form is min(forms_here(), key=lambda form: (sum(times[form]), [*times].index(form)))
    for each in forms_here():
        assert f"{each.title} " + " / ".join(f"{1e3 * t:.2f}" for t in times[each]) in why


def test_a_slow_moment_of_the_machine_chooses_no_form(monkeypatch):
    """All forms' steps are timed in turns: never one form from its first time to its last before another's first."""
    order = []
    monkeypatch.setattr(contest, "steps_of", lambda form, *_: [lambda: order.append(form)] * 4)
    contest.fastest_layers(SIZES, torch.bfloat16)
    forms = list(dict.fromkeys(order))
    assert len(forms) == 4 and order == [form for _ in range(len(order) // 16) for form in forms for _ in range(4)]
    assert len(order) >= 16 * 7


@pytest.mark.skipif(not native.shutil.which("cc"), reason="no C compiler on this machine")
def test_each_form_computes_the_same_layer():
    """All candidates are run for what they are timed at, and come to the same numbers."""
    attention = choose_attention("auto", torch.device("cpu"), torch.bfloat16, 4, 2, 16, contest.BLOCK)
    for tokens in contest.STEPS.values():
        found = []
        for form in forms_here():
            torch.manual_seed(0)
            layer = contest.layer_of_noise(SIZES, torch.bfloat16, form)
            x, batch, kv = contest.step_of(SIZES, torch.bfloat16, tokens)
            with torch.inference_mode():
                found.append(contest.run_layer(layer, SIZES, x, batch, kv, attention).float())
        for other in found[1:]:
            assert found[0].shape == (sum(tokens), 64) and (other - found[0]).abs().max() <= 0.03 * found[0].abs().max()


def test_without_a_compiler_there_is_still_a_form(monkeypatch):
    monkeypatch.setattr(native, "library", lambda *_: (_ for _ in ()).throw(RuntimeError("no C compiler found")))
    with pytest.warns(UserWarning, match="no C compiler found"):
        form, why = contest.fastest_layers(SIZES, torch.bfloat16)
    assert form in (linear.Linear, linear.OneDNN) and "own C kernel" not in why


@pytest.mark.parametrize("dtype, device", [(torch.float32, "cpu"), (torch.bfloat16, "cuda")])
def test_elsewhere_nothing_is_timed(dtype, device):
    assert contest.choose_form(None, dtype, torch.device(device)) == (None, "")


def test_explain_says_which_form_it_is_and_what_each_needed():
    told = LLM("tiny", dtype="bfloat16").explain()
    assert "the fastest here (ms of one layer in one thread for 1 row, 8, 32, a prompt of 128:" in told
    assert all(form.title in told for form in forms_here())
