"""The checkers of chapter 02 against solutions in several styles, and wrong versions a reader would write."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch02


def pmi_loops(counts):
    total = counts.sum()
    result = torch.zeros_like(counts)
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            result[i, j] = (counts[i, j] * total / (counts[i].sum() * counts[:, j].sum())).log()
    return result


def pmi_probabilities(counts):
    p = (counts / counts.sum()).float()
    return p.log() - p.sum(1, keepdim=True).log() - p.sum(0, keepdim=True).log()


def negative_sampling_loops(v, u, noise):
    total = 0.0
    for i in range(len(v)):
        total -= math.log(1 / (1 + math.exp(-float(u[i] @ v[i]))))
        for word in noise[i]:
            total -= math.log(1 / (1 + math.exp(float(word @ v[i]))))
    return total / len(v)


def negative_sampling_bce(v, u, noise):
    scores = torch.cat([u[:, None], noise], dim=1) @ v[:, :, None]
    target = torch.zeros_like(scores)
    target[:, 0] = 1
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="sum") / len(v)


def nce_posterior(positive, negative, log_q_positive, log_q_negative):
    k = negative.shape[1]
    p, n = positive.exp(), negative.exp()
    data = (p / (p + k * log_q_positive.exp())).log()
    noise = (k * log_q_negative.exp() / (n + k * log_q_negative.exp())).log()
    return -(data + noise.sum(dim=1)).mean()


def minus_log_k(negative, *log_q):
    return [value - math.log(negative.shape[1]) for value in log_q]


def neutralize_matrix(w, g):
    w = w / w.norm(dim=1, keepdim=True)
    w = w @ (torch.eye(len(g), dtype=w.dtype) - torch.outer(g, g) / (g @ g))
    return w / w.norm(dim=1, keepdim=True)


CORRECT = {
    "check_pmi": [pmi_loops, pmi_probabilities],
    "check_negative_sampling": [negative_sampling_loops, negative_sampling_bce],
    "check_nce": [nce_posterior],
    # the length of a word does not matter when the last step normalises
    "check_neutralize": [
        neutralize_matrix,
        lambda w, g: torch.nn.functional.normalize(w - torch.outer(w @ g / (g @ g), g), dim=1),
    ],
}
WRONG = [
    ("check_pmi", "base 2", lambda n: pmi_loops(n) / math.log(2)),
    ("check_pmi", "log P(c | w)", lambda n: n.log() - n.sum(1, keepdim=True).log()),
    ("check_pmi", "instead of", lambda n: n),
    ("check_negative_sampling", "won by making", lambda v, u, noise: -torch.sigmoid((u * v).sum(1)).log().mean()),
    ("check_negative_sampling", "summed over the batch", lambda v, u, n: len(v) * negative_sampling_loops(v, u, n)),
    ("check_nce", "this is negative sampling", lambda p, n, *_: nce_posterior(p, n, *minus_log_k(n, 0 * p, 0 * n))),
    ("check_nce", "factor k", lambda p, n, lp, ln: nce_posterior(p, n, *minus_log_k(n, lp, ln))),
    ("check_neutralize", "only normalised", lambda w, g: w / w.norm(dim=1, keepdim=True)),
    ("check_neutralize", "instead of", lambda w, g: w),
]  # fmt: skip


TestCheckers = checker_tests(ch02, correct=CORRECT, wrong=WRONG)
