"""LeJEPA and VISReg: every random projection of the embeddings should look like a standard normal sample.

A distribution is known by its projections on lines (Cramér & Wold), so a test for one dimension, averaged over random
directions, is a test for many.  Draw new directions for every step: `random_directions`.
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.diagnostics.measures import FARTHEST, KNOTS
from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_positive, check_views, full_precision


def random_directions(dim: int, count: int = 256, generator: torch.Generator | None = None) -> Tensor:
    """`count` unit vectors, uniform on the sphere, as columns: [dim, count], float32 on the CPU.

    On the CPU whatever the embeddings are on, so that a seed means the same directions everywhere.
    Raises InputError unless dim and count are at least 1.
    """
    if dim < 1 or count < 1:
        raise InputError(f"At least one direction in one dimension is needed, not {count!r} in {dim!r}.")
    return F.normalize(torch.randn(dim, count, generator=generator), dim=0)


def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """SIGReg: how far z is from a sample of N(0, I), by the Epps-Pulley statistic of its projections.

        mean over directions a of  N * integral |phi_a(t) - e^(-t^2/2)|^2 e^(-t^2/2) dt
        phi_a(t) = mean_n e^(i t a.z_n)

    Balestriero & LeCun 2025 (https://arxiv.org/abs/2511.08544, section 4.2.3), with the integral of the authors' code
    (rbalestr-lab/lejepa, MINIMAL.md): from -3 to 3 by the trapezoidal rule, 17 knots on either half; Algorithm 1 of
    the paper has 17 from -5 to 5.  `diagnostics.sigreg` is the same number, to be looked at.  Some public versions
    leave out the factor N, which changes what a weight means.

    Nothing is centred or scaled: about 1.05 for a sample of N(0, I), whatever N; 0.40 N with all rows at 0, where the
    gradient vanishes (`visreg` has one there).

    z: [N, D], N >= 2; directions: [D, M], columns of any length.  Returns a scalar >= 0.  Half precision is computed
    in float32, also under autocast; float64 stays float64.
    Raises InputError for shapes that do not fit, N < 2 or values that are not finite.
    """
    _check_set(z, directions)
    with torch.autocast(z.device.type, enabled=False):
        z, directions = full_precision(z, directions)
        t = torch.linspace(0, FARTHEST, KNOTS, dtype=z.dtype, device=z.device)
        gauss = (-t.square() / 2).exp()
        weights = 2 * FARTHEST / (KNOTS - 1) * gauss  # t and -t count alike; at t = 0 there is no gap
        weights[-1] /= 2
        angle = (z @ F.normalize(directions, dim=0))[..., None] * t  # [N, M, knots]
        gap = (angle.cos().mean(dim=0) - gauss).square() + angle.sin().mean(dim=0).square()  # [M, knots]
        return len(z) * (gap @ weights).mean()


def lejepa(
    views: Sequence[Tensor], directions: Tensor, sigreg_weight: float = 0.02, n_global: int | None = None
) -> Tensor:
    """LeJEPA: the views of an image meet at their mean, and each view's batch is a sample of N(0, I).

        loss = (1 - w) mean_v,n,d (z_vnd - c_nd)^2 + w mean_v sigreg(z_v),   c = mean of the first n_global views

    Balestriero & LeCun 2025 (https://arxiv.org/abs/2511.08544), as in MINIMAL.md of the authors' code
    (rbalestr-lab/lejepa), where w = 0.02 and all views make the centre; in lightly the global ones do, and w = 0.05.
    Nothing is detached: without the second term everything collapses to one point.

    views: V >= 2 tensors [N, D], N >= 2; directions: [D, M]; sigreg_weight: w, from 0 to 1; n_global: how many of
    the first views make the centre (default: all).  Returns a scalar >= 0.  Precision as in `sigreg`.
    Raises InputError for shapes that do not fit, values that are not finite, w or n_global out of range.
    """
    _check_share("sigreg_weight", sigreg_weight)
    spread = _invariance(views, n_global)
    statistic = sum(sigreg(z, directions) for z in views) / len(views)
    return (1 - sigreg_weight) * spread + sigreg_weight * statistic


def visreg_regularization(
    z: Tensor,
    directions: Tensor,
    scale_weight: float = 1.0,
    shape_weight: float = 1.0,
    center_weight: float = 1.0,
    eps: float = 1e-6,
) -> Tensor:
    """What keeps VISReg from collapsing: scale, shape and centre of one set z [N, D], each with a term of its own.

        scale  = mean_d (1 - sigma_d)^2                                     sigma_d: deviation of dimension d (over N)
        shape  = mean_a,i (sort_i(zhat.a) - Phi^-1(i / (N + 1)))^2          zhat = (z - mu) / sigma, sigma detached
        centre = mean_d mu_d^2

    Wu et al. 2026 (https://arxiv.org/abs/2606.02572), as in visreg/losses/visreg.py of the authors' code; lightly
    divides by sigma + 1e-4 instead.  `shape` is the squared Wasserstein distance of each projection to a standard
    normal one.  The gradient of `scale` has the same size however near the rows are to each other; where they
    coincide altogether it is 0, and `shape` pushes them apart with 1 / eps.

    directions: [D, M]; eps: the smallest sigma.  Returns a scalar >= 0.  Precision and errors as in `sigreg`, and for
    negative weights.
    """
    _check_set(z, directions)
    check_positive(eps=eps)
    weights = {"scale_weight": scale_weight, "shape_weight": shape_weight, "center_weight": center_weight}
    if any(not isinstance(w, Real) or not 0 <= w < math.inf for w in weights.values()):
        raise InputError(f"The weights must be 0 or positive numbers, not {weights}.")
    with torch.autocast(z.device.type, enabled=False):
        z, directions = full_precision(z, directions)
        n, mean = len(z), z.mean(dim=0)
        sigma = ((z - mean).norm(dim=0) / math.sqrt(n)).clamp_min(eps)  # [D]
        projected = (z - mean) / sigma.detach() @ F.normalize(directions, dim=0)  # [N, M]
        quantiles = torch.special.ndtri(torch.arange(1, n + 1, dtype=z.dtype, device=z.device) / (n + 1))
        shape = (projected.sort(dim=0).values - quantiles[:, None]).square().mean()
        scale, center = (1 - sigma).square().mean(), mean.square().mean()
        return scale_weight * scale + shape_weight * shape + center_weight * center


def visreg(
    views: Sequence[Tensor],
    directions: Tensor,
    regularization_weight: float = 0.6,
    n_global: int | None = None,
    scale_weight: float = 1.0,
    shape_weight: float = 1.0,
    center_weight: float = 1.0,
    eps: float = 1e-6,
) -> Tensor:
    """VISReg: LeJEPA with a regularisation whose gradient survives where everything has collapsed.

        loss = (1 - w) mean_v,n,d (z_vnd - c_nd)^2 + w mean_v visreg_regularization(z_v),   c as in `lejepa`

    Wu et al. 2026 (https://arxiv.org/abs/2606.02572), as in train_inet10_toy.py of the authors' code (HaiyuWu/visreg),
    where w = 0.6; lightly's default, for ImageNet, is 0.9.

    views, directions, n_global: as in `lejepa`; the rest: as in `visreg_regularization`.  Returns a scalar >= 0.
    Precision and errors as there.
    """
    _check_share("regularization_weight", regularization_weight)
    spread = _invariance(views, n_global)
    weights = (scale_weight, shape_weight, center_weight, eps)
    regularization = sum(visreg_regularization(z, directions, *weights) for z in views) / len(views)
    return (1 - regularization_weight) * spread + regularization_weight * regularization


def _invariance(views: Sequence[Tensor], n_global: int | None) -> Tensor:
    """Mean squared difference of the views to the mean of the first n_global."""
    check_views(views)
    n_global = len(views) if n_global is None else n_global
    if not 1 <= n_global <= len(views):
        raise InputError(f"n_global must be between 1 and the {len(views)} views, not {n_global!r}.")
    with torch.autocast(views[0].device.type, enabled=False):
        z = torch.stack(full_precision(*views))  # [V, N, D]
        return (z - z[:n_global].mean(dim=0)).square().mean()


def _check_set(z: Tensor, directions: Tensor) -> None:
    check_matrices(z, directions)
    if len(z) < 2:
        raise InputError("At least 2 examples are needed; use a larger batch.")
    if len(directions) != z.shape[1]:
        raise InputError(
            f"directions must be [{z.shape[1]}, directions], one column each, not {tuple(directions.shape)}; "
            "random_directions draws them."
        )


def _check_share(name: str, weight: float) -> None:
    if not isinstance(weight, Real) or not 0 <= weight <= 1:
        raise InputError(
            f"{name} shares the loss out between two terms and must be from 0 to 1, not {weight!r}."
        )
