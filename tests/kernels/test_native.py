"""The C kernels give what torch gives: products, attention, what lies between them, and whole layers."""

from __future__ import annotations

import ctypes
import itertools
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.native_cases import SIZES, native_model, random_step, slots_of, tokens_of

from minieng.kernels import linear, native, ops
from minieng.kernels.backend import BACKENDS
from minieng.kernels.batch import Batch, LayerKV
from minieng.kernels.choose import Attention
from minieng.kernels.declarations import Declarations
from minieng.kernels.torch_attention import attend_by_request, attend_padded

pytestmark = [
    pytest.mark.skipif(not native.shutil.which("cc"), reason="no C compiler on this machine"),
    pytest.mark.apart,  # several threads share the work
]
LIMITS = [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)]


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, width", [(1, 8), (3, 96), (70, 576)])
def test_rms_norm(rows, width, dtype, limit):
    torch.manual_seed(0)
    x, weight = (3 * torch.randn(rows, width)).to(dtype), torch.randn(width).to(dtype)
    assert (native.rms_norm(x, weight, 1e-5) - ops.rms_norm(x, weight, 1e-5)).abs().max() <= limit


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, heads, dim", [(1, 1, 4), (5, 12, 64), (80, 6, 32)])
def test_rotate_part_of_a_wider_matrix(rows, heads, dim, dtype, limit):
    torch.manual_seed(0)
    wide = torch.randn(rows, heads + 2, dim).to(dtype)
    cos, sin = torch.randn(rows, 1, dim).to(dtype), torch.randn(rows, 1, dim).to(dtype)
    want, rest = ops.rotate(wide[:, :heads], cos, sin), wide[:, heads:].clone()
    got = native.rotate(wide[:, :heads], cos, sin)
    assert (got - want).abs().max() <= limit
    assert torch.equal(wide[:, heads:], rest), "what lies beside it is left alone"


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, width", [(1, 8), (40, 1536)])
def test_silu_mul(rows, width, dtype, limit):
    torch.manual_seed(0)
    gate_up = (4 * torch.randn(rows, 2 * width)).to(dtype)
    gate_up[0, :4] = torch.tensor([-200.0, 200.0, 0.0, -90.0]).to(dtype)  # the exponential must not overflow
    got, want = native.silu_mul(gate_up), ops.silu_mul(gate_up)
    assert torch.isfinite(got).all() and ((got - want).abs() <= limit * (1 + want.abs())).all()


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 10, 18, 19, 100])
@pytest.mark.parametrize("ins, outs", [(1, 1), (70, 47), (64, 48), (33, 49), (576, 960), (1536, 576)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear(rows, ins, outs, with_bias):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, 2 * ins)[:, ::2], torch.randn(outs, ins), torch.randn(outs) if with_bias else None
    layer = linear.Native(weight, bias)
    assert (layer(x) - torch.nn.functional.linear(x, weight, bias)).abs().max() <= 1e-3
    alone = torch.cat([layer(x[i : i + 1]) for i in range(rows)])
    assert torch.equal(layer(x), alone), "a row's result does not depend on its neighbours"


@pytest.mark.parametrize("ins, outs", [(1, 1), (71, 47), (64, 48), (576, 960)])
def test_weights_that_are_bfloat16_numbers_take_half_the_room_and_give_the_same_bits(ins, outs):
    torch.manual_seed(0)
    x, weight = torch.randn(20, ins), torch.randn(outs, ins).bfloat16().float()
    halves = linear.Native(weight)
    whole = linear.Native(torch.cat((weight, torch.full((1, ins), 0.1))))  # 0.1 is none: all stay as they are
    assert (halves.weight_nbytes, whole.weight_nbytes) == (2, 4)
    assert halves.weight.panels.nbytes < 0.6 * whole.weight.panels.nbytes or outs == 1
    assert torch.equal(halves(x), whole(x)[:, :outs])


@pytest.mark.parametrize("form", [linear.Linear, linear.OneDNN, linear.Native], ids=lambda form: form.__name__)
@pytest.mark.parametrize("published", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("ins, outs", [(96, 48), (65, 100), (1, 1)])
def test_a_weight_may_come_as_it_was_published(ins, outs, published, form):
    """Narrower than what it is multiplied with: bit for bit what its copy in float32 gives."""
    weight, bias, x = torch.randn(outs, ins).to(published), torch.randn(outs), torch.randn(5, ins)
    as_it_is, copied = form(weight, bias, torch.float32), form(weight.float(), bias)
    assert torch.equal(as_it_is(x), copied(x)) and as_it_is(x).dtype == torch.float32
    assert as_it_is.weight_nbytes == copied.weight_nbytes


def test_every_form_of_a_product_agrees_and_the_fastest_is_one_of_them():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 40), torch.randn(100, 40), torch.randn(100)
    layers = linear.every_form(weight, bias)
    assert [type(layer) for layer in layers if type(layer) is not linear.OneDNN] == [linear.Linear, linear.Native]
    for layer in layers:
        assert (layer(x) - torch.nn.functional.linear(x, weight, bias)).abs().max() <= 1e-4
    assert linear.fastest_form(torch.float32) in map(type, layers)


def test_the_form_with_the_least_time_for_all_numbers_of_rows_wins(monkeypatch):
    forms, rows = [type(layer) for layer in linear.every_form(torch.randn(8, 8))], 3
    for winner, form in enumerate(forms):

        def times(calls, repeats, winner=winner):
            assert len(calls) == rows * len(forms)
            return [[0.5, 3.0, 0.5][i % rows] if i // rows == winner else 2.0 for i in range(len(calls))]

        monkeypatch.setattr(linear, "fastest_of", times)
        assert linear.fastest_form.__wrapped__(torch.float32) is form


def test_what_is_compared_is_timed_in_turns_and_in_one_thread():
    """A slow moment of the machine is then everybody's, and it does not matter what other programs do to the other cores."""
    seen, threads = [], torch.get_num_threads()
    slow = lambda: (seen.append("b"), time.sleep(0.002))  # noqa: E731
    best = linear.fastest_of([lambda: seen.append("a" if torch.get_num_threads() == 1 else "x"), slow], repeats=3)
    assert "".join(seen) == "ababab" and best[0] < best[1] and best[1] >= 0.002
    assert torch.get_num_threads() == threads
    with pytest.raises(ZeroDivisionError):
        linear.fastest_of([lambda: 1 / 0], repeats=1)
    assert torch.get_num_threads() == threads


def test_without_a_compiler_the_products_stay_with_torch(monkeypatch):
    monkeypatch.setattr(native, "library", lambda *_: (_ for _ in ()).throw(RuntimeError("no C compiler found")))
    assert linear.Native not in map(type, linear.every_form(torch.randn(8, 8)))


@pytest.mark.parametrize("x", [torch.randn(2, 9), torch.randn(2, 8, dtype=torch.float64)], ids=["width", "precision"])
def test_a_product_of_things_that_do_not_fit_is_refused(x):
    with pytest.raises(RuntimeError, match="with 8 inputs"):
        linear.Native(torch.randn(8, 8))(x)


def own_form(form, weight, bias=None):
    """A product in one of the kernel's forms, or a skipped test where this processor has none of it."""
    try:
        return form(weight, bias)
    except RuntimeError as problem:
        assert form is linear.Native, problem
        pytest.skip(str(problem))


@pytest.mark.parametrize("rows", [1, 9, 10, 100])
@pytest.mark.parametrize("ins, outs", [(2, 1), (70, 47), (64, 48), (576, 960)])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("form", linear.OWN)
def test_linear_in_bfloat16(form, rows, ins, outs, with_bias):
    """The sums are those of float, rounded once."""
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 2 * ins)[:, ::2].bfloat16(), torch.randn(outs, ins).bfloat16()
    bias = torch.randn(outs).bfloat16() if with_bias else None
    layer = own_form(form, weight, bias)
    want = torch.nn.functional.linear(x.float(), weight.float(), bias.float() if with_bias else None)
    got = layer(x)
    assert got.dtype == torch.bfloat16 and torch.allclose(got.float(), want, rtol=2**-8, atol=1e-3)
    assert layer.weight_nbytes == 2
    assert torch.equal(got, torch.cat([layer(x[i : i + 1]) for i in range(rows)])), "a row's result is its own"


def test_an_odd_number_of_inputs_is_widened():
    with pytest.raises(RuntimeError, match="pairs"):
        linear.Native(torch.randn(8, 7).bfloat16())
    x, weight = torch.randn(3, 7).bfloat16(), torch.randn(8, 7).bfloat16()
    assert torch.allclose(linear.Widened(weight)(x).float(), x.float() @ weight.float().T, rtol=2**-8, atol=1e-3)


def test_what_is_no_bfloat16_is_not_widened():
    assert linear.Widened not in map(type, linear.every_form(torch.randn(8, 8)))


MANY = [(1, 1), (1, 300), (3, 17), (40, 40), (9, 256), (20, 300), (270, 270)]  # (new tokens, keys)
FEW = [(1, 70), (2, 33)]  # fewer tokens than threads have tasks: heads are shared out


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)], ids=str)
@pytest.mark.parametrize("sizes", [MANY, FEW], ids=["many", "few"])
@pytest.mark.parametrize("block_size", [1, 4, 16, 40])
@pytest.mark.parametrize("heads, kv_heads, dim", [(4, 2, 24), (9, 3, 64), (2, 1, 80), (4, 4, 128)])
def test_attention_of_any_shape(heads, kv_heads, dim, block_size, sizes, dtype, limit):
    step = random_step(sizes, heads, kv_heads, dim, block_size, dtype)
    assert (native.native_attention(*step) - attend_by_request(*step)).abs().max() <= limit


@pytest.mark.parametrize("constants", [{"window": 20}, {"softcap": 5.0}, {"window": 20, "softcap": 5.0}], ids=str)
def test_attention_with_a_window_or_a_softcap(constants):
    step = random_step(MANY, 9, 3, 64, 16, torch.float32, **constants)
    assert (native.native_attention(*step) - attend_by_request(*step)).abs().max() <= 1e-5


@pytest.mark.parametrize("constants", [{}, {"window": 100}, {"window": 400, "softcap": 5.0}], ids=str)
@pytest.mark.parametrize("heads, kv_heads, dim", [(9, 3, 64), (14, 2, 24), (3, 3, 128)])
def test_attention_of_prompts_that_take_several_spans(heads, kv_heads, dim, constants):
    """Softmax goes on from span to span; panels of lines end in the middle of a token's heads and of a span."""
    step = random_step([(500, 500), (200, 700), (3, 400)], heads, kv_heads, dim, 16, torch.float32, **constants)
    assert (native.native_attention(*step) - attend_by_request(*step)).abs().max() <= 1e-5


def test_scores_that_grow_from_span_to_span_keep_their_weights():
    """A line's highest score is met in its last span: what was summed up before is next to nothing."""
    q, layer, batch = random_step([(400, 400)], 2, 1, 16, 16, torch.float32)
    for slot in range(400):
        layer.k[batch.tables[0, slot // 16], slot % 16] = 0.01 * slot
    want = attend_by_request(q.abs(), layer, batch)
    assert (native.native_attention(q.abs(), layer, batch) - want).abs().max() <= 1e-5
    steep = LayerKV(100 * layer.k, layer.v, layer.scale)
    assert (native.native_attention(q.abs(), steep, batch) - attend_by_request(q.abs(), steep, batch)).abs().max() <= 1e-4


def test_attention_of_rows_that_begin_with_padding():
    q, layer, batch = random_step(MANY, 9, 3, 64, 16, torch.float32)
    batch.kv_starts[:] = [min(5, keys - new) for new, keys in MANY]
    assert (native.native_attention(q, layer, batch) - attend_by_request(q, layer, batch)).abs().max() <= 1e-5


def test_what_a_token_sees_does_not_depend_on_its_neighbours():
    sizes = [(1, 300), (30, 30), (1, 70), (2, 33)] * 3
    q, layer, batch = random_step(sizes, 9, 3, 64, 16, torch.float32)
    together = native.native_attention(q, layer, batch)
    for row in range(len(sizes)):
        first, last = batch.q_starts[row : row + 2]
        alone = Batch(batch.token_ids, batch.positions, batch.slots, [0, last - first], [0], [batch.kv_ends[row]],
                      batch.tables[row : row + 1], batch.logit_rows)  # fmt: skip
        assert torch.equal(native.native_attention(q[first:last], layer, alone), together[first:last])


RECTANGLES = {  # padding of each row, tokens in a row, slots filled after them
    "prompts": ([0, 7, 29, 12], 30, 30),
    "all but one token is padding": ([0, 269, 100], 270, 270),
    "one column": ([0, 7, 29, 12], 1, 31),
    "a column of long rows": ([0, 150, 299], 1, 300),
    "rows that were taken up again": ([3, 0, 9, 45], 40, 50),
}


def random_rectangle(rectangle, heads, kv_heads, dim, block_size, dtype, **constants):
    pads, width, end = rectangle
    q, layer, batch = random_step([(width, end)] * len(pads), heads, kv_heads, dim, block_size, dtype, **constants)
    batch.kv_starts[:], batch.width = pads, width
    return q, layer, batch


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=RECTANGLES)
@pytest.mark.parametrize("heads, kv_heads, dim, block_size", [(4, 2, 24, 4), (9, 3, 64, 16), (2, 1, 80, 1), (4, 4, 128, 40)])
def test_rectangles_of_any_shape(heads, kv_heads, dim, block_size, rectangle, dtype, limit):
    step = random_rectangle(rectangle, heads, kv_heads, dim, block_size, dtype)
    got = native.native_attention(*step)
    assert torch.isfinite(got).all() and (got - attend_padded(*step)).abs().max() <= limit, "padding sees its own slot"


@pytest.mark.parametrize("constants", [{"window": 1}, {"window": 20}, {"softcap": 5.0}, {"window": 20, "softcap": 5.0}], ids=str)
@pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=RECTANGLES)
def test_rectangles_with_a_window_or_a_softcap(rectangle, constants):
    step = random_rectangle(rectangle, 9, 3, 64, 16, torch.float32, **constants)
    got = native.native_attention(*step)
    assert torch.isfinite(got).all() and (got - attend_padded(*step)).abs().max() <= 1e-5


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=RECTANGLES)
def test_a_rows_tokens_do_not_depend_on_the_padding_before_them(rectangle, dtype, limit):
    q, layer, batch = random_rectangle(rectangle, 9, 3, 64, 16, dtype)
    got, (pads, width, end) = native.native_attention(q, layer, batch), rectangle
    for row, pad in enumerate(pads):
        last, new = (row + 1) * width, min(width, end - pad)
        alone = Batch(batch.token_ids, batch.positions, batch.slots, [0, new], [pad], [end], batch.tables[row : row + 1],
                      batch.logit_rows)  # fmt: skip
        assert torch.equal(native.native_attention(q[last - new : last], layer, alone), got[last - new : last])


def test_what_lies_in_the_slots_of_padding_reaches_no_token():
    q, layer, batch = random_rectangle(([5, 20], 30, 30), 9, 3, 64, 4, torch.float32)
    for x in (layer.k.view(-1, 3, 64), layer.v.view(-1, 3, 64)):
        x[batch.tables[0, 1] * 4] = x[batch.tables[1, 3] * 4 + 2] = float("nan")  # slots 4 and 14
    got = native.native_attention(q, layer, batch).view(2, 30, -1).isnan().any(-1)
    assert got[0, 4] and got[1, 14] and not got[0, 5:].any() and not got[1, 20:].any()


def test_paged_attention_gives_rectangles_to_the_kernel():
    q, layer, batch = random_rectangle(RECTANGLES["prompts"], 4, 2, 24, 4, torch.float32)
    chosen = Attention(BACKENDS["native"], "a test asked for it")
    batch.slots = torch.tensor(list(itertools.chain(*slots_of(batch, 4))))
    k, v = torch.randn(2, len(q), 2, 24)
    got = chosen.paged_attention(q, k, v, layer, batch)
    assert torch.equal(got, native.native_attention(q, layer, batch))
    assert (got - attend_padded(q, layer, batch)).abs().max() <= 1e-5


def both_ways(model, cache, batch):
    """Hidden states and caches of a step: whole layers in C, and one by one with torch's attention."""
    found = []
    for backend in ("native", "torch"):
        kv = [LayerKV(cache.k.clone(), cache.v.clone(), cache.scale, window) for window in model.windows]
        with torch.inference_mode():
            found.append((model.hidden(batch, kv, Attention(BACKENDS[backend], "a test asked for it")), kv))
    return found


def assert_close(one, other):
    (got, kv), (want, kv_too) = one, other
    assert got.shape == want.shape and torch.isfinite(got).all() and torch.allclose(got, want, atol=1e-4)
    for mine, theirs in zip(kv, kv_too, strict=True):
        assert torch.allclose(mine.k, theirs.k, atol=1e-4) and torch.allclose(mine.v, theirs.v, atol=1e-4)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("form", linear.OWN)
def test_whole_layers_in_bfloat16_are_the_layers_one_by_one(shape, sizes, form, monkeypatch):
    own_form(form, torch.randn(2, 2).bfloat16())
    cache, batch = tokens_of(sizes, torch.bfloat16)
    batch.logit_rows = torch.tensor(batch.q_starts[1:]) - 1
    model = native_model(shape, torch.bfloat16, monkeypatch, form, torch.bfloat16)
    (got, kv), (want, kv_too) = both_ways(model, cache, batch)
    assert got.dtype == torch.bfloat16 and torch.isfinite(got).all()
    for mine, theirs in ((got, want), *((a.k, b.k) for a, b in zip(kv, kv_too)), *((a.v, b.v) for a, b in zip(kv, kv_too))):
        off = (mine.float() - theirs.float()).abs()  # a rounding apart now and then, and what becomes of it
        assert off.max() <= 0.05 * theirs.float().abs().max() and off.mean() <= 0.005 * theirs.float().abs().max()


@pytest.mark.parametrize("published", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("wanted", ["all", "last", "none"])
def test_whole_layers_are_the_layers_one_by_one(shape, sizes, wanted, published, monkeypatch):
    cache, batch = tokens_of(sizes)
    last = torch.tensor(batch.q_starts[1:]) - 1
    batch.logit_rows = {"all": torch.arange(batch.q_starts[-1]), "last": last, "none": last[:0]}[wanted]
    found = both_ways(native_model(shape, published, monkeypatch), cache, batch)
    assert found[0][0].shape == (len(batch.logit_rows), 48)
    assert_close(*found)


@pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=RECTANGLES)
@pytest.mark.parametrize("wanted", ["all", "last"])
def test_whole_layers_of_rectangles(shape, rectangle, wanted, monkeypatch):
    pads, width, end = rectangle
    cache, batch = tokens_of([(width, end)] * len(pads))
    batch.kv_starts[:], batch.width = pads, width
    batch.positions = (batch.positions.view(-1, width) - torch.tensor(pads)[:, None]).clamp(0, 255).flatten()
    batch.logit_rows = torch.arange(width * len(pads)) if wanted == "all" else torch.arange(1, len(pads) + 1) * width - 1
    assert_close(*both_ways(native_model(shape, torch.bfloat16, monkeypatch), cache, batch))


def test_prompts_in_a_rectangle_and_packed_come_to_the_same_bits(shape, monkeypatch):
    """Static and continuous batching differ in their schedules, not in what they compute of a request."""
    lengths, pads, chosen = [5, 30, 130], [125, 100, 0], Attention(BACKENDS["native"], "a test asked for it")
    model = native_model(shape, torch.bfloat16, monkeypatch)
    cache, packed = tokens_of([(n, n) for n in lengths])
    packed.logit_rows = torch.tensor(packed.q_starts[1:]) - 1
    texts = packed.token_ids.split(lengths)
    cache_too, padded = tokens_of([(130, 130)] * 3)
    padded.kv_starts[:], padded.width, padded.logit_rows = pads, 130, torch.tensor([129, 259, 389])
    padded.token_ids = torch.cat([torch.cat((text.new_zeros(pad), text)) for pad, text in zip(pads, texts)])
    padded.positions = (padded.positions.view(3, -1) - torch.tensor(pads)[:, None]).clamp(0, 255).flatten()
    with torch.inference_mode():
        got, want = (
            model.hidden(batch, [LayerKV(c.k.clone(), c.v.clone(), c.scale, window) for window in model.windows], chosen)
            for batch, c in ((padded, cache_too), (packed, cache))
        )
    assert torch.equal(got, want)


WRONG = {  # what is handed over instead of a right tensor
    "precision": lambda x: x.double() if x.is_floating_point() else x.short(),
    "too few": lambda x: x[:-1],
    "with gaps": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "not on a CPU": lambda x: x.to("meta"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", ["token_ids", "slots", "logit_rows", "tables"])
def test_a_wrong_tensor_is_refused_before_c_reads_it(name, wrong):
    _, layer, batch = random_step([(3, 9), (2, 8)], 4, 2, 24, 4, torch.float32)
    batch.slots, batch.logit_rows = torch.tensor([9, 10, 11, 12, 13]), torch.tensor([2, 4])
    x, cos = torch.randn(5, 32), torch.randn(5, 24)
    weights_of = SimpleNamespace(weights=(native.LayerWeights * 1)(), kernel=native.library(torch.float32),
                                 numbers=torch.float32, given=torch.float32)  # fmt: skip
    right = {"token_ids": x, "slots": batch.slots, "logit_rows": batch.logit_rows, "tables": batch.tables}[name]
    if name == "logit_rows" and wrong is WRONG["too few"]:
        pytest.skip("fewer rows may be wanted")
    if name == "token_ids":
        x = wrong(x)
    else:
        setattr(batch, name, wrong(right))
    with pytest.raises(RuntimeError, match="C kernel"):
        native.native_layers(weights_of, x, 64, cos, cos, 1e-5, 4, [layer], batch)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_rows_are_refused(wrong):
    x, weight, cos = torch.randn(4, 6, 8), torch.randn(8), torch.randn(4, 1, 8)
    with pytest.raises(RuntimeError, match="C kernel"):
        native.rms_norm(x, wrong(weight), 1e-5)
    with pytest.raises(RuntimeError, match="C kernel"):
        native.rotate(x, wrong(cos), cos)
    _, layer, batch = random_step([(1, 9)], 4, 2, 24, 4, torch.float32)
    k = torch.randn(1, 2, 24)
    batch.slots = wrong(torch.tensor([3]))
    if wrong is not WRONG["with gaps"]:  # one number has none
        with pytest.raises(RuntimeError, match="C kernel"):
            native.native_store(k, k, layer, batch)


def test_more_slots_than_the_tables_name_are_refused():
    q, layer, batch = random_step([(1, 9)], 4, 2, 24, 4, torch.float32)
    batch.kv_ends[0] = 13
    with pytest.raises(RuntimeError, match="13 slots"):
        native.native_attention(q, layer, batch)


def test_prototypes_are_those_of_the_source():
    found = Declarations(
        "struct one { /* a comment; with a field */\n    const float *x, *y;\n    int64_t n;\n    float eps;\n};\n"
        "struct two {\n    struct one first;\n    const struct one *others;\n};\n"
        "static int hidden(int x) {\n}\nEXPORT int shown(const struct two *t,\n          float *x, int64_t n) {\n}\n"
        "EXPORT void quiet(void) {\n}\n"
    )
    one, two = found.structs["one"], found.structs["two"]
    pointer = ctypes.c_void_p
    assert one._fields_ == [("x", pointer), ("y", pointer), ("n", ctypes.c_int64), ("eps", ctypes.c_float)]
    assert two._fields_ == [("first", one), ("others", ctypes.POINTER(one))]
    shown = [ctypes.POINTER(two), pointer, ctypes.c_int64]
    assert found.functions == {"shown": (shown, ctypes.c_int), "quiet": ([], None)}


def test_every_function_that_is_called_is_declared_in_the_source():
    text = Path(native.__file__).read_text(encoding="utf-8")
    called = set(re.findall(r"(?:kernel|library\([^)]*\))\.(native_\w+)\(", text))
    assert called == set(native.C.functions)


def test_processors_with_fewer_registers_get_narrower_panels(monkeypatch):
    if "-march=native" not in native.FLAGS or "avx512f" not in native._machine():
        pytest.skip("this processor has no wide registers to do without")
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-mno-avx512f", "-Wno-psabi"))
    native.library.cache_clear()
    try:
        assert native.library(torch.float32).native_panel_width() == 16
        test_linear(19, 70, 47, True)
        test_weights_that_are_bfloat16_numbers_take_half_the_room_and_give_the_same_bits(71, 47)
        test_attention_of_any_shape(9, 3, 64, 16, MANY, torch.float32, 1e-5)
    finally:
        native.library.cache_clear()
