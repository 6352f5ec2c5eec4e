"""What the measures of this room ask of features and labels before they use them."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.errors import InputError, NotFiniteError


def checked_features(x: Tensor, what: str = "features") -> Tensor:
    """Features [N, D] on their device, without gradient: float32 or float64 as given, half precision as float32.

    what: their name in messages.  Raises InputError for another shape and for no rows, NotFiniteError for NaN.
    """
    if not isinstance(x, Tensor) or x.ndim != 2 or x.is_complex():
        got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(
            f"{what} must be a tensor of numbers [images, dimensions], not {got}; try .flatten(1)"
        )
    if not x.numel():
        raise InputError(f"{what} are empty, {list(x.shape)}: give at least one image")
    x = x.detach()
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float() if x.is_floating_point() else x.double()
    if x.dtype == torch.float32 and 1e18 < float(x.abs().max()) < float("inf"):
        raise NotFiniteError(
            f"{what} reach {float(x.abs().max()):.0e}, whose square is no float32: most likely the training diverged; "
            "if not, divide them by a constant"
        )
    broken = int((~x.isfinite()).any(dim=1).sum())
    if broken:
        raise NotFiniteError(
            f"{broken} of {len(x)} {what} hold NaN or infinity: most likely the training diverged and left NaN in the "
            "encoder's weights or in its BatchNorm's running statistics; `diagnose` them, or load an earlier encoder"
        )
    return x


def checked_labels(y: Tensor, x: Tensor, what: str = "labels") -> Tensor:
    """Labels [N] of the features x [N, D] as int64 on the features' device.

    Raises InputError for another length or dtype, and for -1, which marks an unlabelled image.
    """
    if not isinstance(y, Tensor) or y.shape != (len(x),) or y.is_floating_point() or y.is_complex():
        got = f"{y.dtype} {list(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"{what} must be a tensor of {len(x)} whole numbers, one per image, not {got}")
    if int(y.min()) < 0:
        raise InputError(f"{what} need one of 0, 1, ... for every image; leave out the unlabelled ones (-1)")
    return y.to(x.device, torch.int64)


def checked_split(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four arguments that most measures take, checked, all in one dtype and on the device of the first."""
    train_x, test_x = same_width(train_x, test_x)
    return (
        train_x,
        checked_labels(train_y, train_x, "training labels"),
        test_x,
        checked_labels(test_y, test_x, "test labels"),
    )


def same_width(train_x: Tensor, test_x: Tensor) -> tuple[Tensor, Tensor]:
    """Training and test features [N, D] and [M, D], checked, in one dtype and on the device of the first."""
    train_x, test_x = (
        checked_features(x, f"{split} features") for x, split in ((train_x, "training"), (test_x, "test"))
    )
    if train_x.shape[1] != test_x.shape[1]:
        raise InputError(
            f"training and test features must come from one encoder: they have {train_x.shape[1]} and "
            f"{test_x.shape[1]} dimensions"
        )
    dtype = torch.promote_types(train_x.dtype, test_x.dtype)
    return train_x.to(dtype), test_x.to(train_x.device, dtype)
