"""Numbers in few bits: BatchNorm folded away, scale and zero point, and a simulation of the result in float.

Notation of Jacob et al. (2018, https://arxiv.org/abs/1712.05877, eq. 1): a real number x is stored as an integer q,
and x is read back as scale * (q - zero_point).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from ssl_lessons.errors import InputError
from ssl_lessons.models import LabChannels
from ssl_lessons.views import normalize


class Grid(NamedTuple):
    """The numbers that can be stored: scale * (q - zero_point) for whole q from `lowest` to `highest`.

    scale, zero_point: tensors that broadcast against what is quantised (one number, or one per output channel).
    """

    scale: Tensor
    zero_point: Tensor
    lowest: int
    highest: int


def weight_grid(weight: Tensor, bits: int = 8, per_channel: bool = True) -> Grid:
    """A symmetric grid for weights [C_out, ...]: zero point 0, q in -(2^(bits-1) - 1) .. 2^(bits-1) - 1.

    per_channel: one scale for each output channel instead of one for the whole tensor.
    """
    _check_bits(bits)
    highest = 2 ** (bits - 1) - 1
    dims = tuple(range(1, weight.ndim)) if per_channel else tuple(range(weight.ndim))
    largest = weight.detach().abs().amax(dim=dims, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0) / highest  # a channel of zeros keeps a scale of its own
    return Grid(scale, torch.zeros_like(scale), -highest, highest)


def activation_grid(low: float, high: float, bits: int = 8) -> Grid:
    """An affine grid for activations between `low` and `high`: q in 0 .. 2^bits - 1.

    The range is widened to hold 0, which is then stored exactly: padding and ReLU produce many zeros.
    """
    _check_bits(bits)
    low, high = min(0.0, float(low)), max(0.0, float(high))
    highest = 2**bits - 1
    scale = torch.tensor((high - low) / highest if high > low else 1.0, dtype=torch.float64)
    return Grid(scale, torch.round(-low / scale), 0, highest)


def _check_bits(bits: int) -> None:
    if not isinstance(bits, int) or not 2 <= bits <= 16:
        raise InputError(f"bits must be a whole number from 2 to 16, got {bits!r}")


def quantize(x: Tensor, grid: Grid) -> Tensor:
    """The integers q (int32) nearest to x on the grid; what lies beyond its ends is clipped."""
    q = torch.round(x / grid.scale.to(x.dtype)) + grid.zero_point.to(x.dtype)
    return q.clamp(grid.lowest, grid.highest).to(torch.int32)


def dequantize(q: Tensor, grid: Grid, dtype: torch.dtype = torch.float32) -> Tensor:
    """The real numbers scale * (q - zero_point)."""
    return grid.scale.to(dtype) * (q.to(dtype) - grid.zero_point.to(dtype))


def fake_quantize(x: Tensor, grid: Grid) -> Tensor:
    """There and back: x moved to the nearest number of the grid, within scale / 2 unless it is clipped."""
    return dequantize(quantize(x, grid), grid, x.dtype)


@torch.no_grad()
def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does what `conv` followed by `norm` does in evaluation mode.

    gamma (W x + b - mu) / sqrt(var + eps) + beta  =  (s W) x + (s (b - mu) + beta),  s = gamma / sqrt(var + eps):
    each output channel's weights are scaled, and the rest is a bias (Jacob et al. 2018, section 3.2).
    """
    s = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = copy.deepcopy(conv)
    folded.weight = nn.Parameter(conv.weight * s[:, None, None, None])
    bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    folded.bias = nn.Parameter(s * (bias - norm.running_mean) + norm.bias)
    return folded


def fold(encoder: nn.Module) -> nn.Module:
    """A copy of the encoder in evaluation mode in which every BatchNorm that follows a convolution is folded into it.

    An encoder without BatchNorm2d (the ViT) is returned as a plain copy; in one that sees some channels of Lab only,
    the network behind them is folded.  Raises InputError for a network that torch.fx cannot follow.
    """
    encoder = copy.deepcopy(encoder).eval()
    if not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules()):
        return encoder
    if channels := [module for module in encoder.modules() if isinstance(module, LabChannels)]:
        for part in channels:  # the way to Lab cannot be traced, and there is nothing in it to fold
            part.encoder = fold(part.encoder)
        return encoder
    try:
        graph = fx.symbolic_trace(encoder)
    except Exception as error:  # noqa: BLE001 - what a forward does with a proxy can raise nearly anything
        raise InputError(
            f"BatchNorm cannot be folded into {type(encoder).__name__}: torch.fx cannot follow its forward ({error}); "
            "write it without branches and loops that depend on the images"
        ) from None
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        source = node.args[0] if node.op == "call_module" else None
        if not isinstance(modules.get(node.target), nn.BatchNorm2d) or source.op != "call_module":
            continue
        conv = modules[source.target]
        if isinstance(conv, nn.Conv2d) and len(source.users) == 1:
            parent, _, name = source.target.rpartition(".")
            setattr(graph.get_submodule(parent), name, fold_batch_norm(conv, modules[node.target]))
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    graph.dim = encoder.dim
    return graph


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


@torch.no_grad()
def input_ranges(model: nn.Module, images: Tensor, batch_size: int = 256) -> dict[str, tuple[float, float]]:
    """The smallest and largest input of every convolution and linear layer over calibration images, by layer name.

    images: uint8 [N, 3, H, W]; no label is needed.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def watch(name: str):
        def hook(module, inputs):
            low, high = (float(v) for v in inputs[0].aminmax())
            before = ranges.get(name, (low, high))
            ranges[name] = (min(low, before[0]), max(high, before[1]))

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in _layers(model).items()]
    try:
        for batch in images.split(batch_size):
            model(normalize(batch))
    finally:
        for handle in handles:
            handle.remove()
    return ranges


@torch.no_grad()
def simulate(
    model: nn.Module,
    ranges: dict[str, tuple[float, float]] | None = None,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = True,
) -> nn.Module:
    """A copy of a folded model that computes in float what the quantised one computes in integers, up to rounding.

    Weights of every convolution and linear layer are put on a grid of `weight_bits`; with `ranges` (see
    `input_ranges`), so are the inputs of these layers, on grids of `activation_bits`.  Biases stay as they are:
    real implementations keep them in 32 bits.
    """
    model = copy.deepcopy(model).eval()
    for name, layer in _layers(model).items():
        grid = weight_grid(layer.weight, weight_bits, per_channel)
        layer.weight.copy_(fake_quantize(layer.weight, grid))
        if ranges is not None:
            inputs = activation_grid(*ranges[name], activation_bits)
            layer.register_forward_pre_hook(lambda _, x, grid=inputs: (fake_quantize(x[0], grid), *x[1:]))
    return model
