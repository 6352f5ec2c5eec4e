"""Chapters 15 and 15b: a test for the missing stop-gradient, the decay that a direction can bear, the time that a
lagging teacher buys, DirectPred; one number for DINO's two collapses, and the highest coding rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, mse_loss, normalize

from .core import Check, Exercise, judge


def check_leaks(fn) -> Check:
    """fn(loss) -> bool: whether a gradient of loss(prediction [N, D], target [N, D]) flows into the target."""
    return judge(fn, _LOSSES, "leaks", "ask for the gradient by the target at rows that differ")


def check_bearable_decay(fn) -> Check:
    """fn(p, noise) -> the weight decay below which a direction that starts on the parabola at p lives (tau = 1)."""
    return BEARABLE_DECAY.check(fn)


def check_steps_to_half(fn) -> Check:
    """fn(momentum, noise, rate) -> steps in which the variance halves: stop-gradient, no predictor, slow mode."""
    return STEPS_TO_HALF.check(fn)


def check_direct_predictor(fn) -> Check:
    """fn(F [D, D], epsilon) -> [D, D]: eigenvectors of F, roots of its eigenvalues plus epsilon times the largest."""
    return DIRECT_PREDICTOR.check(fn)


def check_answers_tell(fn) -> Check:
    """fn(p [N, K]) -> scalar in nats: how much the drawer tells about the picture."""
    return ANSWERS_TELL.check(fn)


def check_highest_rate(fn) -> Check:
    """fn(n, d, eps) -> the highest coding rate of n unit rows in d dimensions."""
    return HIGHEST_RATE.check(fn)


# --- 15.1: a test for the missing stop-gradient ---------------------------------------------------------


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    return 2 - 2 * cosine_similarity(prediction, target).mean()


def _outside(prediction: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        target = normalize(target, dim=1)
    return mse_loss(normalize(prediction, dim=1), target)


def _length_only(prediction: Tensor, target: Tensor) -> Tensor:
    """The target's length is a constant, its direction is not."""
    unit = target / target.detach().norm(dim=1, keepdim=True)
    return mse_loss(normalize(prediction, dim=1), unit)


def _second_half(prediction: Tensor, target: Tensor) -> Tensor:
    """One of the two terms forgot the stop-gradient."""
    return _distance(prediction, target.detach()) + _distance(target, prediction.detach())


_LOSSES = (
    ("BYOL's distance with a detached target", lambda p, t: _distance(p, t.detach()), False),
    ("BYOL's distance without a detach", _distance, True),
    ("a loss whose target is normalised under no_grad", _outside, False),
    ("a loss that detaches the prediction instead", lambda p, t: _distance(p.detach(), t), True),
    ("a loss that detaches the target's length only", _length_only, True),
    ("a sum of two directions, the second with its roles exchanged", _second_half, True),
    ("a loss that detaches both", lambda p, t: _distance(p.detach(), t.detach()), False),
    ("a squared distance to a detached target", lambda p, t: (p - t.detach()).square().sum(), False),
    ("minus a scalar product", lambda p, t: -(p * t).sum(dim=1).mean(), True),
)

# --- 15.2: the decay that a direction can bear ----------------------------------------------------------


def _hump(p: float, noise: float) -> float:
    return p - (1 + noise) * p**2


def _limit(noise: float) -> float:
    return 1 / (4 * (1 + noise))


BEARABLE_DECAY = Exercise(
    sample=lambda g: [(0.3, 0.25), (0.6, 0.25), (0.1, 0.5), (0.9, 0.1), (0.2, 1.0), (2.0, 0.25)],
    reference=lambda p, noise: _hump(min(p, 1 / (2 * (1 + noise))), noise),
    mistakes=(
        (
            "right for low starts; a start beyond the hump may fall at first, but lives under every decay that has a "
            "watershed",
            _hump,
        ),
        (
            "this is the limit for starts that are high enough: a low start is below the watershed much earlier",
            lambda p, noise: _limit(noise),
        ),
        (
            "the noise is missing: a view of variance 1 + noise needs a smaller predictor",
            lambda p, noise: _hump(min(p, 0.5), 0.0),
        ),
        (
            "this is how fast p moves without decay: dp/dt = p (... - decay), so divide by p",
            lambda p, noise: min(p, 1 / (2 * (1 + noise))) * _hump(min(p, 1 / (2 * (1 + noise))), noise),
        ),
        (
            "this is the bracket, 1 - (1 + noise) p: on the parabola it comes with another factor p",
            lambda p, noise: 1 - (1 + noise) * p,
        ),
    ),
    praise="on either side of the hump",
)

# --- 15.3: the time that a lagging teacher buys ---------------------------------------------------------


def _modes(momentum: float, noise: float, rate: float, new: bool = True) -> list[float]:
    """The eigenvalues of a step of (student, teacher), the smaller first; new: the teacher follows the new student."""
    keep, m = 1 - rate * (1 + noise), momentum
    a, b = keep, rate
    c, d = ((1 - m) * keep, m + (1 - m) * rate) if new else (1 - m, m)
    half, root = (a + d) / 2, math.sqrt(((a - d) / 2) ** 2 + b * c)
    return [half - root, half + root]


def _halves(mode: float, power: int = 2) -> float:
    return math.log(0.5) / (power * math.log(abs(mode)))


def _in_continuous_time(momentum: float, noise: float, rate: float) -> float:
    follows = (1 - momentum) / rate
    b = 1 + noise + follows
    slow = (-b + math.sqrt(b**2 - 4 * follows * noise)) / 2
    return math.log(0.5) / (2 * slow * rate)


STEPS_TO_HALF = Exercise(
    sample=lambda g: [(0.9, 0.25, 0.05), (0.99, 0.25, 0.05), (0.5, 0.5, 0.1), (0.95, 1.0, 0.02)],
    reference=lambda m, noise, rate: _halves(_modes(m, noise, rate)[1]),
    mistakes=(
        (
            "this is when the *length* halves: the variance is its square, and halves in half the time",
            lambda m, noise, rate: _halves(_modes(m, noise, rate)[1], 1),
        ),
        (
            "the teacher is missing: this is the student that is its own teacher",
            lambda m, noise, rate: _halves(1 - rate * noise),
        ),
        (
            "this is the fast mode, which is gone first: take the larger eigenvalue",
            lambda m, noise, rate: _halves(_modes(m, noise, rate)[0]),
        ),
        (
            "here the teacher follows the student of the step before: in `descend` the student moves first",
            lambda m, noise, rate: _halves(_modes(m, noise, rate, new=False)[1]),
        ),
        (
            "this is time, steps times the rate: steps were asked for",
            lambda m, noise, rate: rate * _halves(_modes(m, noise, rate)[1]),
        ),
        (
            "this is the rate of the differential equation: steps were asked for, and a step is not a moment",
            _in_continuous_time,
        ),
        (
            "this is the teacher's own half-life, without the student",
            lambda m, noise, rate: math.log(0.5) / math.log(m),
        ),
    ),
    praise="and finite for every momentum below 1",
)

# --- 15.4: DirectPred -----------------------------------------------------------------------------------


def _covariances(g: torch.Generator) -> list[tuple]:
    """Covariances of low rank, their zero eigenvalues a little below zero as rounding leaves them."""
    cases = []
    for d, rank, epsilon in [(4, 3, 0.1), (6, 4, 0.3), (3, 2, 0.5)]:
        a = torch.randn(d, rank, generator=g).double()
        cases.append((a @ a.T / d - 1e-9 * torch.eye(d).double(), epsilon))
    return cases


def _direct(f: Tensor, epsilon: float, strength=None, transposed: bool = False) -> Tensor:
    s, u = torch.linalg.eigh(f)
    p = (strength or (lambda s, e: s.sqrt() + e * s.max()))(s.clamp_min(0), epsilon)
    return u.T @ torch.diag(p) @ u if transposed else u @ torch.diag(p) @ u.T


def _no_clamp(f: Tensor, epsilon: float) -> Tensor:
    s, u = torch.linalg.eigh(f)
    return u @ torch.diag(s.sqrt() + epsilon * s.max()) @ u.T


DIRECT_PREDICTOR = Exercise(
    sample=_covariances,
    reference=_direct,
    mistakes=(
        ("not a number: an eigenvalue came out just below zero, clamp it before the root", _no_clamp),
        (
            "the strength is the eigenvalue: take its root, as on the parabola",
            lambda f, e: _direct(f, e, lambda s, e: s + e * s.max()),
        ),
        (
            "epsilon is added as it is: it counts in units of the largest eigenvalue",
            lambda f, e: _direct(f, e, lambda s, e: s.sqrt() + e),
        ),
        (
            "epsilon times the largest *root*: it is times the largest eigenvalue",
            lambda f, e: _direct(f, e, lambda s, e: s.sqrt() + e * s.sqrt().max()),
        ),
        (
            "epsilon is missing: empty directions could not begin",
            lambda f, e: _direct(f, e, lambda s, e: s.sqrt()),
        ),
        (
            "eigenvectors taken as rows: torch.linalg.eigh returns them as columns",
            lambda f, e: _direct(f, e, transposed=True),
        ),
        (
            "the strengths stand on the diagonal: turn them into the basis of F, U diag(p) U'",
            lambda f, e: torch.diag(
                torch.linalg.eigvalsh(f).clamp_min(0).sqrt() + e * torch.linalg.eigvalsh(f).max()
            ),
        ),
    ),
    praise="now plug it in",
)

# --- 15b.1: one number for both collapses ---------------------------------------------------------------


def _answers(g: torch.Generator) -> list[tuple]:
    """Answers of some certainty, with exact zeros in them."""
    cases = []
    for n, k, temperature in [(6, 4, 0.3), (12, 5, 1.0), (5, 8, 0.1)]:
        p = (torch.randn(n, k, generator=g).double() / temperature).softmax(dim=1)
        p = torch.where(p < 0.02, torch.zeros_like(p), p)
        cases.append((p / p.sum(dim=1, keepdim=True),))
    return cases


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(dim=-1)


def _tell(p: Tensor) -> Tensor:
    return _entropy(p.mean(dim=0)) - _entropy(p).mean()


ANSWERS_TELL = Exercise(
    sample=_answers,
    reference=_tell,
    mistakes=(
        (
            "this is the entropy of the mean answer: the shrug has the most of it; take something off",
            lambda p: _entropy(p.mean(dim=0)),
        ),
        (
            "this is the mean entropy of single answers: 0 for one drawer, but log K for the shrug",
            lambda p: _entropy(p).mean(),
        ),
        ("the sign is wrong: the mean answer has the larger entropy of the two", lambda p: -_tell(p)),
        ("these are bits: use the natural logarithm", lambda p: _tell(p) / math.log(2)),
        ("a share of log K: nats were asked for", lambda p: _tell(p) / math.log(p.shape[1])),
        (
            "not a number: zero times log zero counts as zero, use torch.special.entr",
            lambda p: p.mean(dim=0).log().mul(p.mean(dim=0)).sum().neg() + (p * p.log()).sum(dim=1).mean(),
        ),
        (
            "the entropies of single answers are summed: take their mean",
            lambda p: _entropy(p.mean(dim=0)) - _entropy(p).sum(),
        ),
    ),
    praise="0 in both collapses, log K at best",
)

# --- 15b.2: the highest coding rate ---------------------------------------------------------------------

HIGHEST_RATE = Exercise(
    sample=lambda g: [(8, 16, 0.05), (64, 256, 0.5), (256, 16, 0.05), (10, 30, 0.2)],
    reference=lambda n, d, eps: min(n, d) / 2 * math.log(1 + d / (min(n, d) * eps)),
    mistakes=(
        (
            "right for at least as many rows as dimensions: with fewer, some eigenvalues are zero whatever you do",
            lambda n, d, eps: d / 2 * math.log(1 + 1 / eps),
        ),
        (
            "the right number of directions, but each of them holds n / r, more than n / d",
            lambda n, d, eps: min(n, d) / 2 * math.log(1 + 1 / eps),
        ),
        (
            "the half is missing",
            lambda n, d, eps: min(n, d) * math.log(1 + d / (min(n, d) * eps)),
        ),
        ("this is the lowest: all rows alike", lambda n, d, eps: math.log(1 + d / eps) / 2),
        (
            "only n directions can be filled, but never more than d",
            lambda n, d, eps: n / 2 * math.log(1 + d / (n * eps)),
        ),
        (
            "these are bits: use the natural logarithm",
            lambda n, d, eps: min(n, d) / 2 * math.log2(1 + d / (min(n, d) * eps)),
        ),
        (
            "eps enters as it is here, not squared",
            lambda n, d, eps: min(n, d) / 2 * math.log(1 + d / (min(n, d) * eps**2)),
        ),
    ),
    praise="for batches smaller than the width, too",
)
