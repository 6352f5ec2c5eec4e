"""The checkers of chapter 20 against solutions in several styles, and wrong versions a reader would write."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import diagnostics
from ssl_lessons.exercises import NOT_ATTEMPTED, ch20
from ssl_lessons.exercises.core import Exercise, _tensor, same

TABLES = {name: value for name, value in vars(ch20).items() if isinstance(value, Exercise)}


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


RIGHT = [
    (ch20.check_spread, spread_loops),
    (ch20.check_spread, diagnostics.spread),
    (ch20.check_spread, lambda z: 1 - F.cosine_similarity(z[:, None], z[None], dim=2).mean()),
    (ch20.check_spread, lambda z: F.normalize(z, dim=1).var(dim=0, correction=0).sum().float()),
    (ch20.check_effective_rank, rank_numpy),
    (ch20.check_effective_rank, rank_eigenvalues),
    (ch20.check_clusters_in_use, clusters_loops),
    (ch20.check_clusters_in_use, lambda p: min(p.shape) ** diagnostics.cluster_usage_entropy(p)),
    (ch20.check_surviving_directions, survivors_numpy),
    (
        ch20.check_surviving_directions,
        lambda x, noise, push: (
            torch.linalg.eigvals(
                push * (x - x.mean(0)).T @ (x - x.mean(0)) / len(x) - noise.T @ noise / len(noise)
            ).real
            > 0
        ).sum(),
    ),
]


@pytest.mark.parametrize("check, solution", RIGHT)
def test_right_answers_pass(check, solution):
    assert check(solution).passed is True, check(solution)


@pytest.mark.parametrize("name", TABLES)
def test_each_named_mistake_is_named_and_no_two_look_alike(name):
    exercise = TABLES[name]
    seen = []
    for message, wrong in exercise.mistakes:
        found = exercise.check(wrong)
        assert found.passed is False and found.message == message
        seen.append([_tensor(wrong(*args)) for args in exercise.inputs()])
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert not all(map(same, a, b)), exercise.mistakes[i][0]


@pytest.mark.parametrize("name", [n for n in vars(ch20) if n.startswith("check_")])
def test_a_stub_is_not_attempted(name):
    assert getattr(ch20, name)(lambda *args: NOT_ATTEMPTED).passed is None


def test_a_wrong_answer_without_a_name_shows_the_difference():
    found = ch20.check_spread(lambda z: diagnostics.spread(z) + 0.5)
    assert found.passed is False and "instead of" in found.message
