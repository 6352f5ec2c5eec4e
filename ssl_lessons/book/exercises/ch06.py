"""Chapters 06 and 06b: ceilings of pretext tasks, orders of tiles, chance with clustered answers, what adds up."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise, Stop, answer, failed


def check_ceiling(fn) -> Check:
    """fn(pictures [N, S, S], p [N]) -> number: the best possible accuracy of telling the four turns of them apart."""
    return CEILING.check(fn)


def check_mirrored_ceiling(fn) -> Check:
    """fn(m) -> number: the ceiling when a turned picture is mirrored afterwards with probability m."""
    return MIRRORED.check(fn)


def check_orders(fn) -> Check:
    """fn(n) -> int64 [n, n]: orders of n tiles, no two of which agree in any place."""
    try:
        for n in (2, 3, 4, 7, 9, 30):
            _judge_orders(answer(fn, (n,), like=torch.zeros(n, n)), n)
    except Stop as stop:
        return stop.check
    return Check(True, "correct: n orders, and no set can have more")


def check_distance_from_chance(fn) -> Check:
    """fn(right bool [N, 8]) -> number: the accuracy's distance from 1/8 in standard errors over pictures."""
    return DISTANCE.check(fn)


def check_ratios(fn) -> Check:
    """fn(name) -> number: phi(D x) over the sum of phi over the quarters, for one of four phi of a large picture."""
    return RATIOS.check(fn)


def check_smoothed_loss(fn) -> Check:
    """fn(logits [N, K], index [N], share) -> scalar: cross-entropy with label smoothing, mean over the batch."""
    return SMOOTHED.check(fn)


# ---- 06, 1: the ceiling of a data set ------------------------------------------------------------


def _seen(pictures: Tensor, p: Tensor) -> Tensor:
    """Joint probability of what is seen (row) and the turn (column): [X, 4]"""
    rows: dict[tuple, list[float]] = {}
    for picture, weight in zip(pictures, p.tolist(), strict=True):
        for k in range(4):
            key = tuple(picture.rot90(k, (0, 1)).flatten().tolist())
            rows.setdefault(key, [0.0] * 4)[k] += weight / 4
    return torch.tensor(list(rows.values()), dtype=torch.float64)


def _data_sets(g: torch.Generator) -> list[tuple]:
    def weights(n):
        p = torch.rand(n, generator=g).double() + 0.1
        return p / p.sum()

    plain = torch.arange(18).double().view(2, 3, 3)
    stripes = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    disc = torch.ones(2, 2).double()
    corner = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double()
    turned = torch.stack([corner.rot90(k, (0, 1)) for k in range(3)])
    return [
        (plain, weights(2)),
        (torch.stack([stripes, disc, corner]), weights(3)),
        (turned, weights(3)),
        (torch.cat([turned, stripes[None], stripes.mT[None]]), weights(5)),
    ]


CEILING = Exercise(
    sample=_data_sets,
    reference=lambda pictures, p: _seen(pictures, p).max(dim=1).values.sum(),
    mistakes=(
        (
            "every picture is looked at alone: a turned picture may equal another picture of the data",
            lambda pictures, p: sum(
                w * _seen(x[None], torch.ones(1)).max(dim=1).values.sum()
                for x, w in zip(pictures, p, strict=True)
            ),
        ),
        (
            "how probable the pictures are is not used",
            lambda pictures, p: _seen(pictures, torch.full_like(p, 1 / len(p))).max(dim=1).values.sum(),
        ),
        (
            "the best turn is chosen once for all that can be seen: the guess may depend on the picture",
            lambda pictures, p: _seen(pictures, p).sum(dim=0).max(),
        ),
        (
            "that is the accuracy of drawing the turn from p(t | x'); the best guess takes the most probable turn",
            lambda pictures, p: (
                _seen(pictures, p).square().sum(dim=1) / _seen(pictures, p).sum(dim=1)
            ).sum(),
        ),
        (
            "the four turns are not weighed: each has probability 1/4",
            lambda pictures, p: 4 * _seen(pictures, p).max(dim=1).values.sum(),
        ),
        (
            "that is the error of the best guess: subtract it from 1",
            lambda pictures, p: 1 - _seen(pictures, p).max(dim=1).values.sum(),
        ),
    ),
    praise="including pictures that are turns of each other",
)


# ---- 06, 2: a mirror after the turn --------------------------------------------------------------


MIRRORED = Exercise(
    sample=lambda g: [(m,) for m in (0.0, 0.1, 0.5, 0.8, 1.0)],
    reference=lambda m: (1 + max(m, 1 - m)) / 2,
    mistakes=(
        (
            "a mirror that is certain loses nothing: then every quarter turn looks like three, and you know it",
            lambda m: 1 - m / 2,
        ),
        (
            "upright pictures and half turns lose nothing: mirrored, they still are what they were",
            lambda m: max(m, 1 - m),
        ),
        ("nothing is lost only where the mirror comes before the turn", lambda m: 1.0),
        ("that is one in two for all answers: only a quarter and three quarters are confused", lambda m: 0.5),
        ("right at m = 1/2 only: what if the mirror is rare, or certain?", lambda m: 0.75),
        (
            "of the two confused answers you can name the likelier one: take the larger of m and 1 - m",
            lambda m: (1 + m * m + (1 - m) ** 2) / 2,
        ),
    ),
    praise="for a mirror that is rare, frequent or certain",
)


# ---- 06, 3: orders -------------------------------------------------------------------------------


def _judge_orders(rows: Tensor, n: int) -> None:
    if rows.shape != (n, n):
        raise failed(f"shape {list(rows.shape)} instead of [{n}, {n}]")
    if not torch.equal(rows.sort(dim=1).values, torch.arange(n).double().expand(n, n)):
        raise failed(f"n = {n}: some row is no order of 0 to {n - 1}: each number once")
    agree = (rows[:, None] == rows[None]).sum(dim=2) - n * torch.eye(n, dtype=torch.int64)
    if int(agree.max()):
        i, j = (agree > 0).nonzero()[0].tolist()
        raise failed(f"n = {n}: rows {i} and {j} agree in {int(agree[i, j])} places: they must differ in all")


# ---- 06, 4: clustered answers --------------------------------------------------------------------


def _answers(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, spread in ((40, 0.1), (200, 0.3), (12, 0.2)):
        ease = (0.15 + spread * torch.randn(n, 1, generator=g)).clamp(
            0, 1
        )  # of a picture, shared by its answers
        cases.append((torch.rand(n, 8, generator=g) < ease,))
    return cases


def _above(right: Tensor) -> Tensor:
    return right.double().mean() - 1 / 8


DISTANCE = Exercise(
    sample=_answers,
    reference=lambda right: _above(right) / (right.double().mean(dim=1).std() / len(right) ** 0.5),
    mistakes=(
        (
            "8 N answers are taken for independent: those about one picture are not, so average within pictures first",
            lambda right: _above(right) / (right.double().std() / right.numel() ** 0.5),
        ),
        (
            "8 N answers are taken for independent (binomial): those about one picture are not",
            lambda right: (
                _above(right) / (right.double().mean() * (1 - right.double().mean()) / right.numel()) ** 0.5
            ),
        ),
        (
            "8 N answers are taken for independent, with the deviation of a guess: those about one picture are not",
            lambda right: _above(right) / (7 / 64 / right.numel()) ** 0.5,
        ),
        (
            "divided by the deviation of the pictures: a mean of N numbers is surer by the root of N",
            lambda right: _above(right) / right.double().mean(dim=1).std(),
        ),
        (
            "the deviation divides by N: with N - 1 it is not too small",
            lambda right: _above(right) / (right.double().mean(dim=1).std(correction=0) / len(right) ** 0.5),
        ),
        (
            "averaged over the pictures instead of within them: the independent draws are pictures",
            lambda right: _above(right) / (right.double().mean(dim=0).std() / 8**0.5),
        ),
        ("that is the distance itself, in shares: divide by its standard error", _above),
        (
            "the sign is lost: below chance the distance is negative",
            lambda right: _above(right).abs() / (right.double().mean(dim=1).std() / len(right) ** 0.5),
        ),
    ),
    praise="and not fooled by eight answers about one picture",
)


# ---- 06b, 1: what adds up ------------------------------------------------------------------------

# D halves the side: lengths shrink to a half, areas to a quarter, shares and numbers stay
_RATIO = {"number": 1.0, "edge": 0.5, "ink": 0.25, "brightness": 0.25}

RATIOS = Exercise(
    sample=lambda g: [(name,) for name in _RATIO],
    reference=_RATIO.__getitem__,
    mistakes=(
        (
            "all of them add up over the quarters, but the left side is taken of the shrunken picture",
            lambda name: 4.0 if name == "brightness" else 1.0,
        ),
        (
            "a length and an area shrink with the picture: D halves its side",
            lambda name: _RATIO[name] if name == "brightness" else 1.0,
        ),
        (
            "four quarters have four means, which stand in the sum below: the ratio is not above 1",
            lambda name: 4.0 if name == "brightness" else _RATIO[name],
        ),
        (
            "D halves the side: an area becomes a quarter and not a half",
            lambda name: 0.5 if name == "ink" else _RATIO[name],
        ),
        (
            "the mean brightness does not change when a picture shrinks, but four quarters have four means",
            lambda name: 1.0 if name == "brightness" else _RATIO[name],
        ),
        (
            "the ratio is the other way round: the whole over the sum of the quarters",
            lambda name: 1 / _RATIO[name],
        ),
        (
            "D halves the side: a length becomes a half, an area a quarter",
            lambda name: {"edge": 0.25, "ink": 0.5}.get(name, _RATIO[name]),
        ),
        (
            "D halves the side: a length becomes a half and not a quarter",
            lambda name: 0.25 if name == "edge" else _RATIO[name],
        ),
    ),
    praise="so of these four only the number of things solves the equation",
)


# ---- 06b, 2: label smoothing ---------------------------------------------------------------------


def _classes(g: torch.Generator) -> list[tuple]:
    return [
        (2 * torch.randn(n, k, generator=g).double(), torch.randint(k, (n,), generator=g), share)
        for n, k, share in ((4, 6, 0.8), (7, 3, 0.3), (5, 11, 0.0))
    ]


def _smooth(logits: Tensor, index: Tensor, share: float) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, index, label_smoothing=share)


def _parts(logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    log_p = logits.log_softmax(dim=1)
    return -log_p[torch.arange(len(index)), index].mean(), -log_p.mean(dim=1).mean()


SMOOTHED = Exercise(
    sample=_classes,
    reference=_smooth,
    mistakes=(
        ("the smoothing is not used", lambda z, i, s: _smooth(z, i, 0.0)),
        (
            "the share is spread over the other classes only: here it is spread over all, the right one too",
            lambda z, i, s: (
                (1 - s) * _parts(z, i)[0]
                + s * (z.shape[1] * _parts(z, i)[1] - _parts(z, i)[0]) / (z.shape[1] - 1)
            ),
        ),
        (
            "the right class gets 1 - share and no part of the share: it is spread over all classes, this one too",
            lambda z, i, s: (
                (1 - s) * _parts(z, i)[0] + s / z.shape[1] * (z.shape[1] * _parts(z, i)[1] - _parts(z, i)[0])
            ),
        ),
        ("share and rest have changed places", lambda z, i, s: _smooth(z, i, 1 - s)),
        (
            "the spread part is summed over the classes: every class gets share / K",
            lambda z, i, s: (1 - s) * _parts(z, i)[0] + s * z.shape[1] * _parts(z, i)[1],
        ),
        ("the sum over the batch: take the mean", lambda z, i, s: len(z) * _smooth(z, i, s)),
    ),
    praise="with the right class getting its part of the share too",
)
