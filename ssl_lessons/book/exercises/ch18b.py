"""Chapter 18b: what a constant answer costs, what data2vec predicts, windows without a visible patch."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from .core import Check, Exercise


def check_constant_costs(fn) -> Check:
    """fn(target [N, D]) -> (mean absolute error, mean squared error) of the best constant answer, a vector [D]."""
    return CONSTANT_COSTS.check(fn)


def check_teacher_targets(fn) -> Check:
    """fn(layers [L, N, T, D], top_k) -> [N, T, D]: the mean of the last top_k layers, each normalised over D."""
    return TEACHER_TARGETS.check(fn)


def check_blind_window(fn) -> Check:
    """fn(tokens, hidden, window) -> the probability that a window of so many patches has no visible one."""
    return BLIND_WINDOW.check(fn)


# --- 1: what a constant answer costs --------------------------------------------------------------------


def _targets(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d in ((5, 3), (8, 2), (40, 6)):
        x = torch.randn(n, d, generator=g).double()
        cases.append((x.exp() + torch.arange(d).double(),))  # skewed, and every column elsewhere
    return cases


def _costs(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error of the answer a, mean squared error of the answer b."""
    return (x - a).abs().mean(), (x - b).square().mean()


CONSTANT_COSTS = Exercise(
    sample=_targets,
    reference=lambda x: _costs(x, x.median(dim=0).values, x.mean(dim=0)),
    mistakes=(
        (
            "the mean is best for the squared error only: which constant makes the absolute error smallest?",
            lambda x: _costs(x, x.mean(dim=0), x.mean(dim=0)),
        ),
        (
            "the median is best for the absolute error only: which constant makes the squared error smallest?",
            lambda x: _costs(x, x.median(dim=0).values, x.median(dim=0).values),
        ),
        (
            "one number for all D features: the answer is a vector, with its own constant for every feature",
            lambda x: _costs(x, x.median(), x.mean()),
        ),
        (
            "one number per row: a constant answer is the same for all rows",
            lambda x: _costs(x, x.median(dim=1, keepdim=True).values, x.mean(dim=1, keepdim=True)),
        ),
        (
            "the squared error is divided by N - 1 (torch's var): the loss is a plain mean",
            lambda x: (_costs(x, x.median(dim=0).values, x.mean(0))[0], x.var(dim=0).mean()),
        ),
        (
            "summed over the D features: both losses are means over rows and features",
            lambda x: tuple(x.shape[1] * c for c in _costs(x, x.median(dim=0).values, x.mean(dim=0))),
        ),
        (
            "the second number is the root of the mean squared error",
            lambda x: (_costs(x, x.median(dim=0).values, x.mean(0))[0], _costs(x, x[0], x.mean(0))[1].sqrt()),
        ),
        (
            "zero is the best constant for targets that are centred; these are not",
            lambda x: _costs(x, torch.zeros(()), torch.zeros(())),
        ),
        (
            "the order is the absolute error first, then the squared one",
            lambda x: _costs(x, x.median(dim=0).values, x.mean(dim=0))[::-1],
        ),
    ),
    praise="a loss above these says that nothing was learned",
)

# --- 2: what data2vec predicts --------------------------------------------------------------------------


def _layers(g: torch.Generator) -> list[tuple]:
    grow = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).double()
    return [
        (torch.randn(n, 2, 3, d, generator=g).double() * grow[:n, None, None, None] + 0.5, k)
        for n, d, k in ((4, 8, 3), (5, 6, 2), (3, 12, 3))
    ]


def _norm(x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:])


TEACHER_TARGETS = Exercise(
    sample=_layers,
    reference=lambda x, k: _norm(x[-k:]).mean(dim=0),
    mistakes=(
        (
            "averaged first, normalised second: the largest layer, the last, then decides nearly alone",
            lambda x, k: _norm(x[-k:].mean(dim=0)),
        ),
        (
            "normalised once more after averaging: the mean of the normalised layers is the target as it is",
            lambda x, k: _norm(_norm(x[-k:]).mean(dim=0)),
        ),
        (
            "the layers are not normalised: each token of a layer needs mean 0 and variance 1",
            lambda x, k: x[-k:].mean(dim=0),
        ),
        ("only the last layer is used: average the last top_k", lambda x, k: _norm(x[-1])),
        ("the first top_k layers are used: take the last", lambda x, k: _norm(x[:k]).mean(dim=0)),
        ("all layers are used: take the last top_k", lambda x, k: _norm(x).mean(dim=0)),
        ("summed over the layers: average them", lambda x, k: _norm(x[-k:]).sum(dim=0)),
        (
            "normalised over tokens and features together: each token is normalised on its own",
            lambda x, k: layer_norm(x[-k:], x.shape[-2:]).mean(dim=0),
        ),
        (
            "normalised over the wrong axis: over the D numbers of a token, not over its neighbours",
            lambda x, k: _norm(x[-k:].mT).mT.mean(dim=0),
        ),
        (
            "the variance is divided by D - 1 (torch's default): a layer norm divides by D",
            lambda x, k: ((x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt())[-k:].mean(
                0
            ),
        ),
    ),
)

# --- 3: windows without a visible patch -----------------------------------------------------------------


def _blind(tokens: int, hidden: int, window: int) -> float:
    return comb(tokens - window, hidden - window) / comb(tokens, hidden) if hidden >= window else 0.0


BLIND_WINDOW = Exercise(
    sample=lambda g: [(16, 12, 4), (196, 147, 4), (196, 147, 12), (16, 3, 4), (64, 48, 8), (16, 15, 1)],
    reference=_blind,
    mistakes=(
        (
            "this treats the patches as independent: once one is hidden, fewer of the others are",
            lambda tokens, hidden, window: (hidden / tokens) ** window,
        ),
        (
            "this is the probability that the whole window is visible",
            lambda tokens, hidden, window: comb(tokens - window, hidden) / comb(tokens, hidden),
        ),
        (
            "this is the probability that some patch of the window is visible",
            lambda tokens, hidden, window: 1 - _blind(tokens, hidden, window),
        ),
        (
            "this is how many masks leave the window empty: divide by the number of all masks",
            lambda tokens, hidden, window: comb(tokens - window, hidden - window) if hidden >= window else 0,
        ),
    ),
    hint=lambda inputs, answers: (
        "a window larger than the number of hidden patches always has a visible one: return 0 there"
        if answers[3].ndim == 0 and answers[3].abs() > 1e-9
        else None
    ),
)
