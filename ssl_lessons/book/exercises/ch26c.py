"""Chapter 26c: the grid of an activation, weights in few bits, BatchNorm folded, which answers changed."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise


def check_what_changed(fn) -> Check:
    """fn(labels [N], before [N], after [N]) -> (share of answers that changed, gain of accuracy), two numbers."""
    return WHAT_CHANGED.check(fn)


def check_affine_grid(fn) -> Check:
    """fn(low, high, bits) -> (scale, zero_point): q in 0..2^bits - 1 covers [low, high], and 0 exactly."""
    return AFFINE_GRID.check(fn)


def check_fake_quantize(fn) -> Check:
    """fn(w [C, K], bits) -> [C, K]: every row on its own symmetric grid -(2^(bits-1) - 1)..2^(bits-1) - 1, and back."""
    return FAKE_QUANTIZE.check(fn)


def check_fold(fn) -> Check:
    """fn(w [C, K], gamma, beta, mean, var [C], eps) -> [C, K + 1]: folded weights, folded bias as last column."""
    return FOLD.check(fn)


def _answers(g: torch.Generator) -> list[tuple]:
    cases = []
    for n in (20, 50, 200):
        labels, before, noise = torch.randint(4, (3, n), generator=g)
        moved = torch.rand(n, generator=g) < 0.3
        cases.append((labels, torch.where(noise > 0, labels, before), torch.where(moved, noise, before)))
    return cases


def _changed(labels: Tensor, before: Tensor, after: Tensor) -> tuple[float, float]:
    gain = (after == labels).double().mean() - (before == labels).double().mean()
    return float((before != after).double().mean()), float(gain)


WHAT_CHANGED = Exercise(
    sample=_answers,
    reference=_changed,
    mistakes=(
        (
            "the first number is the agreement: the share that changed is one minus it",
            lambda y, a, b: (1 - _changed(y, a, b)[0], _changed(y, a, b)[1]),
        ),
        (
            "the second number is the loss: a gain is after minus before",
            lambda y, a, b: (_changed(y, a, b)[0], -_changed(y, a, b)[1]),
        ),
        ("the order: (share that changed, gain of accuracy)", lambda y, a, b: _changed(y, a, b)[::-1]),
        (
            "only answers that went from right to wrong or back were counted: a wrong answer may turn into another one",
            lambda y, a, b: (float(((a == y) != (b == y)).double().mean()), _changed(y, a, b)[1]),
        ),
        (
            "these are counts: divide by the number of pictures",
            lambda y, a, b: tuple(len(y) * v for v in _changed(y, a, b)),
        ),
        (
            "the first number is the change of the accuracy: count the answers that differ, right or wrong",
            lambda y, a, b: (abs(_changed(y, a, b)[1]), _changed(y, a, b)[1]),
        ),
    ),
    praise="the gain is never larger than the share that changed, and may hide all of it",
)


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
