"""Chapters 04 and 04b: pairs, triplets, the temperature of a sphere, many positives; maps, waves, agreement."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from ssl_lessons.losses.metric import contrastive_pairs
from ssl_lessons.models import embedding

from .core import Check, Exercise


def check_contrastive(fn) -> Check:
    """fn(z1 [P, D], z2 [P, D], same [P] bool, margin) -> scalar: Hadsell et al. 2006, eq. 4, the mean over pairs."""
    return CONTRASTIVE.check(fn)


def check_shrinking_pays(fn) -> Check:
    """fn(near [T], far [T], margin) -> number: slope at c = 1 of the mean triplet loss when distances scale by c."""
    return SHRINKING_PAYS.check(fn)


def check_nt_xent_temperature(fn) -> Check:
    """fn(T, radius) -> tau: at which NT-Xent is the soft nearest neighbour loss on a sphere of that radius."""
    return NT_XENT_TEMPERATURE.check(fn)


def check_supcon(fn) -> Check:
    """fn(z [N, D], labels [N], tau) -> scalar: minus the mean log share of the positives, per anchor that has one."""
    return SUPCON.check(fn)


def check_dimensions_needed(fn) -> Check:
    """fn(distance [N, N]) -> int: the dimensions that points with these distances need, -1 where none have them."""
    return DIMENSIONS_NEEDED.check(fn)


def check_map_with_width(fn) -> Check:
    """fn(length, width) -> int: coordinates of a spectral map until one depends on the position across the sheet."""
    return MAP_WITH_WIDTH.check(fn)


def check_what_is_learned(fn) -> Check:
    """fn(shared [K], own [K]) -> (index, nats): the feature that maximises IMAX."""
    return WHAT_IS_LEARNED.check(fn)


# ---- 04, 1: the contrastive loss ---------------------------------------------------------------------------


def _pairs(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, margin in [(8, 2, 1.0), (13, 3, 2.0), (10, 4, 0.7)]:
        z1 = torch.randn(n, d, generator=g)
        z2 = z1 + 1.1 * margin * torch.randn(n, d, generator=g) / d**0.5
        cases.append((z1, z2, torch.arange(n) % 3 == 0, margin))  # not half of them: see the separate means
    return cases


def _hadsell(z1: Tensor, z2: Tensor, same: Tensor, pull, push) -> Tensor:
    d = (z1 - z2).norm(dim=1)
    return torch.where(same, pull(d), push(d)).mean() / 2


def _separate_means(z1: Tensor, z2: Tensor, same: Tensor, margin: float) -> Tensor:
    d = (z1 - z2).norm(dim=1)
    return (d[same].square().mean() + relu(margin - d[~same]).square().mean()) / 2


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
        (
            "similar and dissimilar pairs are averaged apart: take one mean over all pairs",
            _separate_means,
        ),
        (
            "similar and dissimilar pairs are averaged apart, and the factor 1/2 is missing",
            lambda a, b, s, m: 2 * _separate_means(a, b, s, m),
        ),
        ("the factor 1/2 is missing", lambda a, b, s, m: 2 * contrastive_pairs(a, b, s, m)),
        ("the sum over the pairs: take the mean", lambda a, b, s, m: len(a) * contrastive_pairs(a, b, s, m)),
        (
            "only the similar pairs: with nothing to push, the answer is a point",
            lambda a, b, s, m: _hadsell(a, b, s, torch.square, torch.zeros_like),
        ),
    ),
)


# ---- 04, 2: does shrinking pay? ----------------------------------------------------------------------------


def _triplets(g: torch.Generator) -> list[tuple]:
    return [
        (2 * torch.rand(n, generator=g), 2 * torch.rand(n, generator=g), margin)
        for n, margin in [(9, 0.2), (20, 0.5), (12, 1.0)]
    ]


def _slope(near: Tensor, far: Tensor, margin: float) -> Tensor:
    return 2 * (near - far) * (near - far + margin > 0)


SHRINKING_PAYS = Exercise(
    sample=_triplets,
    reference=lambda n, f, m: _slope(n, f, m).mean(),
    mistakes=(
        (
            "triplets whose hinge is closed count as if they felt the scale: their slope is 0",
            lambda n, f, m: 2 * (n - f).mean(),
        ),
        (
            "the mean runs over the open hinges only: the loss is a mean over all triplets",
            lambda n, f, m: _slope(n, f, m).sum() / (n - f + m > 0).sum(),
        ),
        (
            "the factor 2 is missing: squared distances grow with c squared",
            lambda n, f, m: _slope(n, f, m).mean() / 2,
        ),
        ("the sign is turned: the slope of c^2 (near - far)", lambda n, f, m: -_slope(n, f, m).mean()),
        (
            "the margin is scaled, too: it does not depend on c",
            lambda n, f, m: 2 * relu(n - f + m).mean(),
        ),
        ("the loss itself, not its slope", lambda n, f, m: relu(n - f + m).mean()),
        ("the sum over the triplets: take the mean", lambda n, f, m: _slope(n, f, m).sum()),
        (
            "the roots are compared: near and far are squared distances already",
            lambda n, f, m: _slope(n.sqrt(), f.sqrt(), m).mean(),
        ),
    ),
    praise="(above 0 with the hardest negatives of a young network: that is the collapse)",
)


# ---- 04, 3: the temperature of a sphere --------------------------------------------------------------------

NT_XENT_TEMPERATURE = Exercise(
    sample=lambda g: [(0.2, 1.0), (0.2, 3.0), (1.0, 0.5), (0.7, 2.0)],
    reference=lambda t, r: t / (2 * r**2),
    mistakes=(
        ("that is the unit sphere: the radius matters", lambda t, r: t / 2),
        ("the radius enters by its square: d^2 = 2 r^2 - 2 r^2 cos", lambda t, r: t / (2 * r)),
        ("the 2 in front of the cosine is missing", lambda t, r: t / r**2),
        (
            "upside down: longer embeddings make the logits larger, so the temperature falls",
            lambda t, r: t * r**2 / 2,
        ),
        ("that is 1 / tau", lambda t, r: 2 * r**2 / t),
        ("2 r^2 belongs into the denominator", lambda t, r: 2 * r**2 * t),
    ),
    praise="(length is a temperature that nobody has set)",
)


# ---- 04, 4: many positives ---------------------------------------------------------------------------------


def _labelled(g: torch.Generator) -> list[tuple]:
    groups = (
        [0, 1, 0, 2, 0, 1, 0, 3, 2],
        [5, 5, 1, 1, 1, 2],
        [0, 0, 0, 0, 0, 4, 4, 1],
    )  # some alone, of any size
    return [
        (torch.randn(len(y), d, generator=g), torch.tensor(y), tau)
        for y, d, tau in zip(groups, (4, 3, 6), (0.2, 0.5, 0.1), strict=True)
    ]


def _shares(z: Tensor, labels: Tensor, tau: float, unit=True, itself=False, negatives_only=False):
    """log shares [N, N] and the positives' mask."""
    z = normalize(z, dim=1) if unit else z
    positive = (labels[:, None] == labels).fill_diagonal_(False)
    logits = z @ z.T / tau
    if not itself:
        logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    below = logits.masked_fill(positive, -math.inf) if negatives_only else logits
    return logits - below.logsumexp(dim=1, keepdim=True), positive


def _supcon(z: Tensor, labels: Tensor, tau: float, lonely: bool = False, **options) -> Tensor:
    log_p, positive = _shares(z, labels, tau, **options)
    count = positive.sum(dim=1)
    total = log_p.masked_fill(~positive, 0.0).sum(dim=1)
    if lonely:
        return -(total / count.clamp_min(1)).mean()
    return -(total[count > 0] / count[count > 0]).mean()


def _summed(z: Tensor, labels: Tensor, tau: float, mean: bool = False) -> Tensor:
    log_p, positive = _shares(z, labels, tau)
    has = positive.any(dim=1)
    found = log_p.masked_fill(~positive, -math.inf).logsumexp(dim=1)[has]
    return -(found - positive.sum(dim=1)[has].log() * mean).mean()


def _over_pairs(z: Tensor, labels: Tensor, tau: float) -> Tensor:
    log_p, positive = _shares(z, labels, tau)
    return -log_p[positive].mean()


def _sum_over_positives(z: Tensor, labels: Tensor, tau: float) -> Tensor:
    log_p, positive = _shares(z, labels, tau)
    return -log_p[positive].sum() / positive.any(dim=1).sum()


SUPCON = Exercise(
    sample=_labelled,
    reference=_supcon,
    mistakes=(
        ("the log of the summed shares: that is soft neighbours; take the mean of the logs", _summed),
        ("the log of the mean share: take the mean of the logs", lambda z, y, t: _summed(z, y, t, mean=True)),
        (
            "one mean over all pairs: anchors of large classes count more; average per anchor first",
            _over_pairs,
        ),
        ("the sum over an anchor's positives: take their mean", _sum_over_positives),
        (
            "anchors without a positive count as 0: leave them out",
            lambda z, y, t: _supcon(z, y, t, lonely=True),
        ),
        ("a row meets itself in the softmax: leave it out", lambda z, y, t: _supcon(z, y, t, itself=True)),
        (
            "the positives are missing in the denominator: the softmax runs over all other rows",
            lambda z, y, t: _supcon(z, y, t, negatives_only=True),
        ),
        ("z is not normalised: shares of cosines", lambda z, y, t: _supcon(z, y, t, unit=False)),
        ("tau is missing", lambda z, y, t: _supcon(z, y, 1.0)),
        ("the sign is missing", lambda z, y, t: -_supcon(z, y, t)),
    ),
    praise="(with one positive each this is NT-Xent)",
)


# ---- 04b, 1: is there such a map? --------------------------------------------------------------------------


def _tables(g: torch.Generator) -> list[tuple]:
    flat = [embedding.distances(torch.randn(n, d, generator=g)) for n, d in [(9, 3), (6, 1), (8, 20)]]
    star = 2 - 2 * torch.eye(6)
    star[0, 1:] = star[1:, 0] = 1.0  # five leaves at distance 2 from each other, 1 from the middle
    line = embedding.distances(torch.arange(5.0)[:, None]).square()  # squares of distances are none
    return [(d,) for d in (*flat, star, line)]


def _gram(squares: Tensor) -> Tensor:
    rows = squares.mean(dim=1, keepdim=True)
    return -(squares - rows - rows.T + squares.mean()) / 2


def _count(b: Tensor, negative: bool = True, absolute: bool = False) -> int:
    values = torch.linalg.eigvalsh(b.double())
    zero = values.abs().max() / 1000
    if negative and values.min() < -zero:
        return -1
    return int(((values.abs() if absolute else values) > zero).sum())


DIMENSIONS_NEEDED = Exercise(
    sample=_tables,
    reference=lambda d: _count(_gram(d.square())),
    mistakes=(
        (
            "negative eigenvalues are counted like positive ones: no points have such distances",
            lambda d: _count(_gram(d.square()), negative=False, absolute=True),
        ),
        (
            "negative eigenvalues are passed over: they say that no points have these distances",
            lambda d: _count(_gram(d.square()), negative=False),
        ),
        (
            "the distances are not squared: it is the squares that are inner products",
            lambda d: _count(_gram(d)),
        ),
        ("not centred: the table itself is no table of inner products", lambda d: _count(-d.square() / 2)),
        (
            "one less than the number of points: that many are always enough, but not needed",
            lambda d: len(d) - 1,
        ),
    ),
)


# ---- 04b, 2: which wave comes next? ------------------------------------------------------------------------

MAP_WITH_WIDTH = Exercise(
    sample=lambda g: [(89.0, 20.0), (50.0, 40.0), (30.0, 30.0), (40.0, 20.0), (100.0, 9.0)],
    reference=lambda a, b: math.ceil(a / b),
    mistakes=(
        ("two is not always enough: count the waves along that are cheaper", lambda a, b: 2),
        ("rounded down: every wave along with p below length / width comes first", lambda a, b: int(a / b)),
        ("a tie counts as found in time", lambda a, b: int(a / b) + 1),
        ("that is how many waves come first; the next one is wanted", lambda a, b: math.ceil(a / b) - 1),
        ("both costs are squares: compare p / length with 1 / width", lambda a, b: math.ceil((a / b) ** 2)),
        ("upside down: a long sheet has cheap waves along", lambda a, b: math.ceil(b / a)),
        (
            "the constant is no coordinate: do not count (0, 0)",
            lambda a, b: math.ceil(a / b) + 1,
        ),
    ),
)


# ---- 04b, 3: what will it learn? ---------------------------------------------------------------------------


def _features(g: torch.Generator) -> list[tuple]:
    cases = [
        ([4.0, 1.0, 0.5], [8.0, 0.25, 0.5]),  # ratios 0.5, 4, 1
        ([1.0, 9.0, 2.0], [0.1, 3.0, 8.0]),  # 10, 3, 0.25
        ([0.2, 3.0, 2.5], [0.01, 1.0, 2.0]),  # 20, 3, 1.25
        ([0.1, 3.0, 2.0], [0.05, 0.6, 3.5]),  # 2, 5, 0.6: the least noise of its own is not enough
    ]
    return [(torch.tensor(shared), torch.tensor(own)) for shared, own in cases]


def _nats(s: Tensor, o: Tensor) -> Tensor:
    return (1 + 2 * s / o).log() / 2


def _best(score: Tensor, nats: Tensor) -> tuple[int, float]:
    k = int(score.argmax())
    return k, float(nats[k])


def _chosen_by(score):
    return lambda s, o: _best(score(s, o), _nats(s, o))


def _counted_as(nats):
    return lambda s, o: _best(s / o, nats(s, o))


WHAT_IS_LEARNED = Exercise(
    sample=_features,
    reference=_chosen_by(lambda s, o: s / o),
    mistakes=(
        (
            "the feature of the largest variance: scale drops out, only shared to own counts",
            _chosen_by(lambda s, o: s + o),
        ),
        ("the feature that shares most: what it has of its own counts as well", _chosen_by(lambda s, o: s)),
        ("the feature with least of its own: what is shared counts as well", _chosen_by(lambda s, o: -o)),
        (
            "one output's information: the mean of two halves the noise",
            _counted_as(lambda s, o: (1 + s / o).log() / 2),
        ),
        ("the factor 1/2 is missing", _counted_as(lambda s, o: 2 * _nats(s, o))),
        ("in bits: use the natural logarithm", _counted_as(lambda s, o: _nats(s, o) / math.log(2))),
        (
            "V(a + b) holds the noise of both modules as well: 4 shared + 2 own",
            _counted_as(lambda s, o: (2 * s / o).log() / 2),
        ),
    ),
    praise="(what is easiest to agree on)",
)
