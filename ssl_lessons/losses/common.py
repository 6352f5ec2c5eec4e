"""What the loss files share: checks of the arguments, unit-length rows, full precision."""

import math
from collections.abc import Sequence
from functools import reduce
from numbers import Real

import torch
from torch import Tensor

from ssl_lessons.errors import InputError, NotFiniteError

_EPS = 1e-12  # a row shorter than this has no direction worth the name


def full_precision(*groups: Tensor) -> list[Tensor]:
    """The tensors in one common dtype, float32 or better (float64 stays float64).

    Call it inside `torch.autocast(device, enabled=False)`: losses are computed in full precision.
    Raises NotFiniteError when a value is NaN or infinite; on a GPU all values then become NaN (see `_finite`).
    """
    dtype = reduce(torch.promote_types, [z.dtype for z in groups], torch.float32)
    groups = [z.to(dtype) for z in groups]
    # One number tells: a NaN or an infinity anywhere makes the sum of absolute values not finite.
    return _finite(sum(z.detach().abs().sum() for z in groups), groups)


def unit_rows(*groups: Tensor) -> list[Tensor]:
    """Every row (last dimension) divided by its length, in float32 or better.

    An all-zero row stays zero and gets no gradient.  Raises NotFiniteError unless all values are finite; on a GPU all
    rows then become NaN (see `_finite`).
    """
    dtype = reduce(torch.promote_types, [z.dtype for z in groups], torch.float32)
    groups = [z.to(dtype) for z in groups]
    norms = [z.norm(dim=-1, keepdim=True) for z in groups]
    # One number tells: a NaN, an infinity or an overflow anywhere makes the sum of the lengths not finite.
    groups = _finite(sum(norm.detach().sum() for norm in norms), groups)
    # A zero row is divided by infinity, not by a tiny number: its gradient is then 0 instead of 1e12.
    return [z / norm.where(norm > _EPS, math.inf) for z, norm in zip(groups, norms, strict=True)]


def _finite(total: Tensor, groups: list[Tensor]) -> list[Tensor]:
    """The groups, if `total`, one number, is finite; else NotFiniteError.

    A GPU would have to finish all its work before the host could read that number, in every step.  There the values
    become NaN instead, and with them the loss, at which whoever trains looks when it suits.
    """
    if total.device.type == "cuda":
        poison = torch.where(total.isfinite(), 0.0, math.nan)
        return [z + poison for z in groups]
    if not math.isfinite(float(total)):
        raise NotFiniteError(
            "The embeddings hold NaN, infinite or enormous values: check the images for NaN, "
            "then try a lower learning rate, a warm-up or gradient clipping."
        )
    return groups


def check_positive(**numbers: float) -> None:
    """Raises InputError unless every keyword is a finite number above 0: check_positive(temperature=0.1)."""
    for name, value in numbers.items():
        if not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
            raise InputError(f"The {name} must be a positive number such as 0.1, not {value!r}.")


def check_matrices(*groups: Tensor) -> None:
    """Raises InputError unless all are tensors [examples, dimensions] with at least one dimension."""
    if any(not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] == 0 for z in groups):
        raise InputError("Embeddings must be 2-D tensors [examples, dimensions]; flatten or squeeze them.")


def check_pair(z1: Tensor, z2: Tensor, least: int = 2) -> None:
    """Raises InputError unless z1 and z2 are two views [N, D] of the same N >= least images."""
    check_matrices(z1, z2)
    if z1.shape != z2.shape:
        raise InputError(
            f"The two views must have the same shape, not {tuple(z1.shape)} and {tuple(z2.shape)}: "
            "row i of both must come from image i."
        )
    if len(z1) < least:
        raise InputError(f"At least {least} example{'s' * (least > 1)} are needed; use a larger batch.")


def check_views(views: Sequence[Tensor], least: int = 2, images: int = 2) -> None:
    """Raises InputError unless views are at least `least` tensors [N, D] of one shape, N >= images."""
    if isinstance(views, Tensor) or len(views) < least:
        raise InputError(
            f"At least {least} views are needed, as a list with one tensor [images, dimensions] per view."
        )
    for view in views:
        check_pair(views[0], view, least=images)


def check_labels(labels: Tensor, n: int) -> None:
    """Raises InputError unless labels is an integer tensor [n]."""
    if not isinstance(labels, Tensor) or labels.shape != (n,) or labels.is_floating_point():
        raise InputError(f"labels must be a tensor of {n} whole numbers, one per row.")
