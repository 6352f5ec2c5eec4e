"""The checkers of chapter 17 against solutions in several styles, and wrong versions a reader would write."""

import math
from collections import Counter

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch17


def purity_counter(clusters, labels):
    hits = 0
    for c in set(clusters.tolist()):
        hits += Counter(labels[clusters == c].tolist()).most_common(1)[0][1]
    return hits / len(labels)


def entropy_loops(p):
    mean = [sum(column) / len(p) for column in p.T.tolist()]
    return -sum(m * math.log(m) for m in mean if m > 0)


def sinkhorn_shifted(scores, epsilon, iterations):
    q = ((scores.double() - scores.max()) / epsilon).exp()
    for _ in range(iterations):
        q = q / q.sum(dim=0) * len(q) / q.shape[1]
        q = q / q.sum(dim=1, keepdim=True)
    return q


def sinkhorn_logs(scores, epsilon, iterations):
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=0)
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
    return log_q.exp()


def swapped_loops(s1, s2, q1, q2, temperature):
    total = 0.0
    for s, q in ((s1, q2), (s2, q1)):
        for row, goal in zip(s, q, strict=True):
            p = [math.exp(x / temperature) for x in row]
            total -= sum(g * math.log(v / sum(p)) for g, v in zip(goal.tolist(), p, strict=True))
    return total / (2 * len(s1))


CORRECT = {
    "check_cluster_purity": [
        purity_counter,
        lambda a, y: sum(torch.bincount(y[a == c]).max() for c in a.unique()) / len(y),
    ],
    "check_mean_entropy": [
        entropy_loops,
        lambda p: -(p.mean(0) * p.mean(0).clamp_min(1e-12).log()).sum(),
        lambda p: torch.distributions.Categorical(p.mean(0).float()).entropy(),
    ],
    "check_sinkhorn": [sinkhorn_shifted, sinkhorn_logs],
    "check_swapped_prediction": [
        swapped_loops,
        lambda a, b, qa, qb, t: (F.cross_entropy(a / t, qb) + F.cross_entropy(b / t, qa)) / 2,
    ],
}


def naive_sinkhorn(scores, epsilon, iterations):
    q = (scores / epsilon).exp()
    for _ in range(iterations):
        q = q / q.sum(dim=0)
        q = q / q.sum(dim=1, keepdim=True)
    return q


def columns_last(scores, epsilon, iterations):
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
        log_q = log_q - log_q.logsumexp(dim=0)
    return log_q.exp()


WRONG = [
    ("check_cluster_purity", "swap the two roles", lambda a, y: purity_counter(y, a)),
    (
        "check_cluster_purity",
        "small clusters too much",
        lambda a, y: torch.stack(
            [(y[a == c] == y[a == c].mode().values).double().mean() for c in a.unique()]
        ).mean(),
    ),
    ("check_cluster_purity", "nothing to do with label", lambda a, y: (a == y).float().mean()),
    ("check_cluster_purity", "divide by N", lambda a, y: purity_counter(a, y) * len(y)),
    ("check_cluster_purity", "*not*", lambda a, y: 1 - purity_counter(a, y)),
    ("check_mean_entropy", "average the predictions first", lambda p: torch.special.entr(p).sum(1).mean()),
    ("check_mean_entropy", "sign", lambda p: -entropy_loops(p)),
    ("check_mean_entropy", "over the images", lambda p: entropy_loops(p.T)),
    ("check_mean_entropy", "bits", lambda p: entropy_loops(p) / math.log(2)),
    ("check_mean_entropy", "log K", lambda p: entropy_loops(p) / math.log(p.shape[1])),
    ("check_mean_entropy", "is a sum", lambda p: torch.special.entr(p.mean(0)).mean()),
    ("check_mean_entropy", "0 log 0", lambda p: -(p.mean(0) * p.mean(0).log()).sum()),
    ("check_sinkhorn", "this is a softmax", lambda s, e, t: F.softmax(s / e, dim=1)),
    ("check_sinkhorn", "only the columns", lambda s, e, t: F.softmax(s / e, dim=0)),
    ("check_sinkhorn", "epsilon is missing", lambda s, e, t: sinkhorn_logs(s, 1.0, t)),
    ("check_sinkhorn", "multiplied", lambda s, e, t: sinkhorn_logs(s, 1 / e, t)),
    ("check_sinkhorn", "ends with the columns", columns_last),
    ("check_sinkhorn", "ends with the columns", lambda s, e, t: columns_last(s, e, t) * len(s) / s.shape[1]),
    ("check_sinkhorn", "1 / N", lambda s, e, t: sinkhorn_logs(s, e, t) / len(s)),
    ("check_sinkhorn", "too many", lambda s, e, t: sinkhorn_logs(s, e, t + 1)),
    ("check_sinkhorn", "too few", lambda s, e, t: sinkhorn_logs(s, e, t - 1)),
    ("check_sinkhorn", "exp overflows", naive_sinkhorn),
    ("check_swapped_prediction", "not swapped", lambda a, b, qa, qb, t: swapped_loops(a, b, qb, qa, t)),
    ("check_swapped_prediction", "first view", lambda a, b, qa, qb, t: F.cross_entropy(a / t, qb)),
    ("check_swapped_prediction", "second view", lambda a, b, qa, qb, t: F.cross_entropy(b / t, qa)),
    ("check_swapped_prediction", "their mean", lambda *x: 2 * swapped_loops(*x)),
    ("check_swapped_prediction", "missing", lambda a, b, qa, qb, t: swapped_loops(a, b, qa, qb, 1.0)),
    ("check_swapped_prediction", "multiplied", lambda a, b, qa, qb, t: swapped_loops(a, b, qa, qb, 1 / t)),
    (
        "check_swapped_prediction",
        "sum over them",
        lambda a, b, qa, qb, t: (
            -(qb * (a / t).log_softmax(1)).mean() / 2 - (qa * (b / t).log_softmax(1)).mean() / 2
        ),
    ),
    ("check_swapped_prediction", "sign", lambda *x: -swapped_loops(*x)),
    (
        "check_swapped_prediction",
        "inside the logarithm",
        lambda a, b, qa, qb, t: (
            -(((a / t).softmax(1) * qb.log()).sum(1) + ((b / t).softmax(1) * qa.log()).sum(1)).mean() / 2
        ),
    ),
]


TestCheckers = checker_tests(ch17, correct=CORRECT, wrong=WRONG)
