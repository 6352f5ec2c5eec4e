"""Chapter 10b: what a still picture can be answered, how good a frame difference can be, the hardest negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_answers", "check_difference", "check_ranking", "judge_forecast"]


def check_answers(fn) -> Check:
    """fn(look [N], moved [N] bool, looks) -> [looks]: the probabilities with the lowest cross-entropy."""
    return ANSWERS.check(fn)


def check_difference(fn) -> Check:
    """fn(thing [S, S] bool, down, right) -> the overlap of a frame difference with the thing; glued edges."""
    return DIFFERENCE.check(fn)


def check_ranking(fn) -> Check:
    """fn(a [N, D], b [N, D], margin, k) -> the ranking loss with the k hardest negatives of each anchor."""
    return RANKING.check(fn)


# --- 10b.1: the best answer about a still picture ------------------------------------------------------------------


def _pixels(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, looks in ((60, 3), (200, 5), (90, 4)):
        look = torch.randint(looks, (n,), generator=g)
        look[: 2 * looks] = torch.arange(looks).repeat(2)
        chance = torch.linspace(0.15, 0.8, looks)[look]
        cases.append((look, torch.rand(n, generator=g) < chance, looks))
    return cases


def _means(look: Tensor, moved: Tensor, looks: int) -> Tensor:
    one = F.one_hot(look, looks).double()
    return (one * moved[:, None]).sum(dim=0) / one.sum(dim=0)


def _shares_of_movers(look: Tensor, moved: Tensor, looks: int) -> Tensor:
    one = F.one_hot(look, looks).double()
    return (one * moved[:, None]).sum(dim=0) / moved.sum()


ANSWERS = Exercise(
    sample=_pixels,
    reference=_means,
    mistakes=(
        (
            "this is the majority's vote; cross-entropy wants the share itself",
            lambda x, m, k: (_means(x, m, k) > 0.5).double(),
        ),
        (
            "this says how a moving pixel looks; asked is how often a pixel that looks so moves",
            _shares_of_movers,
        ),
        (
            "the network sees how the pixel looks: one answer for each look, not one for all",
            lambda x, m, k: m.double().mean().expand(k),
        ),
        ("this is how often a pixel that looks so rests", lambda x, m, k: 1 - _means(x, m, k)),
        ("these are logits: return probabilities", lambda x, m, k: torch.logit(_means(x, m, k))),
        (
            "both outcomes count, once each, with no pseudo-counts",
            lambda x, m, k: (
                (F.one_hot(x, k).double() * m[:, None]).sum(dim=0) + 1
            ) / (F.one_hot(x, k).double().sum(dim=0) + 2),
        ),
    ),
    praise="what moves in a quarter of its films is called a thing with probability 1/4, and at a cut of 1/2 never",
)  # fmt: skip

# --- 10b.2: how good can a frame difference be? --------------------------------------------------------------------


def _things(g: torch.Generator) -> list[tuple]:
    cases = []
    for high, wide, down, right in ((3, 4, 1, 0), (2, 6, 0, 2), (4, 4, 2, 2), (3, 3, 5, 4)):
        thing = torch.zeros(12, 12, dtype=torch.bool)
        thing[4 : 4 + high, 3 : 3 + wide] = True
        cases.append((thing, down, right))
    return cases


def _moved(thing: Tensor, down: int, right: int) -> Tensor:
    return thing.roll((down, right), (0, 1))


def _iou(a: Tensor, b: Tensor) -> Tensor:
    return (a & b).sum().double() / (a | b).sum()


DIFFERENCE = Exercise(
    sample=_things,
    reference=lambda a, d, r: _iou(a ^ _moved(a, d, r), a),
    mistakes=(
        (
            "this compares the thing with itself a moment later; the mask is where the two frames differ",
            lambda a, d, r: _iou(a, _moved(a, d, r)),
        ),
        (
            "where the thing goes to differs as well: it belongs to the mask, and to the union",
            lambda a, d, r: _iou(a & ~_moved(a, d, r), a),
        ),
        (
            "the middle, where both frames show the thing, does not differ: exclusive or, not or",
            lambda a, d, r: _iou(a | _moved(a, d, r), a),
        ),
        (
            "this is the share of the mask that is thing: divide by the union",
            lambda a, d, r: (a & ~_moved(a, d, r)).sum().double() / (a ^ _moved(a, d, r)).sum(),
        ),
    ),
    praise="it is the part left over the union of both places: one half at most",
)

# --- 10b.3: ranking with the hardest negatives ---------------------------------------------------------------------


def _batches(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, margin, k in ((6, 3, 0.5, 2), (8, 4, 0.3, 1), (10, 5, 0.8, 4)):
        a = 2 * torch.randn(n, d, generator=g).double()
        cases.append((a, a + torch.randn(n, d, generator=g).double(), margin, k))
    return cases


def _ranking(
    a: Tensor, b: Tensor, margin: float, k: int, *, unit=True, own=False, largest=True, hinge=True, distance=None
) -> Tensor:  # fmt: skip
    if unit:
        a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    d = 1 - a @ b.T if distance is None else distance(a, b)
    other = d if own else d.clone().fill_diagonal_(torch.inf if largest else -torch.inf)
    near = other.topk(k, dim=1, largest=not largest).values
    gap = d.diagonal()[:, None] - near + margin
    return (gap.clamp(min=0) if hinge else gap).mean()


RANKING = Exercise(
    sample=_batches,
    reference=_ranking,
    mistakes=(
        (
            "a row's own partner is no negative: leave it out before you look for the hardest",
            lambda a, b, m, k: _ranking(a, b, m, k, own=True),
        ),
        (
            "these are the easiest negatives: the hardest are nearest to the anchor",
            lambda a, b, m, k: _ranking(a, b, m, k, largest=False),
        ),
        (
            "a triplet that is right by more than the margin costs nothing",
            lambda a, b, m, k: _ranking(a, b, m, k, hinge=False),
        ),
        ("divide the vectors by their lengths: cosines", lambda a, b, m, k: _ranking(a, b, m, k, unit=False)),
        (
            "squared distances of unit vectors are twice 1 - cosine",
            lambda a, b, m, k: _ranking(a, b, m, k, distance=lambda x, y: 2 - 2 * x @ y.T),
        ),
        (
            "the mean over anchors and negatives, not their sum",
            lambda a, b, m, k: _ranking(a, b, m, k) * len(a) * k,
        ),
        (
            "all negatives count here: the k nearest of each anchor only",
            lambda a, b, m, k: _ranking(a, b, m, len(a) - 1),
        ),
    ),
    praise="half of a triplet loss on unit vectors with twice the margin",
)
