"""From canonical correlations to Barlow Twins, VICReg and W-MSE: views agree, dimensions stay apart.

No negatives anywhere: what keeps the embeddings from collapsing is a condition on their covariance.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_positive, full_precision, unit_rows


class Canonical(NamedTuple):
    """What `cca` finds: correlations [k], descending, and the weights [Dx, k], [Dy, k] of the directions."""

    correlations: Tensor
    x_weights: Tensor
    y_weights: Tensor


def cca(x: Tensor, y: Tensor, k: int | None = None, regularization: float = 0.0) -> Canonical:
    """Canonical correlation analysis in closed form (Hotelling 1936).

        maximise sum_i corr(x a_i, y b_i)  with  A^T Cov(x) A = B^T Cov(y) B = I

    The solution is the singular value decomposition of the whitened cross-covariance
    Cov(x)^-1/2 Cov(x, y) Cov(y)^-1/2: its singular values are the correlations.
    x: [N, Dx]; y: [N, Dy]; row i of both belongs together. Covariances are divided by N - 1 and get
    `regularization` added to their diagonal. k: number of directions, at most and by default
    min(Dx, Dy). (x - mean) @ x_weights has unit covariance if regularization is 0.
    Half precision is computed in float32; float64 stays float64. The weights have no stable gradient;
    to train a network use `dcca`.
    Raises InputError for shapes that do not fit, N < 2, a singular covariance, bad k or regularization.
    """
    k = _check_two_sets(x, y, k, regularization)
    with torch.autocast(x.device.type, enabled=False):
        (lx, ly), cross = _whiteners(x, y, regularization)
        u, s, vt = torch.linalg.svd(_whiten_both(lx, ly, cross), full_matrices=False)
        # With Cov = L L^T the rows of L^-1 whiten; another root differs by a rotation, absorbed by U and V.
        a = torch.linalg.solve_triangular(lx.T, u[:, :k], upper=True)
        b = torch.linalg.solve_triangular(ly.T, vt[:k].T, upper=True)
        return Canonical(s[:k], a, b)


def dcca(h1: Tensor, h2: Tensor, k: int | None = None, regularization: float = 1e-3) -> Tensor:
    """Deep CCA: minus the sum of the k largest canonical correlations (Andrew et al. 2013, section 3).

        loss = - sum_{i <= k} sigma_i( (C1 + r I)^-1/2 C12 (C2 + r I)^-1/2 ),  C = Cov / (N - 1)

    h1: [N, D1]; h2: [N, D2], the outputs of two networks for the same N inputs. k: by default
    min(D1, D2), when the sum is the trace norm. r = `regularization`; without it, N <= D gives
    correlation 1 for anything. The loss lies between -k and 0. Deep canonically correlated autoencoders
    (Wang et al. 2015) add the error of decoding both inputs from h1 and h2.
    Half precision is computed in float32, also under autocast; float64 stays float64.
    Raises InputError as `cca` does.
    """
    k = _check_two_sets(h1, h2, k, regularization)
    with torch.autocast(h1.device.type, enabled=False):
        (l1, l2), cross = _whiteners(h1, h2, regularization)
        return -torch.linalg.svdvals(_whiten_both(l1, l2, cross))[:k].sum()


def barlow_twins(z1: Tensor, z2: Tensor, lambd: float = 5e-3, eps: float = 1e-5) -> Tensor:
    """Barlow Twins: the cross-correlation matrix of two views should be the identity.

        loss = sum_i (1 - C_ii)^2 + lambd * sum_i sum_{j != i} C_ij^2     (Zbontar et al. 2021, eq. 1)
        C_ij = mean_b of zhat1_bi * zhat2_bj                             (eq. 2)

    zhat: each dimension minus its mean over the batch, divided by its standard deviation. As the
    correlation of eq. 2 divides by sums of squares, the deviation is the biased one (divide by N); the
    unbiased one would make a perfect C_ii (N - 1) / N. `eps` is added to the variance, as in the
    BatchNorm of the authors' code: a dimension that never varies has correlation 0, not NaN.

    z1, z2: [N, D], two views of the same images. lambd: the paper's 5e-3 was chosen at D = 8192; the
    second sum grows with D (D - 1). Returns a scalar, D if nothing varies. Half precision is computed in
    float32, also under autocast; float64 stays float64.
    Raises InputError for shapes that differ, N < 2, values that are not finite, lambd < 0 or eps <= 0.
    """
    check_pair(z1, z2)
    _check_weights(lambd=lambd)
    check_positive(eps=eps)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = (
            (z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + eps).sqrt() for z in full_precision(z1, z2)
        )
        c = z1.T @ z2 / len(z1)  # [D, D]
        diagonal = c.diagonal()
        return (1 - diagonal).square().sum() + lambd * (c.square().sum() - diagonal.square().sum())


def vicreg_invariance(z1: Tensor, z2: Tensor) -> Tensor:
    """Mean squared difference of two views [N, D], over images and dimensions (VICReg's s).

    Bardes et al. 2022, eq. 5, sums over the dimensions; the authors' code, followed here, divides by D.
    """
    check_pair(z1, z2, least=1)
    with torch.autocast(z1.device.type, enabled=False):
        return F.mse_loss(*full_precision(z1, z2))


def vicreg_variance(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Hinge on the standard deviation of each dimension of z [N, D] (Bardes et al. 2022, eq. 1 and 2).

    v(z) = mean_j max(0, gamma - sqrt(Var(z_j) + eps)),  Var divided by N - 1.
    Without eps the square root has an infinite gradient where a dimension has collapsed.
    """
    _check_one_set(z)
    check_positive(gamma=gamma, eps=eps)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        return F.relu(gamma - (z.var(dim=0) + eps).sqrt()).mean()


def vicreg_covariance(z: Tensor) -> Tensor:
    """Squared off-diagonal covariances of z [N, D], summed and divided by D (Bardes et al. 2022, eq. 3, 4)."""
    _check_one_set(z)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        c = _covariance(z - z.mean(dim=0))
        return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


def vcreg(
    z: Tensor,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """Variance-covariance regularisation of one set of embeddings z [N, D] (Mialon et al. 2022): VICReg's
    two anti-collapse terms, `variance_weight` v(z) + `covariance_weight` c(z), normalised as in VICReg.
    """
    _check_weights(variance_weight=variance_weight, covariance_weight=covariance_weight)
    return variance_weight * vicreg_variance(z, gamma, eps) + covariance_weight * vicreg_covariance(z)


def vicreg(
    z1: Tensor,
    z2: Tensor,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """VICReg: variance-invariance-covariance regularisation (Bardes et al. 2022, eq. 6).

        loss = invariance_weight s(z1, z2) + variance_weight (v(z1) + v(z2)) / 2
               + covariance_weight (c(z1) + c(z2))

    s, v, c: `vicreg_invariance`, `vicreg_variance`, `vicreg_covariance`. As in the authors' code, and
    unlike eq. 5 and 6, the variance terms of the views are averaged (the famous 1/2) and s is divided by
    D; the covariance terms are added. The default weights go with this form: without the 1/2, the same
    weights regularise the variance twice as much.

    z1, z2: [N, D], two views of the same images, not normalised. Returns a scalar >= 0. Half precision is
    computed in float32, also under autocast; float64 stays float64.
    Raises InputError for shapes that differ, N < 2, values that are not finite, a negative weight, or
    gamma or eps that are not positive.
    """
    check_pair(z1, z2)
    _check_weights(invariance_weight=invariance_weight, variance_weight=variance_weight)
    regularisation = [vcreg(z, variance_weight / 2, covariance_weight, gamma, eps) for z in (z1, z2)]
    return invariance_weight * vicreg_invariance(z1, z2) + sum(regularisation)


def whiten(z: Tensor, eps: float = 0.0) -> Tensor:
    """z [N, D] with zero mean and identity covariance (divided by N - 1), by a Cholesky factor.

    W (z - mean) with W = L^-1 and L L^T = (1 - eps) Cov(z) + eps I (Ermolov et al. 2021, section 3).
    Gradients flow through mean and covariance. Half precision is computed in float32, also under
    autocast. Raises InputError for N <= D without eps, and for a singular covariance.
    """
    _check_one_set(z)
    if not 0 <= eps < 1:
        raise InputError(f"eps must be a share in [0, 1), not {eps!r}.")
    if eps == 0 and len(z) <= z.shape[1]:
        raise InputError(
            f"{len(z)} rows cannot be whitened in {z.shape[1]} dimensions: use more rows (at least twice as "
            "many), fewer dimensions, or eps > 0."
        )
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        z = z - z.mean(dim=0)
        identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        factor = _cholesky((1 - eps) * _covariance(z) + eps * identity)
        return torch.linalg.solve_triangular(factor, z.T, upper=False).T


def w_mse(z1: Tensor, z2: Tensor, sub_batch: int | None = None, eps: float = 0.0) -> Tensor:
    """W-MSE: squared distance of whitened, unit-length views (Ermolov et al. 2021, section 3).

        loss = mean_i | w1_i / |w1_i| - w2_i / |w2_i| |^2 = 2 - 2 mean cosine,  w = whiten(z)

    Each view is whitened on its own, as in the authors' code. Whitened embeddings fill all D dimensions
    alike, so they cannot all be equal; but a few outliers can carry the variance while the other images
    share one point, at a loss near 0. sub_batch: whiten groups of that many consecutive
    rows instead of all N; the authors draw a new random grouping, which the rows of a shuffled batch
    already are. N must be a multiple of it, and it should be at least 2 D. eps: see `whiten`.

    z1, z2: [N, D], two views of the same images. Returns a scalar in [0, 4]. Half precision is computed
    in float32, also under autocast; float64 stays float64.
    Raises InputError for shapes that differ, values that are not finite, N not a multiple of sub_batch,
    groups of D rows or fewer (without eps), and a singular covariance.
    """
    check_pair(z1, z2)
    size = len(z1) if sub_batch is None else sub_batch
    if size < 2 or len(z1) % size:
        raise InputError(f"sub_batch must divide the batch of {len(z1)}, not {sub_batch!r}; use a divisor.")
    with torch.autocast(z1.device.type, enabled=False):
        w1, w2 = unit_rows(*(torch.cat([whiten(group, eps) for group in z.split(size)]) for z in (z1, z2)))
        return (w1 - w2).square().sum(dim=1).mean()


def hsic(z: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Hilbert-Schmidt independence criterion between all pairs of the dimensions of z [N, D]: [D, D].

    tr(K H L H) / (N - 1)^2 with Gaussian kernels exp(-(a - b)^2 / (2 bandwidth^2)) (Gretton et al. 2005,
    eq. 9), after giving each dimension mean 0 and biased deviation 1; then divided by the geometric mean
    of each dimension's HSIC with itself, so that the diagonal is 1 and the rest is between 0 and 1. Near
    0 = independent (for finite N it stays a little above), unlike a correlation also for bent relations.
    A dimension that never varies is independent of all others. Memory grows with D N^2: a few hundred
    rows say enough. Half precision is computed in float32, the last sums in float64.
    """
    _check_one_set(z)
    check_positive(bandwidth=bandwidth)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        deviation = z.std(dim=0, correction=0)
        z = (z - z.mean(dim=0)) / deviation.where(deviation > 0, math.inf)
        kernels = (-(z.T[:, :, None] - z.T[:, None, :]).square() / (2 * bandwidth**2)).exp()  # [D, N, N]
        kernels = kernels - kernels.mean(dim=1, keepdim=True)
        kernels = (kernels - kernels.mean(dim=2, keepdim=True)).flatten(1)  # H K H
        # Sums of N^2 products: in float32 their error would depend on the processor.
        unit = kernels.double() / kernels.double().norm(dim=1, keepdim=True).clamp_min(1e-12)
        return (unit @ unit.T).to(z.dtype)


def _check_one_set(z: Tensor) -> None:
    check_matrices(z)
    if len(z) < 2:
        raise InputError("At least 2 examples are needed to estimate a covariance; use a larger batch.")


def _check_two_sets(x: Tensor, y: Tensor, k: int | None, regularization: float) -> int:
    """The number of directions asked for, once the arguments of cca and dcca are known to be sound."""
    _check_one_set(x)
    _check_one_set(y)
    if len(x) != len(y):
        raise InputError(f"x and y must have the same number of rows, not {len(x)} and {len(y)}.")
    _check_weights(regularization=regularization)
    most = min(x.shape[1], y.shape[1])
    if k is not None and not 1 <= k <= most:
        raise InputError(f"k must be between 1 and {most}, the smaller number of dimensions, not {k!r}.")
    if regularization == 0 and len(x) <= max(x.shape[1], y.shape[1]):
        raise InputError(
            f"{len(x)} rows do not determine a covariance in {max(x.shape[1], y.shape[1])} dimensions: use "
            "more rows, fewer dimensions, or regularization > 0."
        )
    return most if k is None else k


def _check_weights(**weights: float) -> None:
    for name, value in weights.items():
        if not 0 <= value < math.inf:
            raise InputError(f"The {name} must be a number of at least 0, not {value!r}.")


def _covariance(centred: Tensor) -> Tensor:
    return centred.T @ centred / (len(centred) - 1)


def _whiteners(x: Tensor, y: Tensor, regularization: float) -> tuple[list[Tensor], Tensor]:
    """The Cholesky factors of both regularised covariances, and the cross-covariance."""
    x, y = full_precision(x, y)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    factors = []
    for z in (x, y):
        identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        factors.append(_cholesky(_covariance(z) + regularization * identity))
    return factors, x.T @ y / (len(x) - 1)


def _whiten_both(lx: Tensor, ly: Tensor, cross: Tensor) -> Tensor:
    """Lx^-1 cross Ly^-T: has the same singular values as with symmetric inverse roots, but a stable gradient."""
    half = torch.linalg.solve_triangular(lx, cross, upper=False)
    return torch.linalg.solve_triangular(ly, half.T, upper=False).T


def _cholesky(covariance: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    # pivot^2 / variance = the share of a dimension that the dimensions before it leave unexplained.
    unexplained = factor.detach().diagonal().square() / covariance.detach().diagonal()
    sound = (failed == 0) & (unexplained.min() > torch.finfo(factor.dtype).eps * len(factor))
    if factor.requires_grad and factor.device.type == "cuda":  # in a training step: as in common._finite
        return factor + torch.where(sound, 0.0, math.nan)
    if not bool(sound):
        raise InputError(
            "The covariance is singular: some dimensions are constant or combinations of others. Use more "
            "rows, drop dimensions, or regularise (eps or regularization > 0)."
        )
    return factor
