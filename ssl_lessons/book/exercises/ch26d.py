"""Chapter 26d: a rank correlation, what two parts do together, how many policies, regret."""

from __future__ import annotations

import math

import torch
from scipy.stats import rankdata
from torch import Tensor

from .core import Check, Exercise


def check_rank_correlation(fn) -> Check:
    """fn(x [N], y [N]) -> Spearman's rank correlation; no two values of a list are equal."""
    return RANK_CORRELATION.check(fn)


def check_together(fn) -> Check:
    """fn(a bool [P], b bool [P], probe [P]) -> what b adds to the effect of a, in points of the probe."""
    return TOGETHER.check(fn)


def check_policies_needed(fn) -> Check:
    """fn(rho) -> the smallest number of policies at which the 90 % interval of an estimate rho > 0 leaves out zero."""
    return POLICIES_NEEDED.check(fn)


def check_regret(fn) -> Check:
    """fn(score [P], probe [P]) -> (regret of the policy with the largest score, mean regret of a policy by lot)."""
    return REGRET.check(fn)


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


def _designs(g: torch.Generator) -> list[tuple]:
    """Balanced designs with noise, and one in which the four cells have different sizes."""
    cases = []
    for n, sizes in ((16, None), (32, None), (20, (2, 4, 5, 9))):
        cells = (
            torch.arange(n) % 4
            if sizes is None
            else torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
        )
        a, b = cells < 2, cells % 2 == 0
        probe = 0.1 + 0.05 * a + 0.02 * b + 0.1 * (a & b) + 0.01 * torch.randn(n, generator=g)
        order = torch.randperm(n, generator=g)
        cases.append((a[order], b[order], probe.double()[order]))
    return cases


def _together(a: Tensor, b: Tensor, probe: Tensor) -> Tensor:
    with_b = probe[a & b].mean() - probe[~a & b].mean()
    without_b = probe[a & ~b].mean() - probe[~a & ~b].mean()
    return with_b - without_b


TOGETHER = Exercise(
    sample=_designs,
    reference=_together,
    mistakes=(
        (
            "this is what both do against neither, each part alone included: subtract the effect of a without b",
            lambda a, b, p: p[a & b].mean() - p[~a & ~b].mean(),
        ),
        (
            "this is the effect of a where b is there: subtract its effect where b is not",
            lambda a, b, p: p[a & b].mean() - p[~a & b].mean(),
        ),
        (
            "half of it: a difference of two differences, not their mean",
            lambda a, b, p: _together(a, b, p) / 2,
        ),
        ("the sign: the effect of a with b, minus that without", lambda a, b, p: -_together(a, b, p)),
        (
            "this is the effect of a alone, whatever b: you want how much b changes it",
            lambda a, b, p: p[a].mean() - p[~a].mean(),
        ),
        (
            "the two effects are added: subtract that without b",
            lambda a, b, p: p[a & b].mean() - p[~a & b].mean() + p[a & ~b].mean() - p[~a & ~b].mean(),
        ),
        (
            "this compares those with both against all others, in which each part alone is mixed",
            lambda a, b, p: p[a & b].mean() - p[~(a & b)].mean(),
        ),
        (
            "this compares policies with equal signs of a and b to the others: right up to a factor only if the four "
            "cells are equally large; take the mean of each cell",
            lambda a, b, p: 2 * (p[a == b].mean() - p[a != b].mean()),
        ),
    ),
    praise="zero where the parts add up, whatever each is worth",
)


def _needed(rho: float, factor: float = 1.06, z: float = 1.645, offset: int = 3, fisher=math.atanh) -> int:
    return math.floor(offset + factor * (z / fisher(rho)) ** 2) + 1


POLICIES_NEEDED = Exercise(
    sample=lambda g: [(0.2,), (0.35,), (0.5,), (0.7,)],
    reference=_needed,
    mistakes=(
        ("the variance of ranks is 1.06 / (n - 3), not 1 / (n - 3)", lambda r: _needed(r, factor=1.0)),
        (
            "the interval is straight on Fisher's scale: use atanh(rho)",
            lambda r: _needed(r, fisher=lambda v: v),
        ),
        ("the variance has n - 3 below it, not n", lambda r: _needed(r, offset=0)),
        ("a 90 % interval leaves 5 % on either side: 1.645, not 1.96", lambda r: _needed(r, z=1.96)),
        ("a 90 % interval leaves 5 % on either side: 1.645, not 1.28", lambda r: _needed(r, z=1.28)),
        ("rounded down: at that many the interval still holds zero", lambda r: _needed(r) - 1),
        (
            "not rounded: policies come in whole numbers, and up",
            lambda r: 3 + 1.06 * (1.645 / math.atanh(r)) ** 2,
        ),
        (
            "the square has been forgotten: solve z * sqrt(1.06 / (n - 3)) = atanh(rho) for n",
            lambda r: math.ceil(3 + 1.06 * 1.645 / math.atanh(r)),
        ),
    ),
    praise="there such an estimate begins to say something; four studies of five find it with about 2.3 times as many",
)


def _scores(g: torch.Generator) -> list[tuple]:
    return [
        (torch.rand(n, generator=g).double(), 0.1 + 0.3 * torch.rand(n, generator=g).double())
        for n in (5, 12, 36)
    ]


def _regret(score: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
    return probe.max() - probe[score.argmax()], probe.max() - probe.mean()


REGRET = Exercise(
    sample=_scores,
    reference=_regret,
    mistakes=(
        (
            "a difference of two probes: the best one, and that of the policy with the best score",
            lambda s, p: (s.max() - p.max(), p.max() - p.mean()),
        ),
        ("this picks the smallest score", lambda s, p: (p.max() - p[s.argmin()], p.max() - p.mean())),
        (
            "these are the probe of the pick and the mean probe: subtract each from the best probe",
            lambda s, p: (p[s.argmax()], p.mean()),
        ),
        ("the sign: a regret is never negative", lambda s, p: tuple(-v for v in _regret(s, p))),
        (
            "by lot is every policy with equal chance: the mean, not the median",
            lambda s, p: (_regret(s, p)[0], p.max() - p.median()),
        ),
        ("the order: (of the score, by lot)", lambda s, p: _regret(s, p)[::-1]),
    ),
    praise="a score is worth having if the first number is below the second",
)
