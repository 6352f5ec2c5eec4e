"""Chapter 9b: how far a stack of convolutions reaches back, mu-law there and back, bits per sample, a forecast."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_reach", "check_there_and_back", "check_bits", "judge_forecast"]


def check_reach(fn) -> Check:
    """fn(dilations: list of int, taps: int) -> how many samples of the past a prediction can depend on."""
    return REACH.check(fn)


def check_there_and_back(fn) -> Check:
    """fn(x [T] in -1..1, mu: int) -> [T]: the samples after mu-law, rounding to the integers 0..mu, and back."""
    return BACK.check(fn)


def check_bits(fn) -> Check:
    """fn(logits [N, K, T], x [N, T]) -> bits per sample, where logits[:, :, t] are meant for x[:, t]."""
    return BITS.check(fn)


REACH = Exercise(
    sample=lambda g: [([1, 2, 4, 8], 2), ([1, 2, 4, 1, 2, 4], 2), ([1, 3, 9], 3), ([5], 4)],
    reference=lambda d, k: 1 + (k - 1) * sum(d),
    mistakes=(
        ("one more: with no layer at all the sample before is seen", lambda d, k: (k - 1) * sum(d)),
        ("each layer adds (taps - 1) times its dilation, not taps times", lambda d, k: 1 + k * sum(d)),
        (
            "a layer reaches as far as its dilation per further tap: the number of taps counts",
            lambda d, k: 1 + sum(d),
        ),
        ("the layers are stacked: what they reach adds up", lambda d, k: 1 + (k - 1) * max(d)),
        ("that is a stack without holes: dilations count", lambda d, k: 1 + (k - 1) * len(d)),
        ("what layers reach is added, not multiplied", lambda d, k: k ** len(d)),
    ),
    praise="ten layers with dilations 1 to 512 reach back 1,024 samples, as far as a thousand without holes",
)


def _waves(g: torch.Generator) -> list[tuple]:
    return [(2 * torch.rand(40, generator=g).double() - 1, mu) for mu in (255, 15, 63)]


def _squeeze(x: Tensor, mu: int) -> Tensor:
    return x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)


def _stretch(f: Tensor, mu: int) -> Tensor:
    return f.sign() * torch.expm1(f.abs() * math.log1p(mu)) / mu


def _level(f: Tensor, mu: int) -> Tensor:
    return ((f + 1) / 2 * mu).round()


BACK = Exercise(
    sample=_waves,
    reference=lambda x, mu: _stretch(2 * _level(_squeeze(x, mu), mu) / mu - 1, mu),
    mistakes=(
        ("nothing was rounded: the levels are the integers 0 to mu", lambda x, mu: x),
        ("rounded without mu-law: that is the linear scale", lambda x, mu: 2 * _level(x, mu) / mu - 1),
        ("these are the levels: go back to samples", lambda x, mu: _level(_squeeze(x, mu), mu)),
        (
            "the curve was not undone: after the levels comes its inverse",
            lambda x, mu: 2 * _level(_squeeze(x, mu), mu) / mu - 1,
        ),
        (
            "round to the nearest level, do not cut off",
            lambda x, mu: _stretch(2 * ((_squeeze(x, mu) + 1) / 2 * mu).floor() / mu - 1, mu),
        ),
        (
            "the sign was lost: the curve bends both halves alike",
            lambda x, mu: _stretch(2 * _level(_squeeze(x.abs(), mu), mu) / mu - 1, mu),
        ),
    ),
    praise="fine steps where samples are small, and most are",
)


def _scores(g: torch.Generator) -> list[tuple]:
    return [
        (3 * torch.randn(n, k, t, generator=g).double(), torch.randint(0, k, (n, t), generator=g))
        for n, k, t in ((2, 5, 7), (3, 8, 4), (1, 4, 12))
    ]


def _nats(logits: Tensor, x: Tensor) -> Tensor:
    return F.cross_entropy(logits, x, reduction="none")


def _chances(logits: Tensor, x: Tensor, axis: int = 1) -> Tensor:
    return logits.softmax(axis).gather(1, x[:, None])[:, 0]


BITS = Exercise(
    sample=_scores,
    reference=lambda s, x: _nats(s, x).mean() / math.log(2),
    mistakes=(
        ("these are nats: divide by log 2", lambda s, x: _nats(s, x).mean()),
        ("bits per clip: divide by the number of samples", lambda s, x: _nats(s, x).sum(1).mean() / math.log(2)),
        ("bits cannot be negative: a minus is missing", lambda s, x: -_nats(s, x).mean() / math.log(2)),
        ("first the logarithm, then the mean: this is the logarithm of the mean chance",
         lambda s, x: -_chances(s, x).mean().log2()),
        ("the softmax runs over the K levels, not over time",
         lambda s, x: -_chances(s, x, axis=2).log2().mean()),
        ("logits[:, :, t] are already meant for x[:, t]: do not shift",
         lambda s, x: _nats(s[..., :-1], x[:, 1:]).mean() / math.log(2)),
        ("this is the entropy of the predictions, whatever came: look at x",
         lambda s, x: torch.special.entr(s.softmax(1)).sum(1).mean() / math.log(2)),
    ),
    praise="an even guess over 256 levels costs 8",
)  # fmt: skip
