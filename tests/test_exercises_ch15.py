"""The checkers of chapters 15 and 15b against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch15
from ssl_lessons.losses.rate_reduction import coding_rate


def leaks(loss):
    g = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(8, 5, generator=g, requires_grad=True) for _ in range(2))
    value = loss(prediction, target)
    if not value.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(value, target, allow_unused=True)
    return gradient is not None and bool(gradient.abs().max() > 0)


def leaks_by_backward(loss):
    g = torch.Generator().manual_seed(1)
    prediction, target = (torch.randn(4, 3, generator=g, requires_grad=True) for _ in range(2))
    value = loss(prediction, target)
    if value.requires_grad:
        value.backward()
    return torch.tensor(target.grad is not None)


def leaks_where_rows_agree(loss):
    target = torch.ones(8, 5, requires_grad=True)
    value = loss(torch.ones(8, 5, requires_grad=True), target)
    if not value.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(value, target, allow_unused=True)
    return gradient is not None and bool(gradient.abs().max() > 1e-6)


def watershed(p, noise):
    """The largest decay whose middle root lies below p, by bisection."""
    low, high = 0.0, 1 / (4 * (1 + noise))
    for _ in range(60):
        decay = (low + high) / 2
        room = math.sqrt(max(0.0, 1 - 4 * decay * (1 + noise)))
        low, high = (decay, high) if (1 - room) / (2 * (1 + noise)) < p else (low, decay)
    return low


def by_matrix(momentum, noise, rate, new=True):
    keep = 1 - rate * (1 + noise)
    teacher = [(1 - momentum) * keep, momentum + (1 - momentum) * rate] if new else [1 - momentum, momentum]
    return np.abs(np.linalg.eigvals(np.array([[keep, rate], teacher])))


def by_simulation(momentum, noise, rate):
    student = teacher = 1.0
    lengths = []
    for _ in range(20_000):
        student = student - rate * ((1 + noise) * student - teacher)
        teacher = momentum * teacher + (1 - momentum) * student
        lengths.append(student)
        if student < 1e-100:
            break
    n = len(lengths) // 2
    return math.log(0.5) / (2 * math.log(lengths[n + 1] / lengths[n]))


def direct(F_, epsilon):
    s, U = torch.linalg.eigh(F_)
    s = s.clamp_min(0)
    return U @ torch.diag(s.sqrt() + epsilon * s.max()) @ U.T


def direct_sum(F_, epsilon):
    s, U = torch.linalg.eigh(F_)
    p = s.clamp(min=0) ** 0.5 + epsilon * s[-1]
    return sum(p[i] * torch.outer(U[:, i], U[:, i]) for i in range(len(p)))


def entropy(p):
    return torch.special.entr(p).sum(-1)


def divergence(p):
    """The mean Kullback-Leibler divergence of the answers from their mean."""
    return (torch.xlogy(p, p) - torch.xlogy(p, p.mean(0))).sum(1).mean()


def filled(n, d, eps):
    """The rate of a real cloud that fills its directions alike, where whole numbers allow it."""
    r = min(n, d)
    return coding_rate(torch.eye(d, dtype=torch.float64)[:r].repeat(max(1, n // r), 1), eps)


CORRECT = {
    "check_leaks": [leaks, leaks_by_backward],
    "check_bearable_decay": [
        watershed,
        lambda p, noise: p - (1 + noise) * p**2 if p < 0.5 / (1 + noise) else 0.25 / (1 + noise),
    ],
    "check_steps_to_half": [
        lambda m, noise, rate: math.log(0.5) / (2 * math.log(by_matrix(m, noise, rate).max())),
        by_simulation,
    ],
    "check_direct_predictor": [direct, direct_sum],
    "check_answers_tell": [
        lambda p: entropy(p.mean(0)) - entropy(p).mean(),
        divergence,
        lambda p: float(entropy(p.float().mean(0)) - entropy(p.float()).mean()),
    ],
    "check_highest_rate": [
        lambda n, d, eps: min(n, d) / 2 * math.log1p(d / (min(n, d) * eps)),
        filled,
    ],
}
WRONG = [
    ("check_leaks", "you pass it", lambda loss: False),
    ("check_leaks", "you refuse it", lambda loss: True),
    ("check_leaks", "you pass it", leaks_where_rows_agree),
    ("check_leaks", "does not require grad", lambda loss: _plain_backward(loss)),
    ("check_bearable_decay", "low starts", lambda p, n: p * (1 - (1 + n) * p)),
    ("check_bearable_decay", "high enough", lambda p, n: 0.25 / (1 + n)),
    ("check_bearable_decay", "noise is missing", lambda p, n: p - p * p if p < 0.5 else 0.25),
    ("check_steps_to_half", "square", lambda m, n, r: math.log(0.5) / math.log(by_matrix(m, n, r).max())),
    ("check_steps_to_half", "teacher is missing", lambda m, n, r: math.log(0.5) / (2 * math.log(1 - r * n))),
    (
        "check_steps_to_half",
        "fast mode",
        lambda m, n, r: math.log(0.5) / (2 * math.log(by_matrix(m, n, r).min())),
    ),
    (
        "check_steps_to_half",
        "step before",
        lambda m, n, r: math.log(0.5) / (2 * math.log(by_matrix(m, n, r, new=False).max())),
    ),
    ("check_direct_predictor", "not a number", lambda f, e: _rooted(f, e)),
    ("check_direct_predictor", "epsilon is missing", lambda f, e: direct(f, 0.0)),
    ("check_direct_predictor", "columns", lambda f, e: _by_rows(f, e)),
    ("check_answers_tell", "take something off", lambda p: entropy(p.mean(0))),
    ("check_answers_tell", "log K for the shrug", lambda p: entropy(p).mean()),
    (
        "check_answers_tell",
        "not a number",
        lambda p: -(p.mean(0) * p.mean(0).log()).sum() + (p * p.log()).sum(1).mean(),
    ),
    ("check_highest_rate", "at least as many rows", lambda n, d, eps: d / 2 * math.log(1 + 1 / eps)),
    ("check_highest_rate", "each of them holds", lambda n, d, eps: min(n, d) / 2 * math.log(1 + 1 / eps)),
    ("check_highest_rate", "lowest", lambda n, d, eps: 0.5 * math.log(1 + d / eps)),
]


def _plain_backward(loss):
    prediction, target = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    loss(prediction, target).backward()
    return target.grad is not None and bool(F.normalize(target.grad).abs().sum() > 0)


def _rooted(f, epsilon):
    s, u = torch.linalg.eigh(f)
    return u @ torch.diag(s**0.5 + epsilon * s.max()) @ u.T


def _by_rows(f, epsilon):
    s, u = torch.linalg.eigh(f)
    s = s.clamp_min(0)
    return u.T @ torch.diag(s.sqrt() + epsilon * s.max()) @ u


TestCheckers = checker_tests(ch15, correct=CORRECT, wrong=WRONG)
