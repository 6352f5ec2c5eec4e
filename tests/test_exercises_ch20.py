"""The checkers of chapter 20 against solutions in several styles, and wrong versions a reader would write."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons import diagnostics
from ssl_lessons.book.exercises import ch20


def spread_loops(z):
    rows = [[v / math.hypot(*row) for v in row] for row in z.tolist()]
    return sum(1 - sum(a * b for a, b in zip(r, s, strict=True)) for r in rows for s in rows) / len(rows) ** 2


def rank_numpy(z):
    s = np.linalg.svd((z - z.mean(0)).float().numpy(), compute_uv=False)
    p = s / s.sum()
    return float(np.exp(-(p * np.log(p + 1e-12)).sum()))


def rank_eigenvalues(z):
    s = torch.linalg.eigvalsh(torch.cov(z.T)).clamp_min(0).sqrt()
    p = s / s.sum() + 1e-12
    return (-(p * p.log()).sum()).exp()


def clusters_loops(p):
    mean = [sum(row[k] for row in p.tolist()) / len(p) for k in range(p.shape[1])]
    return math.exp(-sum(m * math.log(m) for m in mean if m))


def survivors_numpy(x, noise, push):
    x, noise = x.numpy(), noise.numpy()
    difference = push * np.cov(x.T, bias=True) - noise.T @ noise / len(noise)
    return int((np.linalg.eigvalsh(difference) > 0).sum())


def entropy(values):
    p = values / values.sum()
    return -torch.special.xlogy(p, p).sum()


CORRECT = {
    "check_spread": [
        spread_loops,
        diagnostics.spread,
        lambda z: 1 - F.cosine_similarity(z[:, None], z[None], dim=2).mean(),
        lambda z: F.normalize(z, dim=1).var(dim=0, correction=0).sum().float(),
    ],
    "check_effective_rank": [rank_numpy, rank_eigenvalues],
    "check_clusters_in_use": [clusters_loops, lambda p: min(p.shape) ** diagnostics.cluster_usage_entropy(p)],
    "check_surviving_directions": [
        survivors_numpy,
        lambda x, noise, push: (
            torch.linalg.eigvals(
                push * (x - x.mean(0)).T @ (x - x.mean(0)) / len(x) - noise.T @ noise / len(noise)
            ).real
            > 0
        ).sum(),
    ],
}
WRONG = [
    ("check_spread", "length", lambda z: 1 - z.mean(0).square().sum()),
    ("check_spread", "over the dimensions", lambda z: 1 - F.normalize(z).mean(1).pow(2).sum()),
    ("check_spread", "instead of", lambda z: diagnostics.spread(z) + 0.5),
    ("check_effective_rank", "not centred", lambda z: entropy(torch.linalg.svdvals(z)).exp()),
    ("check_effective_rank", "exponential", lambda z: entropy(torch.linalg.svdvals(z - z.mean(0)))),
    (
        "check_effective_rank",
        "variances",
        lambda z: entropy(torch.linalg.eigvalsh(torch.cov(z.T)).relu()).exp(),
    ),
    ("check_clusters_in_use", "each image", lambda p: sum(entropy(row).exp() for row in p) / len(p)),
    ("check_clusters_in_use", "favourite", lambda p: len(set(p.argmax(1).tolist()))),
    ("check_clusters_in_use", "dim=0", lambda p: torch.special.entr(p.mean(1)).sum().exp()),
    ("check_surviving_directions", "push is missing", lambda x, n, push: survivors_numpy(x, n, 1.0)),
    ("check_surviving_directions", "all directions", lambda x, n, push: x.shape[1]),
]


TestCheckers = checker_tests(ch20, correct=CORRECT, wrong=WRONG)


def test_a_wrong_answer_without_a_name_shows_the_difference():
    found = ch20.check_spread(lambda z: diagnostics.spread(z) + 0.5)
    assert found.passed is False and "instead of" in found.message
