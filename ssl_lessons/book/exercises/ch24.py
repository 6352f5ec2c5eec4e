"""Chapter 24: Amdahl's law, the backward pass of a gather, a log-sum-exp in pieces, the price of checkpoints."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.training.throughput import overhead

from .core import Check, Exercise


def check_speedup(fn) -> Check:
    """fn(share, factor) -> how many times faster the whole step is when a part with that share gets `factor` faster."""
    return SPEEDUP.check(fn)


def check_gather_backward(fn) -> Check:
    """fn(gradients [W, W N, D], rank) -> [N, D]: what rank's own rows get back in the backward pass of a gather.

    gradients[r] is the gradient of rank r's loss with respect to the gathered rows.
    """
    return GATHER_BACKWARD.check(fn)


def check_streaming_logsumexp(fn) -> Check:
    """fn(blocks [K, N, M]) -> [N]: log of the sum of exp over all K M columns, one block of columns at a time."""
    return STREAMING.check(fn)


def check_overhead(fn) -> Check:
    """fn(interval, writing, restart, between) -> share of the time that checkpoints and lost connections cost."""
    return OVERHEAD.check(fn)


SPEEDUP = Exercise(
    sample=lambda g: [(0.5, 2.0), (0.9, 10.0), (0.05, 100.0), (0.3, 3.0)],
    reference=lambda share, factor: 1 / (1 - share + share / factor),
    mistakes=(
        ("this is the speed-up of the part, not of the step", lambda s, k: k),
        ("the rest of the step is missing: it takes 1 - share, as before", lambda s, k: k / s),
        ("this is the new time: the speed-up is one over it", lambda s, k: 1 - s + s / k),
        ("the part gets slower: divide its share by the factor", lambda s, k: 1 / (1 - s + s * k)),
        ("shares of time do not average as speeds: add up times, then divide", lambda s, k: 1 - s + s * k),
        ("the part vanishes altogether: that is the limit for an infinite factor", lambda s, k: 1 / (1 - s)),
        ("the roles are swapped: share is the part that gets faster", lambda s, k: 1 / (s + (1 - s) / k)),
    ),
    praise="; what the factor cannot reach, 1 / (1 - share), is the most there is to gain",
)


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


def _blocks(g: torch.Generator) -> list[tuple]:
    small = torch.randn(4, 5, 3, generator=g).double()
    rising = small * 3 + torch.arange(4).double()[:, None, None] * 40
    huge = small + 2000.0
    low = small - 2000.0
    return [(small,), (rising,), (rising.flip(0),), (huge,), (low,)]


def _streamed(blocks: Tensor, rescale: bool = True, total_last: bool = True) -> Tensor:
    top = torch.full(blocks.shape[1:2], -math.inf, dtype=blocks.dtype)
    total = torch.zeros_like(top)
    for block in blocks:
        new = torch.maximum(top, block.amax(dim=1))
        total = total * ((top - new).exp() if rescale else 1) + (block - new[:, None]).exp().sum(dim=1)
        top = new
    return top + total.log() if total_last else total.log()


STREAMING = Exercise(
    sample=_blocks,
    reference=lambda blocks: torch.logsumexp(torch.cat(list(blocks), dim=1), dim=1),
    mistakes=(
        (
            "exp overflows (or vanishes): keep a running maximum and take it out of every exponent",
            lambda b: b.exp().sum(dim=(0, 2)).log(),
        ),
        (
            "when the maximum rises, what was summed before must shrink: multiply it by exp(old - new)",
            lambda b: _streamed(b, rescale=False),
        ),
        ("the maximum is never added back", lambda b: _streamed(b, total_last=False)),
        ("only the last block is in the sum", lambda b: torch.logsumexp(b[-1], dim=1)),
        ("one value per block: the sum runs over all blocks", lambda b: torch.logsumexp(b, dim=2)),
        ("this is the maximum: the others count as well", lambda b: b.amax(dim=(0, 2))),
        (
            "log-sum-exps of the blocks are added: exponentiate, add, take the logarithm",
            lambda b: torch.logsumexp(b, dim=2).sum(dim=0),
        ),
        (
            "the sum runs over the rows: each row has its own",
            lambda b: torch.logsumexp(b.permute(0, 2, 1).flatten(0, 1), dim=1),
        ),
    ),
    praise="with one block in memory at a time",
)


OVERHEAD = Exercise(
    sample=lambda g: [(5.0, 0.1, 3.0, 90.0), (20.0, 0.5, 1.0, 45.0), (1.0, 0.02, 10.0, 240.0)],
    reference=overhead,
    mistakes=(
        (
            "a whole interval is lost each time: on average the connection drops half way through one",
            lambda t, c, r, m: c / t + (t + r) / m,
        ),
        ("writing the checkpoints costs time too", lambda t, c, r, m: (t / 2 + r) / m),
        ("coming back costs time too", lambda t, c, r, m: c / t + t / 2 / m),
        (
            "this is the time lost per accident: divide it by the time between accidents",
            lambda t, c, r, m: c / t + t / 2 + r,
        ),
        ("one write per accident: there is one per interval", lambda t, c, r, m: (c + t / 2 + r) / m),
        (
            "the writes are counted per unit of time without their length",
            lambda t, c, r, m: 1 / t + (t / 2 + r) / m,
        ),
        ("upside down: losses come once per `between`", lambda t, c, r, m: c / t + (t / 2 + r) * m),
    ),
)
