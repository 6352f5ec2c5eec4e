"""The tensor of the pretended card: PyTorch sees the device cuda:0, the numbers are in a CPU tensor, `host`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

CARD = torch.device("cuda:0")


class GpuTensor(Tensor):
    """A tensor on the pretended card.  Every operation on it arrives in `__torch_dispatch__`, below autograd and
    autocast, which are PyTorch's own."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor, requires_grad: bool = False):
        tensor = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=CARD,
            requires_grad=requires_grad,
        )
        tensor.host = host
        return tensor

    def __init__(self, host: Tensor, requires_grad: bool = False):
        """All is done in __new__."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        from .kernels import execute

        return execute(func, args, kwargs or {}, on_gpu=True)

    # ---- what PyTorch does in C++ by reading the memory, without an operation --------------------------------

    def numpy(self, *, force: bool = False):
        if not force:
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        return self.detach().cpu().numpy()

    def tolist(self):
        return self.detach().cpu().tolist()

    def __repr__(self, **options):
        gradient = ", requires_grad=True" if self.requires_grad else ""
        return f"{repr(self.host.detach())[:-1]}, device='{CARD}'{gradient})"

    def __format__(self, spec: str):
        return format(self.item(), spec) if self.ndim == 0 else object.__format__(self, spec)

    def pin_memory(self, device=None):
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")

    # ---- "cuda" means cuda:0, so that a move to where the tensor is makes no copy ----------------------------

    def to(self, *args, **kwargs):
        kwargs = {name: with_index(value) for name, value in kwargs.items()}
        return super().to(*map(with_index, args), **kwargs)

    def cuda(self, device=None, non_blocking=False, memory_format=torch.preserve_format):
        device = CARD if device is None else with_index(torch.device(device))
        return self.to(device, non_blocking=non_blocking, memory_format=memory_format)

    # ---- copies and files ------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict):
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment"
            )
        twin = memo[id(self)] = GpuTensor(self.host.detach().clone(), self.requires_grad)
        others = {name: value for name, value in vars(self).items() if name != "host"}
        twin.__dict__.update(copy.deepcopy(others, memo))
        if self.grad is not None:
            twin.grad = copy.deepcopy(self.grad, memo)
        return twin

    def __reduce_ex__(self, protocol):
        return from_file, (self.host.detach(), self.requires_grad, isinstance(self, nn.Parameter))


def with_index(place):
    """A torch.device, or its name, with its index; anything else as it is.  There is one card: cuda:1 is refused."""
    if isinstance(place, str) and place.split(":")[0] == "cuda":
        place = torch.device(place)
    if not isinstance(place, torch.device) or place.type != "cuda":
        return place
    if place.index not in (None, -1, 0):
        raise RuntimeError(f"CUDA error: invalid device ordinal ({place})")
    return CARD


def is_card(place) -> bool:
    """Whether a device (or its name, or None) is the card."""
    return place is not None and torch.device(place).type == "cuda"


stay_on_cpu = (
    False  # whether what is read from a file comes to the CPU, set by torch.load(map_location="cpu")
)


def from_file(host: Tensor, requires_grad: bool, parameter: bool) -> Tensor:
    """A saved GpuTensor again, where torch.load wants it."""
    if stay_on_cpu:
        return nn.Parameter(host, requires_grad) if parameter else host.requires_grad_(requires_grad)
    tensor = GpuTensor(host, requires_grad)
    if parameter:
        tensor._is_param = True  # what isinstance(tensor, nn.Parameter) looks at
    return tensor
