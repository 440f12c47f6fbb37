"""Compiles the Triton kernels for GPUs that are not here: ``python compile_kernels.py sm_number … `` prints a line a kernel.

The kernels are launched as the engine launches them, on tensors of a CPU; instead of running, each launch is compiled
with the very arguments it was given, down to the machine code (ptxas comes with Triton). Needs a process without the
interpreter.
"""

from __future__ import annotations

import inspect
import sys

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from minieng.kernels import triton_attention, triton_ops
from support.attention_cases import make

KINDS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.int32: "i32", torch.int64: "i64"}
OPTIONS = {"num_warps", "num_stages"}
done: set[str] = set()
target = GPUTarget("cuda", 90, 32)


def compile_launch(self, *args, grid, warmup, **kwargs) -> None:
    """In place of ``JITFunction.run``: what Triton would specialise on, it is told here."""
    options = {name: kwargs.pop(name) for name in OPTIONS & kwargs.keys()}
    given = inspect.signature(self.fn).bind(*args, **kwargs).arguments
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(self.params):
        name, value = parameter.name, given[parameter.name]
        if parameter.is_constexpr or value is None or type(value) is int and value == 1 and not parameter.do_not_specialize:
            signature[name], constants[name] = "constexpr", value
            continue
        tensor = isinstance(value, torch.Tensor)
        signature[name] = "*" + KINDS[value.dtype] if tensor else "i32" if isinstance(value, int) else "fp32"
        if tensor or isinstance(value, int) and value % 16 == 0 and not parameter.do_not_specialize:
            attributes[(i,)] = [["tt.divisibility", 16]]
    key = f"{self.__name__} {signature} {constants} {options} {target}"
    if key in done:
        return
    done.add(key)
    rows = constants.get("BLOCK_M", 0)
    source = ASTSource(fn=self, signature=signature, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=target, options=options)
    pipelined = made.asm["ttgir"].count("async_copy_global_to_local")
    size = len(made.asm["cubin"])
    print(f"{self.__name__} {target.arch} rows {rows} shared {made.metadata.shared} async {pipelined} bytes {size}", flush=True)


def launch_everything(dtype: torch.dtype, dim: int, heads: int, kv_heads: int, **constants) -> None:
    for rows in ([(1, 20), (1, 600)], [(1, 9), (5, 40)]):
        q, layer, batch = make(rows, heads, kv_heads, dim, 16, dtype, **constants)
        triton_attention.triton_attend(q, layer, batch)
    batch.slots = torch.tensor([1, -1, 5])
    cache = torch.zeros((2, 2, 3, *layer.k.shape[1:]), dtype=dtype)
    triton_attention.triton_settle(cache, torch.tensor([[1, 2], [2, 0]]))
    triton_attention.triton_store(layer.k[0, :3], layer.v[0, :3], layer, batch)
    x, cos = torch.zeros((3, dim * heads), dtype=dtype), torch.zeros((3, 1, dim), dtype=dtype)
    triton_ops.rms_norm(x, x[0], 1e-5)
    triton_ops.add_norm(x, x.clone(), x[0], 1e-5)
    triton_ops.silu_mul(x)
    for norm in (None, cos[0, 0]):
        triton_ops.norm_rotate(x.view(3, heads, dim)[:, : heads - 1], 1, norm, norm, 1e-5, cos, cos)


if __name__ == "__main__":
    assert isinstance(triton_attention._attend, JITFunction), "switch the interpreter off"
    JITFunction.run = compile_launch
    triton_attention.tensor_cores = lambda device: target.arch >= 80
    assert tl is not None
    for number in map(int, sys.argv[1:]):
        target = GPUTarget("cuda", number, 32)
        launch_everything(torch.float16 if number < 80 else torch.bfloat16, 128, 16, 8)
        if number < 80:
            launch_everything(torch.float16, 64, 9, 3)
        if number >= 80:
            launch_everything(torch.float32, 256, 4, 2)
            launch_everything(torch.float16, 256, 4, 2)
            launch_everything(torch.bfloat16, 64, 9, 3)
            launch_everything(torch.float16, 80, 6, 2, window=100, softcap=20.0)
