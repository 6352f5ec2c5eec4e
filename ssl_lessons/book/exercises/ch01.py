"""Chapter 01: free energy, the contrastive-divergence update, two bounds of the VAE, a denoiser read as a slope."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ssl_lessons.models.generative.autoencoders import kl_to_standard_normal

from .core import Check, Exercise


def check_free_energy(fn) -> Check:
    """fn(v [N, V], W [V, H], a [V], b [H]) -> [N]: minus the log of the sum over h of exp(-E(v, h))."""
    return FREE_ENERGY.check(fn)


def check_cd_update(fn) -> Check:
    """fn(v0 [N, V], h0 [N, H], vk [M, V], hk [M, H]) -> [V, H]: the direction in which CD moves W."""
    return CD_UPDATE.check(fn)


def check_gaussian_kl(fn) -> Check:
    """fn(mu [N, D], log_var [N, D]) -> [N]: KL(N(mu, diag(exp(log_var))) || N(0, I)) in nats."""
    return GAUSSIAN_KL.check(fn)


def check_score(fn) -> Check:
    """fn(noisy [N, D], denoised [N, D], sigma) -> [N, D]: the slope of the log density of the noisy points."""
    return SCORE.check(fn)


def check_importance_bound(fn) -> Check:
    """fn(log_joint [K, N], log_q [K, N]) -> [N]: log of the mean over the K draws of p(x, z) / q(z | x)."""
    return IMPORTANCE_BOUND.check(fn)


def _machines(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, v, h in [(5, 4, 3), (3, 6, 6), (4, 2, 7)]:
        states = (torch.rand(n, v, generator=g) < 0.5).double()
        cases.append((states, *(torch.randn(s, generator=g).double() for s in [(v, h), (v,), (h,)])))
    return cases


def _free_energy(v: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -v @ a - softplus(b + v @ W).sum(dim=1)


FREE_ENERGY = Exercise(
    sample=_machines,
    reference=_free_energy,
    mistakes=(
        ("this is log p(v) + log Z: the free energy is minus that", lambda *x: -_free_energy(*x)),
        (
            "the hidden biases b are missing: each hidden unit adds softplus(b_j + v.W_j)",
            lambda v, W, a, b: _free_energy(v, W, a, 0 * b),
        ),
        (
            "the visible biases a are missing: they add -a.v",
            lambda v, W, a, b: _free_energy(v, W, 0 * a, b),
        ),
        (
            "the sign of a.v is wrong: a positive bias lowers the energy of a unit that is on",
            lambda v, W, a, b: _free_energy(v, W, -a, b),
        ),
        (
            "this is the energy with every hidden unit on: sum over both values of h_j, log(1 + exp(...))",
            lambda v, W, a, b: -v @ a - (b + v @ W).sum(dim=1),
        ),
        (
            "this is the energy with each hidden unit in its better state: sum over both states, do not take the best",
            lambda v, W, a, b: -v @ a - (b + v @ W).clamp(min=0).sum(dim=1),
        ),
        (
            "this is the energy at the hidden probabilities: the free energy also has their entropy; "
            "sum out h instead, log(1 + exp(...))",
            lambda v, W, a, b: -v @ a - ((b + v @ W) * torch.sigmoid(b + v @ W)).sum(dim=1),
        ),
        (
            "log sigmoid(x) is not log(1 + exp(x)): use softplus",
            lambda v, W, a, b: -v @ a - torch.sigmoid(b + v @ W).log().sum(dim=1),
        ),
        (
            "the hidden units are averaged: their terms add up",
            lambda v, W, a, b: -v @ a - softplus(b + v @ W).mean(dim=1),
        ),
    ),
    praise="on every machine: exp(-F) is p(v) up to one constant",
)


def _chains(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, m, v, h in [(6, 6, 4, 3), (5, 8, 3, 5), (4, 4, 6, 6)]:
        v0, vk = ((torch.rand(k, v, generator=g) < 0.5).double() for k in (n, m))
        h0, hk = (torch.rand(k, h, generator=g).double() for k in (n, m))
        cases.append((v0, h0, vk, hk))
    return cases


def _cd_update(v0: Tensor, h0: Tensor, vk: Tensor, hk: Tensor) -> Tensor:
    return v0.T @ h0 / len(v0) - vk.T @ hk / len(vk)


CD_UPDATE = Exercise(
    sample=_chains,
    reference=_cd_update,
    mistakes=(
        (
            "the sign is wrong: data raise the weight between units that are on together, the chain lowers it",
            lambda *x: -_cd_update(*x),
        ),
        (
            "the chain is missing: without the second average every weight grows for ever",
            lambda v0, h0, vk, hk: v0.T @ h0 / len(v0),
        ),
        (
            "the products are summed: divide each by its number of rows",
            lambda v0, h0, vk, hk: v0.T @ h0 - vk.T @ hk,
        ),
        (
            "a persistent chain may have more rows than the batch: divide the second product by its own number",
            lambda v0, h0, vk, hk: (v0.T @ h0 - vk.T @ hk) / len(v0),
        ),
        (
            "these are products of averages: average the products v_i h_j over the rows instead",
            lambda v0, h0, vk, hk: torch.outer(v0.mean(0), h0.mean(0)) - torch.outer(vk.mean(0), hk.mean(0)),
        ),
        (
            "the second average mixes the data's v with the chain's h: both come from the end of the chain",
            lambda v0, h0, vk, hk: (
                v0.T @ h0 / len(v0)
                - v0[: min(len(v0), len(vk))].T @ hk[: min(len(v0), len(vk))] / min(len(v0), len(vk))
            ),
        ),
    ),
    hint=lambda inputs, answers: (
        "the result is [H, V]: W is [visible, hidden]"
        if answers[0].shape == (inputs[0][1].shape[1], inputs[0][0].shape[1])
        else None
    ),
)

GAUSSIAN_KL = Exercise(
    sample=lambda g: [
        (torch.randn(n, d, generator=g).double(), torch.randn(n, d, generator=g).double())
        for n, d in [(5, 3), (3, 1), (4, 6)]
    ],
    reference=kl_to_standard_normal,
    mistakes=(
        ("the sign is wrong: a divergence is never negative", lambda m, s: -kl_to_standard_normal(m, s)),
        (
            "log_var is used as the logarithm of sigma: it is the logarithm of sigma squared",
            lambda m, s: kl_to_standard_normal(m, 2 * s),
        ),
        (
            "the half is missing",
            lambda m, s: 2 * kl_to_standard_normal(m, s),
        ),
        (
            "the -1 is missing: at mu = 0, sigma = 1 the divergence is 0",
            lambda m, s: 0.5 * (m.square() + s.exp() - s).sum(dim=1),
        ),
        (
            "the dimensions are averaged: independent dimensions add up",
            lambda m, s: kl_to_standard_normal(m, s) / m.shape[1],
        ),
        (
            "averaged over the batch: one number per image is wanted",
            lambda m, s: kl_to_standard_normal(m, s).mean(),
        ),
        (
            "the mean is missing: mu squared counts too",
            lambda m, s: kl_to_standard_normal(0 * m, s),
        ),
        (
            "mu is not squared",
            lambda m, s: 0.5 * (m + s.exp() - s - 1).sum(dim=1),
        ),
        (
            "this is the divergence the other way round, from N(0, I) to the code: q comes first",
            lambda m, s: 0.5 * ((1 + m.square()) / s.exp() + s - 1).sum(dim=1),
        ),
    ),
)

SCORE = Exercise(
    sample=lambda g: [
        (torch.randn(n, d, generator=g).double(), torch.randn(n, d, generator=g).double(), sigma)
        for n, d, sigma in [(5, 2, 0.3), (3, 4, 2.0), (4, 1, 0.1)]
    ],
    reference=lambda noisy, denoised, sigma: (denoised - noisy) / sigma**2,
    mistakes=(
        (
            "the sign is wrong: the slope points from the noisy point towards its clean guess",
            lambda x, r, s: (x - r) / s**2,
        ),
        ("divided by sigma: divide by sigma squared, the variance", lambda x, r, s: (r - x) / s),
        ("not divided by the variance of the noise", lambda x, r, s: r - x),
        ("multiplied by the variance: divide", lambda x, r, s: (r - x) * s**2),
    ),
)


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
