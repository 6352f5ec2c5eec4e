"""Which patches to hide: random, blocks, one per cell, and the context and target blocks of I-JEPA.

A mask is a bool tensor [N, T] over the T = side^2 patches of an image in reading order; True = hidden.  Every row hides
the same number of patches, so that the visible ones of a batch still form a tensor.  Masks are drawn on the CPU, from
`generator` or the global random state.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from ssl_lessons.errors import InputError


def random_mask(
    n: int, n_tokens: int, ratio: float, cell: int = 1, generator: Generator | None = None
) -> Tensor:
    """Hide round(ratio T) patches at random, without replacement (MAE, He et al. 2022, section 3).

    cell > 1 hides squares of cell x cell patches together (the mask unit of SimMIM is larger than a patch, Xie et
    al. 2022, section 3.2).
    """
    side = _side(n_tokens)
    if cell < 1 or side % cell:
        raise InputError(f"cell must divide the {side} patches of a side, got {cell}")
    cells = (side // cell) ** 2
    hidden = _count(ratio, cells)
    order = torch.rand(n, cells, generator=generator).argsort(dim=1)
    mask = torch.zeros(n, cells, dtype=torch.bool).scatter_(1, order[:, :hidden], True)
    grid = mask.view(n, side // cell, side // cell)
    return grid.repeat_interleave(cell, 1).repeat_interleave(cell, 2).flatten(1)


def block_mask(n: int, n_tokens: int, ratio: float, generator: Generator | None = None) -> Tensor:
    """Hide round(ratio T) patches in rectangular blocks (BEiT, Bao et al. 2022, algorithm 1).

    Rectangles of 1/12 to 1/3 of the image, aspect ratio 0.3 to 1/0.3, are laid down until the quota is full; the
    last one is cut at random places to meet it.
    """
    side = _side(n_tokens)
    hidden = _count(ratio, n_tokens)
    rectangles = (
        40  # far more than are needed; the same number for every ratio, so that masks of one seed are nested
    )
    u = torch.rand(n, rectangles, 4, generator=generator)
    area = n_tokens * (1 / 12 + u[..., 0] / 4)
    aspect = torch.exp((2 * u[..., 1] - 1) * math.log(1 / 0.3))
    height = (area * aspect).sqrt().round().clamp(1, side)
    width = (area / aspect).sqrt().round().clamp(1, side)
    covered = _rectangles(height, width, u[..., 2], u[..., 3], side)  # [n, rectangles, T]
    number = torch.arange(rectangles)[:, None]
    first = torch.where(covered, number, rectangles).min(dim=1).values  # the rectangle that hides it first
    order = (first + torch.rand(n, n_tokens, generator=generator)).argsort(dim=1)
    return torch.zeros(n, n_tokens, dtype=torch.bool).scatter_(1, order[:, :hidden], True)


def uniform_mask(n: int, n_tokens: int, generator: Generator | None = None) -> Tensor:
    """Hide three patches of every 2 x 2 cell (uniform sampling, Li et al. 2022, UM-MAE, section 3.1).

    No window of the image is left without a visible patch.
    """
    side = _side(n_tokens)
    if side % 2:
        raise InputError(f"cells of 2 x 2 need an even number of patches per side, got {side}")
    kept = torch.randint(4, (n, side // 2, side // 2, 1), generator=generator)
    cells = kept != torch.arange(4)  # [n, side/2, side/2, 4]
    return cells.view(n, side // 2, side // 2, 2, 2).transpose(2, 3).reshape(n, n_tokens)


def visible(mask: Tensor) -> Tensor:
    """The places [N, K] of the visible patches of a mask [N, T], in order.

    Raises InputError unless every row shows the same number of patches, at least one.
    """
    counts = (~mask).sum(dim=1)
    if not len(mask) or counts.min() != counts.max() or not counts[0]:
        raise InputError("every row of the mask must leave the same number of patches visible, at least one")
    return (~mask).nonzero()[:, 1].view(len(mask), -1)


def context_and_targets(
    n: int,
    n_tokens: int,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    context_scale: tuple[float, float] = (0.85, 1.0),
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """I-JEPA's multi-block masking (Assran et al. 2023, section 3): places [n, K] of the context, [n, targets, B] of
    the target blocks.

    Target blocks (aspect 0.75 to 1.5) may overlap; the context is one square block without the targets' patches.  Block
    sizes are drawn once per batch, places per image, and all contexts are cut at random to the smallest, so that
    both are tensors (the published code drops the last patches in reading order instead).
    """
    side = _side(n_tokens)

    def blocks(count, scale, aspect):
        u = torch.rand(2, generator=generator)
        area = n_tokens * (scale[0] + (scale[1] - scale[0]) * u[0])
        ratio = aspect[0] + (aspect[1] - aspect[0]) * u[1]
        height, width = ((area * r).sqrt().round().clamp(1, side) for r in (ratio, 1 / ratio))
        place = torch.rand(2, n, count, generator=generator)
        return _rectangles(height.expand(n, count), width.expand(n, count), *place, side)

    target = blocks(targets, target_scale, (0.75, 1.5))  # [n, targets, T]
    context = blocks(1, context_scale, (1.0, 1.0))[:, 0] & ~target.any(dim=1)
    smallest = int(context.sum(dim=1).min())
    if not smallest:
        raise InputError("the target blocks cover the whole context; take fewer or smaller targets")
    order = (context.float() + torch.rand(n, n_tokens, generator=generator)).argsort(dim=1, descending=True)
    places = target.flatten(0, 1).nonzero()[:, 1].view(n, targets, -1)
    return order[:, :smallest].sort(dim=1).values, places


def _rectangles(height: Tensor, width: Tensor, y: Tensor, x: Tensor, side: int) -> Tensor:
    """[..., side^2] masks of rectangles [...]: sizes in whole patches, places y, x in 0..1 of the room left."""
    line = torch.arange(side)
    top, left = ((r * (side + 1 - s)).floor()[..., None] for r, s in ((y, height), (x, width)))
    rows = (line >= top) & (line < top + height[..., None])
    columns = (line >= left) & (line < left + width[..., None])
    return (rows[..., :, None] & columns[..., None, :]).flatten(-2)


def _side(n_tokens: int) -> int:
    side = math.isqrt(n_tokens)
    if side < 1 or side * side != n_tokens:
        raise InputError(f"the number of patches must be a square number, got {n_tokens}")
    return side


def _count(ratio: float, n_tokens: int) -> int:
    hidden = round(ratio * n_tokens) if 0 < ratio < 1 else 0
    if not 0 < hidden < n_tokens:
        raise InputError(
            f"the mask ratio must hide some of the {n_tokens} patches and leave some, got {ratio}"
        )
    return hidden
