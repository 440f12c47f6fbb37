"""The GPU as a machine: whether there is one, which one is meant, and whose memory is whose.

Everything outside the kernels that goes another way on a GPU asks ``is_gpu``, and nothing asks for a device's
type itself.
"""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Iterator

import torch


def is_gpu(device: torch.device) -> bool:
    """Whether the device computes beside the host, with memory and a clock of its own."""
    return device.type == "cuda"


def here(device: torch.device) -> contextlib.AbstractContextManager:
    """What is launched inside is launched on this device: Triton and events go by the current GPU,
    not by the tensors'.
    """
    return torch.cuda.device(device) if is_gpu(device) else contextlib.nullcontext()


def give_back(device: torch.device) -> None:
    """What nobody refers to any more goes back to the GPU, so that free memory can be read,
    by another process, too.
    """
    if is_gpu(device):
        gc.collect()
        torch.cuda.empty_cache()


def let_go(problem: BaseException) -> None:
    """Keep no tensors alive for an error's sake.

    A notebook keeps the last error, an error its traceback, and a traceback the variables of every function
    it passed through: after "out of memory" these are what fills the memory. The lines stay readable.
    Functions that still run keep their variables.
    """
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [problem]
    while waiting:
        error = waiting.pop()
        if error is not None and error not in seen:
            seen.append(error)
            traceback.clear_frames(error.__traceback__)
            waiting += error.__cause__, error.__context__


def leave_out_cudnn() -> None:
    """No attention by cuDNN in this process. On sm_90 torch prefers it in half precision, and it makes a
    plan, for up to a second, for every new shape: with batching, for almost every step.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Garbage is collected before, not in between:
    a graph that dies while another is captured breaks the capture.
    """
    gc.collect()
    held_off = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if held_off:
            gc.enable()
