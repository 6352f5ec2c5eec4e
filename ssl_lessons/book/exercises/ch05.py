"""Chapter 05: the loss of a hole, linear light, rebalancing weights, one colour from many."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.views.color import annealed_mean, rebalancing, srgb_to_linear

from .core import Check, Exercise


def check_hole_loss(fn) -> Check:
    """fn(x [N, C, S, S], painted [N, C, S, S], hole [S, S] of 0 and 1) -> scalar: mean squared error in the hole."""
    return HOLE_LOSS.check(fn)


def check_linear(fn) -> Check:
    """fn(v [K]) -> [K]: sRGB values in [0, 1] to linear light."""
    return LINEAR.check(fn)


def check_rebalancing(fn) -> Check:
    """fn(p [Q], lam) -> weights [Q]: proportional to 1 / ((1 - lam) p + lam / Q), with sum p w = 1."""
    return REBALANCING.check(fn)


def check_annealed_mean(fn) -> Check:
    """fn(p [N, Q], bins [Q, 2], T) -> [N, 2]: the mean of the bins under p^(1/T), normalised."""
    return ANNEALED_MEAN.check(fn)


# ---- 1: the hole ---------------------------------------------------------------------------------


def _holes(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, s, start, side in [(3, 8, 2, 4), (2, 6, 0, 3), (4, 5, 3, 2)]:
        hole = torch.zeros(s, s, dtype=torch.float64)
        hole[start : start + side, start : start + side] = 1
        x, y = (torch.randn(n, 3, s, s, generator=g).double() for _ in range(2))
        cases.append((x, y, hole))
    return cases


def _hole_loss(x: Tensor, painted: Tensor, hole: Tensor) -> Tensor:
    return ((x - painted).square() * hole).sum() / (hole.sum() * x.shape[0] * x.shape[1])


HOLE_LOSS = Exercise(
    sample=_holes,
    reference=_hole_loss,
    mistakes=(
        (
            "the error of all pixels: what is visible need not be painted",
            lambda x, y, m: (x - y).square().mean(),
        ),
        (
            "the error outside the hole: hole is 1 where a pixel is missing",
            lambda x, y, m: _hole_loss(x, y, 1 - m),
        ),
        (
            "averaged over all pixels, also those outside the hole: divide by the number of hidden ones",
            lambda x, y, m: ((x - y).square() * m).mean(),
        ),
        (
            "the sum: take the mean over the hidden pixels and channels",
            lambda x, y, m: ((x - y).square() * m).sum(),
        ),
        (
            "the channels are summed, not averaged: divide by C as well",
            lambda x, y, m: x.shape[1] * _hole_loss(x, y, m),
        ),
        ("absolute, not squared errors", lambda x, y, m: _absolute(x, y, m)),
    ),
)


def _absolute(x: Tensor, y: Tensor, m: Tensor) -> Tensor:
    return ((x - y).abs() * m).sum() / (m.sum() * x.shape[0] * x.shape[1])


# ---- 2: linear light -----------------------------------------------------------------------------


def _values(g: torch.Generator) -> list[tuple]:
    dark = torch.tensor([0.0, 0.001, 0.02, 0.04, 0.0404, 0.041, 0.05, 1.0], dtype=torch.float64)
    return [(torch.rand(12, generator=g).double(),), (dark,)]


LINEAR = Exercise(
    sample=_values,
    reference=srgb_to_linear,
    mistakes=(
        (
            "the straight part near black is missing: below 0.04045 it is v / 12.92",
            lambda v: ((v + 0.055) / 1.055) ** 2.4,
        ),
        ("a plain power 2.2 is close, but not sRGB", lambda v: v**2.2),
        ("a plain power 2.4: shift and divide first, (v + 0.055) / 1.055", lambda v: v**2.4),
        (
            "that is the way back, from linear light to sRGB",
            lambda v: torch.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055),
        ),
        (
            "the two parts are exchanged: the straight one is for small values",
            lambda v: torch.where(v > 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4),
        ),
        ("nothing is done: sRGB values are not proportional to light", lambda v: v),
    ),
    praise="down to black",
)


# ---- 3: rebalancing ------------------------------------------------------------------------------


def _frequencies(g: torch.Generator) -> list[tuple]:
    cases = []
    for q, lam in [(5, 0.5), (12, 0.3), (3, 0.9)]:
        p = torch.rand(q, generator=g).double() ** 3
        cases.append((p / p.sum(), lam))
    return cases


REBALANCING = Exercise(
    sample=_frequencies,
    reference=rebalancing,
    mistakes=(
        (
            "not normalised: divide by sum p w, so that the mean weight is 1",
            lambda p, lam: 1 / ((1 - lam) * p + lam / len(p)),
        ),
        (
            "normalised to sum 1: it is the *expected* weight, sum p w, that is 1",
            lambda p, lam: rebalancing(p, lam) / rebalancing(p, lam).sum(),
        ),
        (
            "normalised to mean 1 over the bins: weigh them with p",
            lambda p, lam: rebalancing(p, lam) / rebalancing(p, lam).mean(),
        ),
        ("lambda is on the wrong side: (1 - lambda) belongs to p", lambda p, lam: rebalancing(p, 1 - lam)),
        ("not inverted: rare colours should weigh more", lambda p, lam: _upside_down(p, lam)),
        ("the uniform part is lambda / Q, not lambda", lambda p, lam: _plain_lambda(p, lam)),
        (
            "no mixing with the uniform distribution: a rare colour would weigh far too much",
            lambda p, lam: rebalancing(p, 0.0),
        ),
    ),
    praise="and the learning rate keeps its meaning",
)


def _normalised(p: Tensor, w: Tensor) -> Tensor:
    return w / (p * w).sum()


def _upside_down(p: Tensor, lam: float) -> Tensor:
    return _normalised(p, (1 - lam) * p + lam / len(p))


def _plain_lambda(p: Tensor, lam: float) -> Tensor:
    return _normalised(p, 1 / ((1 - lam) * p + lam))


# ---- 4: the annealed mean ------------------------------------------------------------------------


def _guesses(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, q, temperature in [(3, 6, 0.38), (2, 4, 0.7), (5, 9, 2.0)]:
        p = (2 * torch.randn(n, q, generator=g).double()).softmax(dim=1)
        cases.append((p, 40 * torch.randn(q, 2, generator=g).double(), temperature))
    return cases


def _annealed(p: Tensor, bins: Tensor, temperature: float) -> Tensor:
    return annealed_mean(p.log(), bins, temperature)


ANNEALED_MEAN = Exercise(
    sample=_guesses,
    reference=_annealed,
    mistakes=(
        ("that is the plain mean: sharpen p first", lambda p, bins, T: p @ bins),
        ("that is the most probable bin", lambda p, bins, T: bins[p.argmax(dim=1)]),
        ("the sharpened p is not normalised", lambda p, bins, T: p ** (1 / T) @ bins),
        ("p^T, not p^(1/T): a small T must sharpen", lambda p, bins, T: _annealed(p, bins, 1 / T)),
        (
            "the softmax is of p / T: take the logarithm of p first",
            lambda p, bins, T: (p / T).softmax(dim=1) @ bins,
        ),
        (
            "normalised over the pixels: every pixel has a distribution of its own, dim=1",
            lambda p, bins, T: (p.log() / T).softmax(dim=0) @ bins,
        ),
    ),
    praise="between the mean and the mode",
)
