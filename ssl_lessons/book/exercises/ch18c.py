"""Chapter 18c: how many codes a round of MaskGIT keeps, and how much channels differ."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .core import Check, Exercise


def check_newly_kept(fn) -> Check:
    """fn(n, rounds) -> how many of n codes each round keeps that were hidden before, a list of `rounds` numbers."""
    return NEWLY_KEPT.check(fn)


def check_variety(fn) -> Check:
    """fn(x [N, H, W, C]) -> mean over pictures and pairs of channels of (1 - cos) / 2."""
    return VARIETY.check(fn)


# --- 1: MaskGIT's schedule ------------------------------------------------------------------------------


def _hidden(n: int, rounds: int) -> list[int]:
    """Hidden before the first round and after each."""
    return [n, *(math.floor(n * math.cos(math.pi / 2 * r / rounds) + 1e-6) for r in range(1, rounds + 1))]


def _steps(counts: list[int]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(counts[:-1], counts[1:], strict=True))


def _compounded(n: int, rounds: int) -> list[int]:
    left = [n]
    for r in range(1, rounds + 1):
        left.append(math.floor(left[-1] * math.cos(math.pi / 2 * r / rounds) + 1e-6))
    return left


NEWLY_KEPT = Exercise(
    sample=lambda g: [(64, 8), (64, 2), (256, 8), (100, 5), (64, 12)],
    reference=lambda n, rounds: _steps(_hidden(n, rounds)),
    mistakes=(
        (
            "these are the numbers that stay hidden: how many does each round keep that were hidden before it?",
            lambda n, rounds: tuple(_hidden(n, rounds)[1:]),
        ),
        (
            "these are all that are kept so far: take differences",
            lambda n, rounds: tuple(n - h for h in _hidden(n, rounds)[1:]),
        ),
        (
            "as many in every round: the share that stays hidden falls along a cosine, slowly at first",
            lambda n, rounds: _steps([math.floor(n * (1 - r / rounds) + 1e-6) for r in range(rounds + 1)]),
        ),
        (
            "rounded to the nearest: the number that stays hidden is rounded down",
            lambda n, rounds: _steps(
                [round(n * math.cos(math.pi / 2 * r / rounds)) for r in range(rounds + 1)]
            ),
        ),
        (
            "the first rounds keep few, the last many; yours is the other way round (a sine, or the list reversed)",
            lambda n, rounds: _steps(_hidden(n, rounds))[::-1],
        ),
        (
            "the cosine is the share of all n that stays hidden, not of what is hidden still",
            lambda n, rounds: _steps(_compounded(n, rounds)),
        ),
        (
            "one round late: after round r the share that stays hidden is cos(pi r / 2R), and after the last it is 0",
            lambda n, rounds: _steps([n, *_hidden(n, rounds)[:-1]]),
        ),
        (
            "the cosine runs over a quarter of its period, from 1 to 0, not over half of it",
            lambda n, rounds: _steps(
                [math.floor(n * (1 + math.cos(math.pi * r / rounds)) / 2 + 1e-6) for r in range(rounds + 1)]
            ),
        ),
    ),
    praise="careful first, generous later",
)

# --- 2: how much channels differ --------------------------------------------------------------------------


def _maps(g: torch.Generator) -> list[tuple]:
    shared = torch.randn(2, 4, 4, 1, generator=g).double()
    return [
        (torch.randn(3, 5, 4, 6, generator=g).double(),),
        (shared + 0.3 * torch.randn(2, 4, 4, 5, generator=g).double(),),
        (torch.rand(2, 3, 3, 4, generator=g).double() * torch.tensor([1.0, 2, 4, 8]).double(),),
    ]


def _products(x: Tensor) -> Tensor:
    u = x.flatten(1, 2)
    return u.mT @ u  # [N, C, C]


def _cosines(x: Tensor) -> Tensor:
    return _products(x / x.norm(dim=(1, 2), keepdim=True))


def _others(cosines: Tensor) -> Tensor:
    c = cosines.shape[1]
    return cosines[:, ~torch.eye(c, dtype=torch.bool)]


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=(1, 2), keepdim=True)


VARIETY = Exercise(
    sample=_maps,
    reference=lambda x: ((1 - _cosines(x)) / 2).mean(),
    mistakes=(
        (
            "this is the mean cosine: the distance is (1 - cos) / 2",
            lambda x: _cosines(x).mean(),
        ),
        (
            "half of it: divide by 2, so that opposite channels have distance 1",
            lambda x: (1 - _cosines(x)).mean(),
        ),
        (
            "pairs of a channel with itself are left out: the formula divides by C squared and counts them",
            lambda x: ((1 - _others(_cosines(x))) / 2).mean(),
        ),
        (
            "the channels were centred first (a correlation): the cosine takes them as they are",
            lambda x: ((1 - _cosines(_centred(x))) / 2).mean(),
        ),
        (
            "places are compared, not channels: a channel is its H W values",
            lambda x: ((1 - _cosines(x.flatten(1, 2).mT[:, None])) / 2).mean(),
        ),
        (
            "one cosine over the whole batch: compare channels within a picture, then average over pictures",
            lambda x: ((1 - _cosines(x.flatten(0, 1)[None])) / 2).mean(),
        ),
        (
            "the sign is lost: opposite channels have distance 1, the largest there is",
            lambda x: ((1 - _cosines(x).abs()) / 2).mean(),
        ),
        (
            "the values of a place are divided by their length: a channel is divided by its own, over all places",
            lambda x: ((1 - _products(normalize(x, dim=3))) / 2).mean(),
        ),
        (
            "not a cosine: divide every channel by its length",
            lambda x: ((1 - _products(x)) / 2).mean(),
        ),
    ),
)
