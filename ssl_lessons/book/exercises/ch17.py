"""Chapters 17 and 17b: the mean entropy, Sinkhorn-Knopp with a prior, the hedge; purity, multi-crop."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ssl_lessons.losses.clustering import sinkhorn_knopp

from .core import Check, Exercise, Stop, call


def check_cluster_purity(fn) -> Check:
    """fn(clusters [N], labels [N]) -> share of the images whose label is the commonest one of their cluster."""
    return PURITY.check(fn)


def check_mean_entropy(fn) -> Check:
    """fn(p [N, K]) -> the entropy, in nats, of the mean prediction of a batch, with its gradient."""
    check = MEAN_ENTROPY.check(fn)
    if not check.passed:
        return check
    p = torch.tensor([[0.7, 0.3, 0.0], [0.3, 0.7, 0.0]], dtype=torch.float64, requires_grad=True)
    try:
        value = call(fn, (p,))
    except Stop:  # it took numbers only, such as p.numpy()
        value = None
    if not isinstance(value, Tensor) or not value.requires_grad:
        return Check(
            False, "right number, no gradient: as a regulariser it does nothing. Stay in tensors, no detach"
        )
    (slope,) = torch.autograd.grad(value, p)
    if not slope.isfinite().all():
        return Check(
            False, "right number, but the gradient is infinite at a prototype that nobody uses: clamp before the log"
        )
    return check


def check_sinkhorn_prior(fn) -> Check:
    """fn(scores [N, K], epsilon, iterations, prior [K]) -> [N, K]: rows of sum 1, columns about N prior.

    Each iteration: columns to N prior, then rows to 1.  Must stay finite in float32 for scores / epsilon up to 1,000.
    """
    return SINKHORN.check(fn)


def check_hedged_share(fn) -> Check:
    """fn(clusters, weight) -> the share of a collapsed student's favourite that minimises MSN's loss."""
    return HEDGE.check(fn)


def check_multi_crop(fn) -> Check:
    """fn(scores [V, N, K], codes [2, N, K], temperature) -> SwAV's loss when V - 2 small crops predict as well."""
    return MULTI_CROP.check(fn)


def _counts(clusters: Tensor, labels: Tensor) -> Tensor:
    """How many images of cluster i have label j: [clusters, labels]."""
    return one_hot(clusters).T.double() @ one_hot(labels).double()


def _clusterings(g: torch.Generator) -> list[tuple]:
    # Clusters and labels differ in number, and the clusters in size: a mean over clusters is another number.
    return [
        (torch.randint(k, (n,), generator=g) ** 2 // k, torch.randint(c, (n,), generator=g))
        for n, k, c in [(40, 6, 3), (25, 4, 7), (60, 9, 4)]
    ]


PURITY = Exercise(
    sample=_clusterings,
    reference=lambda a, y: _counts(a, y).max(dim=1).values.sum() / len(y),
    mistakes=(
        (
            "this asks how many images of a label share their commonest cluster: swap the two roles",
            lambda a, y: _counts(a, y).max(dim=0).values.sum() / len(y),
        ),
        (
            "the mean over the clusters counts small clusters too much: divide the hits of all by N",
            lambda a, y: (
                (_counts(a, y).max(1).values / _counts(a, y).sum(1).clamp_min(1)).sum()
                / int((_counts(a, y).sum(1) > 0).sum())
            ),
        ),
        (
            "cluster numbers are compared with label numbers: cluster 3 has nothing to do with label 3",
            lambda a, y: (a == y).double().mean(),
        ),
        ("the number of hits: divide by N", lambda a, y: _counts(a, y).max(dim=1).values.sum()),
        (
            "this is the share that is *not* in the majority",
            lambda a, y: 1 - _counts(a, y).max(dim=1).values.sum() / len(y),
        ),
    ),
)


def _entropy(p: Tensor, dim: int = -1) -> Tensor:
    return torch.special.entr(p).sum(dim=dim)


MEAN_ENTROPY = Exercise(
    sample=lambda g: (
        [((3 * torch.randn(n, k, generator=g)).double().softmax(1),) for n, k in [(6, 4), (5, 9), (12, 3)]]
        + [(torch.eye(5, dtype=torch.float64)[[0, 0, 1]],)]
    ),
    reference=lambda p: _entropy(p.mean(dim=0)),
    mistakes=(
        (
            "this is the mean of the entropies: average the predictions first, then take one entropy",
            lambda p: _entropy(p).mean(),
        ),
        ("the sign is wrong: an entropy is not negative", lambda p: -_entropy(p.mean(dim=0))),
        (
            "the mean runs over the prototypes: average over the images (dim=0)",
            lambda p: _entropy(p.mean(dim=1)),
        ),
        ("in bits: use the natural logarithm", lambda p: _entropy(p.mean(dim=0)) / math.log(2)),
        (
            "divided by log K: that is the share of the highest entropy, not nats",
            lambda p: _entropy(p.mean(dim=0)) / math.log(p.shape[1]),
        ),
        (
            "the mean over the prototypes: the entropy is a sum",
            lambda p: _entropy(p.mean(dim=0)) / p.shape[1],
        ),
    ),
    hint=lambda inputs, answers: (
        "a prototype that nobody uses gives 0 log 0 = NaN: it must count as 0 (clamp before the log)"
        if answers[0].isfinite().all() and not answers[-1].isfinite().all()
        else None
    ),
)


def _scores(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, k, epsilon, steps in [(6, 3, 0.3, 2), (8, 4, 0.2, 3), (5, 6, 0.5, 4)]:
        scores = torch.rand(n, k, generator=g).double() * 2 - 1
        cases.append((scores, epsilon, steps, torch.randn(k, generator=g).double().softmax(0)))
    sharp = torch.rand(6, 3, generator=g) * 0.2 + 0.8  # exp(1,000) is beyond float32
    return [*cases, (sharp, 0.001, 3, torch.tensor([0.5, 0.3, 0.2]))]


def _scaled(logits: Tensor, steps: int, prior: Tensor, last: str = "rows") -> Tensor:
    """Scaled in turn, in logarithms; `last` says which side is scaled last."""
    for _ in range(steps):
        for side in ("columns", "rows") if last == "rows" else ("rows", "columns"):
            if side == "rows":
                logits = logits.log_softmax(1)
            else:
                logits = logits.log_softmax(0) + (len(logits) * prior).log()
    return logits.exp()


SINKHORN = Exercise(
    sample=_scores,
    reference=sinkhorn_knopp,
    mistakes=(
        (
            "the columns get N / K each: the prior is ignored, or only added to the scores, which the columns undo",
            lambda s, e, t, prior: sinkhorn_knopp(s, e, t),
        ),
        (
            "the prior is inside out: a cluster with a large share must get more, not less",
            lambda s, e, t, prior: _scaled(s / e, t, 1 / prior),
        ),
        (
            "the prior is added without its logarithm: in logarithms a factor becomes a sum of logs",
            lambda s, e, t, prior: _scaled(s / e, t, prior.exp()),
        ),
        (
            "only the rows are scaled: this is a softmax, and a popular cluster stays popular",
            lambda s, e, t, prior: (s / e).softmax(dim=1),
        ),
        (
            "epsilon is missing: divide the scores by it before exp",
            lambda s, e, t, prior: sinkhorn_knopp(s, 1.0, t, prior),
        ),
        (
            "the scores are multiplied by epsilon: divide",
            lambda s, e, t, prior: sinkhorn_knopp(s, 1 / e, t, prior),
        ),
        (
            "each iteration ends with the columns: scale the rows last, so that every image hands out exactly 1",
            lambda s, e, t, prior: _scaled(s / e, t, prior, last="columns"),
        ),
        (
            "the rows sum to 1 / N: multiply the plan by N",
            lambda s, e, t, prior: sinkhorn_knopp(s, e, t, prior) / len(s),
        ),
        ("one iteration too few", lambda s, e, t, prior: sinkhorn_knopp(s, e, t - 1, prior)),
        ("one iteration too many", lambda s, e, t, prior: sinkhorn_knopp(s, e, t + 1, prior)),
        (
            "these are logarithms: take exp at the end",
            lambda s, e, t, prior: sinkhorn_knopp(s, e, t, prior).log(),
        ),
    ),
    hint=lambda inputs, answers: (
        "not finite for a small epsilon (exp overflows): stay in logarithms, log_q - logsumexp, and take exp at the end"
        if all(a.isfinite().all() for a in answers[:3]) and not answers[3].isfinite().all()
        else None
    ),
)


def _hedge(clusters: int, weight: float, others: int | None = None, first: float = 1.0) -> float:
    """Where -first log a + weight (a log a + (1 - a) log((1 - a) / others)) is least, by bisection of its slope."""
    others, low, high = others or clusters - 1, 1e-9, 1 - 1e-12
    for _ in range(200):
        a = (low + high) / 2
        slope = -first / a + weight * math.log(a * others / (1 - a))
        low, high = (a, high) if slope < 0 else (low, a)
    return a


HEDGE = Exercise(
    sample=lambda g: [(64, 1.0), (64, 3.0), (10, 0.5), (1000, 1.5)],
    reference=_hedge,
    mistakes=(
        ("the weight is ignored: it multiplies both terms of the entropy", lambda k, w: _hedge(k, 1.0)),
        (
            "the weight multiplies the cross-entropy: it belongs to the mean entropy",
            lambda k, w: _hedge(k, 1.0, first=w),
        ),
        ("K others share the rest; there are K - 1 of them", lambda k, w: _hedge(k, w, others=k)),
        ("that is the even share: there the slope is still below zero", lambda k, w: 1 / k),
        ("no hedge at all: at a = 1 the mean entropy is 0, and the loss is 0", lambda k, w: 1.0),
        (
            "that is the loss at the best share: return the share",
            lambda k, w: _hedged_loss(k, w, _hedge(k, w)),
        ),
    ),
)


def _hedged_loss(clusters: int, weight: float, a: float) -> float:
    return -math.log(a) + weight * (a * math.log(a) + (1 - a) * math.log((1 - a) / (clusters - 1)))


def _crops(g: torch.Generator) -> list[tuple]:
    cases = []
    for views, n, k, temperature in [(4, 6, 5, 0.1), (3, 5, 3, 0.3), (2, 8, 7, 0.2)]:
        scores = torch.randn(views, n, k, generator=g).double().tanh()
        cases.append((scores, torch.stack([sinkhorn_knopp(s, 0.1) for s in scores[:2]]), temperature))
    return cases


def _crosses(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the codes of large view i (rows) with the prediction of view v (columns): [2, views]."""
    log_p = (scores / temperature).log_softmax(dim=2)
    return -(codes[:, None] * log_p).sum(dim=3).mean(dim=2)


def _others(table: Tensor) -> Tensor:
    """The entries of a [2, views] table that do not stand on its diagonal."""
    return table[~torch.eye(*table.shape, dtype=torch.bool)]


MULTI_CROP = Exercise(
    sample=_crops,
    reference=lambda s, q, t: _others(_crosses(s, q, t)).mean(),
    mistakes=(
        (
            "every large view predicts its own codes as well, which asks nothing: leave v = i out",
            lambda s, q, t: _crosses(s, q, t).mean(),
        ),
        (
            "not swapped: the large views predict their own codes",
            lambda s, q, t: torch.cat(
                [_crosses(s[:2], q, t).diagonal(), _crosses(s[2:], q, t).flatten()]
            ).mean(),
        ),
        (
            "only the large views predict: the small crops must, too",
            lambda s, q, t: _others(_crosses(s[:2], q, t)).mean(),
        ),
        (
            "only the codes of the first large view are predicted",
            lambda s, q, t: _others(_crosses(s, q, t)[:1]).mean(),
        ),
        (
            "a mean per view first weighs the large views, which have one term each, twice: one mean over all terms",
            lambda s, q, t: torch.cat(
                [_others(_crosses(s[:2], q, t)), _crosses(s[2:], q, t).mean(dim=0)]
            ).mean(),
        ),
        ("the sum of the terms: take their mean", lambda s, q, t: _others(_crosses(s, q, t)).sum()),
        (
            "the temperature is missing: divide the scores by it",
            lambda s, q, t: _others(_crosses(s, q, 1)).mean(),
        ),
        (
            "the scores are multiplied by the temperature: divide",
            lambda s, q, t: _others(_crosses(s, q, 1 / t)).mean(),
        ),
        (
            "the mean runs over the prototypes too: sum over them, then take the mean over the images",
            lambda s, q, t: _others(_crosses(s, q, t)).mean() / s.shape[2],
        ),
        (
            "the sign is wrong: a cross-entropy is minus the expected log-probability",
            lambda s, q, t: -_others(_crosses(s, q, t)).mean(),
        ),
    ),
)
