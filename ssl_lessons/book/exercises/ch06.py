"""Chapter 06: quarter turns, the best possible guess, the next permutation, the counting loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.methods.counting import counting
from ssl_lessons.views.pretext import hamming, permutation_set, rotate

from .core import Check, Exercise


def check_rotate(fn) -> Check:
    """fn(x [N, C, S, S], k) -> like x: every image turned counter-clockwise by k quarters, k a whole number."""
    return ROTATE.check(fn)


def check_ceiling(fn) -> Check:
    """fn(joint [X, T]) -> number: the best possible accuracy of guessing t (column) from x (row)."""
    return CEILING.check(fn)


def check_next_permutation(fn) -> Check:
    """fn(chosen [P, T], candidates [C, T]) -> the candidate [T] whose *smallest* distance to `chosen` is largest."""
    return NEXT_PERMUTATION.check(fn)


def check_counting(fn) -> Check:
    """fn(whole [N, K], parts [N, 4, K], margin) -> scalar: the counting loss, y the next image of the batch."""
    return COUNTING.check(fn)


# ---- 1: rotation ---------------------------------------------------------------------------------


def _turned(x: Tensor, k: int) -> Tensor:
    return rotate(x, torch.full((len(x),), int(k) % 4))


ROTATE = Exercise(
    sample=lambda g: [(torch.randn(2, 3, 5, 5, generator=g).double(), k) for k in (0, 1, 2, 3, 5)],
    reference=_turned,
    mistakes=(
        ("clockwise: a quarter turn takes the top right corner to the top left", lambda x, k: _turned(x, -k)),
        ("only half turns come out: k quarters are k times 90 degrees", lambda x, k: _turned(x, 2 * k)),
        (
            "transposed once per turn: a transpose is a reflection, flip one axis as well",
            lambda x, k: x.mT if k % 2 else x,
        ),
        ("flipped, not turned: a turn never mirrors the picture", lambda x, k: x.flip(-1) if k % 2 else x),
        ("the picture is not turned at all", lambda x, k: x),
        (
            "every image is turned further than the one before: k is the same for all",
            lambda x, k: _each(x, k),
        ),
    ),
    praise="for every k, also beyond 3",
)


def _each(x: Tensor, k: int) -> Tensor:
    return rotate(x, (torch.arange(len(x)) + k) % 4)


# ---- 2: the ceiling ------------------------------------------------------------------------------


def _joints(g: torch.Generator) -> list[tuple]:
    cases = []
    for rows, columns in [(6, 4), (3, 8), (10, 2)]:
        joint = torch.rand(rows, columns, generator=g).double().pow(2)
        cases.append((joint / joint.sum(),))
    symmetric = torch.rand(5, 1, generator=g).double().expand(5, 4).contiguous()
    return [*cases, (symmetric / symmetric.sum(),)]


CEILING = Exercise(
    sample=_joints,
    reference=lambda joint: joint.max(dim=1).values.sum(),
    mistakes=(
        (
            "the best t is chosen once for all x: the guess may depend on x, so take the maximum in every row",
            lambda joint: joint.sum(dim=0).max(),
        ),
        (
            "maximum over x: you see x and guess t, so take it along the row",
            lambda joint: joint.max(dim=0).values.sum(),
        ),
        (
            "the rows are averaged, not weighed: x turns up with probability joint.sum(dim=1)",
            lambda joint: (joint / joint.sum(dim=1, keepdim=True)).max(dim=1).values.mean(),
        ),
        (
            "that is the accuracy of drawing t from p(t | x); the best guess always takes the most probable t",
            lambda joint: (joint.square().sum(dim=1) / joint.sum(dim=1)).sum(),
        ),
        ("that is the probability of one single cell; add up the rows", lambda joint: joint.max()),
        (
            "that is the error of the best guess: subtract it from 1",
            lambda joint: 1 - joint.max(dim=1).values.sum(),
        ),
    ),
    praise="including the symmetric case, where it is chance",
)


# ---- 3: permutations -----------------------------------------------------------------------------


def _orders(g: torch.Generator) -> list[tuple]:
    cases = []
    for tiles, chosen, candidates in [(4, 3, 9), (6, 4, 30), (9, 5, 60), (5, 1, 12)]:
        drawn = torch.stack([torch.randperm(tiles, generator=g) for _ in range(candidates)])
        cases.append((permutation_set(tiles, chosen, seed=tiles), drawn))
    # sums and minima disagree: the first candidate repeats a chosen order, and is far from all the others
    chosen = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 3, 2], [3, 2, 1, 0]])
    return [*cases, (chosen, torch.tensor([[3, 2, 1, 0], [2, 3, 1, 0], [1, 0, 3, 2]]))]


def _next(chosen: Tensor, candidates: Tensor) -> Tensor:
    return candidates[hamming(candidates, chosen).min(dim=1).values.argmax()]


NEXT_PERMUTATION = Exercise(
    sample=_orders,
    reference=_next,
    mistakes=(
        (
            "farthest on average: one chosen order may still be close, or the same; take the smallest distance",
            lambda chosen, candidates: candidates[hamming(candidates, chosen).sum(dim=1).argmax()],
        ),
        (
            "farthest by its largest distance: it may repeat another chosen order; take the smallest",
            lambda chosen, candidates: candidates[hamming(candidates, chosen).max(dim=1).values.argmax()],
        ),
        (
            "the closest candidate: the orders should be far apart",
            lambda chosen, candidates: candidates[hamming(candidates, chosen).min(dim=1).values.argmin()],
        ),
        (
            "the distance to the last chosen order only: look at all of them",
            lambda chosen, candidates: candidates[hamming(candidates, chosen[-1:])[:, 0].argmax()],
        ),
        (
            "squared differences of tile numbers: swapping tiles 0 and 8 is no larger a change than 0 and 1",
            lambda chosen, candidates: candidates[
                (candidates[:, None] - chosen[None]).square().sum(dim=2).min(dim=1).values.argmax()
            ],
        ),
        (
            "that is the place of the candidate, return the candidate itself",
            lambda chosen, candidates: hamming(candidates, chosen).min(dim=1).values.argmax(),
        ),
    ),
    praise="so that no two orders are easily confused",
)


# ---- 4: counting ---------------------------------------------------------------------------------


def _counts(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, k, margin in [(4, 3, 2.0), (6, 5, 5.0), (2, 2, 1.0), (5, 4, 40.0)]:
        whole = 3 * torch.rand(n, k, generator=g).double()
        cases.append((whole, torch.rand(n, 4, k, generator=g).double(), margin))
    return cases


def _distances(whole: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    total = parts.sum(dim=1)
    return (whole - total).square().sum(dim=1), (whole.roll(-1, 0) - total).square().sum(dim=1)


def _hinged(same: Tensor, other: Tensor, margin: float) -> Tensor:
    return (same + (margin - other).relu()).mean()


COUNTING = Exercise(
    sample=_counts,
    reference=counting,
    mistakes=(
        (
            "the contrastive term is missing: counting nothing would be free",
            lambda w, p, m: counting(w, p, m, contrast=0),
        ),
        (
            "the hinge is missing: once two images differ by the margin, nothing more is to be earned",
            lambda w, p, m: (_distances(w, p)[0] + m - _distances(w, p)[1]).mean(),
        ),
        (
            "the quarters are averaged: counts add up",
            lambda w, p, m: counting(w, p / 4, m),
        ),
        (
            "the distances are averaged over the counts: the margin is for their sum",
            lambda w, p, m: _hinged(*(d / w.shape[1] for d in _distances(w, p)), m),
        ),
        (
            "the squared distances are square-rooted",
            lambda w, p, m: _hinged(*(d.sqrt() for d in _distances(w, p)), m),
        ),
        (
            "the hinge compares an image with itself: y is the next image of the batch",
            lambda w, p, m: _hinged(_distances(w, p)[0], _distances(w, p)[0], m),
        ),
        (
            "y is the previous image of the batch, not the next: roll by -1",
            lambda w, p, m: _hinged(
                _distances(w, p)[0], (w.roll(1, 0) - p.sum(dim=1)).square().sum(dim=1), m
            ),
        ),
        ("the sum over the batch: take the mean", lambda w, p, m: len(w) * counting(w, p, m)),
        (
            "the hinge is turned around: other images should be at least the margin apart",
            lambda w, p, m: (_distances(w, p)[0] + (_distances(w, p)[1] - m).relu()).mean(),
        ),
    ),
    praise="with the term that makes zero expensive",
)
