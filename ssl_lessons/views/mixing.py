"""Two pictures in one: mixup and CutMix, with the labels mixed in the same proportion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

from ssl_lessons.errors import InputError


def mixing_weight(alpha: float, generator: Generator | None = None, at_least_half: bool = False) -> float:
    """A weight from Beta(alpha, alpha): 0.5 on average, near 0 or 1 for a small alpha.

    at_least_half: the larger of it and 1 - it, so that the first partner keeps the upper hand (Berthelot et al. 2019,
    MixMatch, eq. 9).  Raises InputError for alpha <= 0.
    """
    if not alpha > 0:
        raise InputError(f"alpha must be positive, not {alpha}")
    seed = int(torch.randint(2**31, (1,), generator=generator))  # torch's own Beta takes no generator
    weight = float(np.random.default_rng(seed).beta(alpha, alpha))
    return max(weight, 1 - weight) if at_least_half else weight


def mixup(x: Tensor, y: Tensor, order: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """weight * (x, y) + (1 - weight) * (x, y)[order]     (Zhang et al. 2018, section 1).

    x: float [N, ...], y: distributions over classes [N, C], order: a permutation of the N rows (or any int64 [N]).
    Raises InputError for labels that are whole numbers, a weight outside 0..1, shapes that do not fit.
    """
    _check(x, y, order, weight)
    return weight * x + (1 - weight) * x[order], weight * y + (1 - weight) * y[order]


def cutmix(
    x: Tensor, y: Tensor, order: Tensor, weight: float, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A box of every picture is replaced by that of its partner, the labels by the *areas* (Yun et al. 2019, eq. 1, 2).

    x: float [N, 3, H, W]; y, order and errors as for `mixup`.  The box has sides of sqrt(1 - weight) of the picture's
    and a centre drawn evenly, one box for the batch; what sticks out is cut off, so the share is counted again.
    """
    _check(x, y, order, weight)
    if x.ndim != 4:
        raise InputError(f"cutmix needs pictures [N, 3, H, W], not {list(x.shape)}")
    side = (1 - weight) ** 0.5
    ends = []
    for length in x.shape[2:]:
        centre, half = int(torch.randint(length, (1,), generator=generator)), int(length * side) // 2
        ends.append(slice(max(centre - half, 0), min(centre + half, length)))
    mixed = x.clone()
    mixed[:, :, ends[0], ends[1]] = x[order][:, :, ends[0], ends[1]]
    pasted = (ends[0].stop - ends[0].start) * (ends[1].stop - ends[1].start)
    share = 1 - pasted / (x.shape[2] * x.shape[3])
    return mixed, share * y + (1 - share) * y[order]


def _check(x: Tensor, y: Tensor, order: Tensor, weight: float) -> None:
    if y.ndim != 2 or not y.is_floating_point():
        raise InputError(
            "mixed labels are distributions [N, C]; use one_hot(labels, C).float() for whole numbers"
        )
    if not len(x) == len(y) == len(order) or not 0 <= weight <= 1:
        raise InputError(
            f"need a label and a partner for each of {len(x)} pictures and a weight in 0..1, "
            f"got {len(y)}, {len(order)} and {weight}"
        )
