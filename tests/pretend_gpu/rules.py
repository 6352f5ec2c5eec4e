"""What CUDA refuses: operands on two devices, generators of the other device, kernels and types that are missing."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from .generators import on_card
from .tensor import GpuTensor

# Operations that may join both devices, since they copy from one to the other.
COPIES = {"copy_", "copy", "_to_copy", "_copy_from", "_copy_from_and_resize"}
# Indices may be on the CPU although the indexed tensor is on the card (they are copied), not the other way round.
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
# Not pointwise by PyTorch's tags, but a CPU tensor without dimensions may give the value.
SCALAR_VALUE = {"fill", "fill_", "masked_fill", "masked_fill_", "index_fill", "index_fill_", "where"}
# cuBLAS has no products of integers, and the kernels for pictures take floats only.
FLOATS_ONLY = {
    "mm", "addmm", "addmm_", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot", "avg_pool2d", "avg_pool3d",
    "max_pool2d_with_indices", "_adaptive_avg_pool2d", "reflection_pad1d", "reflection_pad2d", "replication_pad2d",
    "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
}  # fmt: skip
# Where an index out of range stops the kernel: on the card an assertion, whatever error the CPU raises.
CHECKED_IN_THE_KERNEL = {
    "index", "index_put", "index_put_", "_index_put_impl_", "index_select", "index_add", "index_add_", "take", "gather",
    "scatter", "scatter_", "scatter_add", "scatter_add_", "embedding", "nll_loss_forward", "nll_loss2d_forward",
    "multinomial",
}  # fmt: skip

TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


class Operator:
    """What the rules ask about an ATen operator such as aten.add.Tensor."""

    def __init__(self, func):
        schema = func._schema
        self.func = func
        self.name = schema.name.removeprefix("aten::")
        self.arguments = [argument.name for argument in schema.arguments]
        aliased = [argument for argument in schema.arguments if argument.alias_info is not None]
        self.written = [argument.name for argument in aliased if argument.alias_info.is_write]
        self.pointwise = torch.Tag.pointwise in func.tags or self.name.startswith("_foreach_")
        self.random = torch.Tag.nondeterministic_seeded in func.tags
        self.changes_shape = torch.Tag.inplace_view in func.tags  # unsqueeze_ and its like
        self.has_kernel = _has_cuda_kernel(func)

    def argument(self, name: str, args: tuple, kwargs: dict):
        place = self.arguments.index(name) if name in self.arguments else len(args)
        return args[place] if place < len(args) else kwargs.get(name)

    def refuse(self, message: str, error: type[Exception] = RuntimeError):
        raise error(f"{message} [pretended GPU: {self.func}]")


@functools.cache
def operator(func) -> Operator:
    return Operator(func)


def _has_cuda_kernel(func) -> bool:
    try:
        return torch._C._dispatch_has_computed_kernel_for_dispatch_key(func.name(), "CUDA")
    except RuntimeError:  # an operator of Python's alone
        return True


def tensors_in(values) -> list[Tensor]:
    """All tensors among the values, lists and tuples searched."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += tensors_in(value)
    return found


def check(op: Operator, args: tuple, kwargs: dict, target_is_card: bool) -> None:
    """Raise what CUDA would raise for this call, whose result lies on the card if `target_is_card`."""
    tensors = tensors_in(args) + tensors_in(kwargs.values())
    here = [t for t in tensors if not isinstance(t, GpuTensor)]
    if here and len(here) < len(tensors) and op.name not in COPIES:
        if op.name in INDEXING:
            _check_indexing(op, args, kwargs)
        else:
            _check_devices(op, args, kwargs, here)
    check_generator(op, kwargs, target_is_card)
    if target_is_card and not op.has_kernel and op.name not in COPIES:
        op.refuse(
            f"Could not run '{op.func.name()}' with arguments from the 'CUDA' backend.", NotImplementedError
        )
    if op.name in FLOATS_ONLY:
        for t in tensors:
            if isinstance(t, GpuTensor) and not t.is_floating_point() and not t.is_complex():
                op.refuse(f"\"{op.name}_cuda\" not implemented for '{t.type().split('.')[-1][:-6]}'")
    if op.name == "linalg_lstsq" and op.argument("driver", args, kwargs) not in (None, "gels"):
        op.refuse("torch.linalg.lstsq: parameter `driver` should be one of (gels)")


def check_generator(op: Operator, kwargs: dict, target_is_card: bool) -> None:
    generator = kwargs.get("generator")
    if generator is not None and on_card(generator) != target_is_card:
        wanted, found = ("cuda", "cpu") if target_is_card else ("cpu", "cuda")
        op.refuse(f"Expected a '{wanted}' device type for generator but found '{found}'")


def _check_indexing(op: Operator, args: tuple, kwargs: dict) -> None:
    owner_is_here = not isinstance(args[0], GpuTensor)
    if owner_is_here and any(isinstance(index, GpuTensor) for index in args[1]):
        op.refuse("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    values = op.argument("values", args, kwargs)
    if values is not None and values.ndim and isinstance(values, GpuTensor) == owner_is_here:
        op.refuse(TWO_DEVICES)


def _check_devices(op: Operator, args: tuple, kwargs: dict, here: list[Tensor]) -> None:
    """`here`: the CPU tensors that came with tensors on the card.  Only a plain number may."""
    if op.name in ("convolution", "convolution_backward"):
        image, weight = args[:2] if op.name == "convolution" else args[1:3]
        if isinstance(image, GpuTensor) != isinstance(weight, GpuTensor):
            op.refuse(f"Input type ({image.type()}) and weight type ({weight.type()}) should be the same")
    if op.name == "equal":
        op.refuse("Cannot compare two tensors on different devices. Got: cuda:0 and cpu")
    if op.name.startswith("masked_fill") and not isinstance(args[1], GpuTensor):
        op.refuse("expected self and mask to be on the same device, but got mask on cpu and self on cuda:0")
    written = tensors_in(op.argument(name, args, kwargs) for name in op.written)
    numbers_allowed = op.pointwise or op.name in SCALAR_VALUE
    for t in here:
        is_number = t.ndim == 0 and numbers_allowed and not any(t is w for w in written)
        if not is_number:
            op.refuse(TWO_DEVICES)
