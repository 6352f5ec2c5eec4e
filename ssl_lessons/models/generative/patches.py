"""Pictures as patches described by a dictionary of atoms: cutting, random atoms, two encoders, pooling.

The pipeline of Coates, Lee and Ng (2011, section 3), small: normalise patches, code each by a dictionary, pool the
codes over the four quarters of the picture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError

from .autoencoders import sparse_codes

SIDE = 8  # of a patch, in pixels
FLAT = 0.5  # added to a patch's length before it divides: nearly flat patches stay small, their noise is not blown up


def cut(images: Tensor) -> Tensor:
    """Images [N, 3, S, S], uint8 or float in [0, 1], as patches [N, T, 192]: mean taken out, length below 1.

    The patches are those of a grid without overlap, T = (S / 8)^2.  Raises InputError unless S is a multiple of 8.
    """
    from ssl_lessons.models.encoders import patchify

    x = images.float() / 255 if images.dtype == torch.uint8 else images
    x = patchify(x, SIDE)
    x = x - x.mean(dim=2, keepdim=True)
    return x / (x.norm(dim=2, keepdim=True) + FLAT)


def crops(pictures: Tensor, n: int, side: int, generator: torch.Generator) -> Tensor:
    """n random squares [n, C, side, side] of pictures [K, C, H, W], from each in turn.

    Raises InputError for a side that does not fit.
    """
    height, width = pictures.shape[-2:]
    if not 1 <= side <= min(height, width):
        raise InputError(f"squares of {side} px do not fit into pictures of {height} x {width}")
    rows = torch.randint(height - side + 1, (n,), generator=generator).tolist()
    columns = torch.randint(width - side + 1, (n,), generator=generator).tolist()
    return torch.stack(
        [pictures[i % len(pictures), :, r : r + side, c : c + side]
         for i, (r, c) in enumerate(zip(rows, columns, strict=True))]
    )  # fmt: skip


def sample(x: Tensor, atoms: int, generator: torch.Generator) -> Tensor:
    """Random rows of x [N, P], scaled to length 1, as a dictionary [atoms, P]: nothing is learned.

    (Coates and Ng 2011, section 3, "randomly sampled patches".)  Raises InputError for fewer rows than atoms.
    """
    if len(x) < atoms:
        raise InputError(f"{atoms} atoms cannot be drawn from {len(x)} patches")
    return F.normalize(x[torch.randperm(len(x), generator=generator)[:atoms]], dim=1)


def sparse(x: Tensor, atoms: Tensor, penalty: float, steps: int = 20) -> Tensor:
    """Sparse codes s [N, K] of patches x [N, P], split into the parts above and below zero: [N, 2 K]."""
    return _split(sparse_codes(x, atoms, penalty, steps))


def threshold(x: Tensor, atoms: Tensor, penalty: float) -> Tensor:
    """One product and a soft threshold, max(0, +-x B^T - penalty): [N, P] -> [N, 2 K].

    (Coates and Ng 2011, section 3, "soft threshold".)  It is the first step of ISTA from zero with step size 1.
    """
    return _split(F.softshrink(x @ atoms.T, penalty))


def describe(images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Codes of all patches of images [N, 3, S, S], averaged over the four quarters: [N, 4 K].

    encode: patches [M, 192] -> codes [M, K].  Raises InputError unless S is a multiple of 16.
    """
    if images.shape[-1] % (2 * SIDE) or images.shape[-2] != images.shape[-1]:
        raise InputError(f"pictures must be square with a side that is a multiple of {2 * SIDE}")
    x, half = cut(images), images.shape[-1] // SIDE // 2
    codes = encode(x.flatten(0, 1)).view(len(x), 2, half, 2, half, -1)
    return codes.mean(dim=(2, 4)).flatten(1)


def _split(s: Tensor) -> Tensor:
    return torch.cat([s.clamp(min=0), (-s).clamp(min=0)], dim=1)
