"""Chapter 26: momentum for another batch, keys back in order, a rank correlation."""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor

from .core import Check, Exercise


def check_momentum_for_batch(fn) -> Check:
    """fn(m, batch, new_batch) -> the momentum that forgets as much per *image* at new_batch as m does at batch."""
    return MOMENTUM_FOR_BATCH.check(fn)


def check_back_in_order(fn) -> Check:
    """fn(shuffled_keys [N, D], order [N]) -> keys [N, D] of images 0 .. N - 1; row i of the input is image order[i]."""
    return BACK_IN_ORDER.check(fn)


def check_rank_correlation(fn) -> Check:
    """fn(x [N], y [N]) -> Spearman's rank correlation; no two values of a list are equal."""
    return RANK_CORRELATION.check(fn)


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
