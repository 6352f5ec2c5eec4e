"""Small tensors for a GPU: a plain copy of a few bytes would make the host wait until all queued work is done."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def constant(values: tuple, like: Tensor) -> Tensor:
    """Numbers, or rows of numbers, with the dtype and on the device of `like`: made once, never to be written to."""
    if (
        torch.compiler.is_compiling()
    ):  # what is made while a network is traced is no tensor that others can use
        return torch.tensor(values, dtype=like.dtype, device=like.device)
    return _made(tuple(values), like.dtype, like.device)


@lru_cache
def _made(values: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # so that gradients may flow past it later
        return torch.tensor(values, dtype=dtype, device=device)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """x on the device; a GPU takes it from pinned memory, behind the work that is queued already."""
    if device.type == "cuda" and not x.is_cuda:
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
