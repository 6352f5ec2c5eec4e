"""Chapter 26: momentum for another batch, keys back in order, tightness, a rank correlation; few bits, folding."""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import normalize

from .core import Check, Exercise


def check_momentum_for_batch(fn) -> Check:
    """fn(m, batch, new_batch) -> the momentum that forgets as much per *image* at new_batch as m does at batch."""
    return MOMENTUM_FOR_BATCH.check(fn)


def check_back_in_order(fn) -> Check:
    """fn(shuffled_keys [N, D], order [N]) -> keys [N, D] of images 0 .. N - 1; row i of the input is image order[i]."""
    return BACK_IN_ORDER.check(fn)


def check_tightness(fn) -> Check:
    """fn(z [N, D], labels [N]) -> mean squared distance within classes over that between classes, unit-length rows.

    Pairs of different rows only; means over all pairs of the same class, and over all pairs of different classes.
    """
    return TIGHTNESS.check(fn)


def check_rank_correlation(fn) -> Check:
    """fn(x [N], y [N]) -> Spearman's rank correlation; no two values of a list are equal."""
    return RANK_CORRELATION.check(fn)


def check_affine_grid(fn) -> Check:
    """fn(low, high, bits) -> (scale, zero_point): q in 0..2^bits - 1 covers [low, high], and 0 exactly."""
    return AFFINE_GRID.check(fn)


def check_fake_quantize(fn) -> Check:
    """fn(w [C, K], bits) -> [C, K]: every row on its own symmetric grid -(2^(bits-1) - 1)..2^(bits-1) - 1, and back."""
    return FAKE_QUANTIZE.check(fn)


def check_fold(fn) -> Check:
    """fn(w [C, K], gamma, beta, mean, var [C], eps) -> [C, K + 1]: folded weights, folded bias as last column."""
    return FOLD.check(fn)


MOMENTUM_FOR_BATCH = Exercise(
    sample=lambda g: [(0.99, 256, 128), (0.999, 256, 1024), (0.9, 64, 48)],
    reference=lambda m, batch, new: m ** (new / batch),
    mistakes=(
        (
            "unchanged: half the batch takes twice as many steps per image, each of which forgets",
            lambda m, b, n: m,
        ),
        ("upside down: a smaller batch needs a momentum closer to 1", lambda m, b, n: m ** (b / n)),
        (
            "1 - m is scaled, which is only near the answer: m is multiplied once per step, so take a power of it",
            lambda m, b, n: 1 - (1 - m) * n / b,
        ),
        ("m is scaled: it is multiplied once per step, so take a power of it", lambda m, b, n: m * n / b),
        ("1 - m is scaled, and upside down", lambda m, b, n: 1 - (1 - m) * b / n),
    ),
    praise="after as many images, as much is forgotten",
)


def _shuffled(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d in [(6, 3), (9, 2), (16, 4)]:
        order = torch.randperm(n, generator=g)
        cases.append((torch.randn(n, d, generator=g).double(), order))
    return cases


BACK_IN_ORDER = Exercise(
    sample=_shuffled,
    reference=lambda keys, order: keys[order.argsort()],
    mistakes=(
        ("shuffled a second time: indexing with `order` shuffles, its inverse undoes it", lambda k, o: k[o]),
        ("left shuffled: each query would be paired with the key of another image", lambda k, o: k),
        ("turned round: a random order is not undone by reversing it", lambda k, o: k.flip(0)),
    ),
)


def _clusters(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, c in [(12, 3, 3), (30, 5, 4), (9, 2, 2)]:
        labels = torch.arange(n) % c
        centres = torch.randn(c, d, generator=g).double()
        z = 3 * centres[labels] + torch.randn(n, d, generator=g).double() + 1
        cases.append((z[order := torch.randperm(n, generator=g)], labels[order]))
    return cases


def _tightness(
    z: Tensor, labels: Tensor, unit: bool = True, square: bool = True, self_pairs: bool = False
) -> Tensor:
    z = normalize(z, dim=1) if unit else z
    distance = (z[:, None] - z).square().sum(dim=2)
    distance = distance if square else distance.sqrt()
    same = labels[:, None] == labels
    own = same if self_pairs else same & ~torch.eye(len(z), dtype=torch.bool)
    return distance[own].mean() / distance[~same].mean()


def _cosines(z: Tensor, labels: Tensor) -> Tensor:
    z = normalize(z, dim=1)
    cosine, same = z @ z.T, labels[:, None] == labels
    own = same & ~torch.eye(len(z), dtype=torch.bool)
    return cosine[own].mean() / cosine[~same].mean()


TIGHTNESS = Exercise(
    sample=_clusters,
    reference=_tightness,
    mistakes=(
        (
            "each row is paired with itself: that distance is 0 and says nothing",
            lambda z, y: _tightness(z, y, self_pairs=True),
        ),
        ("the rows are not of unit length: normalise z first", lambda z, y: _tightness(z, y, unit=False)),
        ("the distances are not squared", lambda z, y: _tightness(z, y, square=False)),
        ("upside down: within over between", lambda z, y: 1 / _tightness(z, y)),
        (
            "within over all pairs: divide by the mean over pairs of *different* classes",
            lambda z, y: _tightness(z, y) * _to_between(z, y),
        ),
        ("this is a ratio of cosines: the squared distance of unit vectors is 2 - 2 cosine", _cosines),
    ),
    praise="1 would mean that classes do not show; a cloud that only shrinks keeps its number",
)


def _to_between(z: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance between classes, over that of all pairs of different rows."""
    z = normalize(z, dim=1)
    distance, same = (z[:, None] - z).square().sum(dim=2), labels[:, None] == labels
    return distance[~same].mean() / distance[~torch.eye(len(z), dtype=torch.bool)].mean()


def _pairs(g: torch.Generator) -> list[tuple]:
    cases = []
    for n in (5, 8, 13):
        x = torch.randn(n, generator=g).double()
        y = (x + torch.randn(n, generator=g).double()).exp()
        cases.append((x, y))
    return cases


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([a, b]))[0, 1]


def _ranks(x: Tensor) -> Tensor:
    return torch.from_numpy(rankdata(x.numpy()))


RANK_CORRELATION = Exercise(
    sample=_pairs,
    reference=lambda x, y: _correlation(_ranks(x), _ranks(y)),
    mistakes=(
        ("this is the correlation of the values: replace each value by its rank first", _correlation),
        (
            "argsort gives the order, not the ranks: the rank of each value is argsort of argsort",
            lambda x, y: _correlation(x.argsort().double(), y.argsort().double()),
        ),
        ("only x became ranks", lambda x, y: _correlation(_ranks(x), y)),
        ("only y became ranks", lambda x, y: _correlation(x, _ranks(y))),
        (
            "the sign is wrong: both lists count from the smallest",
            lambda x, y: -_correlation(_ranks(x), _ranks(y)),
        ),
        ("squared: the sign is part of the answer", lambda x, y: _correlation(_ranks(x), _ranks(y)) ** 2),
        (
            "the covariance of the ranks: divide by their standard deviations",
            lambda x, y: torch.cov(torch.stack([_ranks(x), _ranks(y)]))[0, 1],
        ),
    ),
)


# ---- the applied engineer ----------------------------------------------------------------------------------


def _ranges(g: torch.Generator) -> list[tuple]:
    return [(-1.3, 2.0, 8), (0.0, 6.1, 8), (0.7, 3.0, 8), (-4.2, -1.0, 8), (-1.0, 0.37, 4)]


def _grid(low: float, high: float, bits: int) -> tuple[float, float]:
    low, high = min(0.0, low), max(0.0, high)
    scale = (high - low) / (2**bits - 1)
    return scale, float(round(-low / scale))


AFFINE_GRID = Exercise(
    sample=_ranges,
    reference=_grid,
    mistakes=(
        (
            "2^bits values have 2^bits - 1 steps between them: divide the range by 2^bits - 1",
            lambda a, b, n: (
                (max(0.0, b) - min(0.0, a)) / 2**n,
                float(round(-min(0.0, a) * 2**n / (max(0.0, b) - min(0.0, a)))),
            ),
        ),
        (
            "0 must be on the grid, also when the range does not contain it: widen the range to hold 0 first",
            lambda a, b, n: ((b - a) / (2**n - 1), float(round(-a * (2**n - 1) / (b - a)))),
        ),
        (
            "the zero point must be a whole number: it is the integer that stands for 0, so round it",
            lambda a, b, n: (_grid(a, b, n)[0], -min(0.0, a) / _grid(a, b, n)[0]),
        ),
        (
            "the sign of the zero point: low is stored as 0, so 0 is stored as -low / scale",
            lambda a, b, n: (_grid(a, b, n)[0], -_grid(a, b, n)[1]),
        ),
        (
            "this grid is symmetric about 0: half of it is wasted where values have one sign only, as after ReLU",
            lambda a, b, n: (2 * max(abs(a), abs(b)) / (2**n - 1), float(2 ** (n - 1))),
        ),
        (
            "the order: return (scale, zero_point)",
            lambda a, b, n: _grid(a, b, n)[::-1],
        ),
    ),
    praise="and 0 is stored without error, whatever the range",
)


def _few_bit_rows(g: torch.Generator) -> list[tuple]:
    cases = []
    for c, k, bits in [(3, 5, 8), (4, 6, 4), (5, 5, 3)]:
        w = torch.randn(c, k, generator=g).double() * torch.logspace(-2, 0.5, c).double()[:, None]
        cases.append((w, bits))
    return cases


def _there_and_back(w: Tensor, bits: int, dim=1, levels: int | None = None, rounding=torch.round) -> Tensor:
    levels = 2 ** (bits - 1) - 1 if levels is None else levels
    scale = (w.abs().amax() if dim is None else w.abs().amax(dim=dim, keepdim=True)) / levels
    return scale * rounding(w / scale)


FAKE_QUANTIZE = Exercise(
    sample=_few_bit_rows,
    reference=_there_and_back,
    mistakes=(
        (
            "one scale for the whole tensor: each row (output channel) has its own largest value, dim=1",
            lambda w, n: _there_and_back(w, n, dim=None),
        ),
        (
            "one scale per column: an output channel is a row of w, so take the largest value over dim=1",
            lambda w, n: _there_and_back(w, n, dim=0),
        ),
        (
            "these are the integers q: multiply by the scale to come back",
            lambda w, n: torch.round(w / (w.abs().amax(dim=1, keepdim=True) / (2 ** (n - 1) - 1))),
        ),
        (
            "cut off instead of rounded: the error is up to a whole step, and always downwards",
            lambda w, n: _there_and_back(w, n, rounding=torch.floor),
        ),
        (
            "cut off instead of rounded: the error is up to a whole step, and always towards zero",
            lambda w, n: _there_and_back(w, n, rounding=torch.trunc),
        ),
        (
            "bits - 1 of the bits count the steps on each side of 0: the largest q is 2^(bits-1) - 1, not 2^bits - 1",
            lambda w, n: _there_and_back(w, n, levels=2**n - 1),
        ),
        (
            "the largest signed integer of that many bits is 2^(bits-1) - 1, not 2^(bits-1)",
            lambda w, n: _there_and_back(w, n, levels=2 ** (n - 1)),
        ),
        (
            "the scale must come from the largest absolute value: a negative weight can be the largest",
            lambda w, n: (
                w.amax(dim=1, keepdim=True)
                / (2 ** (n - 1) - 1)
                * torch.round(w / (w.amax(dim=1, keepdim=True) / (2 ** (n - 1) - 1)))
            ),
        ),
    ),
    praise="no weight has moved by more than half a step of its own row",
)


def _layers(g: torch.Generator) -> list[tuple]:
    cases = []
    for c, k in [(3, 4), (4, 7), (5, 5)]:
        w, beta, mean = (torch.randn(*s, generator=g).double() for s in ((c, k), (c,), (c,)))
        gamma, var = (0.5 + 2 * torch.rand(c, generator=g).double() for _ in range(2))
        cases.append((w, gamma, beta, mean, var, 0.01))
    return cases


def _fold(w: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return _joined(w, gamma / torch.sqrt(var + eps), beta, mean)


def _joined(w: Tensor, s: Tensor, beta: Tensor, mean: Tensor) -> Tensor:
    return torch.cat([s[:, None] * w, (beta - s * mean)[:, None]], dim=1)


FOLD = Exercise(
    sample=_layers,
    reference=_fold,
    mistakes=(
        (
            "the mean is scaled too: the bias is beta - gamma mean / sqrt(var + eps)",
            lambda w, ga, b, m, v, e: torch.cat([_fold(w, ga, b, m, v, e)[:, :-1], (b - m)[:, None]], dim=1),
        ),
        (
            "the mean has been forgotten: BatchNorm subtracts it before it scales",
            lambda w, ga, b, m, v, e: torch.cat([_fold(w, ga, b, m, v, e)[:, :-1], b[:, None]], dim=1),
        ),
        (
            "the sign of the mean: it is subtracted",
            lambda w, ga, b, m, v, e: _fold(w, ga, b, -m, v, e),
        ),
        (
            "eps has been forgotten: BatchNorm divides by sqrt(var + eps)",
            lambda w, ga, b, m, v, e: _fold(w, ga, b, m, v, 0.0),
        ),
        (
            "eps belongs under the root: sqrt(var + eps), not sqrt(var) + eps",
            lambda w, ga, b, m, v, e: _joined(w, ga / (v.sqrt() + e), b, m),
        ),
        (
            "divided by the variance: BatchNorm divides by its root",
            lambda w, ga, b, m, v, e: _joined(w, ga / (v + e), b, m),
        ),
        (
            "gamma has been forgotten",
            lambda w, ga, b, m, v, e: _fold(w, torch.ones_like(ga), b, m, v, e),
        ),
        (
            "the bias comes last: [C, K] weights, then one column",
            lambda w, ga, b, m, v, e: _fold(w, ga, b, m, v, e).roll(1, dims=1),
        ),
    ),
    hint=lambda inputs, answers: (
        "only the weights came back: append the bias as a last column, with torch.cat(..., dim=1)"
        if answers[0].shape == inputs[0][0].shape
        else None
    ),
    praise="a BatchNorm costs nothing at inference",
)
