"""Modules that move to the card and back, files with tensors of either device, pinned memory, threads."""

from __future__ import annotations

import threading

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from . import tensor
from .kernels import Everywhere
from .tensor import GpuTensor, from_file, is_card


def swap(old: Tensor, new: Tensor) -> None:
    """For torch.utils.swap_tensors, by which nn.Module moves its parameters here: `old` becomes `new`.

    On a real card `old.data = new` does it, which cannot change a tensor into one of another class.  As there, `old`
    keeps its hooks and attributes, graphs that hold it may be alive, and a move to where it is does nothing.
    """
    if type(old) is type(new) and _memory(old) == _memory(new):
        return
    hooks, attributes = (
        old._backward_hooks,
        {k: v for k, v in vars(old).items() if k not in ("host", "_is_param")},
    )
    for name in ("__class__", "__dict__"):
        mine, theirs = getattr(old, name), getattr(new, name)
        setattr(old, name, theirs)
        setattr(new, name, mine)
    torch._C._swap_tensor_impl(old, new)
    old.__dict__.update(attributes)
    old._backward_hooks = hooks


def _memory(t: Tensor) -> tuple:
    t = t.host if isinstance(t, GpuTensor) else t
    return (t.device, t.data_ptr(), t.dtype, t.shape, t.stride())


def loading(load):
    """torch.load with a map_location that may be the card."""

    def torch_load(f, map_location=None, *args, **kwargs):
        if map_location is not None and not isinstance(map_location, (str, torch.device)):
            raise NotImplementedError("the pretended GPU knows map_location as a device only")
        tensor.stay_on_cpu = map_location is not None and not is_card(map_location)
        try:
            found = load(f, "cpu", *args, **kwargs)
        finally:
            tensor.stay_on_cpu = False
        if map_location is None or not is_card(map_location):
            return found
        return tree_map_only(Tensor, lambda t: t if isinstance(t, GpuTensor) else GpuTensor(t), found)

    return torch_load


def pinned(t: Tensor, device=None) -> Tensor:
    """A copy that says it lies in pinned memory: `waiting` believes its copies to the card if they do not block."""
    copy = t.clone()
    copy.lies_pinned = True
    return copy


def seeing_the_card(run):
    """Thread.run with the mode, of which every thread has its own."""

    def in_the_thread(self):
        with Everywhere():
            run(self)

    return in_the_thread


def patch() -> None:
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.utils.swap_tensors = swap
    torch.load = torch.serialization.load = loading(torch.load)
    torch.serialization.add_safe_globals([from_file])
    Tensor.pin_memory = pinned
    threading.Thread.run = seeing_the_card(threading.Thread.run)
