"""Chapter 27: how a crowd pushes, what a pick costs, against whom a chooser must win, a forecast."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_push", "check_regret", "check_chooser", "judge_forecast"]


def check_push(fn) -> Check:
    """fn(z [D], crowd [K, D], temperature) -> [D]: the slope, along the sphere, of log sum exp(z.u / t)."""
    return PUSH.check(fn)


def check_regret(fn) -> Check:
    """fn(score [P], probe [P]) -> what the arm with the largest score costs against the best one."""
    return REGRET.check(fn)


def check_chooser(fn) -> Check:
    """fn(early [D, L], final [D, L]) -> mean gain of choosing by `early` over the best constant choice."""
    return CHOOSER.check(fn)


def _points(g: torch.Generator) -> list[tuple]:
    cases = []
    for d, k, t in ((3, 5, 0.5), (8, 20, 0.1), (16, 4, 1.0)):
        z = torch.randn(d, generator=g).double()
        crowd = torch.randn(k, d, generator=g).double()
        cases.append((z / z.norm(), crowd / crowd.norm(dim=1, keepdim=True), t))
    return cases


def _slope(z: Tensor, crowd: Tensor, t: float) -> Tensor:
    """The gradient in space, [D]."""
    return (crowd @ z / t).softmax(0) @ crowd / t


def _tangent(z: Tensor, v: Tensor) -> Tensor:
    return v - (v @ z) * z


PUSH = Exercise(
    sample=_points,
    reference=lambda z, u, t: _tangent(z, _slope(z, u, t)),
    mistakes=(
        (
            "z stays on the sphere: take out the part of the gradient along z",
            _slope,
        ),
        (
            "the derivative of z.u / t has a factor 1 / t",
            lambda z, u, t: _tangent(z, t * _slope(z, u, t)),
        ),
        (
            "near negatives count more: weights by softmax, not a plain mean",
            lambda z, u, t: _tangent(z, u.mean(0) / t),
        ),
        (
            "this is the push itself, downhill: return the slope",
            lambda z, u, t: -_tangent(z, _slope(z, u, t)),
        ),
        (
            "this is only the part along z, which the sphere forbids",
            lambda z, u, t: (_slope(z, u, t) @ z) * z,
        ),
        (
            "the softmax takes the similarities divided by the temperature",
            lambda z, u, t: _tangent(z, (u @ z).softmax(0) @ u / t),
        ),
    ),
    praise="the more evenly a crowd fills the sphere, the shorter this gets",
)


def _scores(g: torch.Generator) -> list[tuple]:
    return [tuple(torch.rand(2, n, generator=g).double()) for n in (3, 6, 12, 12)]


REGRET = Exercise(
    sample=_scores,
    reference=lambda score, probe: probe.max() - probe[score.argmax()],
    mistakes=(
        ("the arm with the smallest score was picked", lambda s, p: p.max() - p[s.argmin()]),
        (
            "the sign: a pick can only cost, so the regret is never negative",
            lambda s, p: p[s.argmax()] - p.max(),
        ),
        ("against the mean arm: compare with the best one", lambda s, p: p.mean() - p[s.argmax()]),
        ("this is the probe of the pick, not what it lacks", lambda s, p: p[s.argmax()]),
        ("scores and probes have different units: subtract probes", lambda s, p: s.max() - s[p.argmax()]),
    ),
    praise="zero regret does not need a perfect rank correlation",
)


def _domains(g: torch.Generator) -> list[tuple]:
    cases = []
    for d, k in ((4, 3), (6, 3), (9, 4), (12, 3)):
        final = torch.rand(d, k, generator=g).double()
        cases.append((final + 0.3 * torch.randn(d, k, generator=g).double(), final))
    return cases


def _picked(early: Tensor, final: Tensor) -> Tensor:
    """[D]: what choosing by the early look gets in each domain."""
    return final.gather(1, early.argmax(1, keepdim=True)).squeeze(1)


def _constant(final: Tensor) -> Tensor:
    """[D]: what the loss gets that is best over the other domains."""
    others = final.sum(0) - final
    return final.gather(1, others.argmax(1, keepdim=True)).squeeze(1)


CHOOSER = Exercise(
    sample=_domains,
    reference=lambda early, final: (_picked(early, final) - _constant(final)).mean(),
    mistakes=(
        (
            "the constant choice has seen the domain it is tried on: choose it over the other domains",
            lambda e, f: _picked(e, f).mean() - f.mean(0).max(),
        ),
        (
            "this rival knows the answer in each domain: he is the best possible, not a constant",
            lambda e, f: (_picked(e, f) - f.max(1).values).mean(),
        ),
        (
            "the constant is chosen by the final scores of the other domains, not by the early ones",
            lambda e, f: (_picked(e, f) - _picked(e.sum(0) - e, f)).mean(),
        ),
        ("against a loss drawn at random: too weak a rival", lambda e, f: (_picked(e, f) - f.mean(1)).mean()),
        (
            "the sign: chooser minus constant",
            lambda e, f: (_constant(f) - _picked(e, f)).mean(),
        ),
        (
            "your chooser looks at the final numbers: he has only the early ones",
            lambda e, f: (f.max(1).values - _constant(f)).mean(),
        ),
        (
            "pay out the final numbers, not the early ones",
            lambda e, f: (e.max(1).values - _constant(f)).mean(),
        ),
    ),
    praise="whoever cannot beat a constant has no algorithm",
)
