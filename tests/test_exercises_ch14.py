"""The checkers of chapters 14 and 14b against solutions and wrong versions written as a reader would write them."""

import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch14
from ssl_lessons.methods.moco import Queue


def enqueue_loop(queue, pointer, keys):
    queue = [row.float() for row in queue]
    for key in keys:
        queue[pointer] = (key / key.norm()).float()
        pointer = (pointer + 1) % len(queue)
    return torch.stack(queue)


def enqueue_package(queue, pointer, keys):
    box = Queue(*queue.shape)
    box.rows, box.oldest = queue.clone(), torch.tensor(pointer)
    box.push(keys)
    return box.rows


def enqueue_roll(queue, pointer, keys):
    ordered = queue.roll(-pointer, 0)
    return torch.cat([F.normalize(keys), ordered[len(keys) :]]).roll(pointer, 0)


def threshold(s, temperature, beta):
    upper = ((1 + beta) * s / temperature).exp().sum(dim=1)
    lower = (beta * s / temperature).exp().sum(dim=1)
    return temperature * (beta * upper / ((1 + beta) * lower)).log()


def threshold_by_bisection(s, temperature, beta):
    """Where the share of the push that autograd finds for a cosine of such size changes its sign."""
    found = []
    for row in s:
        z = [(c * row / temperature).logsumexp(0) for c in (beta, 1 + beta)]
        low, high = -50.0, 50.0
        for _ in range(100):
            x = (low + high) / 2
            push = math.log(1 + beta) + (1 + beta) * x / temperature - z[1]
            pull = math.log(beta) + beta * x / temperature - z[0]
            low, high = (x, high) if push < pull else (low, x)
        found.append(x)
    return torch.tensor(found)


def mask_loops(labels):
    n, y = len(labels), labels.tolist() * 2
    same = [[y[i] == y[j] >= 0 and j != (i + n) % (2 * n) for j in range(2 * n)] for i in range(2 * n)]
    return torch.tensor(same) | torch.eye(2 * n, dtype=torch.bool)


def meets_by_counting(images, queue, batch):
    wait, per_pass = queue // batch, images // batch
    places = [(p, q) for p in range(per_pass) for q in range(per_pass)]
    return sum(p + per_pass - q <= wait for p, q in places) / len(places)


CORRECT = {
    "check_momentum_range": [
        lambda k, n, t: [(k - n) / k, (t - 1) / t],
    ],
    "check_meets_itself": [meets_by_counting],
    "check_debiased_mean": [
        lambda m, same, t: m + t / (1 - t) * (m - same),
        lambda m, same, t: torch.tensor((m - t * same) / (1 - t)),
    ],
    "check_enqueue": [enqueue_loop, enqueue_package, enqueue_roll],
    "check_momentum_for": [lambda h: math.exp(-math.log(2) / h), lambda h: torch.tensor(2.0) ** (-1 / h)],
    "check_pull_threshold": [threshold, threshold_by_bisection],
    "check_false_negative_mask": [mask_loops],
}


def rows(x):
    return x / x.norm(dim=1, keepdim=True)


def enqueue_at(places, keys_of=rows):
    def enqueue(queue, pointer, keys):
        queue = queue.clone()
        for place, key in zip(places(len(queue), pointer, len(keys)), keys_of(keys), strict=False):
            queue[place] = key
        return queue

    return enqueue


WRONG = [
    ("check_momentum_range", "not queue", lambda k, n, t: (1 - 1 / k, 1 - 1 / t)),
    ("check_momentum_range", "half-life", lambda k, n, t: (2 ** (-n / k), 2 ** (-1 / t))),
    ("check_momentum_range", "lags", lambda k, n, t: (k / n, t)),
    ("check_momentum_range", "(lowest, highest)", lambda k, n, t: (1 - 1 / t, 1 - n / k)),
    ("check_meets_itself", "drawn anew", lambda n, k, b: k / n),
    ("check_meets_itself", "whole numbers", lambda n, k, b: k * k / n / n / 2),
    ("check_meets_itself", "all pairs", lambda n, k, b: k * k / n / n),
    ("check_debiased_mean", "divided by the share of true", lambda m, same, t: m - t * same),
    (
        "check_debiased_mean",
        "swapped",
        lambda m, same, t: (m - (1 - t) * same) / max(t, 1e-9) if t else m - same,
    ),
    ("check_debiased_mean", "mixture", lambda m, same, t: t * same + (1 - t) * m),
    (
        "check_enqueue",
        "unit length",
        enqueue_at(lambda k, p, n: [(p + i) % k for i in range(n)], lambda z: z),
    ),
    ("check_enqueue", "modulo K", enqueue_at(lambda k, p, n: range(p, min(k, p + n)))),
    ("check_enqueue", "row 0", enqueue_at(lambda k, p, n: range(n))),
    ("check_enqueue", "newest", enqueue_at(lambda k, p, n: [(p - n + i) % k for i in range(n)])),
    ("check_enqueue", "off by one", enqueue_at(lambda k, p, n: [(p + 1 + i) % k for i in range(n)])),
    ("check_enqueue", "reversed", enqueue_at(lambda k, p, n: [(p + n - 1 - i) % k for i in range(n)])),
    ("check_enqueue", "grown", lambda q, p, k: torch.cat([q, rows(k)])),
    (
        "check_enqueue",
        "in place",
        lambda q, p, k: q.index_copy_(0, (p + torch.arange(len(k))) % len(q), rows(k)),
    ),
    ("check_momentum_for", "1/e", lambda h: 1 - 1 / h),
    ("check_momentum_for", "share of the new", lambda h: 1 - 2 ** (-1 / h)),
    ("check_momentum_for", "nearly", lambda h: 1 - 0.6931472 / h),
    ("check_pull_threshold", "their factors", lambda s, t, b: threshold(s, t, b) - t * math.log(b / (1 + b))),
    (
        "check_pull_threshold",
        "upside down",
        lambda s, t, b: threshold(s, t, b) - 2 * t * math.log(b / (1 + b)),
    ),
    ("check_pull_threshold", "swapped", lambda s, t, b: 2 * t * math.log(b / (1 + b)) - threshold(s, t, b)),
    ("check_pull_threshold", "multiply by the temperature", lambda s, t, b: threshold(s, t, b) / t),
    ("check_pull_threshold", "temperature is missing", lambda s, t, b: t * threshold(s, 1, b)),
    ("check_pull_threshold", "exp(s / temperature)", lambda s, t, b: (threshold(s, t, b) / t).exp()),
    (
        "check_pull_threshold",
        "each row has its own",
        lambda s, t, b: threshold(s.flatten()[None], t, b).expand(len(s)),
    ),
    (
        "check_false_negative_mask",
        "nobody knows",
        lambda y: torch.where(
            torch.eye(2 * len(y), dtype=torch.bool).roll(len(y), 1),
            False,
            y.repeat(2)[:, None] == y.repeat(2),
        ),
    ),
    ("check_false_negative_mask", "negatives like others", lambda y: mask_loops(y) | (y.repeat(2) < 0)),
    (
        "check_false_negative_mask",
        "positive and must stay",
        lambda y: mask_loops(y) | torch.eye(2 * len(y), dtype=torch.bool).roll(len(y), 1),
    ),
    (
        "check_false_negative_mask",
        "not left out",
        lambda y: mask_loops(y) & ~torch.eye(2 * len(y), dtype=torch.bool),
    ),
    ("check_false_negative_mask", "still in", lambda y: torch.eye(2 * len(y), dtype=torch.bool)),
    ("check_false_negative_mask", "upside down", lambda y: ~mask_loops(y)),
]


TestCheckers = checker_tests(ch14, correct=CORRECT, wrong=WRONG)
