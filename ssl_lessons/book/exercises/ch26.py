"""Chapter 26: a momentum by its oldest key, keys back in order, the batch that fits, what shuffling leaves."""

from __future__ import annotations

import torch

from .core import Check, Exercise


def check_momentum_for_queue(fn) -> Check:
    """fn(queue, batch, share) -> the momentum that leaves `share` of an encoder when the oldest key is thrown out."""
    return MOMENTUM_FOR_QUEUE.check(fn)


def check_back_in_order(fn) -> Check:
    """fn(shuffled_keys [N, D], order [N]) -> keys [N, D] of images 0 .. N - 1; row i of the input is image order[i]."""
    return BACK_IN_ORDER.check(fn)


def check_largest_batches(fn) -> Check:
    """fn(room, per_view, queue, dim) -> (largest batch of SimCLR, of MoCo), two whole numbers."""
    return LARGEST_BATCHES.check(fn)


def check_company_left(fn) -> Check:
    """fn(n, size) -> share of a query's company that is, on average, in its key's group after shuffling."""
    return COMPANY_LEFT.check(fn)


MOMENTUM_FOR_QUEUE = Exercise(
    sample=lambda g: [(2048, 256, 0.9), (4096, 16, 0.5), (1000, 300, 0.05)],
    reference=lambda queue, batch, share: share ** (batch / queue),
    mistakes=(
        (
            "upside down: m is multiplied queue / batch times, so take that root of the share",
            lambda k, n, s: s ** (k / n),
        ),
        (
            "counted in pictures: m is multiplied once per step, not once per key",
            lambda k, n, s: s ** (1 / k),
        ),
        (
            "counted in pictures of one batch: a key stays for queue / batch steps",
            lambda k, n, s: s ** (1 / n),
        ),
        (
            "a queue need not hold a whole number of batches: do not round queue / batch",
            lambda k, n, s: s ** (1 / (k // n)),
        ),
        (
            "1 - m is shared out evenly, which is only near the answer: m is multiplied, so take a root",
            lambda k, n, s: 1 - (1 - s) * n / k,
        ),
        (
            "the mean lag 1 / (1 - m) is not a share: solve m ** (queue / batch) = share",
            lambda k, n, s: 1 - n / k,
        ),
        (
            "this is what is gone, not what is left: take the root of the share itself",
            lambda k, n, s: (1 - s) ** (n / k),
        ),
    ),
    praise="at another batch, the same share gives the same forgetting per picture",
)


def _shuffled(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d in [(6, 3), (9, 2), (16, 4)]:
        order = torch.randperm(n, generator=g)
        cases.append((torch.randn(n, d, generator=g).double(), order))
    return cases


BACK_IN_ORDER = Exercise(
    sample=_shuffled,
    reference=lambda keys, order: keys[order.argsort()],
    mistakes=(
        ("shuffled a second time: indexing with `order` shuffles, its inverse undoes it", lambda k, o: k[o]),
        ("left shuffled: each query would be paired with the key of another image", lambda k, o: k),
        ("turned round: a random order is not undone by reversing it", lambda k, o: k.flip(0)),
    ),
)


LARGEST_BATCHES = Exercise(
    sample=lambda g: [
        (1_000_000, 900, 2048, 128),
        (50_000, 300, 64, 32),
        (4000, 60, 64, 128),
        (7000, 100, 4, 10),
    ],
    reference=lambda room, view, queue, dim: (room // (2 * view), max(0, room - queue * dim) // view),
    mistakes=(
        (
            "SimCLR trains on two views of every picture, and both get a gradient",
            lambda r, v, k, d: (r // v, max(0, r - k * d) // v),
        ),
        (
            "MoCo's keys get no gradient: one view per picture is kept, not two",
            lambda r, v, k, d: (r // (2 * v), max(0, r - k * d) // (2 * v)),
        ),
        ("the queue has been forgotten: it takes its place first", lambda r, v, k, d: (r // (2 * v), r // v)),
        (
            "a queue of `queue` keys has queue * dim numbers",
            lambda r, v, k, d: (r // (2 * v), max(0, r - k) // v),
        ),
        (
            "where the queue alone does not fit, no picture does: a batch is not negative",
            lambda r, v, k, d: (r // (2 * v), (r - k * d) // v),
        ),
        (
            "rounded up: the last picture does not fit",
            lambda r, v, k, d: (-(-r // (2 * v)), -(-max(0, r - k * d) // v)),
        ),
        (
            "not rounded: a batch is a whole number of pictures",
            lambda r, v, k, d: (r / (2 * v), max(0, r - k * d) / v),
        ),
        (
            "the order: (SimCLR, MoCo)",
            lambda r, v, k, d: (max(0, r - k * d) // v, r // (2 * v)),
        ),
    ),
    praise="twice SimCLR's, less what the queue takes",
)


COMPANY_LEFT = Exercise(
    sample=lambda g: [(256, 32), (8, 2), (16, 16), (60, 5)],
    reference=lambda n, size: (size - 1) / (n - 1),
    mistakes=(
        (
            "the query's own key holds one of the n places, and one of its group: size - 1 of n - 1 are left",
            lambda n, size: size / n,
        ),
        ("n - 1 places are left for the other key, not n", lambda n, size: (size - 1) / n),
        (
            "size - 1 places are left in the group of the query's key, not size",
            lambda n, size: size / (n - 1),
        ),
        (
            "this is the number of pictures: divide by the size - 1 that it had",
            lambda n, size: (size - 1) ** 2 / (n - 1),
        ),
        ("this is the share that is lost", lambda n, size: 1 - (size - 1) / (n - 1)),
    ),
    praise="less than one in as many as there are groups, and all of it with one group: there shuffling does nothing",
)
