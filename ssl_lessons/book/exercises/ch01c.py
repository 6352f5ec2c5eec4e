"""Chapter 01c: a bound tighter than the ELBO, and the price of a code under a prior of another width."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.models.generative.autoencoders import kl_to_standard_normal

from .core import Check, Exercise


def check_importance_bound(fn) -> Check:
    """fn(log_joint [K, N], log_q [K, N]) -> [N]: log of the mean over the K draws of p(x, z) / q(z | x)."""
    return IMPORTANCE_BOUND.check(fn)


def check_price_with_width(fn) -> Check:
    """fn(mu [N, D], log_var [N, D], width) -> [N]: KL(N(mu, diag(exp(log_var))) || N(0, width^2 I)) in nats."""
    return PRICE_WITH_WIDTH.check(fn)


def _draws(g: torch.Generator) -> list[tuple]:
    cases = []
    for k, n, level in [(6, 4, 0.0), (12, 3, -50.0), (3, 5, -2000.0)]:
        log_q = torch.randn(k, n, generator=g).double()
        cases.append((log_q + 2 * torch.randn(k, n, generator=g).double() + level, log_q))
    return cases


def _importance_bound(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).logsumexp(dim=0) - math.log(len(log_q))


IMPORTANCE_BOUND = Exercise(
    sample=_draws,
    reference=_importance_bound,
    mistakes=(
        (
            "this is the mean of the logarithms, the ELBO: take the logarithm of the mean",
            lambda p, q: (p - q).mean(dim=0),
        ),
        (
            "log K is missing: a mean, not a sum",
            lambda p, q: (p - q).logsumexp(dim=0),
        ),
        (
            "exp of about -2000 is 0 in floating point, and its logarithm is minus infinity: use logsumexp",
            lambda p, q: (p - q).exp().mean(dim=0).log(),
        ),
        (
            "p and q are averaged apart: average their ratio",
            lambda p, q: p.logsumexp(dim=0) - q.logsumexp(dim=0),
        ),
        (
            "the sign of log q is wrong: p is divided by q",
            lambda p, q: _importance_bound(p, -q),
        ),
        (
            "q is missing: the draws came from q, so each is weighted by p / q",
            lambda p, q: _importance_bound(p, 0 * q),
        ),
        (
            "averaged over the images: the draws are in dimension 0",
            lambda p, q: (p - q).logsumexp(dim=1) - math.log(p.shape[1]),
        ),
        (
            "the best draw alone: average over all of them",
            lambda p, q: (p - q).max(dim=0).values,
        ),
    ),
    praise="and it survives log-likelihoods of -2000, as images have them",
)


def _codes(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(n, d, generator=g).double(), torch.randn(n, d, generator=g).double(), width)
        for n, d, width in [(5, 3, 2.0), (3, 1, 0.5), (4, 6, 1.7)]
    ]


def _price(mu: Tensor, log_var: Tensor, width: float) -> Tensor:
    return kl_to_standard_normal(mu / width, log_var - 2 * math.log(width))


PRICE_WITH_WIDTH = Exercise(
    sample=_codes,
    reference=_price,
    mistakes=(
        (
            "the width is ignored: this is the price under the standard prior",
            lambda m, s, w: _price(m, s, 1.0),
        ),
        ("width is a deviation, not a variance: square it", lambda m, s, w: _price(m, s, math.sqrt(w))),
        (
            "a wide prior makes far codes cheap: divide by the width, do not multiply",
            lambda m, s, w: _price(m, s, 1 / w),
        ),
        (
            "the logarithm of the width is missing: at mu = 0, deviation = width the price is 0",
            lambda m, s, w: 0.5 * ((m / w).square() + s.exp() / w**2 - s - 1).sum(dim=1),
        ),
        (
            "only the mean is divided: the variance of the code is measured against the prior's too",
            lambda m, s, w: kl_to_standard_normal(m / w, s),
        ),
        (
            "only the variance is compared with the prior's: the mean counts in units of the width too",
            lambda m, s, w: kl_to_standard_normal(m, s - 2 * math.log(w)),
        ),
        ("the half is missing", lambda m, s, w: 2 * _price(m, s, w)),
        ("the sign is wrong: a divergence is never negative", lambda m, s, w: -_price(m, s, w)),
        (
            "the dimensions are averaged: independent dimensions add up",
            lambda m, s, w: _price(m, s, w) / m.shape[1],
        ),
        (
            "log_var is used as the logarithm of the deviation: it is that of the variance",
            lambda m, s, w: _price(m, 2 * s, w),
        ),
        (
            "this is the divergence the other way round, from the prior to the code: the code comes first",
            lambda m, s, w: 0.5 * ((w**2 + m.square()) / s.exp() + s - 2 * math.log(w) - 1).sum(dim=1),
        ),
    ),
)
