"""Chapter 19b: an auditor of estimators, what an encoder knows, jitter for a wanted information, a guarantee."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.diagnostics import information as info

from .core import Check, Exercise, judge


def check_overclaims(fn) -> Check:
    """fn(estimator) -> whether estimator(scores [K, K]) reports more than 0 nats where there is nothing."""
    ask = "average its reports over hundreds of matrices of scores of size 0.5 in which the diagonal is like the rest"
    verdict = judge(fn, _ESTIMATORS, "overclaims", ask)
    if verdict.passed:
        return Check(True, f"correct: {len(_ESTIMATORS)} estimators audited without one pair of real data")
    return verdict


def check_information_of(fn) -> Check:
    """fn(joint [V, Y], codes int64 [V]) -> I(z; y) in nats, z being the code."""
    return INFORMATION_OF.check(fn)


def check_jitter_for(fn) -> Check:
    """fn(nats) -> e in [0, 1/2] with log 2 - H(e) = nats."""
    return JITTER.check(fn)


def check_loss_needed(fn) -> Check:
    """fn(target, rho [C]) -> the largest L_un with which L_sup is surely at most target."""
    return LOSS_NEEDED.check(fn)


def _own(s: Tensor) -> Tensor:
    return s.diagonal()


_ESTIMATORS = (
    ("InfoNCE", info.info_nce_bound, False),
    (
        "the estimator that takes the largest score of a row for the partner's",
        lambda s: math.log(len(s)) - (s.logsumexp(1) - s.max(1).values).mean(),
        True,
    ),
    ("the bound of Donsker and Varadhan", info.dv_bound, False),
    (
        "the estimator whose softmax runs over half of the candidates",
        lambda s: math.log(len(s)) - (s[:, ::2].logsumexp(1) - _own(s)).mean(),
        True,
    ),
    ("the bound of Nguyen, Wainwright and Jordan", info.nwj_bound, False),
    ("the loss itself", lambda s: (s.logsumexp(1) - _own(s)).mean(), True),
    ("InfoNCE over the columns", lambda s: info.info_nce_bound(s.T), False),
    (
        "the estimator that drops reports below zero, row by row",
        lambda s: (math.log(len(s)) - s.logsumexp(1) + _own(s)).clamp(min=0).mean(),
        True,
    ),
)


def _worlds(g: torch.Generator) -> list[tuple]:
    cases = []
    for v, y, codes in ((6, 3, [0, 1, 1, 2, 0, 2]), (5, 4, [2, 0, 0, 1, 2]), (4, 2, [0, 1, 2, 3])):
        joint = torch.rand(v, y, generator=g).double().square()
        joint[0, 0] = 0.0
        cases.append((joint / joint.sum(), torch.tensor(codes)))
    return cases


def _merged(joint: Tensor, codes: Tensor) -> Tensor:
    return torch.zeros(int(codes.max()) + 1, joint.shape[1], dtype=joint.dtype).index_add(0, codes, joint)


def _last(joint: Tensor, codes: Tensor) -> Tensor:
    rows = {int(code): row for code, row in zip(codes, joint, strict=True)}
    return torch.stack([rows[code] for code in sorted(rows)])


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum()


def _known(joint: Tensor, codes: Tensor) -> float:
    return info.table_information(_merged(joint, codes))


INFORMATION_OF = Exercise(
    sample=_worlds,
    reference=_known,
    mistakes=(
        ("these are bits: use the natural logarithm", lambda j, c: _known(j, c) / math.log(2)),
        (
            "this is I(v; y), before the encoder: add up the rows that share a code first",
            lambda j, c: info.table_information(j),
        ),
        ("this is the entropy of the code alone", lambda j, c: _entropy(_merged(j, c).sum(1))),
        ("this is the joint entropy of z and y", lambda j, c: _entropy(_merged(j, c))),
        (
            "this is H(y | z), what z leaves open: subtract it from H(y)",
            lambda j, c: _entropy(_merged(j, c)) - _entropy(_merged(j, c).sum(1)),
        ),
        ("the sign: information is never negative", lambda j, c: -_known(j, c)),
        (
            "rows that share a code overwrote each other: z[codes] += joint keeps one of them, index_add all",
            lambda j, c: info.table_information(_last(j, c)),
        ),
        ("this is H(z | y), what is left open of the code", lambda j, c: _entropy(_merged(j, c)) - _entropy(j.sum(0))),
        (
            "rows that share a code were averaged: probabilities add up",
            lambda j, c: info.table_information(_merged(j, c) / torch.bincount(c).double()[:, None]),
        ),
    ),
    praise="never more than I(v; y): that is the data-processing inequality",
)


def _binary(e: float) -> float:
    return sum(-p * math.log(p) for p in (e, 1 - e) if p > 0)


def _jitter(nats: float, shared=lambda e: math.log(2) - _binary(e)) -> float:
    low, high = 0.0, 0.5
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if shared(middle) > nats else (low, middle)
    return low


JITTER = Exercise(
    sample=lambda g: [(0.05,), (0.2,), (math.log(2) / 2,), (0.6,)],
    reference=_jitter,
    mistakes=(
        (
            "this e leaves an *entropy* of that size: the information is log 2 minus it",
            lambda n: _jitter(math.log(2) - n),
        ),
        (
            "the information was taken in bits: there are log 2 nats in a bit",
            lambda n: _jitter(n * math.log(2)),
        ),
        ("this is 1 - e: between 0 and 1/2, please", lambda n: 1 - _jitter(n)),
        (
            "a straight line from log 2 to 0: the entropy is curved, so solve for e",
            lambda n: 0.5 * (1 - n / math.log(2)),
        ),
        (
            "H(e) has two terms, e and 1 - e",
            lambda n: _jitter(n, lambda e: math.log(2) + (e * math.log(e) if e > 0 else 0.0)),
        ),
    ),
    praise="half of the information is gone at e = 0.11, less than a quarter of the way to 1/2",
)


def _needed(target: float, rho: Tensor) -> float:
    tau = float(rho.square().sum())
    return target * (1 - tau) + tau


def _frequencies(g: torch.Generator) -> list[tuple]:
    return [
        (target, torch.softmax(torch.randn(c, generator=g).double(), 0))
        for target, c in ((0.1, 3), (0.3, 10), (0.05, 6))
    ]


LOSS_NEEDED = Exercise(
    sample=_frequencies,
    reference=_needed,
    mistakes=(
        (
            "tau is 1 / C only for equally frequent classes: two draws agree with probability sum rho^2",
            lambda t, r: t * (1 - 1 / len(r)) + 1 / len(r),
        ),
        (
            "the collisions are missing: they cost tau even with perfect features",
            lambda t, r: t * (1 - float(r.square().sum())),
        ),
        (
            "the guarantee was applied to the target: solve it for L_un",
            lambda t, r: (t - float(r.square().sum())) / (1 - float(r.square().sum())),
        ),
        (
            "this tau is the chance that the classes differ",
            lambda t, r: t * float(r.square().sum()) + 1 - float(r.square().sum()),
        ),
        (
            "target plus tau: the target counts only where classes differ",
            lambda t, r: t + float(r.square().sum()),
        ),
        (
            "the largest class alone: every class can collide with itself",
            lambda t, r: t * (1 - float(r.max())) + float(r.max()),
        ),
    ),
    praise="with a frequent class the loss may stay high although the features are good",
)
