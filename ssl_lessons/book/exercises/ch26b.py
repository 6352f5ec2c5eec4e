"""Chapter 26b: the spread that a temperature asks for, the effective temperature, tightness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .core import Check, Exercise


def check_spread_for(fn) -> Check:
    """fn(tau, wanted) -> the spread S in (0, 1] whose effective temperature tau / S comes closest to `wanted`."""
    return SPREAD_FOR.check(fn)


def check_effective_temperature(fn) -> Check:
    """fn(z [N, D], tau) -> tau / S, S = 1 - |mean of the unit-length rows|^2."""
    return EFFECTIVE_TEMPERATURE.check(fn)


def check_tightness(fn) -> Check:
    """fn(z [N, D], labels [N]) -> mean squared distance within classes over that between classes, unit-length rows.

    Pairs of different rows only; means over all pairs of the same class, and over all pairs of different classes.
    """
    return TIGHTNESS.check(fn)


SPREAD_FOR = Exercise(
    sample=lambda g: [(0.02, 0.1), (0.05, 0.4), (0.5, 0.1), (0.1, 0.12)],
    reference=lambda tau, wanted: min(1.0, tau / wanted),
    mistakes=(
        ("no cloud has a spread above 1: where the softmax is too warm, nothing helps", lambda a, b: a / b),
        ("upside down: the effective temperature is tau / S, so S = tau / wanted", lambda a, b: b / a),
        ("upside down: the effective temperature is tau / S", lambda a, b: min(1.0, b / a)),
        ("this is the product: the effective temperature is tau / S, not tau S", lambda a, b: a * b),
        ("this is 1 - S, the squared length of the mean", lambda a, b: 1 - min(1.0, a / b)),
    ),
    praise="a network can warm its softmax up, and cannot cool it down",
)


def _cones(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, tau, shift in [(40, 6, 0.05, 2.0), (25, 3, 0.1, 0.5), (60, 8, 0.5, 0.0)]:
        rows = torch.randn(n, d, generator=g).double() + shift
        cases.append((rows * (0.5 + 3 * torch.rand(n, 1, generator=g).double()), tau))
    return cases


def _spread(z: Tensor) -> Tensor:
    return 1 - z.mean(dim=0).square().sum()


EFFECTIVE_TEMPERATURE = Exercise(
    sample=_cones,
    reference=lambda z, tau: tau / _spread(normalize(z, dim=1)),
    mistakes=(
        ("the rows are not of unit length: normalise z first", lambda z, tau: tau / _spread(z)),
        (
            "columns were normalised: a picture is a row, dim=1",
            lambda z, tau: tau / _spread(normalize(z, dim=0)),
        ),
        ("this is the spread: divide tau by it", lambda z, tau: _spread(normalize(z, dim=1))),
        (
            "multiplied: a small spread makes the softmax warmer",
            lambda z, tau: tau * _spread(normalize(z, dim=1)),
        ),
        (
            "the length of the mean must be squared",
            lambda z, tau: tau / (1 - normalize(z, dim=1).mean(dim=0).norm()),
        ),
        (
            "divided by the squared length of the mean: the spread is one minus it",
            lambda z, tau: tau / normalize(z, dim=1).mean(dim=0).square().sum(),
        ),
    ),
    praise="and the length of z plays no part",
)


def _clusters(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, c in [(12, 3, 3), (30, 5, 4), (9, 2, 2)]:
        labels = torch.arange(n) % c
        centres = torch.randn(c, d, generator=g).double()
        z = 3 * centres[labels] + torch.randn(n, d, generator=g).double() + 1
        cases.append((z[order := torch.randperm(n, generator=g)], labels[order]))
    return cases


def _tightness(
    z: Tensor, labels: Tensor, unit: bool = True, square: bool = True, self_pairs: bool = False
) -> Tensor:
    z = normalize(z, dim=1) if unit else z
    distance = (z[:, None] - z).square().sum(dim=2)
    distance = distance if square else distance.sqrt()
    same = labels[:, None] == labels
    own = same if self_pairs else same & ~torch.eye(len(z), dtype=torch.bool)
    return distance[own].mean() / distance[~same].mean()


def _cosines(z: Tensor, labels: Tensor) -> Tensor:
    z = normalize(z, dim=1)
    cosine, same = z @ z.T, labels[:, None] == labels
    own = same & ~torch.eye(len(z), dtype=torch.bool)
    return cosine[own].mean() / cosine[~same].mean()


TIGHTNESS = Exercise(
    sample=_clusters,
    reference=_tightness,
    mistakes=(
        (
            "each row is paired with itself: that distance is 0 and says nothing",
            lambda z, y: _tightness(z, y, self_pairs=True),
        ),
        ("the rows are not of unit length: normalise z first", lambda z, y: _tightness(z, y, unit=False)),
        ("the distances are not squared", lambda z, y: _tightness(z, y, square=False)),
        ("upside down: within over between", lambda z, y: 1 / _tightness(z, y)),
        (
            "within over all pairs: divide by the mean over pairs of *different* classes",
            lambda z, y: _tightness(z, y) * _to_between(z, y),
        ),
        ("this is a ratio of cosines: the squared distance of unit vectors is 2 - 2 cosine", _cosines),
    ),
    praise="1 would mean that classes do not show; a cloud that only shrinks keeps its number",
)


def _to_between(z: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance between classes, over that of all pairs of different rows."""
    z = normalize(z, dim=1)
    distance, same = (z[:, None] - z).square().sum(dim=2), labels[:, None] == labels
    return distance[~same].mean() / distance[~torch.eye(len(z), dtype=torch.bool)].mean()
