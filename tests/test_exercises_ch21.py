"""Chapter 21's checkers against solutions and wrong versions written as a reader would write them."""

import numpy as np
import torch
from exercise_cases import checker_tests
from scipy.stats import kendalltau

from ssl_lessons.book.exercises import ch21


def rank_numpy(z):
    s = np.linalg.svd(z.numpy(), compute_uv=False)
    p = s / s.sum()
    return float(np.exp(-np.sum(p * np.log(p + 1e-7))))


def rank_perplexity(z):
    p = torch.linalg.svdvals(z.float())
    return torch.distributions.Categorical(probs=p).perplexity()


def tau_loops(x, y):
    n, total = len(x), 0
    for i in range(n):
        for j in range(i):
            total += 1 if (x[i] - x[j]) * (y[i] - y[j]) > 0 else -1
    return 2 * total / (n * (n - 1))


def noise(images, dim):
    return torch.randn(len(images), dim)


def identity(images, dim):
    return torch.eye(dim).repeat(len(images) // dim + 1, 1)[: len(images)]


CORRECT = {
    "check_effective_rank": [rank_numpy, rank_perplexity],
    "check_kendall_tau": [tau_loops, lambda x, y: kendalltau(x, y).statistic],
    "check_regret": [
        lambda m, p: float(max(p)) - p[int(np.argmax(m))].item(),
        lambda m, p: p.max() - p[m.argsort()[-1]],
    ],
    "check_fool_rank_me": [noise, identity],
}


def shares(z):
    s = torch.linalg.svdvals(z)
    return s / s.sum()


WRONG = [
    ("check_effective_rank", "exponential", lambda z: -(shares(z) * shares(z).log()).sum()),
    ("check_effective_rank", "centred", lambda z: rank_perplexity(z - z.mean(dim=0))),
    ("check_effective_rank", "normalised first", lambda z: rank_perplexity(z / z.norm(dim=1, keepdim=True))),
    ("check_effective_rank", "counts", lambda z: int((torch.linalg.svdvals(z) > 1e-6).sum())),
    ("check_effective_rank", "sign", lambda z: (shares(z) * shares(z).log()).sum().exp()),
    ("check_kendall_tau", "Pearson", lambda x, y: np.corrcoef(x, y)[0, 1]),
    ("check_kendall_tau", "concordant pairs: subtract", lambda x, y: (tau_loops(x, y) + 1) / 2),
    ("check_kendall_tau", "once and divided", lambda x, y: tau_loops(x, y) / 2),
    ("check_kendall_tau", "sign", lambda x, y: -tau_loops(x, y)),
    ("check_regret", "sign", lambda m, p: p[m.argmax()] - p.max()),
    ("check_regret", "smallest", lambda m, p: p.max() - p[m.argmin()]),
    ("check_regret", "zero", lambda m, p: torch.tensor(0.0)),
    (
        "check_fool_rank_me",
        "look at the images",
        lambda x, d: noise(x, d) + 1e-3 * x.float().mean((1, 2, 3))[:, None],
    ),
    ("check_fool_rank_me", "90 %", lambda x, d: torch.ones(len(x), d)),
    ("check_fool_rank_me", "[200, 32]", lambda x, d: torch.randn(d, len(x))),
    ("check_fool_rank_me", "NaN", lambda x, d: noise(x, d) * torch.nan),
    ("check_fool_rank_me", "raises", lambda x, d: torch.randn(len(x), d, 0) @ x),
]


TestCheckers = checker_tests(ch21, correct=CORRECT, wrong=WRONG)
