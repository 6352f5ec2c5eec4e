"""Chapter 16: the cross-correlation matrix, the variance hinge, whitening, the three terms of VICReg."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, relu

from ssl_lessons.losses.correlation import vicreg, vicreg_covariance, vicreg_variance

from .core import Check, Exercise


def check_cross_correlation(fn) -> Check:
    """fn(z1 [N, D], z2 [N, D]) -> [D, D]: entry i, j correlates dimension i of view 1 with dimension j of view 2."""
    return CROSS_CORRELATION.check(fn)


def check_variance_term(fn) -> Check:
    """fn(z [N, D]) -> scalar: mean over the dimensions of max(0, 1 - sqrt(Var + 1e-4)), Var divided by N - 1."""
    return VARIANCE_TERM.check(fn)


def check_zca_whiten(fn) -> Check:
    """fn(z [N, D]) -> [N, D]: zero mean, identity covariance (divided by N - 1), by the symmetric C^-1/2."""
    return ZCA_WHITEN.check(fn)


def check_vicreg(fn) -> Check:
    """fn(z1 [N, D], z2 [N, D]) -> scalar: VICReg with weights 25, 25, 1, normalised as in the authors' code."""
    return VICREG.check(fn)


def _views(g: torch.Generator, spread: float = 1.0) -> list[tuple]:
    cases = []
    for n, d in [(8, 3), (12, 5), (30, 2)]:
        z1 = torch.randn(n, d, generator=g).double() * torch.linspace(0.3, 1.6, d).double() * spread + 0.4
        cases.append((z1, z1 + 0.5 * spread * torch.randn(n, d, generator=g).double()))
    return cases


def _sets(g: torch.Generator) -> list[tuple]:
    mixes = [torch.randn(z.shape[1], z.shape[1], generator=g).double() for z, _ in _views(g)]
    return [(z @ mix,) for (z, _), mix in zip(_views(g), mixes, strict=True)]


def _standard(z: Tensor, correction: int = 0) -> Tensor:
    return (z - z.mean(dim=0)) / z.std(dim=0, correction=correction)


def _cross(z1: Tensor, z2: Tensor) -> Tensor:
    return _standard(z1).T @ _standard(z2) / len(z1)


CROSS_CORRELATION = Exercise(
    sample=_views,
    reference=_cross,
    mistakes=(
        (
            "transposed: rows belong to view 1 and columns to view 2, so z1 comes first in the product",
            lambda a, b: _cross(b, a),
        ),
        (
            "the means are not subtracted: centre each dimension over the batch first",
            lambda a, b: (a / a.std(dim=0, correction=0)).T @ (b / b.std(dim=0, correction=0)) / len(a),
        ),
        (
            "this is a covariance: divide each dimension by its standard deviation",
            lambda a, b: (a - a.mean(dim=0)).T @ (b - b.mean(dim=0)) / len(a),
        ),
        (
            "this is a covariance: divide each dimension by its standard deviation",
            lambda a, b: (a - a.mean(dim=0)).T @ (b - b.mean(dim=0)) / (len(a) - 1),
        ),
        (
            "the famous mix: std() divides by N - 1, the mean of the products by N, so a perfect correlation is "
            "(N - 1) / N; use std(correction=0)",
            lambda a, b: _standard(a, 1).T @ _standard(b, 1) / len(a),
        ),
        (
            "the products are divided by N - 1 but the deviations by N: a perfect correlation exceeds 1",
            lambda a, b: _standard(a).T @ _standard(b) / (len(a) - 1),
        ),
        (
            "the products are summed: divide by N",
            lambda a, b: _standard(a).T @ _standard(b),
        ),
        (
            "normalised over the wrong axis: mean and deviation of a dimension run over the batch, dim=0",
            lambda a, b: _standard(a.T).matmul(_standard(b.T).T) / a.shape[1],
        ),
        (
            "correlates view 1 with itself: the second factor is view 2",
            lambda a, b: _cross(a, a),
        ),
    ),
    hint=lambda inputs, answers: (
        f"the result is [{answers[0].shape[0]}, {answers[0].shape[0]}] with N = {len(inputs[0][0])}: images were "
        "compared, not dimensions; transpose the first factor, not the second"
        if answers[0].ndim == 2 and answers[0].shape[0] == len(inputs[0][0])
        else None
    ),
    praise="on every batch; its diagonal is what the views share, the rest is repetition",
)

VARIANCE_TERM = Exercise(
    sample=lambda g: [(z,) for z, _ in _views(g)] + [(torch.ones(6, 3).double(),)],
    reference=vicreg_variance,
    mistakes=(
        (
            "the hinge is on the variance: take the square root, or the push dies out at collapse",
            lambda z: relu(1 - (z.var(dim=0) + 1e-4)).mean(),
        ),
        (
            "the hinge is on the variance: take the square root, or the push dies out at collapse",
            lambda z: relu(1 - z.var(dim=0)).mean(),
        ),
        (
            "without 1e-4 under the root the gradient is infinite where a dimension is constant",
            lambda z: relu(1 - z.std(dim=0)).mean(),
        ),
        (
            "1e-4 belongs under the root: outside it, the gradient is still infinite at zero",
            lambda z: relu(1 - (z.std(dim=0) + 1e-4)).mean(),
        ),
        (
            "the variance is divided by N: here it is N - 1, the default of torch.var",
            lambda z: relu(1 - (z.var(dim=0, correction=0) + 1e-4).sqrt()).mean(),
        ),
        (
            "no hinge: a dimension that varies more than 1 must not earn anything",
            lambda z: (1 - (z.var(dim=0) + 1e-4).sqrt()).mean(),
        ),
        (
            "the sum over the dimensions: take the mean",
            lambda z: relu(1 - (z.var(dim=0) + 1e-4).sqrt()).sum(),
        ),
        (
            "variance over the wrong axis: a dimension varies over the batch, dim=0",
            lambda z: relu(1 - (z.var(dim=1) + 1e-4).sqrt()).mean(),
        ),
        (
            "the sign is wrong: small deviations must cost, so 1 - std and not std - 1",
            lambda z: relu((z.var(dim=0) + 1e-4).sqrt() - 1).mean(),
        ),
        (
            "one hinge on the mean deviation: a wide dimension would pay for a dead one",
            lambda z: relu(1 - (z.var(dim=0) + 1e-4).sqrt().mean()),
        ),
    ),
)


def _root(z: Tensor, power: float, n: int = 1) -> tuple[Tensor, Tensor]:
    """z minus its mean, and Cov^power as a symmetric matrix; the covariance is divided by N - n."""
    z = z - z.mean(dim=0)
    values, vectors = torch.linalg.eigh(z.T @ z / (len(z) - n))
    return z, vectors @ torch.diag(values**power) @ vectors.T


def _zca(z: Tensor, power: float = -0.5, n: int = 1) -> Tensor:
    centred, root = _root(z, power, n)
    return centred @ root


def _cholesky(z: Tensor) -> Tensor:
    z = z - z.mean(dim=0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(z.T)), z.T, upper=False).T


def _is_white(inputs: list[tuple], answers: list[Tensor]) -> str | None:
    """For the many right ways to whiten that are not the symmetric one."""
    for (z,), w in zip(inputs, answers, strict=True):
        if w.shape != z.shape or not torch.allclose(
            torch.cov(w.T), torch.eye(w.shape[1]).double(), atol=1e-4
        ):
            return None
    return (
        "white, but rotated: this is a valid whitening with another root of the inverse covariance; "
        "ZCA turns back by the eigenvectors, V diag(1 / sqrt(lambda)) V^T"
    )


ZCA_WHITEN = Exercise(
    sample=_sets,
    reference=_zca,
    mistakes=(
        ("the mean is not subtracted: centre z first", lambda z: z @ _root(z, -0.5)[1]),
        ("the covariance is divided by N: divide by N - 1", lambda z: _zca(z, n=0)),
        ("multiplied by the square root of the covariance: whitening divides by it", lambda z: _zca(z, 0.5)),
        (
            "multiplied by the inverse covariance: take the square root of the inverse",
            lambda z: _zca(z, -1.0),
        ),
        (
            "each dimension has unit variance, but they still correlate: whitening also decorrelates",
            lambda z: _standard(z, 1),
        ),
        (
            "each dimension has unit variance, but they still correlate: whitening also decorrelates",
            lambda z: _standard(z),
        ),
    ),
    hint=_is_white,
)


def _vicreg(a: Tensor, b: Tensor, inv: float = 25.0, var: float = 25.0, cov: float = 1.0) -> Tensor:
    return vicreg(a, b, inv, var, cov)


def _covariance_with_diagonal(z: Tensor) -> Tensor:
    return torch.cov(z.T).square().sum() / z.shape[1]


def _uncentred(z: Tensor) -> Tensor:
    c = z.T @ z / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


VICREG = Exercise(
    sample=lambda g: _views(g, 0.7),
    reference=vicreg,
    mistakes=(
        (
            "the half is missing: with these weights the variance terms of the two views are averaged, not added",
            lambda a, b: _vicreg(a, b, var=50.0),
        ),
        (
            "the covariance terms of the two views are added, not averaged",
            lambda a, b: _vicreg(a, b, cov=0.5),
        ),
        (
            "the squared distance is summed over the dimensions: with these weights it is divided by D too",
            lambda a, b: _vicreg(a, b, inv=25.0 * a.shape[1]),
        ),
        (
            "the covariances are not divided by D",
            lambda a, b: _vicreg(a, b, cov=float(a.shape[1])),
        ),
        (
            "the covariances are divided by D (D - 1), the number of pairs: VICReg divides by D",
            lambda a, b: _vicreg(a, b, cov=1.0 / (a.shape[1] - 1)),
        ),
        (
            "the diagonal of the covariance matrix is penalised too: leave the variances to the hinge",
            lambda a, b: _vicreg(a, b, cov=0.0) + _covariance_with_diagonal(a) + _covariance_with_diagonal(b),
        ),
        (
            "the covariance is not centred: subtract the mean of each dimension",
            lambda a, b: _vicreg(a, b, cov=0.0) + _uncentred(a) + _uncentred(b),
        ),
        ("only the first view is regularised: both are", lambda a, b: _first_view_only(a, b)),
        ("the variance term is missing", lambda a, b: _vicreg(a, b, var=0.0)),
        ("the covariance term is missing", lambda a, b: _vicreg(a, b, cov=0.0)),
        ("the invariance term is missing", lambda a, b: _vicreg(a, b, inv=0.0)),
        ("the weights are missing: 25, 25 and 1", lambda a, b: _vicreg(a, b, 1.0, 1.0, 1.0)),
    ),
    praise="with the half in its place",
)


def _first_view_only(a: Tensor, b: Tensor) -> Tensor:
    return 25 * mse_loss(a, b) + 25 * vicreg_variance(a) + vicreg_covariance(a)
