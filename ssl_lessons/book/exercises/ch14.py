"""Chapters 14 and 14b: a queue and its momentum, old keys of one's own picture; hard, debiased, false negatives."""

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


def check_momentum_range(fn) -> Check:
    """fn(queue, batch, steps) -> (lowest, highest) momentum with queue / batch <= 1 / (1 - m) <= steps."""
    return MOMENTUM_RANGE.check(fn)


def check_meets_itself(fn) -> Check:
    """fn(images, queue, batch) -> the share of queries whose own picture has an older key in the queue.

    Every pass goes through all images in a new random order; batch divides queue and images, queue <= images.  After
    the first pass.
    """
    return MEETS_ITSELF.check(fn)


def check_debiased_mean(fn) -> Check:
    """fn(all_mean, same_mean, share) -> the mean of exp(s / tau) over true negatives alone.

    all_mean: the mean over all negatives, of which the share `share` is false; same_mean: the mean over the anchor's
    own class.  Chuang et al. 2020, eq. 5.
    """
    return DEBIASED_MEAN.check(fn)


def check_pull_threshold(fn) -> Check:
    """fn(similarities [N, K], temperature, beta) -> the cosine [N] below which a row's negatives are pulled by HCL."""
    return PULL_THRESHOLD.check(fn)


def check_false_negative_mask(fn) -> Check:
    """fn(labels [N]) -> bool [2N, 2N], True where a view must be left out of another's denominator.

    Rows are anchors, columns candidates, views ordered as torch.cat([z1, z2]).  Left out are the anchor itself and all
    views of its class, except its partner.  A label of -1 says nothing: such views are left out for nobody else.
    """
    return FALSE_NEGATIVE_MASK.check(fn)


# ---- the queue --------------------------------------------------------------------------------------------


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

# ---- the half-life ----------------------------------------------------------------------------------------

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

# ---- the three clocks ------------------------------------------------------------------------------------------

MOMENTUM_RANGE = Exercise(
    sample=lambda g: [(2048, 256, 300), (65536, 256, 1_000_000), (512, 64, 1280), (4096, 32, 500)],
    reference=lambda k, n, t: (1 - n / k, 1 - 1 / t),
    mistakes=(
        ("the order is (lowest, highest)", lambda k, n, t: (1 - 1 / t, 1 - n / k)),
        ("a key waits queue / batch steps, not queue", lambda k, n, t: (1 - 1 / k, 1 - 1 / t)),
        ("a key waits queue / batch steps, not batch", lambda k, n, t: (1 - 1 / n, 1 - 1 / t)),
        ("these are the lags 1 / (1 - m): solve for m", lambda k, n, t: (k / n, t)),
        ("these are 1 - m: solve for m", lambda k, n, t: (n / k, 1 / t)),
        (
            "these are momenta whose half-life fits: the inequality has 1 / (1 - m) in its middle",
            lambda k, n, t: (0.5 ** (n / k), 0.5 ** (1 / t)),
        ),
    ),
)

# ---- old keys of one's own picture -----------------------------------------------------------------------------


def _meets(images: int, queue: int, batch: int) -> float:
    """Places p now, q a pass before, uniform over P = images / batch: it is met if p + P - q <= queue / batch."""
    wait, per_pass = queue / batch, images / batch
    return wait * (wait + 1) / 2 / per_pass**2


MEETS_ITSELF = Exercise(
    sample=lambda g: [(8192, 2048, 256), (8192, 4096, 256), (1024, 1024, 64), (4096, 128, 128)],
    reference=_meets,
    mistakes=(
        (
            "queue / images would be right if the pictures were drawn anew at every step: within a pass none comes "
            "twice",
            lambda n, k, b: k / n,
        ),
        (
            "half of queue / images forgets that a picture must come late, then early",
            lambda n, k, b: k / n / 2,
        ),
        (
            "the square of queue / images counts all pairs of places: only half of them are near enough",
            lambda n, k, b: (k / n) ** 2,
        ),
        (
            "places are whole numbers: W (W + 1) / 2 pairs of them, not W^2 / 2",
            lambda n, k, b: (k / n) ** 2 / 2,
        ),
        (
            "a key of age queue / batch is the oldest that is still there: W (W + 1) / 2 pairs, not W (W - 1) / 2",
            lambda n, k, b: (k / b) * (k / b - 1) / 2 / (n / b) ** 2,
        ),
        ("this is the share of queries that do not meet themselves", lambda n, k, b: 1 - _meets(n, k, b)),
        ("divide the number of pairs of places by P squared", lambda n, k, b: (k / b) * (k / b + 1) / 2),
    ),
)

# ---- the mean over true negatives ------------------------------------------------------------------------------

DEBIASED_MEAN = Exercise(
    sample=lambda g: [(2.0, 6.0, 0.1), (1.5, 1.0, 0.25), (3.0, 3.0, 0.4), (0.8, 2.5, 0.0), (1.0, 12.0, 0.1)],
    reference=lambda m, same, t: (m - t * same) / (1 - t),
    mistakes=(
        ("what is left must be divided by the share of true negatives", lambda m, same, t: m - t * same),
        (
            "divided by the share of false negatives: divide by 1 - share",
            lambda m, same, t: (m - t * same) / (t or 1),
        ),
        ("the false ones count with their share: share * same_mean", lambda m, same, t: (m - same) / (1 - t)),
        (
            "this is the mixture itself: solve it for the true negatives",
            lambda m, same, t: t * same + (1 - t) * m,
        ),
        ("the two shares are swapped", lambda m, same, t: (m - (1 - t) * same) / (t or 1)),
        ("the sign is wrong: the false ones are taken out", lambda m, same, t: (m + t * same) / (1 - t)),
    ),
)

# ---- whom HCL pulls ------------------------------------------------------------------------------------------


def _similarities(g: torch.Generator) -> list[tuple]:
    cases = [(3, 5, 0.5, 1.0), (4, 7, 0.2, 0.5), (3, 4, 0.1, 2.0)]
    return [(2 * torch.rand(n, k, generator=g).double() - 1, t, beta) for n, k, t, beta in cases]


def _log_z(s: Tensor, c: float, dim: int = 1) -> Tensor:
    return (c * s).logsumexp(dim=dim)


PULL_THRESHOLD = Exercise(
    sample=_similarities,
    reference=lambda s, t, b: t * (math.log(b / (1 + b)) + _log_z(s / t, 1 + b) - _log_z(s / t, b)),
    mistakes=(
        (
            "the two softmaxes are equal there, but their factors 1 + beta and beta are not: they move the point",
            lambda s, t, b: t * (_log_z(s / t, 1 + b) - _log_z(s / t, b)),
        ),
        (
            "the factors are upside down: (1 + beta) r on one side, beta r on the other",
            lambda s, t, b: t * (math.log((1 + b) / b) + _log_z(s / t, 1 + b) - _log_z(s / t, b)),
        ),
        (
            "the normalisers are swapped: the one of 1 + beta divides the first share",
            lambda s, t, b: t * (math.log(b / (1 + b)) - _log_z(s / t, 1 + b) + _log_z(s / t, b)),
        ),
        (
            "that is s / temperature: multiply by the temperature",
            lambda s, t, b: math.log(b / (1 + b)) + _log_z(s / t, 1 + b) - _log_z(s / t, b),
        ),
        (
            "the temperature is missing in the softmaxes",
            lambda s, t, b: t * (math.log(b / (1 + b)) + _log_z(s, 1 + b) - _log_z(s, b)),
        ),
        (
            "that is exp(s / temperature): take its logarithm, times the temperature",
            lambda s, t, b: b / (1 + b) * (_log_z(s / t, 1 + b) - _log_z(s / t, b)).exp(),
        ),
        (
            "one threshold for all anchors: each row has its own softmax",
            lambda s, t, b: (
                t * (math.log(b / (1 + b)) + _log_z(s / t, 1 + b, (0, 1)) - _log_z(s / t, b, (0, 1)))
            ).expand(len(s)),
        ),
    ),
)

# ---- the oracle's mask ------------------------------------------------------------------------------------


def _mask(labels: Tensor, same=True, itself=True, partner=False, views=2, known=True) -> Tensor:
    n, y = len(labels), labels.repeat(views)
    if known:  # an unknown label is nobody else's
        y = torch.where(y < 0, -1 - torch.arange(len(y)), y)
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
        (torch.tensor([0, -1, 0, -1, 2]),),
    ],
    reference=_mask,
    mistakes=(
        (
            "two views without a label (-1) are taken for one class: nobody knows that they are",
            lambda y: _mask(y, known=False),
        ),
        (
            "views without a label are left out altogether: they are negatives like others",
            lambda y: _mask(y) | (y.repeat(2) < 0)[None],
        ),
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
