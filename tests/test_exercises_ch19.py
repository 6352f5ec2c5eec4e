"""The checkers of chapter 19 against solutions in several styles, and plausible wrong ones."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch19


def floor(n, tau):
    others = (2 * n - 2) * math.exp(-1 / tau)
    return math.log(1 + others), math.log(2 + others)


def floor_by_torch(n, tau):
    """Cosines: the partner first, then the others, itself last."""
    row = torch.cat([torch.ones(1), torch.zeros(2 * n - 2), torch.ones(1)]).double() / tau
    return torch.stack([-row[:-1].log_softmax(0)[0], -row.log_softmax(0)[0]])


def blocks(a, b, tau):
    empty = torch.full((len(a), len(a)), -math.inf, dtype=a.dtype)
    return torch.cat([torch.cat([empty, a @ b.T / tau], 1), torch.cat([b @ a.T / tau, empty], 1)])


def blocks_float32(a, b, tau):
    return blocks(a.float(), b.float(), tau)


def constant(n, d, a):
    return n * a**4 - d * (n * a**2 / d) ** 2


def constant_numpy(n, d, a):
    return float(np.float64(a) ** 4 * n * (1 - n / d))


def best(w, k):
    total = w.sum(0)
    a = w / total.sqrt() / total.sqrt()[:, None]
    return -(torch.linalg.svdvals(a)[:k] ** 2).sum()


def best_as_loss(w, k):
    """The loss at the eigenvectors themselves."""
    total = w.sum(1)
    values, vectors = torch.linalg.eigh(w / (total[:, None] * total).sqrt())
    f = (vectors * values.clamp_min(0).sqrt())[:, -k:] / total.sqrt()[:, None]
    products = f @ f.T
    return -2 * (w * products).sum() + (total[:, None] * total * products**2).sum()


TestChapter19 = checker_tests(
    ch19,
    correct={
        "check_floor_with_itself": [floor, floor_by_torch, lambda n, t: list(floor(n, t))],
        "check_clip_scores": [blocks, blocks_float32],
        "check_dual_constant": [constant, constant_numpy],
        "check_best_spectral_loss": [best, best_as_loss],
    },
    wrong=[
        ("check_floor_with_itself", "the order", lambda n, t: floor(n, t)[::-1]),
        ("check_floor_with_itself", "two views each", lambda n, t: floor((n + 1) / 2, t)),
        ("check_floor_with_itself", "the others count", lambda n, t: (0, math.log(2))),
        ("check_floor_with_itself", "a tuple of 2 numbers", lambda n, t: floor(n, t)[0]),
        ("check_clip_scores", "SimCLR's", lambda a, b, t: ch19._clip(a, b, t, "itself")),
        ("check_clip_scores", "minus infinity", lambda a, b, t: blocks(a, b, t).nan_to_num(neginf=0)),
        ("check_clip_scores", "shape", lambda a, b, t: a @ b.T / t),
        ("check_dual_constant", "the sign", lambda n, d, a: -constant(n, d, a)),
        ("check_dual_constant", "columns of length a too", lambda n, d, a: a**4 * (n - d)),
        ("check_dual_constant", "a^4, not a^2", lambda n, d, a: a**2 * (n - n**2 / d)),
        ("check_best_spectral_loss", "the sign", lambda w, k: -best(w, k)),
        ("check_best_spectral_loss", "normalise", lambda w, k: -(torch.linalg.svdvals(w)[:k] ** 2).sum()),
        ("check_best_spectral_loss", "all eigenvalues", lambda w, k: best(w, len(w))),
    ],
)
