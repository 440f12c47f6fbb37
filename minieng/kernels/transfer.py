"""Numbers between host and device without making the host wait, except where it asks for the answer.

A copy from ordinary host memory stops the program until it is done; one from pinned memory does not. PyTorch
keeps a pinned buffer until the copies from it are over, so none of these need an event of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import gpu


def pinned(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """A host tensor from which a GPU can copy by itself."""
    host = torch.from_numpy(values)
    return host.pin_memory() if gpu.is_gpu(device) else host


def on_device(values: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A list or numpy array as a tensor on the device; on a GPU through pinned memory, and not waited for."""
    host = torch.from_numpy(values) if isinstance(values, np.ndarray) else torch.tensor(values, dtype=dtype)
    host = host.pin_memory() if gpu.is_gpu(device) and host.numel() else host
    return host.to(device, dtype, non_blocking=True)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A host copy that is valid once the stream has come this far (an event
    recorded after this call tells).
    """
    if not gpu.is_gpu(tensor.device):
        return tensor.clone()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def as_list(tensor: torch.Tensor) -> list:
    """The numbers themselves: the one place where an eager step waits for its device."""
    host = to_host(tensor)
    if gpu.is_gpu(tensor.device):
        done = torch.cuda.Event()
        done.record()
        done.synchronize()
    return host.tolist()
