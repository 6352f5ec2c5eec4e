"""The checkers of chapter 22c against solutions in several styles, and plausible wrong ones."""

from collections import Counter

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch22c


def told_by_counters(group, label):
    found = {}
    for g, y in zip(group.tolist(), label.tolist(), strict=True):
        found.setdefault(g, Counter())[y] += 1
    return sum(c.most_common(1)[0][1] for c in found.values()) / len(label)


def told_by_table(group, label):
    table = torch.zeros(int(group.max()) + 1, int(label.max()) + 1)
    table.index_put_((group, label), torch.ones(len(label)), accumulate=True)
    return table.amax(dim=1).sum() / len(label)


def gain_loop(y, guess, y0):
    def cosine(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    return sum(cosine(a, b) - cosine(a, c) for a, b, c in zip(y, guess, y0, strict=True)) / len(y)


CORRECT = {
    "check_told_apart": [told_by_counters, told_by_table],
    "check_turns_named": [
        lambda p: sum(float(row.max()) for row in p) / p.shape[1],
        lambda p: (p / p.shape[1]).numpy().max(axis=1).sum(),
    ],
    "check_gain": [gain_loop, lambda y, u, y0: torch.tensor(gain_loop(y, u, y0)).float()],
    "check_search_worth": [
        lambda s, r: max(zip(s.tolist(), r.tolist(), strict=True))[1] - r.mean().item(),
        lambda s, r: r.numpy()[s.numpy().argmax()] - r.numpy().mean(),
    ],
}
WRONG = [
    ("check_told_apart", "ignores everything", lambda g, y: float(y.bincount().max()) / len(y)),
    ("check_told_apart", "divide by the number", lambda g, y: told_by_table(g, y) * len(y)),
    ("check_turns_named", "divide by their number", lambda p: p.max(dim=1).values.sum()),
    ("check_turns_named", "says nothing", lambda p: 1 / p.shape[1]),
    ("check_gain", "other way round", lambda y, u, y0: -gain_loop(y, u, y0)),
    ("check_gain", "dot products", lambda y, u, y0: ((y * u).sum(1) - (y * y0).sum(1)).mean()),
    ("check_search_worth", "nobody may choose", lambda s, r: r.max() - r.mean()),
    ("check_search_worth", "biased upwards", lambda s, r: s.max() - s.mean()),
]
TestCheckers = checker_tests(ch22c, correct=CORRECT, wrong=WRONG)
