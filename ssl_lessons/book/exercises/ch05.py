"""Chapters 05 and 05b: a hole's loss, its floor, absolute error, two games; light, paleness, blindness, leaks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.views.color import linear_to_srgb, srgb_to_linear

from .core import Check, Exercise


def check_hole_loss(fn) -> Check:
    """fn(x [N, C, S, S], painted [N, C, S, S], hole [S, S] of 0 and 1) -> scalar: mean squared error in the hole."""
    return HOLE_LOSS.check(fn)


def check_floor(fn) -> Check:
    """fn(p [K], answers [K, D]) -> scalar: the smallest expected squared error of one answer, a mean over D."""
    return FLOOR.check(fn)


def check_absolute_answer(fn) -> Check:
    """fn(p [K], answers [K, D]) -> [D]: the picture with the smallest expected absolute error."""
    return ABSOLUTE_ANSWER.check(fn)


def check_two_pushes(fn) -> Check:
    """fn(scores [N]) -> (mean size of the derivative of softplus(s), that of softplus(-s))."""
    return TWO_PUSHES.check(fn)


def check_to_screen(fn) -> Check:
    """fn(v [K]) -> [K]: linear light in [0, 1] to sRGB."""
    return TO_SCREEN.check(fn)


def check_paleness(fn) -> Check:
    """fn(chroma, spread) -> float: chroma of the mean colour when the hue is normal with that deviation (radians)."""
    return PALENESS.check(fn)


def check_blind_painter(fn) -> Check:
    """fn(p [Q], w [Q]) -> float: the smallest weighted cross-entropy of one distribution for all pixels."""
    return BLIND_PAINTER.check(fn)


def check_leak(fn) -> Check:
    """fn(x1 [N, A], x2 [N, B]) -> float: share of the variance of x2 that the best affine map of x1 explains."""
    return LEAK.check(fn)


# ---- 1: the hole ---------------------------------------------------------------------------------


def _holes(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, c, s, start, side in [(3, 3, 8, 2, 4), (2, 1, 6, 0, 3), (4, 2, 5, 3, 2)]:
        hole = torch.zeros(s, s, dtype=torch.float64)
        hole[start : start + side, start : start + side] = 1
        x, y = (torch.randn(n, c, s, s, generator=g).double() for _ in range(2))
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


# ---- 2 and 3: the floor, and another loss ----------------------------------------------------------


def _open(g: torch.Generator) -> list[tuple]:
    cases = []
    for k, d in [(2, 6), (4, 5), (3, 1)]:
        p = torch.rand(k, generator=g).double() + 0.1
        cases.append((p / p.sum(), 1 + torch.randn(k, d, generator=g).double()))
    return cases


def _floor(p: Tensor, answers: Tensor) -> Tensor:
    return (p @ (answers - p @ answers).square()).mean()


def _most_probable(p: Tensor, answers: Tensor) -> Tensor:
    return (p @ (answers - answers[p.argmax()]).square()).mean()


def _unweighted(p: Tensor, answers: Tensor) -> Tensor:
    return answers.var(dim=0, correction=0).mean()


_SUM = "the sum over the pixels: take their mean"
FLOOR = Exercise(
    sample=_open,
    reference=_floor,
    mistakes=(
        ("the error of the most probable picture: some other answer does better", _most_probable),
        ("all pictures count alike: weigh them with p", _unweighted),
        ("twice too much: that is two independent draws, not the best answer", lambda p, a: 2 * _floor(p, a)),
        (_SUM, lambda p, a: a.shape[1] * _floor(p, a)),
        ("the second moment: subtract the square of the mean", lambda p, a: (p @ a.square()).mean()),
    ),
    praise="no network gets below it",
)


def _several(g: torch.Generator) -> list[tuple]:
    cases = []
    for k, d in [(3, 6), (5, 8), (4, 1)]:
        p = torch.rand(k, generator=g).double() + 0.1
        cases.append((p / p.sum(), 1 + torch.randn(k, d, generator=g).double()))
    two = torch.tensor([0.4, 0.6], dtype=torch.float64)
    return [*cases, (two, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64))]


def _weighted_median(p: Tensor, answers: Tensor) -> Tensor:
    values, order = answers.sort(dim=0)
    reached = p[order].cumsum(dim=0) >= 0.5
    return values.gather(0, reached.int().argmax(dim=0, keepdim=True))[0]


def _unsorted_weights(p: Tensor, answers: Tensor) -> Tensor:
    return answers.sort(dim=0).values[int((p.cumsum(dim=0) >= 0.5).int().argmax())]


def _best_picture(p: Tensor, answers: Tensor) -> Tensor:
    errors = [(p @ (answers - a).abs()).mean() for a in answers]
    return answers[int(torch.stack(errors).argmin())]


def _mode(p: Tensor, answers: Tensor) -> Tensor:
    return answers[int(p.argmax())]


def _plain_median(p: Tensor, answers: Tensor) -> Tensor:
    return _weighted_median(torch.full_like(p, 1 / len(p)), answers)


ABSOLUTE_ANSWER = Exercise(
    sample=_several,
    reference=_weighted_median,
    mistakes=(
        ("the mean: it has the smallest squared error, not the smallest absolute one", lambda p, a: p @ a),
        ("the most probable picture: another answer does better where no picture has half", _mode),
        ("the median of the pictures, as if all were equally probable: weigh them with p", _plain_median),
        ("the weights must be sorted along with the values of every pixel", _unsorted_weights),
        ("the best of the K pictures: every pixel may be chosen for itself", _best_picture),
    ),
    praise="and sharp wherever one value has more than half",
)


# ---- 4: the two games ----------------------------------------------------------------------------


def _scores(g: torch.Generator) -> list[tuple]:
    return [(torch.randn(n, generator=g).double() * 3 + shift,) for n, shift in ((6, -2.0), (9, 0.5))]


def _two_pushes(scores: Tensor) -> tuple[float, float]:
    return float(scores.sigmoid().mean()), float((-scores).sigmoid().mean())


def _at_the_mean(scores: Tensor) -> tuple[float, float]:
    return _two_pushes(scores.mean()[None])


def _two_losses(scores: Tensor) -> tuple[float, float]:
    softplus = torch.nn.functional.softplus
    return float(softplus(scores).mean()), float(softplus(-scores).mean())


def _with_respect_to_d(scores: Tensor) -> tuple[float, float]:
    d = scores.sigmoid()
    return float((1 / (1 - d)).mean()), float((1 / d).mean())


def _signed(scores: Tensor) -> tuple[float, float]:
    first, second = _two_pushes(scores)
    return first, -second


TWO_PUSHES = Exercise(
    sample=_scores,
    reference=_two_pushes,
    mistakes=(
        (
            "the two are exchanged: the chapter's design pushes with D, the other with 1 - D",
            lambda s: _two_pushes(-s),
        ),
        ("the push at the mean score: average the pushes, not the scores", _at_the_mean),
        ("the sums over the patches: take means", lambda s: tuple(len(s) * v for v in _two_pushes(s))),
        ("these are the losses, not their derivatives", _two_losses),
        ("derivatives with respect to D: the critic gives a score s, and D = sigmoid(s)", _with_respect_to_d),
        ("the size of both pushes, without a sign", _signed),
    ),
    praise="the loser of one game still learns in the other",
)


# ---- 05b, 1: back to the screen -------------------------------------------------------------------


def _light(g: torch.Generator) -> list[tuple]:
    dark = torch.tensor([0.0, 0.0005, 0.002, 0.003, 0.0033, 0.004, 0.04, 1.0], dtype=torch.float64)
    return [(torch.rand(12, generator=g).double(),), (dark,)]


def _to_screen_at(knee: float):
    return lambda v: torch.where(v <= knee, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


def _wrong_order(v: Tensor) -> Tensor:
    return torch.where(v <= 0.0031308, 12.92 * v, (1.055 * v - 0.055).clamp_min(0) ** (1 / 2.4))


TO_SCREEN = Exercise(
    sample=_light,
    reference=linear_to_srgb,
    mistakes=(
        (
            "the threshold 0.04045 belongs to sRGB values: in linear light it is 0.04045 / 12.92",
            _to_screen_at(0.04045),
        ),
        ("the straight part near black is missing", lambda v: 1.055 * v ** (1 / 2.4) - 0.055),
        ("that is the way from the screen to light, not back", srgb_to_linear),
        ("a plain power 1 / 2.2 is close, but not sRGB", lambda v: v ** (1 / 2.2)),
        ("a plain power 1 / 2.4: scale and shift afterwards", lambda v: v ** (1 / 2.4)),
        (
            "undo the steps in reverse order: first the power, then times 1.055, then minus 0.055",
            _wrong_order,
        ),
    ),
    praise="there and back",
)


# ---- 05b, 2: how pale ----------------------------------------------------------------------------


def _hues(g: torch.Generator) -> list[tuple]:
    return [(40.0, 0.2), (25.0, 1.0), (60.0, 2.5), (30.0, 0.0)]


def _even_arc(chroma: float, spread: float) -> float:
    return chroma * math.sin(spread) / spread if spread else chroma


PALENESS = Exercise(
    sample=_hues,
    reference=lambda chroma, spread: chroma * math.exp(-(spread**2) / 2),
    mistakes=(
        ("no paler at all: the mean of different hues lies inside the circle", lambda c, s: c),
        ("that is one colour `spread` away, not the mean over all of them", lambda c, s: c * math.cos(s)),
        (
            "the variance is spread squared, and half of it stands in the exponent",
            lambda c, s: c * math.exp(-s / 2),
        ),
        ("half of the variance: the factor 1/2 is missing", lambda c, s: c * math.exp(-(s**2))),
        ("right for small spreads only: that is the first term of a series", lambda c, s: c * (1 - s**2 / 2)),
        ("that is for hues spread evenly over an arc, not for normal ones", _even_arc),
        ("the loss of chroma: return what is left", lambda c, s: c - c * math.exp(-(s**2) / 2)),
    ),
    praise="the noise of the hue alone hardly pales a colour",
)


# ---- 05b, 3: the blind painter -------------------------------------------------------------------


def _weighted_classes(g: torch.Generator) -> list[tuple]:
    cases = []
    for q in (4, 9, 3):
        p = torch.rand(q, generator=g).double() ** 2 + 0.02
        p = p / p.sum()
        w = torch.rand(q, generator=g).double() + 0.2
        cases.append((p, w / (p * w).sum()))
    last = cases[-1]
    return [*cases, (last[0], 2 * last[1])]  # weights whose expectation is not 1


def _cost(p: Tensor, w: Tensor, q: Tensor) -> Tensor:
    return -(p * w * q.log()).sum()


def _blind(p: Tensor, w: Tensor) -> Tensor:
    return _cost(p, w, p * w / (p * w).sum())


def _even(p: Tensor) -> Tensor:
    return torch.full_like(p, 1 / len(p))


def _weights_in_the_answer(p: Tensor, w: Tensor) -> Tensor:
    return _cost(p, torch.ones_like(p), p * w / (p * w).sum())


BLIND_PAINTER = Exercise(
    sample=_weighted_classes,
    reference=_blind,
    mistakes=(
        ("the entropy of p: the weights are missing", lambda p, w: _cost(p, torch.ones_like(p), p)),
        ("the cost of answering p: with weights another answer is better", lambda p, w: _cost(p, w, p)),
        ("the cost of answering evenly: some other answer is better", lambda p, w: _cost(p, w, _even(p))),
        ("the logarithm of Q: that is for equal frequencies", lambda p, w: torch.tensor(float(len(p))).log()),
        ("the best answer must sum to 1: divide p w by its sum", lambda p, w: _cost(p, w, p * w)),
        ("the weights belong into the loss, too, not only into the answer", _weights_in_the_answer),
        (
            "an answer in proportion to the weights forgets the frequencies",
            lambda p, w: _cost(p, w, w / w.sum()),
        ),
        ("the cost is weighed, sum p w need not be 1", lambda p, w: _blind(p, w) / (p * w).sum()),
    ),
    praise="below it somebody has looked",
)


# ---- 05b, 4: what one half tells of the other ----------------------------------------------------


def _halves(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, a, b, copied in [(60, 1, 2, 0.8), (50, 2, 1, 0.3), (80, 3, 3, 0.0)]:
        x1 = torch.randn(n, a, generator=g).double() + 2
        noise = torch.randn(n, b, generator=g).double() * torch.linspace(1, 3, b, dtype=torch.float64)
        cases.append((x1, copied * x1 @ torch.randn(a, b, generator=g).double() + noise - 1))
    return cases


def _explained(x1: Tensor, x2: Tensor, centre: bool = True) -> Tensor:
    design = torch.cat([x1, torch.ones_like(x1[:, :1])], dim=1) if centre else x1
    rest = x2 - design @ torch.linalg.lstsq(design, x2).solution
    return 1 - rest.square().sum() / (x2 - x2.mean(dim=0)).square().sum()


def _mean_of_shares(x1: Tensor, x2: Tensor) -> Tensor:
    return torch.stack([_explained(x1, column[:, None]) for column in x2.T]).mean()


def _mean_error(x1: Tensor, x2: Tensor) -> Tensor:
    return (1 - _explained(x1, x2)) * (x2 - x2.mean(dim=0)).square().mean()


def _second_moment(x1: Tensor, x2: Tensor) -> Tensor:
    return 1 - (1 - _explained(x1, x2)) * (x2 - x2.mean(dim=0)).square().sum() / x2.square().sum()


LEAK = Exercise(
    sample=_halves,
    reference=_explained,
    mistakes=(
        (
            "the constant is missing: append a column of ones to x1",
            lambda a, b: _explained(a, b, centre=False),
        ),
        ("the other way round: x1 predicts x2", lambda a, b: _explained(b, a)),
        ("what is left, not what is explained", lambda a, b: 1 - _explained(a, b)),
        ("the correlation: square it", lambda a, b: _explained(a, b).clamp_min(0).sqrt()),
        ("the mean of the shares: add up squared errors of all columns first", _mean_of_shares),
        ("divide by the variance of x2, not by its second moment: subtract the mean", _second_moment),
        ("an error, not a share: compare it with the variance of x2", _mean_error),
    ),
    praise="of linear prediction, at least",
)
