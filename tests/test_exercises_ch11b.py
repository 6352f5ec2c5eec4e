"""The checkers of chapter 11b against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch11b


def right_by_cases(p):
    """Over all (picture, sound): the larger of the two joint probabilities."""
    true, false = torch.diag(p) / 2, torch.outer(p, p) / 2
    return torch.maximum(true, false).sum()


def loss_by_table(n, k):
    from scipy.stats import binom

    return sum(binom.pmf(m, n - 1, 1 / k) * math.log(m + 1) for m in range(n))


def ranks_by_sorting(score):
    total = 0.0
    for i, row in enumerate(score):
        total += 1 / (row.argsort(descending=True).tolist().index(i) + 1)
    return total / len(score)


CORRECT = {
    "check_best_right": [right_by_cases, lambda p: float(1 - (p.float() ** 2).sum() / 2)],
    "check_lowest_loss": [loss_by_table],
    "check_reciprocal_rank": [ranks_by_sorting],
}
WRONG = [
    ("check_best_right", "half of all", lambda p: 1 - (p * p).sum()),
    ("check_best_right", "equally likely", lambda p: 1 - 0.5 / len(p)),
    ("check_best_right", "twice drawn", lambda p: 1 - p.max() / 2),
    ("check_lowest_loss", "mean of the logarithm", lambda n, k: math.log((n - 1 + k) / k)),
    ("check_lowest_loss", "knows nothing", lambda n, k: math.log(n)),
    ("check_lowest_loss", "return the loss", lambda n, k: math.log(n) - loss_by_table(n, k)),
    ("check_reciprocal_rank", "divide first", lambda s: 1 / (s >= s.diag()[:, None]).sum(1).double().mean()),
    ("check_reciprocal_rank", "first place", lambda s: (s.argmax(1) == torch.arange(len(s))).double().mean()),
    ("check_reciprocal_rank", "columns", lambda s: (1 / (s >= s.diag()).sum(0).double()).mean()),
]  # fmt: skip
TestCheckers = checker_tests(ch11b, correct=CORRECT, wrong=WRONG)
