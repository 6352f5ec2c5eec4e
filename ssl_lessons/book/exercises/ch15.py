"""Chapter 15: BYOL's loss, the teacher's half-life, DINO's teacher, the resting points of a linear BYOL."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import mse_loss, normalize

from ssl_lessons.losses.distillation import byol

from .core import Check, Exercise


def check_byol_loss(fn) -> Check:
    """fn(prediction [N, D], target [N, D]) -> scalar: mean squared distance of the unit-length rows."""
    return BYOL_LOSS.check(fn)


def check_momentum_for_half_life(fn) -> Check:
    """fn(steps) -> momentum: after that many updates a weight of the student counts half in the teacher."""
    return HALF_LIFE.check(fn)


def check_teacher_probabilities(fn) -> Check:
    """fn(logits [N, K], center [K], temperature) -> [N, K]: DINO's centred and sharpened teacher."""
    return TEACHER.check(fn)


def check_resting_point(fn) -> Check:
    """fn(decay, noise) -> p+: where a living direction of the linear BYOL comes to rest (tau = 1); 0 if none lives."""
    return RESTING_POINT.check(fn)


def _rows(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(n, d, generator=g).double() + 0.2, torch.randn(n, d, generator=g).double() + 0.2)
        for n, d in [(5, 4), (8, 3), (3, 12)]
    ]


BYOL_LOSS = Exercise(
    sample=_rows,
    reference=byol,
    mistakes=(
        (
            "the rows are not normalized: divide prediction and target by their lengths first",
            lambda p, z: (p - z).square().sum(dim=1).mean(),
        ),
        (
            "only the prediction is normalized: the target needs unit length too",
            lambda p, z: (normalize(p, dim=1) - z).square().sum(dim=1).mean(),
        ),
        (
            "only the target is normalized: the prediction needs unit length too",
            lambda p, z: (p - normalize(z, dim=1)).square().sum(dim=1).mean(),
        ),
        (
            "normalized over the batch axis: each row (dim=1) must get length 1, not each column",
            lambda p, z: (normalize(p, dim=0) - normalize(z, dim=0)).square().sum(dim=1).mean(),
        ),
        (
            "the mean runs over all N D entries: sum over the dimensions, mean over the rows",
            lambda p, z: mse_loss(normalize(p, dim=1), normalize(z, dim=1)),
        ),
        ("the sum over the rows: take the mean", lambda p, z: len(p) * byol(p, z)),
        (
            "this is minus the cosine: SimSiam's loss; BYOL's is 2 - 2 cos",
            lambda p, z: byol(p, z) / 2 - 1,
        ),
        ("this is 1 - cos, half of the squared distance", lambda p, z: byol(p, z) / 2),
        (
            "this is the distance: square it before the mean",
            lambda p, z: (normalize(p, dim=1) - normalize(z, dim=1)).norm(dim=1).mean(),
        ),
        (
            "the sign is wrong: two rows that agree should give 0, the lowest value",
            lambda p, z: -byol(p, z),
        ),
    ),
)

HALF_LIFE = Exercise(
    sample=lambda g: [(1,), (10,), (69,), (1000,)],
    reference=lambda steps: 0.5 ** (1 / steps),
    mistakes=(
        (
            "this is 1 - 1/steps: the share left is then 1/e, not one half",
            lambda steps: 1 - 1 / steps,
        ),
        (
            "this is e^(-1/steps): the share left is then 1/e, not one half",
            lambda steps: math.exp(-1 / steps),
        ),
        ("the power is upside down: m ** steps = 1/2, so m is a root of 1/2", lambda steps: 0.5**steps),
        (
            "this is 1 - momentum: how much of the student enters in a step",
            lambda steps: 1 - 0.5 ** (1 / steps),
        ),
        (
            "this is the first-order approximation, good for long half-lives only",
            lambda steps: 1 - math.log(2) / steps,
        ),
    ),
)


def _teacher(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(n, k, generator=g).double(), torch.randn(k, generator=g).double() / 2, t)
        for n, k, t in [(4, 5, 0.04), (6, 3, 0.1), (3, 8, 0.5)]
    ]


TEACHER = Exercise(
    sample=_teacher,
    reference=lambda z, c, t: ((z - c) / t).softmax(dim=1),
    mistakes=(
        ("the centre is missing: subtract it from the logits first", lambda z, c, t: (z / t).softmax(dim=1)),
        (
            "the temperature is missing: divide by it, a small one sharpens",
            lambda z, c, t: (z - c).softmax(dim=1),
        ),
        ("the centre is added: subtract it", lambda z, c, t: ((z + c) / t).softmax(dim=1)),
        (
            "multiplied by the temperature: divide, so that a small one sharpens",
            lambda z, c, t: ((z - c) * t).softmax(dim=1),
        ),
        (
            "only the logits are divided by the temperature: centre first, then divide all",
            lambda z, c, t: (z / t - c).softmax(dim=1),
        ),
        (
            "softmax over the wrong axis: the prototypes of one image (a row) share out 1",
            lambda z, c, t: ((z - c) / t).softmax(dim=0),
        ),
        ("these are log-probabilities: take exp of them", lambda z, c, t: ((z - c) / t).log_softmax(dim=1)),
        (
            "the centre is subtracted from the probabilities: it belongs to the logits",
            lambda z, c, t: (z / t).softmax(dim=1) - c,
        ),
        (
            "centred by the mean of this batch: use the running centre that is passed in",
            lambda z, c, t: ((z - z.mean(dim=0)) / t).softmax(dim=1),
        ),
    ),
)


def _root(decay: float, noise: float, sign: int = 1, tau: float = 1.0) -> float:
    room = tau**2 - 4 * decay * (1 + noise)
    return (tau + sign * math.sqrt(room)) / (2 * (1 + noise)) if room > 0 else 0.0


RESTING_POINT = Exercise(
    sample=lambda g: [(0.05, 0.25), (0.01, 0.0), (0.1, 0.5), (0.02, 1.0), (0.3, 0.25)],
    reference=_root,
    mistakes=(
        (
            "this is the repelling point p-: the living direction rests at the larger root",
            lambda d, n: _root(d, n, -1),
        ),
        (
            "the weight decay is missing: this is the best predictor, 1 / (1 + noise)",
            lambda d, n: 1 / (1 + n),
        ),
        (
            "with too much decay the root of a negative number: nothing lives, return 0",
            lambda d, n: _root(d, n) if _root(d, n) else math.nan,
        ),
        ("the noise enters as 1 + noise, not as noise alone", lambda d, n: _root(d, max(n, 1e-9) - 1)),
        (
            "the noise is missing: views of variance 1 + noise need a smaller predictor",
            lambda d, n: _root(d, 0.0),
        ),
        ("this is s = p^2, the variance: p was asked for", lambda d, n: _root(d, n) ** 2),
    ),
)
