"""Chapter 23: the luck of the best of many, a vote of neighbours, labels needed, an interval over seeds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.special import ndtri, stdtrit
from scipy.stats import binom
from torch import Tensor

from .core import Check, Exercise


def check_luck(fn) -> Check:
    """fn(K, n, p) -> expected accuracy of the luckiest of K equally good classifiers on n test pictures, minus p."""
    return LUCK.check(fn)


def check_vote(fn) -> Check:
    """fn(x [N, D], y [N], x_test [M, D], k, temperature) -> predicted labels [M], the kNN of Wu et al. (2018)."""
    return VOTE.check(fn)


def check_labels_needed(fn) -> Check:
    """fn(counts [C], accuracy [C], target) -> labels at which the curve first reaches the target, or inf."""
    return LABELS_NEEDED.check(fn)


def check_seed_interval(fn) -> Check:
    """fn(a [S, R], b [S, R]) -> (mean, low, high), 90 %, of a - b over S seeds with R draws of labels each."""
    return SEED_INTERVAL.check(fn)


# ---- 1: the best of many -------------------------------------------------------------------------------------------


def _tail(k: int, n: int, p: float, first: int = 1, power=None) -> float:
    """Mean of the largest count over n: the sum of P(largest >= m) for m from `first` to n, divided by n."""
    below = binom.cdf([m - 1 for m in range(first, n + 1)], n, p)
    return float((1 - (below**k if power is None else power(below))).sum()) / n


LUCK = Exercise(
    sample=lambda g: [(1, 40, 0.6), (2, 10, 0.5), (20, 50, 0.7), (100, 200, 0.9)],
    reference=lambda k, n, p: _tail(k, n, p) - p,
    mistakes=(
        ("this is the expected accuracy of the luckiest: subtract the true one, p", _tail),
        (
            "this is the least lucky of K: all K are below m with probability F(m - 1)^K",
            lambda k, n, p: _tail(k, n, p, power=lambda f: 1 - (1 - f) ** k) - p,
        ),
        (
            "counted in pictures: divide by n",
            lambda k, n, p: n * (_tail(k, n, p) - p),
        ),
        (
            "the sum begins at m = 1: with m = 0 it counts one picture too many",
            lambda k, n, p: _tail(k, n, p, first=0) - p,
        ),
        (
            "F has to be that of m - 1: 'at least m' is the opposite of 'at most m - 1'",
            lambda k, n, p: float((1 - binom.cdf(range(1, n + 1), n, p) ** k).sum()) / n - p,
        ),
        (
            "sqrt(2 log K) deviations is an upper bound for normal numbers, and far off for few: use the binomial",
            lambda k, n, p: math.sqrt(2 * math.log(k) * p * (1 - p) / n),
        ),
        (
            "this is one standard deviation of an accuracy: the luckiest of K depends on K",
            lambda k, n, p: math.sqrt(p * (1 - p) / n),
        ),
    ),
    praise="nothing was learned, and a table shows a gain",
)


# ---- 2: a vote of neighbours ---------------------------------------------------------------------------------------


def _features(g: torch.Generator) -> list[tuple]:
    """Three classes around their own directions, with lengths that have nothing to do with them."""
    cases = []
    for n, m, k, temperature in ((60, 60, 9, 0.2), (90, 80, 15, 0.1), (40, 70, 40, 0.15)):
        centers = torch.randn(3, 6, generator=g).double()
        y, y_test = (torch.randint(0, 3, (size,), generator=g) for size in (n, m))
        x, x_test = (
            (centers[v] + 1.2 * torch.randn(len(v), 6, generator=g).double())
            * torch.randn(len(v), 1, generator=g).double().exp()
            for v in (y, y_test)
        )
        cases.append((x, y, x_test, k, temperature))
    return cases


def _vote(x, y, x_test, k, temperature, unit=(True, True), weigh=None, largest=True) -> Tensor:
    bank, query = (F.normalize(v, dim=1) if on else v for v, on in zip((x, x_test), unit, strict=True))
    similarity, index = (query @ bank.T).topk(k, dim=1, largest=largest)
    weigh = weigh or (lambda s: ((s - s.max(dim=1, keepdim=True).values) / temperature).exp())
    votes = torch.zeros(len(x_test), int(y.max()) + 1, dtype=x.dtype)
    return votes.scatter_add_(1, y[index], weigh(similarity)).argmax(dim=1)


VOTE = Exercise(
    sample=_features,
    reference=_vote,
    mistakes=(
        (
            "the features are not normalised: long ones are everybody's neighbours",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, unit=(False, False)),
        ),
        (
            "only the temperature is repaired: long features are everybody's neighbours still",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, unit=(False, False), weigh=lambda s: (s / tau).exp()),
        ),
        (
            "both bugs are still there",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, unit=(False, False), weigh=lambda s: (s * tau).exp()),
        ),
        (
            "only the bank is normalised: a long query then votes at a lower temperature",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, unit=(True, False)),
        ),
        (
            "these are the k least similar: topk with largest=True",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, largest=False),
        ),
        (
            "every neighbour has one vote: weigh them by exp(similarity / temperature)",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, weigh=torch.ones_like),
        ),
        (
            "weighed by the similarity itself: take exp(similarity / temperature)",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, weigh=lambda s: s),
        ),
        (
            "multiplied by the temperature: divide",
            lambda x, y, t, k, tau: _vote(x, y, t, k, tau, weigh=lambda s: (s * tau).exp()),
        ),
    ),
    praise="both bugs are gone",
)


# ---- 3: labels needed ----------------------------------------------------------------------------------------------


def _curves(g: torch.Generator) -> list[tuple]:
    counts = torch.tensor([2.0, 5.0, 10.0, 20.0, 50.0]).double()
    return [
        (counts, torch.tensor([0.20, 0.31, 0.42, 0.50, 0.61]).double(), 0.45),
        (counts, torch.tensor([0.30, 0.41, 0.39, 0.52, 0.60]).double(), 0.40),  # dips after the first crossing
        (counts, torch.tensor([0.20, 0.31, 0.42, 0.50, 0.61]).double(), 0.70),
        (counts, torch.tensor([0.50, 0.55, 0.60, 0.70, 0.80]).double(), 0.50),
    ]


def _needed(counts, accuracy, target, scale=(torch.log, math.exp), order=1, never=math.inf) -> float:
    forward, back = scale
    steps = range(1, len(counts))
    if order == 1 and accuracy[0] >= target:
        return float(counts[0])
    for i in steps if order == 1 else reversed(steps):
        if accuracy[i - 1] < target <= accuracy[i]:
            share = (target - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
            a, b = forward(counts[i - 1]), forward(counts[i])
            return back(float(a + share * (b - a)))
    return float(counts[0]) if accuracy[0] >= target else never


LABELS_NEEDED = Exercise(
    sample=_curves,
    reference=_needed,
    mistakes=(
        (
            "interpolated in the number of labels: between 20 and 50 the curve bends; go along their logarithm",
            lambda c, a, t: _needed(c, a, t, scale=(lambda v: v, lambda v: v)),
        ),
        (
            "this is the first measured number that reaches the target: interpolate between it and the one before",
            lambda c, a, t: next((float(n) for n, v in zip(c, a, strict=True) if v >= t), math.inf),
        ),
        (
            "this is the last crossing: you want the first",
            lambda c, a, t: _needed(c, a, t, order=-1),
        ),
        (
            "a curve that never reaches the target needs inf, not the largest number that was tried",
            lambda c, a, t: _needed(c, a, t, never=float(c[-1])),
        ),
        (
            "this is the logarithm of the number of labels: take exp",
            lambda c, a, t: math.log(_needed(c, a, t)),
        ),
    ),
    praise="and it says inf instead of extrapolating",
)


# ---- 4: seeds are not draws ----------------------------------------------------------------------------------------


def _accuracies(g: torch.Generator) -> list[tuple]:
    cases = []
    for seeds, draws in ((3, 5), (4, 10), (5, 3)):
        shared = 0.5 + 0.03 * torch.randn(1, draws, generator=g)
        a, b = (
            shared
            + gap
            + 0.02 * torch.randn(seeds, 1, generator=g)
            + 0.01 * torch.randn(seeds, draws, generator=g)
            for gap in (0.03, 0.0)
        )
        cases.append((a.double(), b.double()))
    return cases


def _interval(d: Tensor, confidence: float = 0.9, unbiased: bool = True, divide: bool = True) -> tuple:
    d = d.flatten()
    half = stdtrit(len(d) - 1, (1 + confidence) / 2) * float(d.std(unbiased=unbiased))
    half = half / math.sqrt(len(d)) if divide else half
    return float(d.mean()), float(d.mean()) - half, float(d.mean()) + half


def _normal(d: Tensor) -> tuple:
    half = float(ndtri(0.95)) * float(d.std()) / math.sqrt(len(d))
    return float(d.mean()), float(d.mean()) - half, float(d.mean()) + half


def _unpaired(a: Tensor, b: Tensor) -> tuple:
    a, b = a.mean(dim=1), b.mean(dim=1)
    error = math.sqrt(float(a.var() + b.var()) / len(a))
    gap, half = float(a.mean() - b.mean()), stdtrit(2 * len(a) - 2, 0.95) * error
    return gap, gap - half, gap + half


SEED_INTERVAL = Exercise(
    sample=_accuracies,
    reference=lambda a, b: _interval((a - b).mean(dim=1)),
    mistakes=(
        (
            "draws of labels are counted as if each were a training run: take the mean over the draws first",
            lambda a, b: _interval(a - b),
        ),
        (
            "averaged over the seeds: what is left is the spread over draws, and a new seed may differ",
            lambda a, b: _interval((a - b).mean(dim=0)),
        ),
        ("the arms are paired by seed: take the differences first", _unpaired),
        (
            "90 %: 5 % on either side, the quantile 0.95",
            lambda a, b: _interval((a - b).mean(dim=1), 0.95),
        ),
        (
            "1.645 is for many seeds: with S of them take Student's t with S - 1 degrees of freedom",
            lambda a, b: _normal((a - b).mean(dim=1)),
        ),
        (
            "80 %: 5 % on either side, the quantile 0.95",
            lambda a, b: _interval((a - b).mean(dim=1), 0.8),
        ),
        (
            "the spread over S seeds has S - 1 below it: unbiased=True",
            lambda a, b: _interval((a - b).mean(dim=1), unbiased=False),
        ),
        (
            "this is the spread of a single seed: divide by sqrt(S)",
            lambda a, b: _interval((a - b).mean(dim=1), divide=False),
        ),
    ),
    praise="wide, and honest",
)
