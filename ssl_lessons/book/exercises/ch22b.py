"""Chapter 22b: what a pasted box is worth, a guess for a picture without label, from which confidence on to believe."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_box_share", "check_guess", "check_believe", "judge_forecast"]


def check_box_share(fn) -> Check:
    """fn(height, width, y, x, side) -> the share of the label that the first picture keeps under CutMix."""
    return BOX_SHARE.check(fn)


def check_guess(fn) -> Check:
    """fn(logits [K, C], temperature) -> MixMatch's guess [C] from the logits of K views of one picture."""
    return GUESS.check(fn)


def check_believe(fn) -> Check:
    """fn(confidence [N], right bool [N]) -> (threshold, right minus wrong among the rows at or above it)."""
    return BELIEVE.check(fn)


# --- 22b.1: what is left of the label? -----------------------------------------------------------------------------


def _ends(centre: int, side: float, length: int) -> int:
    half = int(length * side) // 2
    return min(centre + half, length) - max(centre - half, 0)


def _kept(height: int, width: int, y: int, x: int, side: float) -> float:
    return 1 - _ends(y, side, height) * _ends(x, side, width) / (height * width)


def _whole(height: int, width: int, y: int, x: int, side: float) -> float:
    return 1 - 2 * (int(height * side) // 2) * 2 * (int(width * side) // 2) / (height * width)


BOX_SHARE = Exercise(
    sample=lambda g: [
        (32, 32, 16, 16, 0.5),
        (32, 32, 2, 30, 0.6),
        (24, 40, 0, 20, 0.4),
        (32, 48, 31, 0, 0.8),
    ],
    reference=_kept,
    mistakes=(
        ("what sticks out of the picture is not pasted: cut the box off at the borders first", _whole),
        (
            "1 - side^2 is what was asked for, not what came out: sides are whole pixels, and boxes are cut off",
            lambda h, w, y, x, s: 1 - s * s,
        ),
        ("this is the share of the pasted picture: the first one keeps the rest", lambda *a: 1 - _kept(*a)),
        (
            "the share is one of areas, not of sides",
            lambda h, w, y, x, s: 1 - math.sqrt(_ends(y, s, h) * _ends(x, s, w) / (h * w)),
        ),
        (
            "rows and columns are mixed up: y goes with the height",
            lambda h, w, y, x, s: 1 - _ends(min(x, h), s, h) * _ends(min(y, w), s, w) / (h * w),
        ),
    ),
    praise="counted after the cut: otherwise the labels would promise more of the partner than the picture shows",
)

# --- 22b.2: a guess ------------------------------------------------------------------------------------------------


def _sharp(p: Tensor, temperature: float) -> Tensor:
    q = p ** (1 / temperature)
    return q / q.sum(dim=-1, keepdim=True)


GUESS = Exercise(
    sample=lambda g: [
        (2 * torch.randn(k, 5, generator=g).double(), t) for k, t in ((2, 0.5), (3, 0.8), (2, 0.25))
    ],
    reference=lambda z, t: _sharp(z.softmax(dim=1).mean(dim=0), t),
    mistakes=(
        (
            "first the mean over views, then the sharpening",
            lambda z, t: _sharp(z.softmax(dim=1), t).mean(dim=0),
        ),
        (
            "the mean of probabilities, not of logits: logits of a sure view would outvote all others",
            lambda z, t: _sharp(z.mean(dim=0).softmax(dim=0), t),
        ),
        ("p^T flattens: the exponent is 1 / T", lambda z, t: _sharp(z.softmax(dim=1).mean(dim=0), 1 / t)),
        ("this is the mean alone: sharpen it", lambda z, t: z.softmax(dim=1).mean(dim=0)),
        (
            "divide by the sum, so that the guess is a distribution",
            lambda z, t: z.softmax(dim=1).mean(dim=0) ** (1 / t),
        ),
        (
            "softmax over the classes, not over the views",
            lambda z, t: _sharp(z.softmax(dim=0).mean(dim=0), t),
        ),
    ),
    praise="views that disagree leave a flat mean, and sharpening a flat mean changes little",
)

# --- 22b.3: whom to believe ----------------------------------------------------------------------------------------


def _answers(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, skill in ((12, 0.2), (40, 0.0), (25, -0.1)):
        confidence = 0.3 + 0.7 * torch.rand(n, generator=g).double()
        right = torch.rand(n, generator=g).double() < confidence + skill - 0.15
        cases.append((confidence, right))
    return cases


def _gains(
    confidence: Tensor, right: Tensor, count=lambda right: 2 * right.double() - 1
) -> tuple[Tensor, Tensor]:
    order = confidence.argsort(descending=True)
    return confidence[order], count(right[order]).cumsum(dim=0)


def _believe(
    confidence: Tensor, right: Tensor, count=lambda right: 2 * right.double() - 1
) -> tuple[Tensor, Tensor]:
    levels, gains = _gains(confidence, right, count)
    return levels[gains.argmax()], gains.max()


def _surest(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    levels, gains = _gains(confidence, right)
    best = (gains / torch.arange(1, len(gains) + 1)).argmax()
    return levels[best], gains[best]


BELIEVE = Exercise(
    sample=_answers,
    reference=_believe,
    mistakes=(
        (
            "this goes by the share that is right, which a single sure row can win: count right minus wrong",
            _surest,
        ),
        (
            "this counts the right ones only: believing everybody always wins then; wrong ones cost as much",
            lambda c, r: _believe(c, r, lambda right: right.double()),
        ),
        (
            "this is the number of the believed, not right minus wrong",
            lambda c, r: (_believe(c, r)[0], (c >= _believe(c, r)[0]).sum()),
        ),
        ("the order is (threshold, right minus wrong)", lambda c, r: _believe(c, r)[::-1]),
        (
            "this believes those below the threshold: believe those at or above it",
            lambda c, r: tuple(s * v for s, v in zip((-1, 1), _believe(-c, r), strict=True)),
        ),
    ),
    praise="and it took labels that nobody with twelve of them has to spare",
)
