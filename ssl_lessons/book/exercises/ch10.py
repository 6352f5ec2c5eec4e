"""Chapter 10: the best at the arrow of time, what leaks, which moments are far, a walk and back."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise


def check_best_accuracy(fn) -> Check:
    """fn(p [F], reverse [F]) -> the best accuracy at forwards or backwards; reverse[f] is the number of f backwards."""
    return BEST_ACCURACY.check(fn)


def check_leak(fn) -> Check:
    """fn(ratio, slices) -> the chance that a hidden cube is seen at its place at some other time."""
    return LEAK.check(fn)


def check_far(fn) -> Check:
    """fn(frames, window) -> bool [T, T]: which moments may be negatives of which."""
    return FAR.check(fn)


def check_home_again(fn) -> Check:
    """fn(score [P, P]) -> [P]: the chance that a walk to the other frame and back ends where it began."""
    return HOME.check(fn)


def _films(g: torch.Generator) -> list[tuple]:
    """Some films are their own reverse, most come in pairs; one world is reversible."""
    cases = []
    for n in (4, 7, 10):
        p = torch.rand(n, generator=g).double() ** 2 + 0.02
        pairs = torch.arange(n)
        for a in range(0, n - n % 2 - 2, 2):
            pairs[a], pairs[a + 1] = a + 1, a
        cases.append((p / p.sum(), pairs))
    p = torch.tensor([0.1, 0.1, 0.4, 0.4], dtype=torch.float64)
    return [*cases, (p, torch.tensor([1, 0, 3, 2]))]


def _best(p: Tensor, reverse: Tensor) -> Tensor:
    return torch.maximum(p, p[reverse]).sum() / 2


BEST_ACCURACY = Exercise(
    sample=_films,
    reference=_best,
    mistakes=(
        (
            "above 1: a film is shown forwards in half of the cases only",
            lambda p, r: torch.maximum(p, p[r]).sum(),
        ),
        (
            "this is the worst one can do: choose the more probable answer",
            lambda p, r: torch.minimum(p, p[r]).sum() / 2,
        ),
        (
            "a mean over the films counts rare films like frequent ones: sum probabilities instead",
            lambda p, r: (torch.maximum(p, p[r]) / (p + p[r])).mean(),
        ),
        (
            "films shown backwards are seen too: a film on the screen has probability (p[f] + p[reverse[f]]) / 2",
            lambda p, r: (p * torch.maximum(p, p[r]) / (p + p[r])).sum() / 2,
        ),
        (
            "this is one who guesses in proportion to the probabilities: choose the more probable one always",
            lambda p, r: ((p.square() + p[r].square()) / (p + p[r])).sum() / 2,
        ),
    ),
    praise="one half exactly where every film is as likely as its reverse",
)

LEAK = Exercise(
    sample=lambda g: [(0.5, 4), (0.75, 4), (0.9, 8), (0.25, 2)],
    reference=lambda ratio, slices: 1 - ratio ** (slices - 1),
    mistakes=(
        (
            "the cube itself is hidden already: slices - 1 others are left",
            lambda r, s: 1 - r**s,
        ),
        ("this is the chance that it is hidden at all times: take it from 1", lambda r, s: r ** (s - 1)),
        (
            "one other time is enough, and any of them may be it: not one neighbour alone",
            lambda r, s: 1 - r,
        ),
        (
            "this is the chance that all other times are seen; one is enough",
            lambda r, s: (1 - r) ** (s - 1),
        ),
        ("an expected number, not a chance", lambda r, s: (1 - r) * (s - 1)),
    ),
    praise="at 75 % and four slices more than half of the hidden cubes can be copied; of tubes none",
)


def _far(frames: int, window: int) -> Tensor:
    steps = torch.arange(frames)
    return ((steps[:, None] - steps).abs() > window).double()


FAR = Exercise(
    sample=lambda g: [(5, 1), (8, 2), (6, 0)],
    reference=_far,
    mistakes=(
        (
            "moments exactly `window` apart are still neighbours",
            lambda t, w: _far(t, w - 1),
        ),
        ("these are the neighbours: negatives lie outside the window", lambda t, w: 1 - _far(t, w)),
        ("only later moments: earlier ones are as far", lambda t, w: _far(t, w).triu()),
        ("only earlier moments: later ones are as far", lambda t, w: _far(t, w).tril()),
    ),
)


def _home(score: Tensor) -> Tensor:
    there, back = score.softmax(1), score.T.softmax(1)
    return (there @ back).diagonal()


HOME = Exercise(
    sample=lambda g: [(2 * torch.randn(n, n, generator=g).double(),) for n in (3, 5, 8)],
    reference=_home,
    mistakes=(
        (
            "the way back needs a softmax of its own, over the places of the first frame",
            lambda s: (s.softmax(1) @ s.softmax(1).T).diagonal(),
        ),
        (
            "on the way there the softmax is over the places one may go to (dim=1)",
            lambda s: (s.softmax(0) @ s.T.softmax(1)).diagonal(),
        ),
        (
            "this stays in place on the way there and back, one of many ways",
            lambda s: (s.softmax(1) * s.T.softmax(1)).diagonal(),
        ),
        ("this goes twice in the same direction", lambda s: (s.softmax(1) @ s.softmax(1)).diagonal()),
        ("these are the losses: return the chances", lambda s: -_home(s).log()),
    ),
    praise="the loss of the walk is minus the logarithm of its mean place by place, and no label is in it",
)
