"""The checkers of chapter 11 against solutions in several styles, and plausible wrong ones."""

import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch11


def vectors_loop(texts):
    out = []
    for k in range(texts.shape[1]):
        mean = sum(v / v.norm() for v in texts[:, k])
        out.append(mean / mean.norm())
    return torch.stack(out)


def bag_loop(score):
    n, total = len(score), 0.0
    for i in range(n):
        bags = [sum(math.exp(s) for s in score[i, j].tolist()) for j in range(n)]
        total -= math.log(bags[i] / sum(bags))
    return total / n


def recall_loop(score, wanted, shown, k):
    hits = 0
    for i in range(len(score)):
        first = score[i].argsort(descending=True)[:k]
        hits += any(shown[j] == wanted[i] for j in first)
    return hits / len(score)


CORRECT = {
    "check_best_bias": [
        lambda n: -math.log(n - 1),
        lambda n: torch.logit(torch.tensor(1 / n, dtype=torch.float64)),
    ],
    "check_class_vectors": [
        vectors_loop,
        lambda z: F.normalize(F.normalize(z.float(), dim=-1).sum(0), dim=-1),
    ],
    "check_bag_loss": [bag_loop, lambda s: F.cross_entropy(s.logsumexp(2), torch.arange(len(s)))],
    "check_recall": [recall_loop],
}
WRONG = [
    ("check_best_bias", "odds of 1", lambda n: -math.log(n)),
    ("check_best_bias", "below 0", lambda n: math.log(n - 1)),
    ("check_best_bias", "paper's start", lambda n: -10),
    ("check_class_vectors", "outvote", lambda z: F.normalize(z.mean(0), dim=1)),
    ("check_class_vectors", "again", lambda z: F.normalize(z, dim=2).mean(0)),
    ("check_bag_loss", "asks every", lambda s: F.cross_entropy(
        s, torch.arange(len(s))[:, None].expand(-1, s.shape[2]))),
    ("check_bag_loss", "spoil", lambda s: F.cross_entropy(s.mean(2), torch.arange(len(s)))),
    ("check_recall", "several places", lambda s, w, c, k: (
        s.topk(k, dim=1).indices == (c == w[:, None]).double().argmax(1)[:, None]).any(1).double().mean()),
    ("check_recall", "precision", lambda s, w, c, k: (c[s.topk(k).indices] == w[:, None]).double().mean()),
]  # fmt: skip
TestCheckers = checker_tests(ch11, correct=CORRECT, wrong=WRONG)
