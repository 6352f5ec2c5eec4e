"""The checkers of chapter 8b against solutions in several styles, and plausible wrong ones."""

import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch08b


def cosine_loop(z):
    n = len(z)
    pairs = [F.cosine_similarity(z[i], z[j], dim=0) for i in range(n) for j in range(n) if i != j]
    return sum(pairs) / len(pairs)


def cosine_by_mean(z):
    n, mean = len(z), F.normalize(z, dim=1).mean(0)
    return (n * mean @ mean - 1) / (n - 1)


def hard_loop(z, p, n, t):
    losses = []
    for i in range(len(z)):
        near = torch.stack([F.cosine_similarity(z[i], v, dim=0) / t for v in (*p, *n)])
        losses.append(near.logsumexp(0) - near[i])
    return torch.stack(losses).mean()


def by_cholesky(z, x):
    factor = torch.linalg.cholesky(torch.cov(z.T))
    y = F.normalize(torch.linalg.solve_triangular(factor, (x - z.mean(0)).T, upper=False).T, dim=1)
    return y @ y.T


def twins_by_chance(batch, meanings):
    p, n = 1 / meanings, batch - 1
    chance = torch.distributions.Binomial(n, torch.tensor(p).double()) if p < 1 else None
    if chance is None:
        return math.log(batch)
    b = torch.arange(batch).double()
    return float((chance.log_prob(b).exp() * (1 + b).log()).sum())


CORRECT = {
    "check_mean_cosine": [cosine_loop, cosine_by_mean, lambda z: cosine_by_mean(z.float())],
    "check_hard": [hard_loop],
    "check_whitened": [by_cholesky],
    "check_twins": [twins_by_chance],
}
WRONG = [
    ("check_mean_cosine", "itself", lambda z: (F.normalize(z, dim=1) @ F.normalize(z, dim=1).T).mean()),
    ("check_mean_cosine", "absolute", lambda z: _absolute(z)),
    ("check_hard", "missing", lambda z, p, n, t: hard_loop(z, p, p[:0], t)),
    ("check_hard", "do not multiply", lambda z, p, n, t: hard_loop(z, p, n, 1 / t)),
    ("check_whitened", "nothing", lambda z, x: F.normalize(x, dim=1) @ F.normalize(x, dim=1).T),
    ("check_whitened", "own deviation", lambda z, x: _each(z, x)),
    ("check_twins", "mean of the logarithm", lambda n, k: math.log(1 + (n - 1) / k)),
    ("check_twins", "knows nothing", lambda n, k: math.log(n)),
]


def _absolute(z):
    u = F.normalize(z, dim=1)
    return ((u @ u.T).abs().sum() - len(z)) / (len(z) * (len(z) - 1))


def _each(z, x):
    y = F.normalize((x - z.mean(0)) / z.std(0), dim=1)
    return y @ y.T


TestCheckers = checker_tests(ch08b, correct=CORRECT, wrong=WRONG)
