"""Chapter 17: purity of clusters, the mean entropy, Sinkhorn-Knopp, swapped prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ssl_lessons.losses.clustering import sinkhorn_knopp

from .core import Check, Exercise


def check_cluster_purity(fn) -> Check:
    """fn(clusters [N], labels [N]) -> share of the images whose label is the commonest one of their cluster."""
    return PURITY.check(fn)


def check_mean_entropy(fn) -> Check:
    """fn(p [N, K]) -> the entropy, in nats, of the mean prediction of a batch."""
    return MEAN_ENTROPY.check(fn)


def check_sinkhorn(fn) -> Check:
    """fn(scores [N, K], epsilon, iterations) -> [N, K]: balanced assignments, rows of sum 1.

    Each iteration: columns to N / K, then rows to 1.  Must stay finite in float32 for scores / epsilon up to 1,000.
    """
    return SINKHORN.check(fn)


def check_swapped_prediction(fn) -> Check:
    """fn(scores1 [N, K], scores2 [N, K], q1 [N, K], q2 [N, K], temperature) -> SwAV's loss for two views."""
    return SWAPPED.check(fn)


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
        "a prototype that nobody uses gives 0 log 0 = NaN: it must count as 0 (torch.special.entr, or a clamp)"
        if answers[0].isfinite().all() and not answers[-1].isfinite().all()
        else None
    ),
)


def _scores(g: torch.Generator) -> list[tuple]:
    cases = [
        (torch.rand(n, k, generator=g).double() * 2 - 1, epsilon, steps)
        for n, k, epsilon, steps in [(6, 3, 0.3, 2), (8, 4, 0.2, 3), (5, 6, 0.5, 4)]
    ]
    return [*cases, (torch.rand(6, 3, generator=g) * 0.2 + 0.8, 0.001, 3)]  # exp(1,000) is beyond float32


def _sinkhorn_of(logits: Tensor, steps: int, last: str = "rows") -> Tensor:
    """Scaled in turn, in logarithms; `last` says which side is scaled last."""
    for _ in range(steps):
        for dim in (0, 1) if last == "rows" else (1, 0):
            logits = logits.log_softmax(dim)
    return logits.exp()


SINKHORN = Exercise(
    sample=_scores,
    reference=sinkhorn_knopp,
    mistakes=(
        (
            "only the rows are scaled: this is a softmax, and a popular cluster stays popular",
            lambda s, e, t: (s / e).softmax(dim=1),
        ),
        (
            "only the columns are scaled: the rows must sum to 1 at the end",
            lambda s, e, t: (s / e).softmax(dim=0),
        ),
        ("epsilon is missing: divide the scores by it before exp", lambda s, e, t: sinkhorn_knopp(s, 1.0, t)),
        ("the scores are multiplied by epsilon: divide", lambda s, e, t: sinkhorn_knopp(s, 1 / e, t)),
        (
            "each iteration ends with the columns: scale the rows last, so that every image hands out exactly 1",
            lambda s, e, t: _sinkhorn_of(s / e, t, last="columns"),
        ),
        (
            "each iteration ends with the columns: scale the rows last, so that every image hands out exactly 1",
            lambda s, e, t: _sinkhorn_of(s / e, t, last="columns") * len(s) / s.shape[1],
        ),
        (
            "the rows sum to 1 / N: multiply the plan by N",
            lambda s, e, t: sinkhorn_knopp(s, e, t) / len(s),
        ),
        ("one iteration too few", lambda s, e, t: sinkhorn_knopp(s, e, t - 1)),
        ("one iteration too many", lambda s, e, t: sinkhorn_knopp(s, e, t + 1)),
        ("these are logarithms: take exp at the end", lambda s, e, t: sinkhorn_knopp(s, e, t).log()),
    ),
    hint=lambda inputs, answers: (
        "not finite for a small epsilon (exp overflows): stay in logarithms, log_q - logsumexp, and take exp at the end"
        if all(a.isfinite().all() for a in answers[:3]) and not answers[3].isfinite().all()
        else None
    ),
)


def _views(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, k, temperature in [(6, 4, 0.1), (5, 3, 0.3), (8, 7, 0.2)]:
        s1, s2 = torch.randn(2, n, k, generator=g).double().tanh()
        cases.append((s1, s2, sinkhorn_knopp(s1, 0.1), sinkhorn_knopp(s2, 0.1), temperature))
    return cases


def _ce(q: Tensor, scores: Tensor, temperature: float) -> Tensor:
    return -(q * (scores / temperature).log_softmax(dim=1)).sum(dim=1).mean()


SWAPPED = Exercise(
    sample=_views,
    reference=lambda a, b, qa, qb, t: (_ce(qb, a, t) + _ce(qa, b, t)) / 2,
    mistakes=(
        (
            "not swapped: every view predicts its own assignment, and nothing asks two views to agree",
            lambda a, b, qa, qb, t: (_ce(qa, a, t) + _ce(qb, b, t)) / 2,
        ),
        (
            "one-sided: only the first view predicts; average both directions",
            lambda a, b, qa, qb, t: _ce(qb, a, t),
        ),
        (
            "one-sided: only the second view predicts; average both directions",
            lambda a, b, qa, qb, t: _ce(qa, b, t),
        ),
        (
            "the sum of the two directions: take their mean",
            lambda a, b, qa, qb, t: _ce(qb, a, t) + _ce(qa, b, t),
        ),
        (
            "the temperature is missing: divide the scores by it",
            lambda a, b, qa, qb, t: (_ce(qb, a, 1) + _ce(qa, b, 1)) / 2,
        ),
        (
            "the scores are multiplied by the temperature: divide",
            lambda a, b, qa, qb, t: (_ce(qb, a, 1 / t) + _ce(qa, b, 1 / t)) / 2,
        ),
        (
            "the mean runs over the prototypes too: sum over them, then take the mean over the images",
            lambda a, b, qa, qb, t: (_ce(qb, a, t) + _ce(qa, b, t)) / 2 / a.shape[1],
        ),
        (
            "the sign is wrong: a cross-entropy is minus the expected log-probability",
            lambda a, b, qa, qb, t: -(_ce(qb, a, t) + _ce(qa, b, t)) / 2,
        ),
        (
            "the roles are exchanged: log p of the scores, weighted by q; here q is inside the logarithm",
            lambda a, b, qa, qb, t: (
                -(
                    ((a / t).softmax(1) * qb.log()).sum(1).mean()
                    + ((b / t).softmax(1) * qa.log()).sum(1).mean()
                )
                / 2
            ),
        ),
    ),
)
