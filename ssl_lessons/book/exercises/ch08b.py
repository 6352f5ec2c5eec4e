"""Chapter 8b: how much all vectors point one way, hard negatives, whitening, and what twins in a batch cost."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .core import Check, Exercise


def check_mean_cosine(fn) -> Check:
    """fn(z [N, D]) -> the mean cosine of two different rows, a scalar."""
    return MEAN_COSINE.check(fn)


def check_hard(fn) -> Check:
    """fn(z [N, D], positive [N, D], negative [N, D], temperature) -> the loss of supervised SimCSE, a scalar."""
    return HARD.check(fn)


def check_whitened(fn) -> Check:
    """fn(z [N, D], x [M, D]) -> cosines [M, M] of the rows of x after a whitening that was fitted to z."""
    return WHITENED.check(fn)


def check_twins(fn) -> Check:
    """fn(batch, meanings) -> the lowest loss that a network which knows meanings alone can reach on average."""
    return TWINS.check(fn)


def _clouds(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(n, d, generator=g).double() * (1 + torch.arange(n)[:, None]) + shift,)
        for n, d, shift in ((4, 3, 2.0), (6, 5, 0.5), (5, 2, -1.0))
    ]


def _pairs(z: Tensor) -> Tensor:
    n = len(z)
    return z[:, None].expand(n, n, -1)[~torch.eye(n, dtype=torch.bool)], z.expand(n, n, -1)[
        ~torch.eye(n, dtype=torch.bool)
    ]


def _mean_cosine(z: Tensor) -> Tensor:
    return F.cosine_similarity(*_pairs(z), dim=1).mean()


MEAN_COSINE = Exercise(
    sample=_clouds,
    reference=_mean_cosine,
    mistakes=(
        ("each row is compared with itself as well: leave those N cosines of 1 out",
         lambda z: (F.normalize(z, dim=1) @ F.normalize(z, dim=1).T).mean()),
        ("dot products: divide every row by its length first",
         lambda z: torch.stack([a @ b for a, b in zip(*_pairs(z), strict=True)]).mean()),
        ("a cosine of -1 is not near: no absolute values",
         lambda z: F.cosine_similarity(*_pairs(z), dim=1).abs().mean()),
        ("this is 1 minus it, a distance", lambda z: 1 - _mean_cosine(z)),
        ("the mean was taken out first; then there is nothing left to see", lambda z: _mean_cosine(z - z.mean(0))),
        ("the mean of the rows as they are: divide every row by its length before you take the mean",
         lambda z: (len(z) * z.mean(0).square().sum() - 1) / (len(z) - 1)),
        ("half of the pairs in the numerator, all in the denominator, or the other way round",
         lambda z: _mean_cosine(z) / 2),
    ),
    praise="equal to (N |mean of the unit rows|^2 - 1) / (N - 1), so one pass over the rows is enough",
)  # fmt: skip


def _triples(g: torch.Generator) -> list[tuple]:
    return [
        (*(torch.randn(n, d, generator=g).double() for _ in range(3)), t)
        for n, d, t in ((3, 4, 0.5), (5, 3, 0.2), (4, 6, 1.0))
    ]


def _scores(z: Tensor, p: Tensor, n: Tensor, unit: bool = True) -> tuple[Tensor, Tensor]:
    if unit:
        z, p, n = (F.normalize(v, dim=1) for v in (z, p, n))
    return z @ p.T, z @ n.T


def _hard(z: Tensor, p: Tensor, n: Tensor, t: float, unit: bool = True) -> Tensor:
    scores = torch.cat(_scores(z, p, n, unit), dim=1) / t
    return F.cross_entropy(scores, torch.arange(len(z)))


def _own_only(z: Tensor, p: Tensor, n: Tensor, t: float) -> Tensor:
    near, far = _scores(z, p, n)
    return F.cross_entropy(torch.cat([near, far.diagonal()[:, None]], dim=1) / t, torch.arange(len(z)))


def _without_positive(z: Tensor, p: Tensor, n: Tensor, t: float) -> Tensor:
    near, far = (s / t for s in _scores(z, p, n))
    others = near.masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    return (torch.cat([others, far], dim=1).logsumexp(1) - near.diagonal()).mean()


HARD = Exercise(
    sample=_triples,
    reference=_hard,
    mistakes=(
        ("the hard negatives are missing from the denominator",
         lambda z, p, n, t: F.cross_entropy(_scores(z, p, n)[0] / t, torch.arange(len(z)))),
        ("every hard negative of the batch is a candidate for every sentence, not only for its own", _own_only),
        ("the positive belongs into the denominator, too", _without_positive),
        ("cosines: divide all vectors by their lengths first", lambda z, p, n, t: _hard(z, p, n, t, unit=False)),
        ("divide the cosines by the temperature, do not multiply", lambda z, p, n, t: _hard(z, p, n, 1 / t)),
        ("a mean over the sentences, not a sum", lambda z, p, n, t: _hard(z, p, n, t) * len(z)),
        ("one direction alone: the sentence looks for its positive, the positive does not look back",
         lambda z, p, n, t: (_hard(z, p, n, t) + F.cross_entropy(_scores(z, p, n)[0].T / t, torch.arange(len(z)))) / 2),
        ("the hard negatives were taken for the positives", lambda z, p, n, t: _hard(z, n, p, t)),
    ),
    praise="this is losses.clip(z, positive, 1 / temperature, weight=1, extra=negative)",
)  # fmt: skip


def _fitted(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, m, d in ((30, 4, 3), (40, 5, 4)):
        mix = torch.randn(d, d, generator=g).double()
        shift = torch.randn(d, generator=g).double()
        cases.append(tuple(torch.randn(k, d, generator=g).double() @ mix + shift for k in (n, m)))
    return cases


def _cosines(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1) @ F.normalize(x, dim=1).T


def _whitened(z: Tensor, x: Tensor, power: float = -0.5, centre: bool = True) -> Tensor:
    mean = z.mean(0) if centre else torch.zeros_like(z[0])
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    return _cosines((x - mean) @ vectors * values**power)


def _turned(z: Tensor, x: Tensor, rows: bool) -> Tensor:
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    w = vectors.T / values.sqrt() if rows else vectors / values.sqrt()[:, None]
    return _cosines((x - z.mean(0)) @ w)


WHITENED = Exercise(
    sample=_fitted,
    reference=_whitened,
    mistakes=(
        ("nothing was whitened: these are the cosines as they were", lambda z, x: _cosines(x)),
        ("mean and covariance come from z, not from the few rows of x",
         lambda z, x: _cosines((x - x.mean(0)) @ torch.linalg.pinv(torch.linalg.cholesky(
             torch.cov(x.T) + 1e-9 * torch.eye(x.shape[1]).double())).T)),
        ("take the mean of z out of x first", lambda z, x: _whitened(z, x, centre=False)),
        ("divide by the roots of the eigenvalues, not by the eigenvalues", lambda z, x: _whitened(z, x, -1.0)),
        ("divide by the roots of the eigenvalues; this multiplies", lambda z, x: _whitened(z, x, 0.5)),
        ("the eigenvectors are the columns of U, not its rows", lambda z, x: _turned(z, x, rows=True)),
        ("divide column k of U by the root of eigenvalue k; this divides rows", lambda z, x: _turned(z, x, rows=False)),
        ("centred only: the covariance is as it was", lambda z, x: _cosines(x - z.mean(0))),
        ("each coordinate was divided by its own deviation; what two coordinates share is still there",
         lambda z, x: _cosines((x - z.mean(0)) / z.std(0))),
    ),
    praise="any W with W W^T = inverse covariance gives these cosines: they differ by a rotation",
)  # fmt: skip


def _twins(batch: int, meanings: int) -> float:
    p = 1 / meanings
    return sum(
        math.comb(batch - 1, b) * p**b * (1 - p) ** (batch - 1 - b) * math.log(1 + b) for b in range(batch)
    )


TWINS = Exercise(
    sample=lambda g: [(4, 3), (8, 20), (16, 5), (6, 1)],
    reference=_twins,
    mistakes=(
        ("the logarithm of the mean number of candidates: take the mean of the logarithm over the numbers of twins",
         lambda n, k: math.log(1 + (n - 1) / k)),
        ("this is the loss of one who knows nothing: most candidates can be ruled out", lambda n, k: math.log(n)),
        ("the mean number of twins, not what they cost", lambda n, k: (n - 1) / k),
        ("the chance that there is a twin, not what it costs", lambda n, k: 1 - (1 - 1 / k) ** (n - 1)),
        ("the sentence is no twin of itself: batch - 1 others", lambda n, k: _twins(n + 1, k)),
        ("in bits: use the natural logarithm", lambda n, k: _twins(n, k) / math.log(2)),
    ),
    praise="log(batch) where all mean the same: what is then learned can only be the wording",
)  # fmt: skip
