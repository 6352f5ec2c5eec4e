"""Chapter 04: double centring, LLE's weights, the IMAX objective, the contrastive loss, semi-hard triplets."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import relu

from ssl_lessons.losses.metric import contrastive_pairs, semi_hard_triplets, triplet
from ssl_lessons.models import embedding

from .core import Check, Exercise


def check_double_center(fn) -> Check:
    """fn(distance [N, N]) -> [N, N]: -1/2 J D2 J, with D2 the squared distances and J = I - 1/N."""
    return DOUBLE_CENTER.check(fn)


def check_lle_weights(fn) -> Check:
    """fn(x [D], neighbors [k, D], k <= D) -> [k]: the weights of sum 1 that rebuild x best, without a ridge."""
    return LLE_WEIGHTS.check(fn)


def check_imax(fn) -> Check:
    """fn(a [N], b [N]) -> scalar: 1/2 log( V(a + b) / V(a - b) ), in nats."""
    return IMAX.check(fn)


def check_contrastive(fn) -> Check:
    """fn(z1 [N, D], z2 [N, D], same [N] bool, margin) -> scalar: Hadsell et al. 2006, eq. 4, the mean over pairs."""
    return CONTRASTIVE.check(fn)


def check_semi_hard(fn) -> Check:
    """fn(z [N, D], labels [N], margin) -> scalar: mean hinge over the ordered pairs that have a semi-hard negative.

    Squared distances; the negative of a pair is the nearest one that is farther than the positive.
    """
    return SEMI_HARD.check(fn)


def _points(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g).double()


# ---- 1: double centring ------------------------------------------------------------------------------------


def _centred(squares: Tensor, factor: float = -0.5) -> Tensor:
    rows, columns = squares.mean(dim=1, keepdim=True), squares.mean(dim=0, keepdim=True)
    return factor * (squares - rows - columns + squares.mean())


DOUBLE_CENTER = Exercise(
    sample=lambda g: [(embedding.distances(_points(g, n, d) + 1),) for n, d in [(5, 2), (9, 3), (12, 20)]],
    reference=embedding.double_center,
    mistakes=(
        ("the distances are not squared: it is the squares that are inner products", _centred),
        (
            "the sign is missing: near points have large inner products, so -1/2",
            lambda d: _centred(d.square(), 0.5),
        ),
        (
            "the half is missing: |a - b|^2 holds the inner product twice",
            lambda d: _centred(d.square(), -1.0),
        ),
        ("this is J D2 J: the factor -1/2 is missing", lambda d: _centred(d.square(), 1.0)),
        ("the distances are centred first and squared after: square first", lambda d: _centred(d).square()),
        (
            "only the rows are centred: J stands on both sides",
            lambda d: -(d.square() - d.square().mean(dim=1, keepdim=True)) / 2,
        ),
        (
            "only the columns are centred: J stands on both sides",
            lambda d: -(d.square() - d.square().mean(dim=0)) / 2,
        ),
        (
            "the grand mean is subtracted with the others: it was subtracted twice already, so add it back",
            lambda d: _centred(d.square()) + d.square().mean(),
        ),
        (
            "the grand mean is missing: after subtracting row and column means, add it back",
            lambda d: _centred(d.square()) + d.square().mean() / 2,
        ),
    ),
    praise="on every table; its eigenvectors are the map",
)


# ---- 2: the weights of LLE ---------------------------------------------------------------------------------


def _weights(x: Tensor, neighbors: Tensor) -> Tensor:
    offsets = neighbors - x
    w = torch.linalg.solve(offsets @ offsets.T, torch.ones(len(neighbors)).double())
    return w / w.sum()


def _patches(g: torch.Generator) -> list[tuple]:
    return [(_points(g, d) + 2, _points(g, k, d) + 2) for k, d in [(2, 3), (4, 6), (3, 3)]]


LLE_WEIGHTS = Exercise(
    sample=_patches,
    reference=_weights,
    mistakes=(
        (
            "the weights do not sum to 1: divide by their sum",
            lambda x, n: torch.linalg.solve((n - x) @ (n - x).T, torch.ones(len(n)).double()),
        ),
        (
            "divided by the length instead of the sum",
            lambda x, n: torch.nn.functional.normalize(
                torch.linalg.solve((n - x) @ (n - x).T, torch.ones(len(n)).double()), dim=0
            ),
        ),
        (
            "plain least squares: it ignores that the weights sum to 1, so the patch may not be moved",
            lambda x, n: torch.linalg.lstsq(n.T, x[:, None]).solution[:, 0],
        ),
        (
            "plain least squares, rescaled to sum 1: that is not the best among the weights of sum 1",
            lambda x, n: _rescaled(torch.linalg.lstsq(n.T, x[:, None]).solution[:, 0]),
        ),
        (
            "the Gram matrix of the neighbours themselves: subtract x from each of them first",
            lambda x, n: _rescaled(torch.linalg.solve(n @ n.T, torch.ones(len(n)).double())),
        ),
        (
            "weights by closeness: LLE solves a least-squares problem",
            lambda x, n: _rescaled(1 / (n - x).square().sum(dim=1)),
        ),
        ("equal weights: some neighbours explain x better", lambda x, n: torch.full((len(n),), 1 / len(n))),
    ),
)


def _rescaled(w: Tensor) -> Tensor:
    return w / w.sum()


# ---- 3: IMAX -----------------------------------------------------------------------------------------------


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([a, b]))[0, 1]


def _agreement(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, noise in [(20, 0.5), (50, 2.0), (9, 1.0)]:
        s = _points(g, n) + 1.5
        cases.append((s + noise * _points(g, n), 0.7 * s + noise * _points(g, n)))
    return cases


IMAX = Exercise(
    sample=_agreement,
    reference=embedding.imax,
    mistakes=(
        ("the factor 1/2 is missing", lambda a, b: 2 * embedding.imax(a, b)),
        (
            "upside down: agreement makes V(a - b) small, so it is the denominator",
            lambda a, b: -embedding.imax(a, b),
        ),
        ("in bits: use the natural logarithm", lambda a, b: embedding.imax(a, b) / math.log(2)),
        (
            "a ratio of standard deviations with the 1/2 in front: that halves twice",
            lambda a, b: embedding.imax(a, b) / 2,
        ),
        ("the logarithm is missing", lambda a, b: (a + b).var() / (a - b).var() / 2),
        (
            "mean squares instead of variances: a constant added to both would count as agreement",
            lambda a, b: ((a + b).square().mean().log() - (a - b).square().mean().log()) / 2,
        ),
        ("this is the correlation of a and b", _correlation),
        (
            "-1/2 log(1 - r^2) is the information of a about b, whatever the sign; wanted is what their mean tells "
            "about the common signal",
            lambda a, b: -(1 - _correlation(a, b) ** 2).log() / 2,
        ),
        (
            "V(a) + V(b) is not V(a + b): the covariance counts twice in it",
            lambda a, b: ((a.var() + b.var()).log() - (a - b).var().log()) / 2,
        ),
    ),
    praise="without a label, with nothing but a neighbour",
)


# ---- 4: the contrastive loss -------------------------------------------------------------------------------


def _pairs(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, margin in [(8, 2, 1.0), (12, 3, 2.0), (10, 4, 0.7)]:
        z1 = _points(g, n, d)
        cases.append((z1, z1 + 1.1 * margin * _points(g, n, d) / d**0.5, torch.arange(n) % 2 == 0, margin))
    return cases


def _hadsell(z1: Tensor, z2: Tensor, same: Tensor, pull, push) -> Tensor:
    d = (z1 - z2).norm(dim=1)
    return torch.where(same, pull(d), push(d)).mean() / 2


CONTRASTIVE = Exercise(
    sample=_pairs,
    reference=contrastive_pairs,
    mistakes=(
        (
            "the hinge is on the squared distance: it is (margin - d)^2, with d not squared",
            lambda a, b, s, m: _hadsell(a, b, s, torch.square, lambda d: relu(m - d.square())),
        ),
        (
            "the hinge is on the squared distance and squared again: take the root first",
            lambda a, b, s, m: _hadsell(a, b, s, torch.square, lambda d: relu(m - d.square()).square()),
        ),
        (
            "the hinge is not squared",
            lambda a, b, s, m: _hadsell(a, b, s, torch.square, lambda d: relu(m - d)),
        ),
        (
            "the distance of the similar pairs is not squared",
            lambda a, b, s, m: _hadsell(a, b, s, torch.abs, lambda d: relu(m - d).square()),
        ),
        (
            "neither part is squared",
            lambda a, b, s, m: _hadsell(a, b, s, torch.abs, lambda d: relu(m - d)),
        ),
        (
            "no hinge: a pair beyond the margin would be pulled back to it",
            lambda a, b, s, m: _hadsell(a, b, s, torch.square, lambda d: (m - d).square()),
        ),
        (
            "similar and dissimilar are exchanged (in the paper Y = 1 marks a dissimilar pair)",
            lambda a, b, s, m: contrastive_pairs(a, b, ~s, m),
        ),
        ("the factor 1/2 is missing", lambda a, b, s, m: 2 * contrastive_pairs(a, b, s, m)),
        ("the sum over the pairs: take the mean", lambda a, b, s, m: len(a) * contrastive_pairs(a, b, s, m)),
        (
            "only the similar pairs: with nothing to push, the answer is a point",
            lambda a, b, s, m: _hadsell(a, b, s, torch.square, torch.zeros_like),
        ),
    ),
)


# ---- 5: semi-hard triplets ---------------------------------------------------------------------------------


def _labelled(g: torch.Generator) -> list[tuple]:
    return [
        (0.5 * _points(g, n, d), torch.arange(n) % classes, margin)
        for n, d, classes, margin in [(9, 2, 3, 0.2), (12, 3, 3, 1.0), (10, 2, 5, 0.5)]
    ]


def _semi_hard(z: Tensor, labels: Tensor, margin: float) -> Tensor:
    a, p, n = z[semi_hard_triplets(z, labels)].unbind(dim=1)
    return triplet(a, p, n, margin)


def _mined(
    z: Tensor, labels: Tensor, margin: float, choose, power: int = 2, itself: bool = False, band=False
) -> Tensor:
    """The loss by loops; `choose` picks one of the negatives' distances, given the positive's (None: no triplet)."""
    terms = []
    for i in range(len(z)):
        for j in range(len(z)):
            if labels[i] != labels[j] or (i == j and not itself):
                continue
            near = float((z[i] - z[j]).norm() ** power)
            far = choose([float((z[i] - x).norm() ** power) for x in z[labels != labels[i]]], near)
            if far is not None and not (band and far >= near + margin):
                terms.append(max(0.0, near - far + margin))
    return torch.tensor(terms or [0.0]).double().mean()


def _nearest_beyond(far: list[float], near: float) -> float | None:
    return min((f for f in far if f > near), default=None)


SEMI_HARD = Exercise(
    sample=_labelled,
    reference=_semi_hard,
    mistakes=(
        (
            "the hardest negative of all: only those farther than the positive may be chosen",
            lambda z, y, m: _mined(z, y, m, lambda far, near: min(far)),
        ),
        (
            "the farthest negative: that is the easiest one",
            lambda z, y, m: _mined(
                z, y, m, lambda far, near: max(f for f in far) if max(far) > near else None
            ),
        ),
        (
            "pairs without a semi-hard negative get the hardest one: leave them out of the mean",
            lambda z, y, m: _mined(z, y, m, lambda far, near: min([f for f in far if f > near] or far)),
        ),
        (
            "distances are not squared here: FaceNet compares squares",
            lambda z, y, m: _mined(z, y, m, _nearest_beyond, power=1),
        ),
        (
            "a row is its own positive: leave out i = j",
            lambda z, y, m: _mined(z, y, m, _nearest_beyond, itself=True),
        ),
        (
            "the mean runs only over triplets inside the margin: the solved ones count too, with 0",
            lambda z, y, m: _mined(z, y, m, _nearest_beyond, band=True),
        ),
        (
            "the negative may be nearer by the margin: semi-hard means farther than the positive",
            lambda z, y, m: _mined(
                z, y, m, lambda far, near: min((f for f in far if f > near - m), default=None)
            ),
        ),
    ),
    praise="hard enough to teach, not so hard that giving up pays",
)
