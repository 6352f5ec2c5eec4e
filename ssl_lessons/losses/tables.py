"""Losses of rows: which cells were replaced and what stood there, subsets of columns, mixed rows."""

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_positive, full_precision
from ssl_lessons.losses.contrastive import info_nce, nt_xent


def vime(mask_logits: Tensor, mask: Tensor, values: Tensor, rows: Tensor, alpha: float = 1.0) -> Tensor:
    """VIME: the binary cross-entropy of the mask, plus alpha times the squared error of the values.

        loss = -mean_(i,d) [ m log s(l) + (1 - m) log(1 - s(l)) ] + alpha * mean_(i,d) (v - x)^2,   s: logistic

    Yoon et al. (2020), section 4.1, equations 4 to 6.  The squared error is over all cells, as there, not over the
    replaced ones alone.  Its unit decides what alpha means: there every column runs from 0 to 1 (section 5).
    mask_logits, values, rows: [N, D]; mask: bool [N, D], true where a cell was replaced.
    Returns a scalar.  Raises InputError for shapes that differ, a mask that is not bool, an alpha that is not positive.
    """
    check_positive(alpha=alpha)
    check_matrices(mask_logits, values, rows)
    if not mask_logits.shape == mask.shape == values.shape == rows.shape or mask.dtype != torch.bool:
        raise InputError(
            "vime needs logits, values and rows [N, D] of one shape, and a bool mask of that shape"
        )
    with torch.autocast(rows.device.type, enabled=False):
        mask_logits, values, rows = full_precision(mask_logits, values, rows)
        spotted = F.binary_cross_entropy_with_logits(mask_logits, mask.to(mask_logits.dtype))
        return spotted + alpha * F.mse_loss(values, rows)


def subtab(
    reconstructions: Sequence[Tensor], projections: Sequence[Tensor], rows: Tensor, temperature: float = 0.1
) -> Tensor:
    """SubTab: from each subset of the columns the whole row, and the subsets' projections near each other.

        loss = mean_k mean_i |r_ki - x_i|^2  +  mean over pairs k < l of [ NT-Xent(z_k, z_l) + mean_i |u_ki - u_li|^2 ]

    with u = z / |z|.  Ucar et al. (2021), section 2 (reconstruction + contrastive + distance); squares are summed over
    columns and projections have length 1, as in the official code (getMSEloss, normalize).
    reconstructions: K tensors [N, D], or none to leave that term out; projections: K tensors [N, P], or none to leave
    out the last two; rows: [N, D].
    Returns a scalar.  Raises InputError for shapes that do not fit, one projection alone, neither of both, or a
    temperature that is not positive.
    """
    check_matrices(rows, *reconstructions, *projections)
    if any(r.shape != rows.shape for r in reconstructions) or any(len(z) != len(rows) for z in projections):
        raise InputError(
            "subtab needs reconstructions of the shape of the rows, and a projection for each row"
        )
    if len(projections) == 1 or not (reconstructions or projections):
        raise InputError("subtab needs reconstructions, or projections of at least two subsets, or both")
    with torch.autocast(rows.device.type, enabled=False):
        rows, *tensors = full_precision(rows, *reconstructions, *projections)
        restored, z = tensors[: len(reconstructions)], tensors[len(reconstructions) :]
        terms = []
        if restored:
            terms.append(torch.stack([_distance(r, rows) for r in restored]).mean())
        if z:
            z = [F.normalize(v, dim=1) for v in z]
            pairs = [nt_xent(a, b, temperature) + _distance(a, b) for a, b in combinations(z, 2)]
            terms.append(torch.stack(pairs).mean())
        return torch.stack(terms).sum()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(dim=1).mean()


def saint(
    clean: Tensor, mixed: Tensor, values: Tensor, rows: Tensor, temperature: float = 0.7, weight: float = 20.0
) -> Tensor:
    """SAINT's pretraining: a row and its mixed self find each other, both ways, and the row is restored.

        loss = (InfoNCE(clean -> mixed) + InfoNCE(mixed -> clean)) / 2  +  weight * mean_(i,d) (v - x)^2

    Somepalli et al. (2021), section 4, with the two ways of the official code's pretraining.py.  There features have
    length 1 before the projection; here projections have, so that the contrast is one of cosines.
    clean, mixed: projections [N, P] of the rows and of what CutMix and mixup made of them; values, rows: [N, D]; weight
    0 leaves the second term out.
    Returns a scalar.  Raises InputError for shapes that do not fit, a negative weight, a temperature not above 0.
    """
    check_matrices(values, rows)
    if values.shape != rows.shape or len(rows) != len(clean) or weight < 0:
        raise InputError("saint needs values and rows [N, D] of one shape, N projections, and weight >= 0")
    with torch.autocast(rows.device.type, enabled=False):
        clean, mixed, values, rows = full_precision(clean, mixed, values, rows)
        ways = [info_nce(a, b, temperature=temperature) for a, b in ((clean, mixed), (mixed, clean))]
        return (ways[0] + ways[1]) / 2 + weight * F.mse_loss(values, rows)
