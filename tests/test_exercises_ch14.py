"""Chapter 14's checkers against solutions and wrong versions written as a reader would write them."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.exercises import NOT_ATTEMPTED, ch14
from ssl_lessons.exercises.core import Exercise, _tensor, same
from ssl_lessons.methods.moco import Queue

CHECKS = {name: fn for name, fn in vars(ch14).items() if name.startswith("check_")}
TABLES = {name: value for name, value in vars(ch14).items() if isinstance(value, Exercise)}


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


CORRECT = [
    ("check_enqueue", enqueue_loop),
    ("check_enqueue", enqueue_package),
    ("check_enqueue", enqueue_roll),
    ("check_momentum_for", lambda h: math.exp(-math.log(2) / h)),
    ("check_momentum_for", lambda h: torch.tensor(2.0) ** (-1 / h)),
    ("check_hard_weights", weights_by_hand),
    ("check_hard_weights", lambda s, t, b: F.softmax(b * s.float() / t, dim=-1) * s.shape[1]),
    ("check_false_negative_mask", mask_loops),
]


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


def test_every_checker_has_solutions_and_wrong_versions():
    assert set(CHECKS) == {name for name, _ in CORRECT} == {name for name, _, _ in WRONG}


@pytest.mark.parametrize(("name", "fn"), CORRECT)
def test_correct_solutions_pass(name, fn):
    check = CHECKS[name](fn)
    assert check.passed is True, check


@pytest.mark.parametrize(("name", "words", "fn"), WRONG)
def test_wrong_versions_are_named(name, words, fn):
    check = CHECKS[name](fn)
    assert check.passed is False and words in check.message, check


@pytest.mark.parametrize("name", TABLES)
def test_each_named_mistake_is_wrong_and_is_told_from_the_others(name):
    exercise = TABLES[name]
    inputs = exercise.inputs()
    right = [_tensor(exercise.reference(*args)) for args in inputs]
    for message, wrong in exercise.mistakes:
        assert not all(same(_tensor(wrong(*args)), r) for args, r in zip(inputs, right, strict=True)), message
        assert exercise.check(wrong).message == message


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_not_attempted(name):
    assert CHECKS[name](lambda *args: NOT_ATTEMPTED).passed is None
