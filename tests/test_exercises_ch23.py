"""The checkers of chapter 23 against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests
from scipy.stats import binom

from ssl_lessons.book.exercises import ch23
from ssl_lessons.evaluation import evidence


def luck_by_loop(k, n, p):
    total = 0.0
    for m in range(1, n + 1):
        total += 1 - binom.cdf(m - 1, n, p) ** k
    return total / n - p


def luck_by_distribution(k, n, p):
    """The mean of the largest count from its own probabilities."""
    f = torch.tensor(binom.cdf(range(n + 1), n, p)) ** k
    probability = torch.diff(f, prepend=torch.zeros(1, dtype=f.dtype))
    return float((probability * torch.arange(n + 1)).sum()) / n - p


def vote_by_loops(x, y, x_test, k, temperature):
    out = []
    for query in x_test:
        s = torch.stack([(query / query.norm()) @ (row / row.norm()) for row in x])
        near = s.argsort(descending=True)[:k]
        votes = [sum(float((s[i] / temperature).exp()) for i in near if y[i] == c) for c in range(int(y.max()) + 1)]
        out.append(max(range(len(votes)), key=votes.__getitem__))
    return torch.tensor(out)


def vote_one_hot(x, y, x_test, k, temperature):
    x, x_test = (v.float() / v.float().norm(dim=1, keepdim=True) for v in (x, x_test))
    s = x_test @ x.T
    kth = s.topk(k, dim=1).values[:, -1:]
    weight = (s / temperature).exp() * (s >= kth)
    return (weight @ torch.nn.functional.one_hot(y).float()).argmax(dim=1)


def needed_by_fine_grid(counts, accuracy, target):
    if accuracy.max() < target:
        return math.inf
    for i in range(len(counts)):
        if accuracy[i] >= target:
            break
    if i == 0:
        return counts[0]
    slope = (accuracy[i] - accuracy[i - 1]) / (counts[i] / counts[i - 1]).log2()
    return counts[i - 1] * 2 ** ((target - accuracy[i - 1]) / slope)


def by_package(a, b):
    return evidence.interval((a - b).mean(dim=1))


def by_hand(a, b):
    d = a.mean(1) - b.mean(1)
    t = {3: 2.919986, 4: 2.353363, 5: 2.131847}[len(d)]
    half = t * d.std() / len(d) ** 0.5
    return torch.stack([d.mean(), d.mean() - half, d.mean() + half])


def first_measured(counts, accuracy, target):
    return min([float(n) for n, v in zip(counts, accuracy, strict=True) if v >= target] or [math.inf])


CORRECT = {
    "check_luck": [luck_by_loop, luck_by_distribution],
    "check_vote": [vote_by_loops, vote_one_hot],
    "check_labels_needed": [needed_by_fine_grid, lambda c, a, t: ch23._needed(c.float(), a.float(), t)],
    "check_seed_interval": [by_package, by_hand],
}
WRONG = [
    ("check_luck", "subtract the true one", lambda k, n, p: luck_by_loop(k, n, p) + p),
    ("check_luck", "divide by n", lambda k, n, p: n * luck_by_loop(k, n, p)),
    ("check_luck", "upper bound", lambda k, n, p: (2 * math.log(k) * p * (1 - p) / n) ** 0.5),
    ("check_vote", "not normalised", lambda x, y, t, k, tau: ch23._vote(x, y, t, k, tau, unit=(False, False))),
    ("check_vote", "one vote", lambda x, y, t, k, tau: vote_one_hot(x, y, t, k, 1e9)),
    ("check_labels_needed", "first measured", first_measured),
    ("check_labels_needed", "inf", lambda c, a, t: min(needed_by_fine_grid(c, a, t), 50.0)),
    ("check_seed_interval", "as if each were a training run", lambda a, b: evidence.interval((a - b).flatten())),
    ("check_seed_interval", "a new seed may differ", lambda a, b: evidence.interval((a - b).mean(dim=0))),
    ("check_seed_interval", "90 %", lambda a, b: evidence.interval((a - b).mean(dim=1), 0.95)),
]  # fmt: skip

TestCheckers = checker_tests(ch23, correct=CORRECT, wrong=WRONG)


def test_luck_agrees_with_a_simulation():
    g = torch.Generator().manual_seed(0)
    right = (torch.rand(4000, 20, 50, generator=g) < 0.7).double().mean(dim=2)
    assert abs(float(right.max(dim=1).values.mean()) - 0.7 - luck_by_loop(20, 50, 0.7)) < 0.003
