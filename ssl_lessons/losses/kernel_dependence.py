"""SSL-HSIC: features shall depend on which picture they come from, measured by kernels."""

import math
from numbers import Real

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_pair, check_positive, unit_rows


def ssl_hsic(z1: Tensor, z2: Tensor, gamma: float = 3.0, width: float = 1.0) -> Tensor:
    """SSL-HSIC (Li et al. 2021, section 3): -HSIC(Z, Y) + gamma sqrt(HSIC(Z, Z)), Y the identity of the picture.

        HSIC(Z, Y) = mean_i k(z1_i, z2_i) - mean over all pairs of the 2N views of k      (pairs with itself included)
        HSIC(Z, Z) = tr(K H K H) / (2N)^2,   k(a, b) = width / sqrt(width^2 + |a - b|^2),   H = I - 1/(2N)

    The kernel is the inverse multiquadric one; rows have unit length.  The authors' code (deepmind/ssl_hsic,
    kernels.py) approximates k by random features and starts width at 1; here k is exact and width fixed, and a constant
    that does not depend on z (the pairs of a view with itself in the first mean) is left out.

    z1, z2: [N, D], two views of the same images.  gamma: 0 or more; embeddings near one point leave it only along more
    than about gamma^2 directions at once.  Returns a scalar; 0 if all embeddings are equal.  Half precision is computed
    in float32, also under autocast; float64 stays float64.
    Raises InputError for shapes that differ, N < 2, values that are not finite, a negative gamma or a width that is not
    positive.
    """
    check_positive(width=width)
    if not isinstance(gamma, Real) or not 0 <= gamma < math.inf:
        raise InputError(f"gamma must be 0 or a positive number, not {gamma!r}.")
    check_pair(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        z = torch.cat(unit_rows(z1, z2))
        squared = (2 - 2 * z @ z.T).clamp_min(0)
        kernel = width / (width**2 + squared).sqrt()  # [2N, 2N]
        n = len(z1)
        own = kernel[:n, n:].diagonal().mean()
        row = kernel.mean(dim=1, keepdim=True)
        centred = kernel - row - row.T + kernel.mean()
        # The square root has no slope at 0, where all embeddings are equal.
        spread = centred.square().sum().clamp_min(1e-12).sqrt() / len(z)
        return gamma * spread - (own - kernel.mean())
