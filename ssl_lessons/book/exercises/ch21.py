"""Chapter 21: effective rank, Kendall's tau, the regret of choosing without labels, and a cloud that fools RankMe."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.diagnostics import rank_me

from .core import Check, Exercise, Stop, call, failed


def check_effective_rank(fn) -> Check:
    """fn(z [N, D]) -> RankMe: exp of the entropy of the singular values of z divided by their sum."""
    return EFFECTIVE_RANK.check(fn)


def check_kendall_tau(fn) -> Check:
    """fn(x [n], y [n]) -> (concordant - discordant) / number of pairs; no two values are equal."""
    return KENDALL_TAU.check(fn)


def check_regret(fn) -> Check:
    """fn(measure [n], probe [n]) -> how much probe accuracy the run with the largest measure costs."""
    return REGRET.check(fn)


def check_fool_rank_me(fn) -> Check:
    """fn(images uint8 [N, 3, H, W], dim) -> features [N, dim] of nearly full RankMe that never look at the images."""
    seen = []
    for n, dim, seed in [(200, 32, 0), (200, 32, 1), (300, 64, 2)]:
        g = torch.Generator().manual_seed(seed)
        images = torch.randint(256, (n, 3, 4, 4), generator=g, dtype=torch.uint8)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                z = call(fn, (images, dim))
            _judge(z, n, dim)
        except Stop as stop:
            return stop.check
        seen.append(z.detach().double())
    if not torch.equal(seen[0], seen[1]):
        return Check(
            False, "other images give other features: yours look at the images, if only at a few pixels"
        )
    return Check(True, "correct: full rank, and not a word about the images")


def _judge(z, n: int, dim: int) -> None:
    """Raises Stop unless z are features [n, dim] of nearly full RankMe."""
    if not isinstance(z, Tensor) or z.shape != (n, dim) or not z.is_floating_point():
        raise failed(f"return a float tensor [{n}, {dim}], one row per image")
    if not z.isfinite().all():
        raise failed("the features hold NaN or infinity")
    rank = rank_me(z)
    if rank < 0.9 * dim:
        raise failed(f"RankMe is {rank:.1f} of {dim}; it takes 90 %: all singular values must be about alike")


def _clouds(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, steep in [(8, 5, 1.0), (12, 6, 2.0), (6, 9, 0.5)]:
        scale = torch.arange(1, d + 1).double() ** -steep
        cases.append((torch.randn(n, d, generator=g).double() * scale + 0.4,))
    return cases


def _shares(values: Tensor) -> Tensor:
    return values / values.sum()


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log()).sum()


def _singular(z: Tensor) -> Tensor:
    return torch.linalg.svdvals(z)


EFFECTIVE_RANK = Exercise(
    sample=_clouds,
    reference=rank_me,
    mistakes=(
        ("this is the entropy: RankMe is its exponential", lambda z: _entropy(_shares(_singular(z)))),
        (
            "the singular values are squared: RankMe uses them as they are",
            lambda z: _entropy(_shares(_singular(z).square())).exp(),
        ),
        (
            "z is centred first: RankMe takes it as it is",
            lambda z: _entropy(_shares(_singular(z - z.mean(0)))).exp(),
        ),
        (
            "these are eigenvalues of the covariance matrix: take singular values of z",
            lambda z: _entropy(_shares(_singular(z - z.mean(0)).square())).exp(),
        ),
        (
            "the rows are normalised first: RankMe takes z as it is",
            lambda z: _entropy(_shares(_singular(z / z.norm(dim=1, keepdim=True)))).exp(),
        ),
        (
            "log2 under exp: the base of the logarithm and of the power must be the same",
            lambda z: (_entropy(_shares(_singular(z))) / torch.log(torch.tensor(2.0))).exp(),
        ),
        (
            "divided by the largest singular value: divide by their sum, so that the shares add up to 1",
            lambda z: _entropy(_singular(z) / _singular(z)[0]).exp(),
        ),
        (
            "a softmax instead of shares: divide the singular values by their sum",
            lambda z: _entropy(_singular(z).softmax(0)).exp(),
        ),
        (
            "the sign of the entropy is wrong: it is minus the sum of p log p",
            lambda z: (-_entropy(_shares(_singular(z)))).exp(),
        ),
        (
            "this counts the non-zero singular values: weigh them by entropy",
            lambda z: float(torch.linalg.matrix_rank(z)),
        ),
    ),
)


def _runs(g: torch.Generator) -> list[tuple]:
    return [tuple(torch.randn(2, n, generator=g).double()) for n in (4, 7, 12)]


def _agree(x: Tensor, y: Tensor) -> Tensor:
    """+1 / -1 for every ordered pair, 0 on the diagonal: [n, n]"""
    return (x[:, None] - x).sign() * (y[:, None] - y).sign()


def _tau(x: Tensor, y: Tensor) -> Tensor:
    return _agree(x, y).sum() / (len(x) * (len(x) - 1))


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([x, y]))[0, 1]


KENDALL_TAU = Exercise(
    sample=_runs,
    reference=_tau,
    mistakes=(
        ("this is Pearson's correlation: count pairs, not distances", _pearson),
        (
            "this is Spearman's correlation of the ranks: count concordant and discordant pairs",
            lambda x, y: _pearson(x.argsort().argsort().double(), y.argsort().argsort().double()),
        ),
        (
            "this is the share of concordant pairs: subtract the share of discordant ones",
            lambda x, y: (1 + _tau(x, y)) / 2,
        ),
        ("the sum is not divided by the number of pairs", lambda x, y: _agree(x, y).sum() / 2),
        ("every pair is counted twice", lambda x, y: 2 * _tau(x, y)),
        (
            "pairs are counted once and divided by n (n - 1): there are n (n - 1) / 2 of them",
            lambda x, y: _tau(x, y) / 2,
        ),
        (
            "divided by n squared: a run is no pair with itself, so there are n (n - 1) ordered pairs",
            lambda x, y: _agree(x, y).sum() / len(x) ** 2,
        ),
        ("the sign is wrong: concordant pairs count +1", lambda x, y: -_tau(x, y)),
        (
            "only neighbours in the list are compared: compare every run with every other",
            lambda x, y: (x.diff().sign() * y.diff().sign()).mean(),
        ),
    ),
    praise="(and (1 + tau) / 2 is the chance of choosing the better of two runs)",
)


REGRET = Exercise(
    sample=_runs,
    reference=lambda m, p: p.max() - p[m.argmax()],
    mistakes=(
        ("the sign is wrong: regret is what you lose, never negative", lambda m, p: p[m.argmax()] - p.max()),
        ("this picks the smallest measure", lambda m, p: p.max() - p[m.argmin()]),
        ("this is the probe of the pick: subtract it from the best", lambda m, p: p[m.argmax()]),
        ("compared with the mean run: the oracle takes the best", lambda m, p: p.mean() - p[m.argmax()]),
        ("this compares the measures: regret is in units of the probe", lambda m, p: m.max() - m[p.argmax()]),
        ("divided by the best: the answer is asked for in points", lambda m, p: 1 - p[m.argmax()] / p.max()),
        ("this is zero for every measure: pick by the measure, not by the probe", lambda m, p: 0.0),
    ),
)
