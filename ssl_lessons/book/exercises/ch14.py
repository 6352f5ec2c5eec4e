"""Chapter 14: the queue, the half-life of a moving average, hard-negative weights, an oracle's mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .core import Check, Exercise


def check_enqueue(fn) -> Check:
    """fn(queue [K, D], pointer, keys [N, D]) -> the queue [K, D] after the keys have replaced the N oldest rows.

    `pointer` is the place of the oldest row; the next older ones follow, and after the last row comes row 0.  The keys
    are stored with unit length.
    """
    return ENQUEUE.check(fn)


def check_momentum_for(fn) -> Check:
    """fn(half_life) -> the momentum m whose weights halve every `half_life` steps."""
    return MOMENTUM_FOR.check(fn)


def check_hard_weights(fn) -> Check:
    """fn(similarities [N, K], temperature, beta) -> weights [N, K] of mean 1 in every row.

    Robinson et al. 2021, eq. 4: a negative's weight is proportional to exp(beta * similarity / temperature).
    """
    return HARD_WEIGHTS.check(fn)


def check_false_negative_mask(fn) -> Check:
    """fn(labels [N]) -> bool [2N, 2N], True where a view must be left out of another's denominator.

    Rows are anchors, columns candidates, views ordered as torch.cat([z1, z2]).  Left out are the anchor itself and all
    views of its class, except its partner.
    """
    return FALSE_NEGATIVE_MASK.check(fn)


# ---- 1: the queue --------------------------------------------------------------------------------------------


def _queues(g: torch.Generator) -> list[tuple]:
    cases = [(6, 0, 2), (6, 3, 2), (6, 5, 3), (5, 4, 5)]
    return [
        (
            normalize(torch.randn(k, 3, generator=g).double(), dim=1),
            p,
            3 * torch.randn(n, 3, generator=g).double(),
        )
        for k, p, n in cases
    ]


def _enqueue(places, unit=lambda z: normalize(z, dim=1)):
    """An enqueue that writes to places(K, pointer, N)."""

    def enqueue(queue: Tensor, pointer: int, keys: Tensor) -> Tensor:
        queue, at = queue.clone(), places(len(queue), pointer, len(keys))
        queue[at] = unit(keys)[: len(queue[at])]
        return queue

    return enqueue


def _around(k: int, pointer: int, n: int) -> Tensor:
    return (pointer + torch.arange(n)) % k


ENQUEUE = Exercise(
    sample=_queues,
    reference=_enqueue(_around),
    mistakes=(
        ("the keys are stored as they are: give them unit length first", _enqueue(_around, unit=lambda z: z)),
        (
            "the keys are normalised over the batch axis: each row gets unit length (dim=1)",
            _enqueue(_around, unit=lambda z: normalize(z, dim=0)),
        ),
        (
            "the end of the queue is not handled: after the last row comes row 0, so take places modulo K",
            _enqueue(lambda k, p, n: torch.arange(p, min(p + n, k))),
        ),
        ("the keys always start at row 0: start at the pointer", _enqueue(lambda k, p, n: torch.arange(n))),
        (
            "the newest rows are overwritten: they lie before the pointer, the oldest from the pointer on",
            _enqueue(lambda k, p, n: (p - n + torch.arange(n)) % k),
        ),
        (
            "the pointer is off by one: the oldest row is at the pointer itself",
            _enqueue(lambda k, p, n: (p + 1 + torch.arange(n)) % k),
        ),
        (
            "the order of the keys is reversed: the first key goes to the pointer",
            _enqueue(lambda k, p, n: (p + torch.arange(n)).flip(0) % k),
        ),
        ("nothing is replaced: return the queue with the new keys in it", lambda queue, pointer, keys: queue),
        (
            "the queue has grown: the new keys replace the oldest, K stays",
            lambda queue, pointer, keys: torch.cat([queue, normalize(keys, dim=1)]),
        ),
    ),
)

# ---- 2: the half-life ----------------------------------------------------------------------------------------

MOMENTUM_FOR = Exercise(
    sample=lambda g: [(1.0,), (7.0,), (69.0,), (693.0,)],
    reference=lambda h: 0.5 ** (1 / h),
    mistakes=(
        (
            "1 - 1/h is the momentum whose weights fall to 1/e, not to a half, in about h steps",
            lambda h: 1 - 1 / h,
        ),
        ("exp(-1/h) falls to 1/e in h steps: solve m^h = 1/2", lambda h: math.exp(-1 / h)),
        ("this is 1 - m, the share of the new weights", lambda h: 1 - 0.5 ** (1 / h)),
        ("m^h must be 1/2: take the h-th root, not the power", lambda h: 0.5**h),
        ("this is -log m: the momentum is its exponential", lambda h: math.log(2) / h),
        (
            "1 - log 2 / h is only nearly right, and 0.31 instead of 0.5 for h = 1",
            lambda h: 1 - math.log(2) / h,
        ),
    ),
)

# ---- 3: hard-negative weights ----------------------------------------------------------------------------------


def _similarities(g: torch.Generator) -> list[tuple]:
    cases = [(3, 5, 0.5, 1.0), (4, 7, 0.2, 0.5), (2, 6, 0.5, 0.0), (3, 4, 0.1, 2.0)]
    return [(2 * torch.rand(n, k, generator=g).double() - 1, t, beta) for n, k, t, beta in cases]


HARD_WEIGHTS = Exercise(
    sample=_similarities,
    reference=lambda s, t, beta: s.shape[1] * (beta * s / t).softmax(dim=1),
    mistakes=(
        (
            "the rows sum to 1: multiply by K, so that their mean is 1",
            lambda s, t, beta: (beta * s / t).softmax(1),
        ),
        (
            "the temperature is missing: beta * similarity / temperature",
            lambda s, t, beta: s.shape[1] * (beta * s).softmax(1),
        ),
        (
            "beta is missing: with beta = 0 all weights must be 1",
            lambda s, t, beta: s.shape[1] * (s / t).softmax(1),
        ),
        (
            "the sign is wrong: the similar negatives get the large weights",
            lambda s, t, beta: s.shape[1] * (-beta * s / t).softmax(1),
        ),
        (
            "the weights are not divided by their mean: a row's mean must be 1",
            lambda s, t, beta: (beta * s / t).exp(),
        ),
        (
            "softmax over the wrong axis: the negatives of one anchor are a row (dim=1)",
            lambda s, t, beta: len(s) * (beta * s / t).softmax(0),
        ),
        (
            "divided by the mean over the whole matrix: every anchor (row) has its own",
            lambda s, t, beta: s.numel() * (beta * s / t).flatten().softmax(0).view_as(s),
        ),
    ),
)

# ---- 4: the oracle's mask ------------------------------------------------------------------------------------


def _mask(labels: Tensor, same=True, itself=True, partner=False, views=2) -> Tensor:
    n, y = len(labels), labels.repeat(views)
    mask = (y[:, None] == y) if same else torch.zeros(len(y), len(y), dtype=torch.bool)
    eye = torch.eye(len(y), dtype=torch.bool)
    mask = torch.where(eye, torch.tensor(itself), mask)
    if views == 2:
        mask = torch.where(eye.roll(n, 1), torch.tensor(partner), mask)
    return mask


FALSE_NEGATIVE_MASK = Exercise(
    sample=lambda g: [
        (torch.tensor([0, 1, 0, 2]),),
        (torch.tensor([3, 3, 1, 3, 1]),),
        (torch.tensor([0, 1]),),
    ],
    reference=_mask,
    mistakes=(
        ("the partner is left out: it is the positive and must stay", lambda y: _mask(y, partner=True)),
        ("the anchor itself is not left out", lambda y: _mask(y, itself=False)),
        (
            "other images of the class are still in: leave out every view with the anchor's label",
            lambda y: _mask(y, same=False),
        ),
        ("the mask is upside down: True where a view must be left out", lambda y: ~_mask(y)),
        ("2N views are needed, labels of both halves: labels.repeat(2)", lambda y: _mask(y, views=1)),
        (
            "the views are ordered as torch.cat([z1, z2]): repeat the list of labels, not each label",
            lambda y: _mask(y)[_interleaved(y)][:, _interleaved(y)],
        ),
    ),
)


def _interleaved(labels: Tensor) -> Tensor:
    return torch.arange(2 * len(labels)).view(2, -1).T.flatten()
