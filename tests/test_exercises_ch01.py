"""The checkers of chapters 01, 01b and 01c against other right solutions and wrong versions as readers write them."""

import itertools
import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch01, ch01b, ch01c


def free_energy_sum(v, W, a, b):
    """Sum over every hidden state."""
    total = []
    for h in itertools.product((0, 1), repeat=len(b)):
        h = torch.tensor(h).to(v)
        total.append(v @ a + h @ b + v @ W @ h)
    return -torch.stack(total).logsumexp(dim=0)


def pseudo_by_loops(v, W, a, b):
    total = torch.zeros(len(v)).to(v)
    for i in range(v.shape[1]):
        other = v.clone()
        other[:, i] = 1 - other[:, i]
        both = torch.stack([-free_energy_sum(u, W, a, b) for u in (v, other)])
        total += both[0] - both.logsumexp(dim=0)
    return total


def cd_loops(v0, h0, vk, hk):
    data = sum(torch.outer(v, h) for v, h in zip(v0, h0, strict=True)) / len(v0)
    return data - sum(torch.outer(v, h) for v, h in zip(vk, hk, strict=True)) / len(vk)


def rounds_by_trying(T, share):
    second = sorted(abs(complex(v)) for v in torch.linalg.eigvals(T))[-2]
    return next(k for k in itertools.count() if second**k <= share)


def denoise_in_eigenbasis(x, mean, C, sigma):
    values, axes = torch.linalg.eigh(C)
    return mean + ((x - mean) @ axes * (values / (values + sigma**2))) @ axes.T


def ista_by_cases(x, B, penalty, steps):
    step = 1 / torch.linalg.matrix_norm(B, 2) ** 2
    s = torch.zeros(len(x), len(B)).to(x)
    for _ in range(steps):
        u = s - step * (s @ B - x) @ B.T
        up, down = u - step * penalty, u + step * penalty
        s = torch.where(up > 0, up, torch.where(down < 0, down, 0 * u))
    return s


def bound_by_hand(log_joint, log_q):
    w = log_joint - log_q
    top = w.max(dim=0).values
    return top + (w - top).exp().mean(dim=0).log()


def price_by_torch(mu, log_var, width):
    q = torch.distributions.Normal(mu, (log_var / 2).exp())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0 * mu, width)).sum(dim=1)


CORRECT = {
    "check_pseudo_log_likelihood": [pseudo_by_loops],
    "check_cd_update": [
        cd_loops,
        lambda v0, h0, vk, hk: torch.einsum("nv,nh->vh", v0, h0) / len(v0) - (vk.T @ hk).div(len(vk)),
        lambda v0, h0, vk, hk: v0.float().T @ h0.float() / len(v0) - vk.float().T @ hk.float() / len(vk),
    ],
    "check_rounds_needed": [rounds_by_trying, lambda T, share: torch.tensor(rounds_by_trying(T, share))],
    "check_linear_denoiser": [
        denoise_in_eigenbasis,
        lambda x, m, C, s: (
            (m[:, None] + C @ torch.linalg.inv(C + s * s * torch.eye(len(C)).to(C)) @ (x - m).T).T
        ),
    ],
    "check_silent_price": [
        lambda x, B: torch.linalg.vector_norm(x @ B.T, math.inf, dim=1),
        lambda x, B: torch.stack([(B @ row).abs().max() for row in x]).float(),
    ],
    "check_repaired_ista": [ista_by_cases],
    "check_importance_bound": [
        bound_by_hand,
        lambda p, q: torch.logsumexp(p - q - math.log(p.shape[0]), dim=0),
    ],
    "check_price_with_width": [
        price_by_torch,
        lambda m, s, w: 0.5 * ((m**2 + s.exp()) / w**2 - s + 2 * math.log(w) - 1).sum(1),
    ],
}
WRONG = [
    ("check_pseudo_log_likelihood", "flipped pixels", lambda v, W, a, b: _pseudo(v, W, a, b, -1).sum(1)),
    ("check_pseudo_log_likelihood", "averaged", lambda v, W, a, b: _pseudo(v, W, a, b, 1).mean(1)),
    ("check_pseudo_log_likelihood", "underflows", lambda v, W, a, b: _pseudo(v, W, a, b, 1, safe=False).sum(1)),
    ("check_cd_update", "sign", lambda v0, h0, vk, hk: vk.T @ hk / len(vk) - v0.T @ h0 / len(v0)),
    ("check_cd_update", "its own number", lambda v0, h0, vk, hk: (v0.T @ h0 - vk.T @ hk) / len(v0)),
    ("check_cd_update", "one bug is left",
     lambda v0, h0, vk, hk: v0.mean(0)[:, None] * h0.mean(0) - vk.T @ hk / len(vk)),
    ("check_cd_update", "[H, V]", lambda v0, h0, vk, hk: cd_loops(v0, h0, vk, hk).T),
    ("check_rounds_needed", "rounded down", lambda T, share: rounds_by_trying(T, share) - 1),
    ("check_rounds_needed", "singular values",
     lambda T, share: math.ceil(math.log(share) / math.log(torch.linalg.svdvals(T)[1]))),
    ("check_linear_denoiser", "not squared", lambda x, m, C, s: denoise_in_eigenbasis(x, m, C, math.sqrt(s))),
    ("check_silent_price", "subtracted", lambda x, B: (x @ B.T).amax(1)),
    ("check_silent_price", "upper bound", lambda x, B: x.square().sum(1).sqrt()),
    ("check_repaired_ista", "negative entries", lambda x, B, p, n: _ista(x, B, n, lambda u, t: F.relu(u - t * p))),
    ("check_repaired_ista", "whole penalty", lambda x, B, p, n: _ista(x, B, n, lambda u, t: F.softshrink(u, p))),
    ("check_importance_bound", "the ELBO", lambda p, q: (p - q).mean(0)),
    ("check_importance_bound", "logsumexp", lambda p, q: (p - q).exp().mean(0).log()),
    ("check_price_with_width", "standard prior", lambda m, s, w: price_by_torch(m, s, 1.0)),
    ("check_price_with_width", "square it", lambda m, s, w: price_by_torch(m, s, w**0.5)),
    ("check_linear_denoiser", "not taken out", lambda x, m, C, s: denoise_in_eigenbasis(x, 0 * m, C, s)),
]  # fmt: skip


def _pseudo(v, W, a, b, sign, safe=True):
    rise = torch.stack(
        [
            free_energy_sum((v - e).abs(), W, a, b) - free_energy_sum(v, W, a, b)
            for e in torch.eye(v.shape[1]).to(v)
        ],
        dim=1,
    )
    return F.logsigmoid(sign * rise) if safe else (sign * rise).sigmoid().log()


def _ista(x, B, steps, shrink):
    step = float(1 / torch.linalg.eigvalsh(B @ B.T)[-1])
    s = torch.zeros(len(x), len(B)).to(x)
    for _ in range(steps):
        s = shrink(s + step * (x - s @ B) @ B.T, step)
    return s


TestCheckers = checker_tests(ch01, ch01b, ch01c, correct=CORRECT, wrong=WRONG)
