"""The checkers of chapter 01 against other right solutions and against wrong versions as readers write them."""

import itertools
import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch01


def free_energy_sum(v, W, a, b):
    """Sum over every hidden state."""
    total = []
    for h in itertools.product((0, 1), repeat=len(b)):
        h = torch.tensor(h).to(v)
        total.append(v @ a + h @ b + v @ W @ h)
    return -torch.stack(total).logsumexp(dim=0)


def cd_loops(v0, h0, vk, hk):
    data = sum(torch.outer(v, h) for v, h in zip(v0, h0, strict=True)) / len(v0)
    return data - sum(torch.outer(v, h) for v, h in zip(vk, hk, strict=True)) / len(vk)


def kl_by_torch(mu, log_var):
    q = torch.distributions.Normal(mu, (log_var / 2).exp())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)


def bound_by_hand(log_joint, log_q):
    w = log_joint - log_q
    top = w.max(dim=0).values
    return top + (w - top).exp().mean(dim=0).log()


CORRECT = {
    "check_free_energy": [
        free_energy_sum,
        lambda v, W, a, b: -(v @ a) - torch.log1p((b + v @ W).exp()).sum(1),
    ],
    "check_cd_update": [
        cd_loops,
        lambda v0, h0, vk, hk: torch.einsum("nv,nh->vh", v0, h0) / len(v0) - (vk.T @ hk).div(len(vk)),
    ],
    "check_gaussian_kl": [
        kl_by_torch,
        lambda m, s: -0.5 * (1 + s.float() - m.float() ** 2 - s.float().exp()).sum(1),
    ],
    "check_score": [lambda x, r, s: -(x - r) / (s * s)],
    "check_importance_bound": [
        bound_by_hand,
        lambda p, q: torch.logsumexp(p - q - math.log(p.shape[0]), dim=0),
    ],
}
WRONG = [
    ("check_free_energy", "every hidden unit on", lambda v, W, a, b: -v @ a - (b + v @ W).sum(1)),
    (
        "check_free_energy",
        "entropy",
        lambda v, W, a, b: -v @ a - ((b + v @ W) * (b + v @ W).sigmoid()).sum(1),
    ),
    ("check_free_energy", "shape", lambda v, W, a, b: torch.log1p((b + v @ W).exp())),
    ("check_cd_update", "sign", lambda v0, h0, vk, hk: vk.T @ hk / len(vk) - v0.T @ h0 / len(v0)),
    ("check_cd_update", "its own number", lambda v0, h0, vk, hk: (v0.T @ h0 - vk.T @ hk) / len(v0)),
    ("check_cd_update", "[H, V]", lambda v0, h0, vk, hk: cd_loops(v0, h0, vk, hk).T),
    ("check_gaussian_kl", "sigma squared", lambda m, s: 0.5 * (m**2 + (2 * s).exp() - 2 * s - 1).sum(1)),
    ("check_gaussian_kl", "per image", lambda m, s: kl_by_torch(m, s).mean()),
    ("check_score", "squared", lambda x, r, s: (r - x) / s),
    ("check_score", "sign", lambda x, r, s: (x - r) / s**2),
    ("check_importance_bound", "the ELBO", lambda p, q: (p - q).mean(0)),
    ("check_importance_bound", "logsumexp", lambda p, q: (p - q).exp().mean(0).log()),
]


TestCheckers = checker_tests(ch01, correct=CORRECT, wrong=WRONG)
