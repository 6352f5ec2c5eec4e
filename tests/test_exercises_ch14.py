"""Chapter 14's checkers against solutions and wrong versions written as a reader would write them."""

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


def weights_by_hand(s, temperature, beta):
    e = (beta * s / temperature).exp()
    return e / e.mean(dim=1, keepdim=True)


def mask_loops(labels):
    n, y = len(labels), labels.tolist() * 2
    return torch.tensor(
        [[i == j or (y[i] == y[j] and j != (i + n) % (2 * n)) for j in range(2 * n)] for i in range(2 * n)]
    )


CORRECT = {
    "check_enqueue": [enqueue_loop, enqueue_package, enqueue_roll],
    "check_momentum_for": [lambda h: math.exp(-math.log(2) / h), lambda h: torch.tensor(2.0) ** (-1 / h)],
    "check_hard_weights": [
        weights_by_hand,
        lambda s, t, b: F.softmax(b * s.float() / t, dim=-1) * s.shape[1],
    ],
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
    ("check_hard_weights", "sum to 1", lambda s, t, b: weights_by_hand(s, t, b) / s.shape[1]),
    ("check_hard_weights", "temperature is missing", lambda s, t, b: weights_by_hand(s, 1, b)),
    ("check_hard_weights", "beta is missing", lambda s, t, b: weights_by_hand(s, t, 1)),
    ("check_hard_weights", "not divided", lambda s, t, b: (b * s / t).exp()),
    ("check_false_negative_mask", "positive and must stay", lambda y: y.repeat(2)[:, None] == y.repeat(2)),
    (
        "check_false_negative_mask",
        "not left out",
        lambda y: mask_loops(y) & ~torch.eye(2 * len(y), dtype=torch.bool),
    ),
    ("check_false_negative_mask", "still in", lambda y: torch.eye(2 * len(y), dtype=torch.bool)),
    ("check_false_negative_mask", "upside down", lambda y: ~mask_loops(y)),
]


TestCheckers = checker_tests(ch14, correct=CORRECT, wrong=WRONG)
