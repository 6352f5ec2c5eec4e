"""Chapter 24b: the backward pass of a gather, a step of LARS, two learning-rate rules, checkpoints of many machines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.training.optimizers import LARS

from .core import Check, Exercise


def check_gather_backward(fn) -> Check:
    """fn(gradients [W, W N, D], rank) -> [N, D]: what rank's own rows get back in the backward pass of a gather.

    gradients[r] is the gradient of rank r's loss with respect to the gathered rows.
    """
    return GATHER_BACKWARD.check(fn)


def check_lars_update(fn) -> Check:
    """fn(w, gradient, rate, trust, decay) -> w after the first step of LARS."""
    return LARS_UPDATE.check(fn)


def check_root_over_linear(fn) -> Check:
    """fn(batch, tied) -> the rate of the square-root rule over that of the linear rule, if they agree at `tied`."""
    return ROOT_OVER_LINEAR.check(fn)


def check_checkpoint_interval(fn) -> Check:
    """fn(writing, between, machines) -> the best minutes between checkpoints when the loss of any machine stops all."""
    return CHECKPOINT_INTERVAL.check(fn)


def _gradients(g: torch.Generator) -> list[tuple]:
    cases = []
    for ranks, n, d in [(2, 3, 2), (4, 2, 3), (3, 5, 1)]:
        gradients = torch.randn(ranks, ranks * n, d, generator=g).double()
        cases += [(gradients, rank) for rank in range(ranks)]
    return cases


def _mine(total: Tensor, gradients: Tensor, rank: int) -> Tensor:
    n = total.shape[0] // len(gradients)
    return total[rank * n : (rank + 1) * n]


GATHER_BACKWARD = Exercise(
    sample=_gradients,
    reference=lambda g, rank: _mine(g.sum(dim=0), g, rank),
    mistakes=(
        (
            "the famous bug: only this rank's own loss is asked, but the rows stand in the losses of all ranks",
            lambda g, rank: _mine(g[rank], g, rank),
        ),
        (
            "the mean over the ranks: DistributedDataParallel takes it already, so W is divided out twice",
            lambda g, rank: _mine(g.mean(dim=0), g, rank),
        ),
        ("the gradient of all gathered rows: hand back this rank's own ones", lambda g, rank: g.sum(dim=0)),
        (
            "the rows of rank 0: rank r owns the rows from r N to (r + 1) N",
            lambda g, rank: _mine(g.sum(dim=0), g, 0),
        ),
        (
            "ranks are taken to alternate row by row: they hold consecutive rows",
            lambda g, rank: g.sum(dim=0)[rank :: len(g)],
        ),
        (
            "multiplied by the world size: the sum over the ranks is all there is",
            lambda g, rank: len(g) * _mine(g.sum(dim=0), g, rank),
        ),
        (
            "the other ranks' losses only: this rank's own counts too",
            lambda g, rank: _mine(g.sum(dim=0) - g[rank], g, rank),
        ),
    ),
    praise="; with the mean over the ranks that follows, this is the gradient of one process",
)


def _lars(w: Tensor, gradient: Tensor, rate: float, trust: float, decay: float) -> Tensor:
    weight = torch.nn.Parameter(w.clone())
    weight.grad = gradient.clone()
    LARS([weight], lr=rate, weight_decay=decay, trust=trust).step()
    return weight.detach()


def _lars_by_hand(
    w, gradient, rate, trust, decay, *, layers=(2,), decayed=(2,), apart=False, upside_down=False
):
    """LARS with what a reader may get wrong: which tensors are adapted and decayed, and the ratio."""
    update = gradient + (decay * w if w.ndim in decayed else 0)
    size = gradient.norm() + decay * w.norm() if apart else update.norm()
    ratio = trust * (size / w.norm() if upside_down else w.norm() / size)
    if w.ndim not in layers or not w.norm() or not update.norm():
        ratio = 1.0
    return w - rate * ratio * update


def _layers(g: torch.Generator) -> list[tuple]:
    w, gradient = torch.randn(2, 4, 3, generator=g).double()
    return [
        (w, gradient, 0.5, 0.02, 0.1),
        (3 * w, gradient, 1.2, 0.001, 0.05),
        (w[0], gradient[0], 0.3, 0.02, 0.1),  # a bias
        (torch.zeros_like(w), gradient, 0.2, 0.02, 0.1),  # a norm of zero
    ]


LARS_UPDATE = Exercise(
    sample=_layers,
    reference=_lars,
    mistakes=(
        (
            "this is plain SGD: a layer of weights takes trust |w| / |update| times that",
            lambda w, g, r, t, d: w - r * (g + (d * w if w.ndim > 1 else 0)),
        ),
        (
            "biases and BatchNorm weights (one dimension) take the plain step: no ratio",
            lambda *a: _lars_by_hand(*a, layers=(1, 2)),
        ),
        (
            "biases and BatchNorm weights (one dimension) are not decayed",
            lambda *a: _lars_by_hand(*a, decayed=(1, 2)),
        ),
        (
            "biases and BatchNorm weights (one dimension) take the plain step: no ratio, no decay",
            lambda *a: _lars_by_hand(*a, layers=(1, 2), decayed=(1, 2)),
        ),
        (
            "the weight decay is missing: it belongs to the update, also in its length",
            lambda *a: _lars_by_hand(*a, decayed=()),
        ),
        (
            "the ratio is upside down: a long weight takes a long step",
            lambda *a: _lars_by_hand(*a, upside_down=True),
        ),
        ("the trust factor is missing", lambda w, g, r, t, d: _lars_by_hand(w, g, r, 1.0, d)),
        (
            "this is the denominator of You et al., |g| + decay |w|; here it is |g + decay w|",
            lambda *a: _lars_by_hand(*a, apart=True),
        ),
        ("the sign: a step goes against the gradient", lambda w, *a: 2 * w - _lars(w, *a)),
    ),
    praise=": every layer is overwritten by the same share, rate times trust",
)


ROOT_OVER_LINEAR = Exercise(
    sample=lambda g: [(256.0, 4096.0), (4096.0, 256.0), (64.0, 1024.0), (512.0, 768.0)],
    reference=lambda batch, tied: math.sqrt(tied / batch),
    mistakes=(
        ("upside down: the linear rule's rate over the root rule's", lambda b, t: math.sqrt(b / t)),
        (
            "without the root this is how much smaller the linear rate gets from `tied` to `batch`",
            lambda b, t: t / b,
        ),
        ("the linear rule itself, relative to `tied`", lambda b, t: b / t),
        ("they agree at `tied`, not at 1", lambda b, t: 1 / math.sqrt(b)),
    ),
    praise=": below the batch where they agree, the root rule is the bolder one",
)


CHECKPOINT_INTERVAL = Exercise(
    sample=lambda g: [(0.1, 90.0, 1), (0.1, 90.0, 8), (0.5, 240.0, 4), (0.02, 45.0, 16)],
    reference=lambda writing, between, machines: math.sqrt(2 * writing * between / machines),
    mistakes=(
        (
            "this is one machine: with W of them a loss comes W times as often",
            lambda c, m, w: math.sqrt(2 * c * m),
        ),
        ("more machines, more losses: the interval gets shorter", lambda c, m, w: math.sqrt(2 * c * m * w)),
        (
            "losses come W times as often, and the interval goes with the root of that",
            lambda c, m, w: math.sqrt(2 * c * m) / w,
        ),
        ("the 2 is missing: half an interval is lost on average", lambda c, m, w: math.sqrt(c * m / w)),
        ("the square root is missing", lambda c, m, w: 2 * c * m / w),
    ),
)
