"""The checkers of chapter 07b against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch07b


def by_eigenvalues(gamma, lr):
    return np.abs(np.linalg.eigvals(np.array([[1 - lr * gamma, -lr / 2], [lr / 2, 1]]))).max()


def by_hand(gamma, lr):
    if gamma >= 1:
        return 1 - lr / 2 * (gamma - math.sqrt(gamma**2 - 1))
    return math.sqrt(1 - lr * gamma + lr**2 / 4)


def by_entropies(E, G, p, q):
    a, b = p[:, None] * E, q[None] * G.T
    H = lambda t: torch.special.entr(t).sum()  # noqa: E731
    return H((a + b) / 2) - (H(a) + H(b)) / 2


def by_the_critic(E, G, p, q):
    a, b = torch.diag(p) @ E, (torch.diag(q) @ G).T
    value = 0.0
    for i in range(len(p)):
        for j in range(len(q)):
            x, y = a[i, j].item(), b[i, j].item()
            if x:
                value += x * math.log(x / (x + y))
            if y:
                value += y * math.log(y / (x + y))
    return (value + 2 * math.log(2)) / 2


def trust(drawn, truth):
    return ((drawn - truth.unsqueeze(1)) ** 2).mean() / (2 * drawn.var(dim=1).mean())


def trust_by_pairs(drawn, truth):
    """The variance as half the mean squared distance of two drawings."""
    n, r, d = drawn.shape
    apart = sum((drawn[:, i] - drawn[:, j]).square().mean() for i in range(r) for j in range(r) if i != j) / (
        r * (r - 1)
    )
    return float((drawn - truth[:, None]).square().mean() / apart)


CORRECT = {
    "check_shrink": [by_eigenvalues, by_hand],
    "check_gap": [by_entropies, by_the_critic, lambda *a: by_entropies(*(t.float() for t in a))],
    "check_trust": [trust, trust_by_pairs, lambda x, t: float(trust(x.float(), t.float()))],
}


def naive_gap(E, G, p, q):
    a, b = p[:, None] * E, (q[:, None] * G).T
    m = (a + b) / 2
    return ((a * (a / m).log()).sum() + (b * (b / m).log()).sum()) / 2


WRONG = [
    ("check_shrink", "1/2", lambda c, lr: np.abs(np.linalg.eigvals([[1 - lr * c, -lr], [lr, 1]])).max()),
    ("check_shrink", "without the half", lambda c, lr: by_eigenvalues(c / 2, lr)),
    ("check_shrink", "determinant, the product", lambda c, lr: 1 - lr * c + lr**2 / 4),
    ("check_shrink", "only while the path turns", lambda c, lr: (1 - lr * c + lr**2 / 4) ** 0.5),
    ("check_shrink", "slower one decides",
     lambda c, lr: np.abs(np.linalg.eigvals([[1 - lr * c, -lr / 2], [lr / 2, 1]])).min()),
    ("check_shrink", "instead of", lambda c, lr: 1 - lr * c),
    ("check_shrink", "one number", lambda c, lr: np.linalg.eigvals([[1 - lr * c, -lr / 2], [lr / 2, 1]])),
    ("check_gap", "0 log 0", naive_gap),
    ("check_gap", "2 log 2", lambda *a: 2 * by_entropies(*a) - 2 * math.log(2)),
    ("check_gap", "twice", lambda *a: 2 * by_entropies(*a)),
    ("check_gap", "in bits", lambda *a: by_entropies(*a) / math.log(2)),
    ("check_gap", "p and prior are missing",
     lambda E, G, p, q: by_entropies(E, G, torch.ones_like(p) / len(p), torch.ones_like(q) / len(q))),
    ("check_gap", "pictures alone", lambda E, G, p, q: _flat(p, q @ G)),
    ("check_gap", "codes alone", lambda E, G, p, q: _flat(p @ E, q)),
    ("check_trust", "two independent draws", lambda x, t: 2 * trust(x, t)),
    ("check_trust", "upside down", lambda x, t: 1 / trust(x, t)),
    ("check_trust", "R - 1",
     lambda x, t: (x - t[:, None]).square().mean() / 2 / x.var(dim=1, unbiased=False).mean()),
    ("check_trust", "of the mean", lambda x, t: (x.mean(1) - t).square().mean() / 2 / x.var(1).mean()),
    ("check_trust", "those of one code",
     lambda x, t: (x - t[:, None]).square().mean() / 2 / x.flatten(0, 1).var(0).mean()),
    ("check_trust", "RuntimeError", lambda x, t: (x - t).square().mean()),
]  # fmt: skip


def _flat(a, b):
    H = lambda t: torch.special.entr(t).sum()  # noqa: E731
    return H((a + b) / 2) - (H(a) + H(b)) / 2


TestCheckers = checker_tests(ch07b, correct=CORRECT, wrong=WRONG)
