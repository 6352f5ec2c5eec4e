"""Chapter 12c: the shortest way, where a walk will be, one round of planning, what nobody can predict."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise


def check_way(fn) -> Check:
    """fn(a [N, 2], b [N, 2], door (low, high)) -> [N]: the shortest way through a door in the wall x = 1/2."""
    return WAY.check(fn)


def check_later(fn) -> Check:
    """fn(P [S, S], discount) -> [S, S]: where a walk is after k moves, k = 1, 2, ... geometric."""
    return LATER.check(fn)


def check_round(fn) -> Check:
    """fn(plans [N, H, 2], costs [N], elite) -> [2, H, 2], mean and deviation: one round of the cross-entropy method."""
    return ROUND.check(fn)


def check_surprise_left(fn) -> Check:
    """fn(screens [K, D]) -> the smallest mean squared error of any prediction, all K equally likely."""
    return LEFT_OVER.check(fn)


def _ends(g: torch.Generator) -> list[tuple]:
    def places(low, high):
        x = low + (high - low) * torch.rand(6, 1, generator=g)
        return torch.cat([x, torch.rand(6, 1, generator=g)], dim=1).double()

    left, right, other = places(0.02, 0.45), places(0.55, 0.98), places(0.02, 0.45)
    return [(left, right, (0.35, 0.65)), (right, left, (0.1, 0.3)), (left, other, (0.35, 0.65))]


def _straight(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).norm(dim=1)


def _through(a: Tensor, b: Tensor, height: Tensor, split: bool = True) -> Tensor:
    door = torch.stack([torch.full_like(height, 0.5), height], dim=1)
    around = _straight(a, door) + _straight(door, b)
    one_room = (a[:, 0] < 0.5) == (b[:, 0] < 0.5)
    return torch.where(one_room, _straight(a, b), around) if split else around


def _crossing(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 1] + (0.5 - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])


WAY = Exercise(
    sample=_ends,
    reference=lambda a, b, door: _through(a, b, _crossing(a, b).clamp(*door)),
    mistakes=(
        (
            "the straight line goes through the wall: not everything is in sight",
            lambda a, b, d: _straight(a, b),
        ),
        (
            "not always through the middle of the door: cut the height of the straight line's crossing to the door",
            lambda a, b, d: _through(a, b, torch.full_like(a[:, 1], sum(d) / 2)),
        ),
        (
            "within one room nobody goes to the door",
            lambda a, b, d: _through(a, b, _crossing(a, b).clamp(*d), split=False),
        ),
        (
            "half way in height is not where the straight line crosses the wall, unless both are equally far from it",
            lambda a, b, d: _through(a, b, ((a + b) / 2)[:, 1].clamp(*d)),
        ),
        ("squared lengths: take roots", lambda a, b, d: _through(a, b, _crossing(a, b).clamp(*d)).square()),
    ),
    praise="no distance of pictures knows this one; what is near in time does",
)


def _chains(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, discount in ((3, 0.5), (5, 0.9), (4, 0.0)):
        p = torch.rand(n, n, generator=g).double() + 0.05
        cases.append((p / p.sum(dim=1, keepdim=True), discount))
    return cases


def _sum(p: Tensor, discount: float) -> Tensor:
    return torch.linalg.inv(torch.eye(len(p), dtype=p.dtype) - discount * p)


LATER = Exercise(
    sample=_chains,
    reference=lambda p, g: (1 - g) * p @ _sum(p, g),
    mistakes=(
        (
            "this counts the moment itself, k = 0: the walk begins with one move",
            lambda p, g: (1 - g) * _sum(p, g),
        ),
        ("rows must sum to 1: multiply by 1 - discount", lambda p, g: p @ _sum(p, g)),
        (
            "k = 1 has weight 1 - discount, not (1 - discount) discount",
            lambda p, g: (1 - g) * g * p @ _sum(p, g),
        ),
        ("transposed: entry (s, g) is about going from s to g", lambda p, g: ((1 - g) * p @ _sum(p, g)).T),
        ("this is one move; later ones count too", lambda p, g: p),
        ("this is the geometric series alone: times P, and times 1 - discount", lambda p, g: _sum(p, g)),
    ),
    praise="its logarithm over the share of g among all goals is what the best contrastive critic says",
)


def _drafts(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(n, h, 2, generator=g).double(), torch.rand(n, generator=g).double(), elite)
        for n, h, elite in ((8, 3, 3), (20, 2, 5), (12, 4, 4))
    ]


def _fit(plans: Tensor) -> Tensor:
    return torch.stack([plans.mean(dim=0), plans.std(dim=0)])


def _refit(plans: Tensor, costs: Tensor, elite: int, largest: bool = False) -> Tensor:
    return _fit(plans[costs.topk(elite, largest=largest).indices])


def _one_spread(plans: Tensor, costs: Tensor, elite: int) -> Tensor:
    best = plans[costs.topk(elite, largest=False).indices]
    return torch.stack([best.mean(dim=0), best.std().expand(best.shape[1:])])


ROUND = Exercise(
    sample=_drafts,
    reference=_refit,
    mistakes=(
        (
            "these are the most expensive plans: keep the cheapest",
            lambda p, c, e: _refit(p, c, e, largest=True),
        ),
        ("all plans count alike here: keep the cheapest `elite` of them", lambda p, c, e: _fit(p)),
        ("the first `elite` plans are not the cheapest: sort by cost", lambda p, c, e: _fit(p[:e])),
        (
            "this is the variance: return the standard deviation",
            lambda p, c, e: torch.stack([_refit(p, c, e)[0], _refit(p, c, e)[1].square()]),
        ),
        ("one spread for each action and coordinate, not one over all of them", _one_spread),
        ("the deviation comes second: stack mean, deviation", lambda p, c, e: _refit(p, c, e).flip(0)),
    ),
    praise="four such rounds are the whole planner of this chapter",
)

LEFT_OVER = Exercise(
    sample=lambda g: [(torch.rand(k, d, generator=g).double(),) for k, d in ((4, 3), (9, 5), (2, 6))],
    reference=lambda x: x.var(dim=0, unbiased=False).mean(),
    mistakes=(
        (
            "two draws of the screen differ by twice that; the best guess is not another draw but the mean",
            lambda x: 2 * x.var(dim=0, unbiased=False).mean(),
        ),
        ("the K screens are all there are, no sample: divide by K", lambda x: x.var(dim=0).mean()),
        ("a mean over pixels, not their sum", lambda x: x.var(dim=0, unbiased=False).sum()),
        ("the mean of each pixel, not one gray for the whole screen", lambda x: x.var(unbiased=False)),
        ("a gray of 0 is not the best guess", lambda x: x.square().mean()),
        ("noise cannot be learned away: something is left", lambda x: 0 * x.mean()),
    ),
    praise="a bonus made of errors pays this for ever, and pays nothing for what has been understood",
)
