"""Chapter 11b: how often anybody can be right, how low a loss can get, and at which place the right program stands."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_best_right", "check_lowest_loss", "check_reciprocal_rank", "judge_forecast"]


def check_best_right(fn) -> Check:
    """fn(p [K]) -> how often the best possible answer to "do they belong together?" is right."""
    return BEST_RIGHT.check(fn)


def check_lowest_loss(fn) -> Check:
    """fn(n, k) -> the lowest InfoNCE that a batch of n pairs allows, in nats, if all they share is one of k values."""
    return LOWEST_LOSS.check(fn)


def check_reciprocal_rank(fn) -> Check:
    """fn(score [N, N]) -> the mean over rows of 1 / place of the diagonal entry."""
    return RECIPROCAL.check(fn)


# --- 11b.1: how often can anybody be right? ------------------------------------------------------------------------


def _shares(g: torch.Generator) -> list[tuple]:
    drawn = [torch.rand(k, generator=g).double() + 0.05 for k in (2, 4, 7)]
    return [(torch.full((4,), 0.25).double(),), *((p / p.sum(),) for p in drawn)]


BEST_RIGHT = Exercise(
    sample=_shares,
    reference=lambda p: 1 - p.square().sum() / 2,
    mistakes=(
        (
            "this is how often a false pair is seen through; the true pairs, half of all, are all right",
            lambda p: 1 - p.square().sum(),
        ),
        ("this is right where all values are equally likely only", lambda p: 1 - 1 / (2 * len(p))),
        ("this is how often a false pair agrees by chance", lambda p: p.square().sum()),
        (
            "a false pair agrees in value v with probability p[v] squared: twice drawn, not once",
            lambda p: 1 - p.max() / 2,
        ),
        (
            "the coin gives half already: it is the other half that p decides",
            lambda p: (1 - p.square().sum()) / 2,
        ),
    ),
    praise="with four equal rooms it is 7/8",
)

# --- 11b.2: how low can the loss get? ------------------------------------------------------------------------------


def _lowest(n: int, k: int) -> float:
    """The mean of log(1 + M), M of n - 1 others having the same value by chance."""
    rest = n - 1
    return sum(
        math.comb(rest, m) * (1 / k) ** m * (1 - 1 / k) ** (rest - m) * math.log(1 + m)
        for m in range(rest + 1)
    )


LOWEST_LOSS = Exercise(
    sample=lambda g: [(2, 2), (8, 4), (64, 12), (128, 6)],
    reference=_lowest,
    mistakes=(
        (
            "the logarithm of the mean is not the mean of the logarithm: sum over how many others agree",
            lambda n, k: math.log(1 + (n - 1) / k),
        ),
        (
            "about right for large batches; but your own pair always agrees, and only the n - 1 others by chance",
            lambda n, k: math.log(n / k),
        ),
        ("this is the loss of somebody who knows nothing", lambda n, k: math.log(n)),
        (
            "this is the information in the value; what is left of log n is something else",
            lambda n, k: math.log(k),
        ),
        (
            "this is the bound on the information, log n minus the loss: return the loss",
            lambda n, k: math.log(n) - _lowest(n, k),
        ),
        ("the batch holds the own pair and n - 1 others, not n others", lambda n, k: _lowest(n + 1, k)),
        ("in nats: the natural logarithm", lambda n, k: _lowest(n, k) / math.log(2)),
    ),
    praise="no network gets lower on fresh pairs; on pairs it knows by heart, it can",
)

# --- 11b.3: at which place? ----------------------------------------------------------------------------------------


def _scores(g: torch.Generator) -> list[tuple]:
    return [(torch.randn(n, n, generator=g).double() + 0.8 * torch.eye(n),) for n in (3, 5, 9)]


def _places(score: Tensor) -> Tensor:
    return (score >= score.diagonal()[:, None]).sum(dim=1).double()


RECIPROCAL = Exercise(
    sample=_scores,
    reference=lambda s: (1 / _places(s)).mean(),
    mistakes=(
        ("one divided by the mean place: divide first, then average", lambda s: 1 / _places(s).mean()),
        ("the first place is 1: here it counts as 2", lambda s: (1 / (1 + _places(s))).mean()),
        (
            "this is the share of queries that have their program in the first place",
            lambda s: (_places(s) == 1).double().mean(),
        ),
        ("these are the columns: rows are the queries", lambda s: (1 / _places(s.T)).mean()),
        ("the largest score comes first, not the smallest", lambda s: (1 / _places(-s)).mean()),
        ("this is the mean place", lambda s: _places(s).mean()),
        (
            "each row has its own right score: compare row i with score[i, i], by [:, None]",
            lambda s: (1 / (1 + (s > s.diagonal()).sum(dim=1))).mean(),
        ),
        ("a sum over the queries: divide by their number", lambda s: (1 / _places(s)).sum()),
    ),
    praise="a right answer in place 1 weighs as much as two in place 2",
)
