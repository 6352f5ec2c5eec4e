"""One operation of the pretended card: apply CUDA's rules, count what makes a card wait, compute on the CPU."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from . import generators, waiting
from .rules import CHECKED_IN_THE_KERNEL, Operator, check, check_generator, operator, tensors_in
from .tensor import GpuTensor, is_card, with_index

# In float16 a card multiplies into float32 and rounds the result once; so do the operations made of sums.
ROUNDED_ONCE = {
    "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "convolution_backward", "avg_pool2d",
    "avg_pool2d_backward", "max_pool2d_with_indices", "max_pool2d_with_indices_backward", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool2d_backward", "upsample_nearest2d", "upsample_nearest2d_backward", "upsample_bilinear2d",
    "upsample_bilinear2d_backward", "grid_sampler_2d", "grid_sampler_2d_backward", "native_layer_norm",
    "native_layer_norm_backward", "native_group_norm", "native_group_norm_backward", "_softmax", "_log_softmax", "sum",
    "mean", "cumsum", "linalg_vector_norm",
}  # fmt: skip
# The same, but the statistics they return beside the result stay in float32.
BATCH_NORM = {
    "native_batch_norm", "native_batch_norm_backward", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "_batch_norm_no_update", "batch_norm_backward",
}  # fmt: skip


class Everywhere(TorchDispatchMode):
    """Sees the operations without a GpuTensor: what creates tensors on the card and what moves them there."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # True imports dynamo, which takes seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if GpuTensor not in types and "generator" not in kwargs and not is_card(kwargs.get("device")):
            return func(*args, **kwargs)  # most of them: the CPU's own business
        return execute(func, args, kwargs, on_gpu=GpuTensor in types)


def execute(func, args: tuple, kwargs: dict, on_gpu: bool):
    """Run an ATen operator; on_gpu: whether one of its tensors is on the card."""
    op, asked = operator(func), kwargs.get("device")
    target_is_card = on_gpu if asked is None else is_card(with_index(asked))
    if op.name == "copy_":
        target_is_card = isinstance(args[0], GpuTensor)
    if not on_gpu and not target_is_card:
        check_generator(op, kwargs, False)
        return func(*args, **kwargs)
    check(op, args, kwargs, target_is_card)
    waiting.note(op, args, kwargs, target_is_card)
    hosts, wrappers = _unwrap(args, kwargs)
    own_state = op.random and target_is_card and kwargs.get("generator") is None
    try:
        with generators.of_the_card() if own_state else contextlib.nullcontext():
            result = _compute(op, *hosts)
    except (IndexError, RuntimeError) as error:
        if op.name in CHECKED_IN_THE_KERNEL and "out of" in str(error):
            op.refuse(f"CUDA error: device-side assert triggered ({error})")
        raise
    if op.changes_shape:
        _change_shape(func, args, kwargs)
    return _wrap(result, wrappers, target_is_card)


def _unwrap(args: tuple, kwargs: dict):
    """((args, kwargs) for the CPU, {id of a tensor there: the tensor that was given})."""
    given = {}

    def host(value):
        if isinstance(value, Tensor):
            inner = value.host if isinstance(value, GpuTensor) else value
            given[id(inner)] = value
            return inner
        return type(value)(map(host, value)) if type(value) in (list, tuple) else value

    kwargs = {name: host(value) for name, value in kwargs.items()}
    if is_card(kwargs.get("device")):
        kwargs["device"] = torch.device("cpu")
    if "pin_memory" in kwargs:
        kwargs["pin_memory"] = False
    return ([host(value) for value in args], kwargs), given


def _wrap(value, given: dict, to_card: bool):
    """The result on the card; where it is an operand (of an operation in place), that very tensor."""
    if isinstance(value, Tensor):
        if id(value) in given:
            return given[id(value)]
        return GpuTensor(value) if to_card and value.device.type == "cpu" else value
    if isinstance(value, (list, tuple)):
        kind = type(value) if type(value) in (list, tuple) else tuple
        return kind(_wrap(v, given, to_card) for v in value)
    return value


def _change_shape(func, args: tuple, kwargs: dict) -> None:
    """Give the wrapper the new shape, too: its own (meta) kernel changes the shape and computes nothing."""
    before = torch._C._meta_in_tls_dispatch_include()
    torch._C._set_meta_in_tls_dispatch_include(True)
    try:
        with no_dispatch():
            func(*args, **kwargs)
    finally:
        torch._C._set_meta_in_tls_dispatch_include(before)


def _compute(op: Operator, args: list, kwargs: dict):
    """The operator on the CPU, float16 as on a card."""
    if op.name in ("_softmax", "_log_softmax") and args[2]:  # from float16 to float32 in one
        return op.func(args[0].float(), args[1], False)
    if op.name in ("_softmax_backward_data", "_log_softmax_backward_data") and args[3] == torch.float16:
        return op.func(args[0].float(), args[1].float(), args[2], torch.float32).half()
    if not any(t.dtype == torch.float16 for t in tensors_in(args)):
        return op.func(*args, **kwargs)
    if op.name in ROUNDED_ONCE or op.name in BATCH_NORM:
        return _in_float32(op, args, kwargs)
    try:
        return op.func(*args, **kwargs)
    except RuntimeError as error:
        if "not implemented for 'Half'" not in str(error) or op.written:
            raise
        return _in_float32(op, args, kwargs)  # the CPU has no such kernel


def _in_float32(op: Operator, args: list, kwargs: dict):
    result = op.func(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})
    if kwargs.get("dtype") is not None:
        return result
    if op.name in BATCH_NORM:
        return (_rounded(result[0]), *result[1:])
    return tuple(map(_rounded, result)) if isinstance(result, tuple) else _rounded(result)


def _widened(value):
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.float16 else value
    return type(value)(map(_widened, value)) if type(value) in (list, tuple) else value


def _rounded(value):
    return value.half() if isinstance(value, Tensor) and value.dtype == torch.float32 else value
