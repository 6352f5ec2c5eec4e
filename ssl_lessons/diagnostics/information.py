"""Mutual information: what critics certify about pairs, exact values where they exist, and matched sources.

A critic scores pairs: `scores[i, j]` is high when y_j looks like the partner of x_i; the pairs are on the diagonal.
InfoNCE and NWJ are at most the information in expectation, for any critic that was not fitted to these very pairs and
candidates drawn independently; one batch may report more by luck, and the estimate of Donsker and Varadhan does so on
average.
"""

import math
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.errors import InputError


def info_nce_bound(scores: Tensor) -> Tensor:
    """log K minus the InfoNCE loss, in nats: at most I(x; y) in expectation, and never above log K.

        log K - mean_i [ log sum_j e^(s_ij) - s_ii ]

    van den Oord et al. 2018 (https://arxiv.org/abs/1807.03748), section 2.3 and appendix A.1.
    scores: [K, K], or a stack [..., K, K] (the mean over the stack), K >= 2.  Returns a scalar; half precision is
    computed in float32.  Raises InputError for other shapes or values that are not finite.
    """
    scores = _square(scores)
    own = scores.diagonal(dim1=-2, dim2=-1)
    return math.log(scores.shape[-1]) - (scores.logsumexp(dim=-1) - own).mean()


def dv_bound(scores: Tensor) -> Tensor:
    """The bound of Donsker and Varadhan, which MINE maximises, in nats.

        mean_i s_ii - log mean_(i != j) e^(s_ij)

    Belghazi et al. 2018 (https://arxiv.org/abs/1801.04062).  It has no ceiling and is best at
    s = log p(x, y) / (p(x) p(y)) + any constant.  Its second term is the logarithm of a *sample* mean, which is below
    that of the mean on average: the estimate errs upwards, and its variance is large where the information is.
    scores: [K, K] or [..., K, K] (the mean over the stack), K >= 2.  Returns a scalar.  Raises InputError for other
    shapes or values that are not finite.
    """
    scores = _square(scores)
    return (scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1) - _log_mean_exp(scores)).mean()


def nwj_bound(scores: Tensor) -> Tensor:
    """The bound of Nguyen, Wainwright and Jordan, in nats: no logarithm of a sample mean, hence no bias.

        mean_i s_ii - mean_(i != j) e^(s_ij - 1)

    Poole et al. 2019 (https://arxiv.org/abs/1905.06922).  Best at s = 1 + log p(x, y) / (p(x) p(y)): here
    constants count.  scores and errors: as in `dv_bound`.
    """
    scores = _square(scores)
    return (scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1) - (_log_mean_exp(scores) - 1).exp()).mean()


def gaussian_information(rho: float, dim: int = 1) -> float:
    """I(x; y) in nats for `dim` independent pairs of standard Gaussians with correlation rho: -dim/2 log(1 - rho^2).

    Raises InputError unless -1 < rho < 1 and dim >= 1.
    """
    _check_gaussian(rho, dim)
    return -dim / 2 * math.log1p(-(rho**2))


def gaussian_pairs(
    rho: float, shape: tuple[int, ...], generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """x and y, float32, of the given shape: element by element standard Gaussians with correlation rho."""
    _check_gaussian(rho, 1)
    x, noise = torch.randn(2, *shape, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def gaussian_log_ratio(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(y_j | x_i) / p(y_j) for pairs of Gaussians with correlation rho: the best critic, [..., N, M].

    x: [..., N, dim], y: [..., M, dim].  Raises InputError for shapes that do not fit.
    """
    if x.ndim < 2 or y.shape[-1] != x.shape[-1] or x.shape[:-2] != y.shape[:-2]:
        raise InputError(
            f"x and y must be [..., N, dim] and [..., M, dim], not {list(x.shape)} and {list(y.shape)}."
        )
    dim = x.shape[-1]
    squares = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    quadratic = rho**2 * squares - 2 * rho * x @ y.mT
    return gaussian_information(rho, dim) - quadratic / (2 * (1 - rho**2))


def table_information(joint: Tensor) -> float:
    """I(x; y) in nats, exactly, from the table of probabilities p(x, y).

    joint: [X, Y], none negative; it is divided by its sum.  Raises InputError for another shape, negative or no
    probability.
    """
    joint = torch.as_tensor(joint, dtype=torch.float64)
    if joint.ndim != 2 or not (joint >= 0).all() or not joint.isfinite().all() or not joint.sum() > 0:
        raise InputError("joint must be a table [X, Y] of probabilities, none negative.")
    joint = joint / joint.sum()
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    return float(torch.special.xlogy(joint, joint).sum() - torch.special.xlogy(joint, rows * columns).sum())


def matched_correlation(sources, estimates) -> float:
    """MCC: mean absolute correlation of sources with estimates, each with another partner, matched at best.

    Used for non-linear ICA by Hyvarinen & Morioka 2016 (https://arxiv.org/abs/1605.06336): order and sign of
    recovered sources mean nothing.  1: every source is found up to scale and shift.
    sources: [T, n], estimates: [T, m], m >= n, tensors or arrays; a column that never varies correlates with nothing
    (0).  Raises InputError for other shapes or values that are not finite.
    """
    from scipy.optimize import linear_sum_assignment

    s, e = (np.asarray(v, dtype=np.float64) for v in (sources, estimates))
    if s.ndim != 2 or e.ndim != 2 or len(s) != len(e) or len(s) < 2 or not 1 <= s.shape[1] <= e.shape[1]:
        raise InputError(f"sources [T, n] and estimates [T, m >= n] are needed, not {s.shape} and {e.shape}.")
    if not (np.isfinite(s).all() and np.isfinite(e).all()):
        raise InputError("sources and estimates must be finite.")
    s, e = (v - v.mean(0) for v in (s, e))
    s, e = (v / np.maximum(np.linalg.norm(v, axis=0), 1e-12) for v in (s, e))
    correlation = np.abs(s.T @ e)
    return float(correlation[linear_sum_assignment(-correlation)].mean())


def _log_mean_exp(scores: Tensor) -> Tensor:
    """log of the mean of e^s over the pairs that do not belong together, [...]."""
    k = scores.shape[-1]
    own = torch.eye(k, dtype=torch.bool, device=scores.device)
    return scores.masked_fill(own, -math.inf).flatten(-2).logsumexp(dim=-1) - math.log(k * (k - 1))


def _square(scores: Tensor) -> Tensor:
    if not isinstance(scores, Tensor) or scores.ndim < 2 or scores.shape[-1] != scores.shape[-2]:
        shape = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"scores must be a tensor [..., K, K] with the pairs on the diagonal, not {shape}.")
    if scores.shape[-1] < 2:
        raise InputError("one candidate tells nothing: K must be at least 2.")
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if not scores.isfinite().all():
        raise InputError("the scores hold NaN or infinite values.")
    return scores


def _check_gaussian(rho: float, dim: int) -> None:
    if not (isinstance(rho, Real) and -1 < rho < 1 and dim >= 1):
        raise InputError(f"a correlation between -1 and 1 and dim >= 1 are needed, not {rho!r} and {dim!r}.")
