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


def lower_forgotten(a, b, tau):
    empty = torch.full((len(a), len(a)), -math.inf, dtype=a.dtype)
    across = a @ b.T / tau
    return torch.cat([torch.cat([empty, across], 1), torch.cat([across, empty], 1)])


def stranger(n, tau):
    """The view itself with a cosine of 0."""
    e = math.exp(-1 / tau)
    return math.log(1 + (2 * n - 2) * e), math.log(1 + (2 * n - 1) * e)


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


def top(matrix, k):
    return -torch.linalg.eigvalsh(matrix)[-k:].square().sum()


def laplacian(w, k):
    total = w.sum(1)
    values = torch.linalg.eigvalsh(torch.eye(len(w)) - w / (total[:, None] * total).sqrt())
    return -values[:k].square().sum()


def test_directions_of_negative_eigenvalues_are_no_use():
    """Two views that turn into each other only: no U U^T has a negative eigenvalue."""
    w = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.float64)
    assert ch19.SPECTRAL.reference(w, 2) == -1


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
        ("check_floor_with_itself", "no stranger", stranger),
        ("check_floor_with_itself", "the others count", lambda n, t: (0, math.log(2))),
        ("check_floor_with_itself", "a tuple of 2 numbers", lambda n, t: floor(n, t)[0]),
        ("check_clip_scores", "SimCLR's", lambda a, b, t: ch19._clip(a, b, t, "itself")),
        ("check_clip_scores", "minus infinity", lambda a, b, t: blocks(a, b, t).nan_to_num(neginf=0)),
        (
            "check_clip_scores",
            "not a large negative",
            lambda a, b, t: blocks(a, b, t).nan_to_num(neginf=-1e9),
        ),
        ("check_clip_scores", "not a large negative", lambda a, b, t: blocks(a, b, t).nan_to_num()),
        ("check_clip_scores", "instead of -inf at [0, 0]", lambda a, b, t: blocks(a, b, t).roll(1, dims=0)),
        (
            "check_clip_scores",
            "instead of -inf at [0, 0]",
            lambda a, b, t: blocks(a, b, t).nan_to_num(neginf=-1),
        ),
        ("check_clip_scores", "b @ a.T", lower_forgotten),
        ("check_clip_scores", "only the partner", lambda a, b, t: ch19._clip(a, b, t, "all but the partner")),
        ("check_clip_scores", "rows of texts", lambda a, b, t: ch19._clip(a, b, t, "own, of pictures")),
        ("check_clip_scores", "shape", lambda a, b, t: a @ b.T / t),
        ("check_dual_constant", "the sign", lambda n, d, a: -constant(n, d, a)),
        ("check_dual_constant", "columns of length a too", lambda n, d, a: a**4 * (n - d)),
        ("check_dual_constant", "a constant is left", lambda n, d, a: 0),
        ("check_dual_constant", "once more", lambda n, d, a: n * a**4 - d * (n * a**2 / d)),
        ("check_dual_constant", "a^4, not a^2", lambda n, d, a: a**2 * (n - n**2 / d)),
        ("check_best_spectral_loss", "the sign", lambda w, k: -best(w, k)),
        ("check_best_spectral_loss", "normalise", lambda w, k: -(torch.linalg.svdvals(w)[:k] ** 2).sum()),
        ("check_best_spectral_loss", "one triangle", lambda w, k: top(w / w.sum(1, keepdim=True), k)),
        (
            "check_best_spectral_loss",
            "not by w_a w_b",
            lambda w, k: top(w / torch.outer(w.sum(0), w.sum(1)), k),
        ),
        ("check_best_spectral_loss", "Laplacian", laplacian),
        ("check_best_spectral_loss", "all eigenvalues", lambda w, k: best(w, len(w))),
    ],
)
