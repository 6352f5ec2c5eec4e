"""Chapter 22d: rates by layer, how many branches stay, two arms tuned alike, and a forecast."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_fair", "check_rates", "check_whole", "judge_forecast"]


def check_rates(fn) -> Check:
    """fn(lr, decay, blocks) -> [blocks + 2] rates: patch map, blocks from the input on, head."""
    return RATES.check(fn)


def check_whole(fn) -> Check:
    """fn(depth, drop) -> (branches that stay on average, share of pictures that lose none)."""
    return WHOLE.check(fn)


def check_fair(fn) -> Check:
    """fn(scores [2, R, n]) -> [n]: arm 1 minus arm 0, each at the rate that is best over the other seeds."""
    return FAIR.check(fn)


# --- 22d.1: rates by layer -----------------------------------------------------------------------------------------


def _rates(lr: float, decay: float, exponents: list[int]) -> Tensor:
    return lr * decay ** torch.tensor(exponents, dtype=torch.float64)


RATES = Exercise(
    sample=lambda g: [(1e-3, 0.75, 2), (2.0, 0.5, 4), (0.1, 0.9, 12)],
    reference=lambda lr, d, n: _rates(lr, d, list(range(n + 1, -1, -1))),
    mistakes=(
        (
            "the bug of the printed code: between the last block and the head one layer is counted that is not there",
            lambda lr, d, n: _rates(lr, d, [*range(n + 2, 1, -1), 0]),
        ),
        (
            "the order: the patch map, at the input, comes first and has the smallest rate",
            lambda lr, d, n: _rates(lr, d, list(range(n + 2))),
        ),
        (
            "the head is new and learns at lr itself, without a factor",
            lambda lr, d, n: _rates(lr, d, list(range(n + 2, 0, -1))),
        ),
        (
            "the last block is one layer below the head: it has one factor",
            lambda lr, d, n: _rates(lr, d, [*range(n, -1, -1), 0]),
        ),
        (
            "the patch map is a layer of its own, below the first block",
            lambda lr, d, n: _rates(lr, d, [n, *range(n, -1, -1)]),
        ),
    ),
    praise="and the code that many copied has the slip still",
)

# --- 22d.2: how much of the network is there? ----------------------------------------------------------------------


def _stay(depth: int, drop: float, first: int = 1) -> list[float]:
    last = depth if first else depth - 1
    return [1 - drop * i / last for i in range(first, last + 1)]


def _product(factors: list[float], power: int) -> float:
    return float(torch.tensor(factors, dtype=torch.float64).prod() ** power)


WHOLE = Exercise(
    sample=lambda g: [(6, 0.2), (3, 0.5), (12, 0.1)],
    reference=lambda n, d: (2 * sum(_stay(n, d)), _product(_stay(n, d), 2)),
    mistakes=(
        (
            "every block has two branches, attention and MLP, and each is dropped on its own",
            lambda n, d: (sum(_stay(n, d)), _product(_stay(n, d), 1)),
        ),
        (
            "the probability rises with depth: only the last block has `drop`",
            lambda n, d: (2 * n * (1 - d), (1 - d) ** (2 * n)),
        ),
        (
            "block 1 is already dropped with probability drop / depth",
            lambda n, d: (2 * sum(_stay(n, d, 0)), _product(_stay(n, d, 0), 2)),
        ),
        (
            "these are the branches that go: count those that stay",
            lambda n, d: (2 * n - 2 * sum(_stay(n, d)), _product(_stay(n, d), 2)),
        ),
        (
            "the share that loses something: return the share that loses nothing",
            lambda n, d: (2 * sum(_stay(n, d)), 1 - _product(_stay(n, d), 2)),
        ),
    ),
    praise="most branches stay, and yet few pictures see the whole network",
)

# --- 22d.3: two arms, tuned alike ----------------------------------------------------------------------------------


def _scores(g: torch.Generator) -> list[tuple]:
    first = torch.tensor([[[0.20, 0.21, 0.22], [0.30, 0.20, 0.28]], [[0.31, 0.22, 0.30], [0.26, 0.29, 0.24]]])
    drawn = (torch.randint(20, 40, (3, 2, 4, 3), generator=g) / 100).double()
    drawn = drawn + torch.rand(drawn.shape, generator=g, dtype=torch.float64) / 1000
    return [(first.double(),), *((s,) for s in drawn)]


def _others(scores: Tensor) -> Tensor:
    return scores.sum(dim=2, keepdim=True) - scores


def _at(scores: Tensor, choice: Tensor) -> Tensor:
    """The scores [2, n] at the rates choice [2, n]."""
    return scores.gather(1, choice[:, None])[:, 0]


def _minus(scores: Tensor, choice: Tensor) -> Tensor:
    found = _at(scores, choice)
    return found[1] - found[0]


FAIR = Exercise(
    sample=_scores,
    reference=lambda s: _minus(s, _others(s).argmax(dim=1)),
    mistakes=(
        (
            "this lets every seed choose the rate on which it is then judged: choose on the other seeds",
            lambda s: s[1].amax(dim=0) - s[0].amax(dim=0),
        ),
        (
            "the mean over all seeds holds the judged one as well: choose on the others",
            lambda s: _minus(s, s.mean(dim=2).argmax(dim=1)[:, None].expand(-1, s.shape[2])),
        ),
        (
            "arm 1 was tuned, arm 0 has its first rate: that is the failure this exercise is about",
            lambda s: _at(s, _others(s).argmax(dim=1))[1] - s[0, 0],
        ),
        (
            "both at the rate that suits arm 0: each arm has a right to its own",
            lambda s: _minus(s, _others(s)[:1].argmax(dim=1).expand(2, -1)),
        ),
        (
            "both at the rate that suits arm 1: each arm has a right to its own",
            lambda s: _minus(s, _others(s)[1:].argmax(dim=1).expand(2, -1)),
        ),
        ("the sign: arm 1 minus arm 0", lambda s: -_minus(s, _others(s).argmax(dim=1))),
        (
            "one number per seed: the mean comes later, with its interval",
            lambda s: _minus(s, _others(s).argmax(dim=1)).mean(),
        ),
    ),
    praise="the same right to be tuned, and nobody judged on what chose them",
)
