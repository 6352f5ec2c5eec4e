"""The checkers of chapter 12b against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch12b


def suspicion_loop(joint, rate):
    rows = []
    for a in range(joint.shape[0]):
        row = []
        for b in range(joint.shape[1]):
            filled = rate * float(joint[a].sum()) * float(joint[:, b].sum())
            row.append(filled / (filled + (1 - rate) * float(joint[a, b])))
        rows.append(row)
    return torch.tensor(rows)


def changed_pairs(p, rate):
    return rate * sum(float(p[i] * p[j]) for i in range(len(p)) for j in range(len(p)) if i != j)


def means_loop(places, classes, angle):
    found = [[] for _ in range(classes)]
    for p in range(places):
        found[p % classes].append(2**0.5 * math.cos(2 * math.pi * p / places - angle))
    return torch.tensor([sum(v) / len(v) for v in found])


def product(p):
    return torch.outer(p.sum(1), p.sum(0))


CORRECT = {
    "check_suspicion": [suspicion_loop, lambda p, r: 1 / (1 + (1 - r) / r * p / product(p))],
    "check_changed": [changed_pairs, lambda p, r: (r * p * (1 - p)).sum()],
    "check_standardise": [
        lambda t, x: (x - t.mean(0)) / t.std(0),
        lambda t, x: ((x - t.mean(0)) / t.std(0)).float(),
    ],
    "check_class_means": [means_loop],
}
WRONG = [
    ("check_suspicion", "original", lambda p, r: 1 - suspicion_loop(p, r)),
    ("check_suspicion", "weigh", lambda p, r: product(p) / (product(p) + p)),
    ("check_suspicion", "before looking", lambda p, r: torch.full_like(p, r)),
    ("check_suspicion", "ratio", lambda p, r: r * product(p) / ((1 - r) * p)),
    ("check_suspicion", "evenly", lambda p, r: (
        r * p.sum(1, keepdim=True) / p.shape[1] / (r * p.sum(1, keepdim=True) / p.shape[1] + (1 - r) * p))),
    ("check_suspicion", "first cell", lambda p, r: r * p.sum(0) / (r * p.sum(0) + (1 - r) * p)),
    ("check_changed", "that it had", lambda p, r: r),
    ("check_changed", "not 1 / K", lambda p, r: r * (1 - 1 / len(p))),
    ("check_changed", "equal value", lambda p, r: r * (p * p).sum()),
    ("check_changed", "most frequent", lambda p, r: r * (1 - p.max())),
    ("check_changed", "multiply", lambda p, r: 1 - (p * p).sum()),
    ("check_standardise", "one new row alone", lambda t, x: (x - x.mean(0)) / x.std(0)),
    ("check_standardise", "leak", lambda t, x: (x - torch.cat([t, x]).mean(0)) / torch.cat([t, x]).std(0)),
    ("check_standardise", "return the new", lambda t, x: (t - t.mean(0)) / t.std(0)),
    ("check_standardise", "variance", lambda t, x: (x - t.mean(0)) / t.var(0)),
    ("check_standardise", "missing", lambda t, x: x - t.mean(0)),
    ("check_standardise", "each column", lambda t, x: (x - t.mean()) / t.std()),
    ("check_standardise", "N - 1", lambda t, x: (x - t.mean(0)) / t.std(0, correction=0)),
    ("check_class_means", "sqrt", lambda p, c, a: means_loop(p, c, a) / 2**0.5),
    ("check_class_means", "subtracted", lambda p, c, a: means_loop(p, c, -a)),
    ("check_class_means", "divides", lambda p, c, a: torch.tensor([
        sum(2**0.5 * math.cos(2 * math.pi * q / p - a) for q in range(k, p, c)) for k in range(c)])),
    ("check_class_means", "arc", lambda p, c, a: torch.tensor([
        sum(2**0.5 * math.cos(2 * math.pi * q / p - a) for q in range(k * (p // c), (k + 1) * (p // c))) / (p // c)
        for k in range(c)])),
    ("check_class_means", "full turn", lambda p, c, a: torch.tensor([
        sum(2**0.5 * math.cos(q - a) for q in range(k, p, c)) / len(range(k, p, c)) for k in range(c)])),
]  # fmt: skip
TestCheckers = checker_tests(ch12b, correct=CORRECT, wrong=WRONG)
