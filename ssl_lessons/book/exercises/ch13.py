"""Chapter 13: InfoNCE, NT-Xent, the weights of the negatives, the bound on information."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ssl_lessons.losses import info_nce, nt_xent

from .core import Check, Exercise


def check_info_nce(fn) -> Check:
    """fn(query [N, D], positive [N, D], temperature) -> scalar: one-sided InfoNCE with in-batch negatives."""
    return INFO_NCE.check(fn)


def check_nt_xent(fn) -> Check:
    """fn(z1 [N, D], z2 [N, D], temperature) -> scalar: the loss of SimCLR, mean over the 2N views."""
    return NT_XENT.check(fn)


def check_negative_weights(fn) -> Check:
    """fn(similarities [N, K], temperature) -> [N, K]: each negative's share of its anchor's repulsion.

    Rows sum to 1.  Must stay finite in float32 at temperature 0.01.
    """
    return NEGATIVE_WEIGHTS.check(fn)


def check_mi_bound(fn) -> Check:
    """fn(loss, candidates) -> nats: the lower bound on mutual information that an InfoNCE loss gives."""
    return MI_BOUND.check(fn)


def check_stable_cross_entropy(fn) -> Check:
    """fn(logits [N, K], target [N]) -> scalar: mean cross-entropy, finite for logits up to 1e4."""
    return CROSS_ENTROPY.check(fn)


def _unit(x: Tensor, dim: int = 1) -> Tensor:
    return normalize(x, dim=dim)


def _pairs(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, temperature in [(5, 4, 0.2), (8, 3, 0.5), (6, 16, 0.1)]:
        z1 = torch.randn(n, d, generator=g).double() + 0.3
        cases.append((z1, z1 + 0.8 * torch.randn(n, d, generator=g).double(), temperature))
    return cases


def _diagonal_loss(logits: Tensor) -> Tensor:
    return cross_entropy(logits, torch.arange(len(logits)))


def _without_positive(logits: Tensor, target: Tensor) -> Tensor:
    """The loss when the positive is left out of the denominator."""
    own = logits.gather(1, target[:, None])
    others = logits.scatter(1, target[:, None], -math.inf)
    return (others.logsumexp(1) - own[:, 0]).mean()


INFO_NCE = Exercise(
    sample=_pairs,
    reference=lambda q, p, t: info_nce(q, p, temperature=t),
    mistakes=(
        (
            "the embeddings are not normalized: divide every row by its length, so that the score is a cosine",
            lambda q, p, t: _diagonal_loss(q @ p.T / t),
        ),
        (
            "normalized over the batch axis: each row (dim=1) must get length 1, not each column",
            lambda q, p, t: _diagonal_loss(_unit(q, 0) @ _unit(p, 0).T / t),
        ),
        (
            "only one side is normalized: the positives keep their length",
            lambda q, p, t: _diagonal_loss(_unit(q) @ p.T / t),
        ),
        (
            "only one side is normalized: the queries keep their length",
            lambda q, p, t: _diagonal_loss(q @ _unit(p).T / t),
        ),
        (
            "the softmax runs over the wrong axis: each query (row) chooses among the positives (columns)",
            lambda q, p, t: _diagonal_loss(_unit(p) @ _unit(q).T / t),
        ),
        (
            "the temperature is missing: divide the cosines by it",
            lambda q, p, t: info_nce(q, p, temperature=1.0),
        ),
        (
            "the cosines are multiplied by the temperature: divide, so that a small one sharpens",
            lambda q, p, t: info_nce(q, p, temperature=1 / t),
        ),
        (
            "the sum over the queries: take the mean, so that the loss does not grow with the batch",
            lambda q, p, t: info_nce(q, p, temperature=t) * len(q),
        ),
        (
            "the positive is missing from the denominator: all N candidates belong there",
            lambda q, p, t: _without_positive(_unit(q) @ _unit(p).T / t, torch.arange(len(q))),
        ),
        (
            "the sign is wrong: the loss is minus the log-probability",
            lambda q, p, t: -info_nce(q, p, temperature=t),
        ),
        (
            "both directions are averaged: here only the queries look for their positives",
            lambda q, p, t: (info_nce(q, p, temperature=t) + info_nce(p, q, temperature=t)) / 2,
        ),
    ),
)


def _view_logits(z1: Tensor, z2: Tensor, temperature: float, mask: bool = True, unit: bool = True) -> Tensor:
    """Cosine / temperature of all 2N views, the diagonal masked: [2N, 2N]."""
    z = torch.cat([z1, z2])
    z = _unit(z) if unit else z
    logits = z @ z.T / temperature
    return logits.fill_diagonal_(-math.inf) if mask else logits


def _partner(z1: Tensor) -> Tensor:
    return torch.arange(2 * len(z1)).roll(len(z1))


NT_XENT = Exercise(
    sample=_pairs,
    reference=nt_xent,
    mistakes=(
        (
            "the self-pair is not masked: every view meets itself with cosine 1; set the diagonal to -inf",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t, mask=False), _partner(a)),
        ),
        (
            "the self-pair is masked by 0: exp(0) = 1 still counts; set the diagonal to -inf",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t).fill_diagonal_(0), _partner(a)),
        ),
        (
            "one-sided: only the views in z1 are anchors; average over all 2N",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t)[: len(a)], _partner(a)[: len(a)]),
        ),
        (
            "negatives only from the other view, and only the views in z1 are anchors: this is info_nce",
            lambda a, b, t: info_nce(a, b, temperature=t),
        ),
        (
            "negatives only from the other view: those of the same view belong in the denominator too",
            lambda a, b, t: (info_nce(a, b, temperature=t) + info_nce(b, a, temperature=t)) / 2,
        ),
        (
            "wrong positive index: row i of z1 belongs with row i of z2, i + N in the stacked views, not i + 1",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a)).roll(-1)),
        ),
        (
            "wrong positive index: 2k and 2k + 1 are partners in interleaved views; here i belongs with i + N",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a)) ^ 1),
        ),
        (
            "wrong positive index: the target of a view is itself instead of its partner",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a))),
        ),
        (
            "wrong positive index: the target of a view is itself, and the self-pair is not masked",
            lambda a, b, t: _diagonal_loss(_view_logits(a, b, t, mask=False)),
        ),
        (
            "the embeddings are not normalized: divide every row by its length, so that the score is a cosine",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t, unit=False), _partner(a)),
        ),
        (
            "normalized over the batch axis: each row (dim=1) must get length 1, not each column",
            lambda a, b, t: cross_entropy(_view_logits(*_halves(a, b), t, unit=False), _partner(a)),
        ),
        ("the temperature is missing: divide the cosines by it", lambda a, b, t: nt_xent(a, b, 1.0)),
        (
            "the cosines are multiplied by the temperature: divide, so that a small one sharpens",
            lambda a, b, t: nt_xent(a, b, 1 / t),
        ),
        ("the sum over the views: take the mean over all 2N", lambda a, b, t: 2 * len(a) * nt_xent(a, b, t)),
        (
            "the sum of the two directions: divide by all 2N views, not by N",
            lambda a, b, t: 2 * nt_xent(a, b, t),
        ),
        (
            "the positive is missing from the denominator: it belongs there with the 2N - 2 negatives",
            lambda a, b, t: _without_positive(_view_logits(a, b, t), _partner(a)),
        ),
        ("the sign is wrong: the loss is minus the log-probability", lambda a, b, t: -nt_xent(a, b, t)),
    ),
)


def _halves(z1: Tensor, z2: Tensor) -> tuple[Tensor, ...]:
    return _unit(torch.cat([z1, z2]), dim=0).chunk(2)


def _overflow(remedy: str):
    """A hint for answers that are right for tame inputs and not finite for large ones."""

    def hint(inputs: list[tuple], answers: list[Tensor]) -> str | None:
        if answers[0].isfinite().all() and not all(a.isfinite().all() for a in answers):
            return f"not finite for large inputs (overflow or log 0): {remedy}"
        return None

    return hint


def _similarities(g: torch.Generator) -> list[tuple]:
    sizes = [(3, 5, 0.5), (6, 4, 0.1), (4, 9, 0.2)]
    cases = [(torch.rand(n, k, generator=g).double() * 2 - 1, temperature) for n, k, temperature in sizes]
    # exp(0.98 / 0.01) is beyond float32.
    large = torch.rand(3, 6, generator=g) * 0.05 + 0.93
    return [*cases, (large, 0.01)]


NEGATIVE_WEIGHTS = Exercise(
    sample=_similarities,
    reference=lambda s, t: (s / t).softmax(1),
    mistakes=(
        ("the temperature is missing: divide the similarities by it", lambda s, t: s.softmax(1)),
        (
            "the similarities are multiplied by the temperature: divide, so that a small one sharpens",
            lambda s, t: (s * t).softmax(1),
        ),
        (
            "softmax over the wrong axis: the weights of one anchor (a row) sum to 1, so use dim=1",
            lambda s, t: (s / t).softmax(0),
        ),
        (
            "softmax over the whole matrix: each anchor (row) shares out its own 1",
            lambda s, t: (s / t).flatten().softmax(0).view_as(s),
        ),
        ("these are log-weights: take exp of them", lambda s, t: (s / t).log_softmax(1)),
        ("the weights are not divided by their sum: each row must sum to 1", lambda s, t: (s / t).exp()),
        (
            "the similarities are shared out without exp: a softmax is needed",
            lambda s, t: s / s.sum(1, keepdim=True),
        ),
    ),
    hint=_overflow("subtract the row maximum before exp, or use torch.softmax"),
)

MI_BOUND = Exercise(
    sample=lambda g: [(0.9, 16), (3.2, 256), (0.05, 4096), (1.4, 10)],
    reference=lambda loss, candidates: math.log(candidates) - loss,
    mistakes=(
        ("the sign is wrong: a low loss must give a high bound", lambda loss, k: loss - math.log(k)),
        ("the loss is added: a low loss must give a high bound", lambda loss, k: math.log(k) + loss),
        ("this is the loss itself: the bound starts from log K", lambda loss, k: loss),
        ("this is log K, the ceiling of the bound: subtract the loss", lambda loss, k: math.log(k)),
        (
            "log2 counts bits: the loss is in nats, so use the natural logarithm",
            lambda loss, k: math.log2(k) - loss,
        ),
        (
            "this is in bits (log2): the answer is asked for in nats",
            lambda loss, k: (math.log(k) - loss) / math.log(2),
        ),
        (
            "log10 is not the unit of the loss: use the natural logarithm",
            lambda loss, k: math.log10(k) - loss,
        ),
        (
            "K - 1 counts the negatives: K is the number of candidates, the positive included",
            lambda loss, k: math.log(k - 1) - loss,
        ),
        (
            "K already counts the positive among the candidates: do not add it again",
            lambda loss, k: math.log(k + 1) - loss,
        ),
    ),
)


def _logits(g: torch.Generator) -> list[tuple]:
    return [
        (scale * torch.randn(n, k, generator=g).double(), torch.randint(k, (n,), generator=g))
        for n, k, scale in [(4, 5, 1), (7, 3, 3), (6, 10, 1), (5, 8, 1e4)]
    ]


CROSS_ENTROPY = Exercise(
    sample=_logits,
    reference=cross_entropy,
    mistakes=(
        ("the sum over the rows: take the mean", lambda x, y: cross_entropy(x, y, reduction="sum")),
        (
            "the mean is over the wrong count: divide by the N rows, not by all N K entries",
            lambda x, y: cross_entropy(x, y) / x.shape[1],
        ),
        (
            "the mean is over the wrong count: divide by the N rows, not by the K classes",
            lambda x, y: cross_entropy(x, y, reduction="sum") / x.shape[1],
        ),
        ("no mean over the rows: return one number", lambda x, y: cross_entropy(x, y, reduction="none")),
        ("the sign is wrong: the loss is minus the log-probability", lambda x, y: -cross_entropy(x, y)),
        (
            "softmax over the wrong axis: the classes of a row compete, so reduce over dim=1",
            lambda x, y: -x.log_softmax(0)[torch.arange(len(x)), y].mean(),
        ),
        (
            "the row maximum is subtracted and never added back",
            lambda x, y: cross_entropy(x, y) - x.max(1).values.mean(),
        ),
        ("this is logsumexp alone: subtract the logit of the target", lambda x, y: x.logsumexp(1).mean()),
    ),
    hint=_overflow("subtract the row maximum and stay in logarithms: m + log sum exp(x - m)"),
)
