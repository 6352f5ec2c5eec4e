"""Chapter 01: a judge without Z, two planted bugs in contrastive divergence, how long a chain, the linear denoiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from .core import Check, Exercise


def check_pseudo_log_likelihood(fn) -> Check:
    """fn(v [N, V], W [V, H], a [V], b [H]) -> [N]: sum over pixels of log p(pixel | the others), nats."""
    return PSEUDO_LOG_LIKELIHOOD.check(fn)


def check_cd_update(fn) -> Check:
    """fn(v0 [N, V], h0 [N, H], vk [M, V], hk [M, H]) -> [V, H]: the direction in which CD moves W."""
    return CD_UPDATE.check(fn)


def check_rounds_needed(fn) -> Check:
    """fn(T [S, S], share) -> int: the smallest k with |second eigenvalue|^k <= share."""
    return ROUNDS_NEEDED.check(fn)


def check_linear_denoiser(fn) -> Check:
    """fn(noisy [N, P], mean [P], C [P, P], sigma) -> [N, P]: the best linear guess of the clean pictures."""
    return LINEAR_DENOISER.check(fn)


def _machines(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, v, h, scale in [(5, 4, 3, 1.0), (3, 6, 6, 0.5), (4, 2, 7, 1.0), (4, 6, 4, 500.0)]:
        states = (torch.rand(n, v, generator=g) < 0.5).double()
        cases.append((states, *(scale * torch.randn(s, generator=g).double() for s in [(v, h), (v,), (h,)])))
    return cases


def _free_energy(v: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -v @ a - softplus(b + v @ W).sum(dim=-1)


def _rise(v: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """F(v with pixel i flipped) - F(v): [N, V]"""
    flipped = (v[:, None] - torch.eye(v.shape[1]).to(v)).abs()
    return _free_energy(flipped, W, a, b) - _free_energy(v, W, a, b)[:, None]


def _pixels_from_hidden(v: Tensor, W: Tensor, a: Tensor, b: Tensor) -> Tensor:
    logits = a + torch.sigmoid(b + v @ W) @ W.T
    return (v * logsigmoid(logits) + (1 - v) * logsigmoid(-logits)).sum(dim=1)


PSEUDO_LOG_LIKELIHOOD = Exercise(
    sample=_machines,
    reference=lambda *x: logsigmoid(_rise(*x)).sum(dim=1),
    mistakes=(
        (
            "the sign is wrong: these are the probabilities of the flipped pixels",
            lambda *x: logsigmoid(-_rise(*x)).sum(dim=1),
        ),
        ("the pixels are averaged: the sum is asked for", lambda *x: logsigmoid(_rise(*x)).mean(dim=1)),
        (
            "this predicts each pixel from hidden units that have seen it: that is a reconstruction, "
            "compare v with v flipped in one pixel instead",
            _pixels_from_hidden,
        ),
        (
            "a sigmoid that underflows to 0 has no logarithm: use logsigmoid",
            lambda *x: torch.sigmoid(_rise(*x)).log().sum(dim=1),
        ),
        (
            "these are differences of free energies, not yet logarithms of probabilities: two pictures are "
            "possible, and their probabilities sum to 1",
            lambda *x: _rise(*x).sum(dim=1),
        ),
        (
            "the logarithm is missing: these are sums of probabilities",
            lambda *x: torch.sigmoid(_rise(*x)).sum(dim=1),
        ),
        (
            "pixels are switched off instead of flipped: where a pixel is off already, nothing was compared",
            lambda v, W, a, b: logsigmoid(
                _free_energy(v[:, None] * (1 - torch.eye(v.shape[1]).to(v)), W, a, b)
                - _free_energy(v, W, a, b)[:, None]
            ).sum(dim=1),
        ),
    ),
    praise="and Z was never needed",
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
            "one bug is left: the first average is still a product of averages",
            lambda v0, h0, vk, hk: torch.outer(v0.mean(0), h0.mean(0)) - vk.T @ hk / len(vk),
        ),
        (
            "both bugs are still there",
            lambda v0, h0, vk, hk: torch.outer(v0.mean(0), h0.mean(0)) - vk.T @ hk / len(v0),
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


def _walks(g: torch.Generator) -> list[tuple]:
    cases = []
    for s, stay, share in [(5, 2.0, 0.01), (8, 5.0, 0.1), (3, 1.0, 1e-4), (6, 8.0, 0.5)]:
        T = torch.rand(s, s, generator=g).double() + stay * torch.eye(s).double()
        cases.append((T / T.sum(dim=1, keepdim=True), share))
    back_and_forth = torch.tensor([[0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]]).double()
    return [*cases, (back_and_forth, 0.001)]


def _rounds(T: Tensor, share: float, size=lambda T: torch.linalg.eigvals(T).abs().sort().values[-2]) -> float:
    return math.log(share) / math.log(size(T))


ROUNDS_NEEDED = Exercise(
    sample=_walks,
    reference=lambda T, share: math.ceil(_rounds(T, share)),
    mistakes=(
        (
            "rounded down: after that many rounds the error is still above the share",
            lambda T, share: math.floor(_rounds(T, share)),
        ),
        ("k is a whole number of rounds: round up", _rounds),
        (
            "these are singular values: powers of a matrix multiply its eigenvalues",
            lambda T, share: math.ceil(_rounds(T, share, lambda T: torch.linalg.svdvals(T)[1])),
        ),
        (
            "second largest in size: a negative eigenvalue counts by its absolute value",
            lambda T, share: math.ceil(
                _rounds(T, share, lambda T: torch.linalg.eigvals(T).real.sort().values[-2].abs())
            ),
        ),
        (
            "the smallest eigenvalue dies first: the slowest, the second largest, decides",
            lambda T, share: math.ceil(_rounds(T, share, lambda T: torch.linalg.eigvals(T).abs().min())),
        ),
    ),
    praise="on chains that wander and on one that goes back and forth",
)


def _noisy(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, p, sigma in [(5, 3, 0.5), (4, 6, 1.5), (3, 2, 0.1)]:
        half = torch.randn(p, p, generator=g).double()
        mean = torch.randn(p, generator=g).double()
        cases.append((mean + 2 * torch.randn(n, p, generator=g).double(), mean, half @ half.T / p, sigma))
    return cases


def _gain(C: Tensor, noise: float) -> Tensor:
    return torch.linalg.solve(C + noise * torch.eye(len(C)).to(C), C)


def _hard_cut(noisy: Tensor, mean: Tensor, C: Tensor, sigma: float) -> Tensor:
    values, axes = torch.linalg.eigh(C)
    kept = axes[:, values > sigma**2]
    return mean + (noisy - mean) @ kept @ kept.T


LINEAR_DENOISER = Exercise(
    sample=_noisy,
    reference=lambda x, m, C, s: m + (x - m) @ _gain(C, s**2),
    mistakes=(
        ("the mean is not taken out: far from it the answer is wrong", lambda x, m, C, s: x @ _gain(C, s**2)),
        ("the mean is not put back", lambda x, m, C, s: (x - m) @ _gain(C, s**2)),
        (
            "sigma is not squared: C is a covariance, so add a variance",
            lambda x, m, C, s: m + (x - m) @ _gain(C, s),
        ),
        (
            "this is the noise, not the picture: the other part of x",
            lambda x, m, C, s: x - m - (x - m) @ _gain(C, s**2),
        ),
        (
            "the noise is subtracted from the covariance: noisy pictures vary more, not less",
            lambda x, m, C, s: m + (x - m) @ _gain(C, -(s**2)),
        ),
        (
            "this is PCA's hard cut: directions are kept or dropped; the best answer shrinks each of them",
            _hard_cut,
        ),
        ("nothing is removed: this is the input", lambda x, m, C, s: x),
        (
            "every direction shrinks alike: use the whole covariance, not its mean variance",
            lambda x, m, C, s: m + (x - m) * C.diagonal().mean() / (C.diagonal().mean() + s**2),
        ),
        (
            "the pixels are treated one by one: their covariances count too",
            lambda x, m, C, s: m + (x - m) * C.diagonal() / (C.diagonal() + s**2),
        ),
    ),
)
