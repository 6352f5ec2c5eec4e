"""TiCo, MMCR and FroSSL: embeddings of unit length stay apart if their second moments are spread over all directions.

None of them compares two images, and none needs the eigenvalues: TiCo and FroSSL look at squares of the second moments,
MMCR at the singular values of the embeddings.
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_views, full_precision, unit_rows


def tico_covariance(covariance: Tensor, z: Tensor, beta: float = 0.9, center: bool = False) -> Tensor:
    """The next second moment of TiCo, beta C + (1 - beta) B, B = mean of z z^T over unit-length rows z.

    Zhu et al. 2022 (https://arxiv.org/abs/2206.10698).  C remembers all images there were, the latest best: the paper
    sees in it a variant of MoCo with an implicit memory bank of unlimited size.  sayannag/TiCo-pytorch and lightly take
    the first views as they are; stable-pretraining takes both, one below the other, subtracts their mean and divides
    by one less than there are rows: center=True.

    covariance: [D, D], zeros at first; z: [N, D].  Returns a new tensor [D, D], through which the gradient of z flows.
    Raises InputError for shapes that do not fit, values that are not finite or beta outside 0..1.
    """
    _check_covariance(covariance, z)
    if not isinstance(beta, Real) or not 0 <= beta <= 1:
        raise InputError(f"beta must be between 0 and 1, not {beta!r}.")
    with torch.autocast(z.device.type, enabled=False):
        (z,) = unit_rows(z)
        now = z.T.cov() if center else z.T @ z / len(z)
        return beta * covariance.to(z.dtype) + (1 - beta) * now


def tico(z1: Tensor, z2: Tensor, covariance: Tensor, rho: float = 8.0) -> Tensor:
    """TiCo: views agree, and no direction is used much by the images that went before.

        loss = mean_n (1 - z1_n.z2_n) + rho mean_n z1_n^T C z1_n,    unit-length z,  C = `tico_covariance`

    Zhu et al. 2022 (https://arxiv.org/abs/2206.10698).  There are two public forms, both here:
    - sayannag/TiCo-pytorch and lightly: C of the first views, uncentred (the first without the 1, which is no matter;
      the second detaches C).  Their default is rho = 20, and the first notes that the paper recommends 8.
    - stable-pretraining: 2 - 2 cos and rho = 20 with the centred covariance of both views, detached: twice this loss
      with rho = 10 and that C.  A constant then costs nothing: its centred covariance is 0.

    z1: [N, D], the student's; z2: [N, D], the teacher's of the other view (detach it); covariance: [D, D], this batch
    included.  Returns a scalar, rho if everything is and was one point.  Half precision is computed in float32, also
    under autocast; float64 stays float64.
    Raises InputError for shapes that differ, N < 2, values that are not finite or a negative rho.
    """
    check_pair(z1, z2)
    _check_covariance(covariance, z1)
    _check_weight("rho", rho)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = unit_rows(z1, z2)
        (covariance,) = full_precision(covariance.to(z1.dtype))
        return 1 - (z1 * z2).sum(dim=1).mean() + rho * ((z1 @ covariance) * z1).sum(dim=1).mean()


def mmcr(views: Sequence[Tensor], local_weight: float = 0.0) -> Tensor:
    """MMCR: the mean views of the images span as much as they can.

        loss = - |C|_* + local_weight mean_n |Z_n|_*     |.|_*: nuclear norm, the sum of the singular values
        C [N, D]: the mean over the views of each image's unit-length embeddings, Z_n [V, D]: those embeddings

    Yerxa et al. 2023 (https://arxiv.org/abs/2303.03307), as mmcr/cifar_stl/loss_mmcr.py of the authors' code.  A mean
    is long only if the views agree, so the first term pulls and pushes, and the second, which shrinks the manifold of
    one image, is 0 by default in that code.  With a momentum encoder (mmcr/imagenet/loss_mmcr_momentum.py) its
    embeddings enter C as further views; lightly counts them in Z_n as well, as passing them here does, and does not
    normalise.

    views: V >= 2 tensors [N, D], not normalised.  Returns a scalar: -sqrt(N min(N, D)) at best, -sqrt(N) if all
    coincide (without the second term).  Half precision is computed in float32, also under autocast; float64 stays
    float64.
    Raises InputError for shapes that do not fit, values that are not finite or a negative weight.
    """
    check_views(views)
    _check_weight("local_weight", local_weight)
    with torch.autocast(views[0].device.type, enabled=False):
        z = torch.stack(unit_rows(*views), dim=1)  # [N, V, D]
        loss = -torch.linalg.svdvals(z.mean(dim=1)).sum()
        if local_weight:
            loss = loss + local_weight * torch.linalg.svdvals(z).sum() / len(z)
        return loss


def frossl(views: Sequence[Tensor], invariance_weight: float = 1.0, unit: str = "images") -> Tensor:
    """FroSSL: flatten the eigenvalues of each view's second moment without computing them.

        loss = sum_v [ log |S_v|_F^2 + invariance_weight mean_n |z_vn - mean_v z_vn|^2 ],   S_v = z_v^T z_v / trace

    The eigenvalues of S_v sum to 1, so the sum of their squares, |S_v|_F^2, is 1 if one has all and 1 / min(N, D) if
    all are equal: minus its logarithm is an entropy (Skean et al. 2024, https://arxiv.org/abs/2310.02903).

    unit="images": the rows have length 1, as in multiview_frossl_loss_func of the authors' code (OFSkean/FroSSL,
    solo/losses/frossl.py), although its comment says "along the batch dimension".  unit="dimensions": the columns have,
    as in solo-learn (the same file name) and lightly 1.6.0; then the second term is smaller by about D / N.  lightly
    weighs it V times as much as solo-learn.  The authors' loss for two views standardises the columns instead.

    views: V >= 2 tensors [N, D], not normalised.  Returns a scalar; with unit="images" it is 0 if everything is one
    point, and -V log(min(N, D)) at best; NaN if a view is zero altogether.  Half precision is computed in float32,
    also under autocast; float64 stays float64.
    Raises InputError for shapes that do not fit, values that are not finite, a negative weight or another unit.
    """
    check_views(views)
    _check_weight("invariance_weight", invariance_weight)
    if unit not in ("images", "dimensions"):
        raise InputError(f"unit must be 'images' or 'dimensions', what has length 1, not {unit!r}.")
    with torch.autocast(views[0].device.type, enabled=False):
        along_dimensions = unit == "dimensions"
        z = torch.stack(unit_rows(*(view.T if along_dimensions else view for view in views)))
        z = z.mT if along_dimensions else z  # [V, N, D]
        gram = z.mT @ z if z.shape[2] <= z.shape[1] else z @ z.mT  # the same eigenvalues
        trace = z.square().sum(dim=(1, 2))
        entropy = -(gram.square().sum(dim=(1, 2)) / trace.square()).log()  # [V]
        spread = (z - z.mean(dim=0)).square().sum(dim=(0, 2)).mean()
        return -entropy.sum() + invariance_weight * spread


def _check_covariance(covariance: Tensor, z: Tensor) -> None:
    check_matrices(covariance, z)
    if covariance.shape != (z.shape[1], z.shape[1]):
        raise InputError(
            f"covariance must be [{z.shape[1]}, {z.shape[1]}], as tico_covariance returns it, "
            f"not {tuple(covariance.shape)}."
        )


def _check_weight(name: str, weight: float) -> None:
    if not isinstance(weight, Real) or not 0 <= weight < math.inf:
        raise InputError(f"The {name} must be 0 or a positive number, not {weight!r}.")
