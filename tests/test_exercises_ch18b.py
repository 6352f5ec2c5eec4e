"""The checkers of chapter 18b against solutions and wrong versions written as a reader would write them."""

import math
from math import comb

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch18b


def costs_by_numpy(target):
    x = np.asarray(target)
    return float(np.abs(x - np.median(x, axis=0)).mean()), float(x.var(axis=0).mean())


def costs_by_search(target):
    """Every value of a column is tried as the constant: one of them is a median."""
    absolute = sum(min((c - v).abs().mean() for v in c) for c in target.T) / target.shape[1]
    return absolute, F.mse_loss(target.mean(dim=0).expand_as(target), target)


def targets_by_loop(layers, top_k):
    total = 0
    for layer in list(layers.float())[-top_k:]:
        total = total + F.layer_norm(layer, layer.shape[-1:])
    return total / top_k


def targets_by_hand(layers, top_k):
    x = layers[-top_k:]
    x = (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True, correction=0) + 1e-5).sqrt()
    return x.mean(dim=0)


def blind_by_steps(tokens, hidden, window):
    p = 1.0
    for i in range(window):
        p *= max(hidden - i, 0) / (tokens - i)
    return p


CORRECT = {
    "check_constant_costs": [
        costs_by_numpy,
        costs_by_search,
        lambda t: torch.tensor(costs_by_numpy(t)),
        lambda t: [F.l1_loss(t.quantile(0.5, dim=0).expand_as(t), t), t.var(dim=0, correction=0).mean()],
        lambda t: (
            (t.float() - t.float().median(0).values).abs().mean(),
            t.float().var(0, correction=0).mean(),
        ),
    ],
    "check_teacher_targets": [targets_by_loop, targets_by_hand],
    "check_blind_window": [
        blind_by_steps,
        lambda t, h, w: (
            math.prod(h - i for i in range(w)) / math.prod(t - i for i in range(w)) if h >= w else 0
        ),
        lambda t, h, w: torch.tensor(blind_by_steps(t, h, w), dtype=torch.float32),
    ],
}
WRONG = [
    ("check_constant_costs", "squared error only", lambda t: ((t - t.mean(0)).abs().mean(), costs_by_numpy(t)[1])),
    ("check_constant_costs", "its own constant", lambda t: ((t - t.median()).abs().mean(), t.var(correction=0))),
    ("check_constant_costs", "N - 1", lambda t: ((t - t.median(0).values).abs().mean(), t.var(0).mean())),
    ("check_constant_costs", "order", lambda t: costs_by_numpy(t)[::-1]),
    ("check_constant_costs", "a tuple of 2 numbers", lambda t: costs_by_numpy(t)[0]),
    ("check_teacher_targets", "averaged first", lambda x, k: F.layer_norm(x[-k:].mean(0), x.shape[-1:])),
    ("check_teacher_targets", "once more", lambda x, k: F.layer_norm(targets_by_hand(x, k), x.shape[-1:])),
    ("check_teacher_targets", "not normalised", lambda x, k: sum(x[-k:]) / k),
    ("check_teacher_targets", "only the last", lambda x, k: F.layer_norm(x[-1], x.shape[-1:])),
    ("check_teacher_targets", "own", lambda x, k: F.layer_norm(x[-k:], x.shape[-2:]).mean(0)),
    ("check_blind_window", "independent", lambda t, h, w: (h / t) ** w),
    ("check_blind_window", "instead of", lambda t, h, w: blind_by_steps(t, h, w) if w < 10 else 0.0),
    ("check_blind_window", "larger than", lambda t, h, w: blind_by_steps(t, h, w) if h >= w else 1e-3),
    ("check_blind_window", "visible", lambda t, h, w: comb(t - w, h) / comb(t, h)),
]  # fmt: skip

TestCheckers = checker_tests(ch18b, correct=CORRECT, wrong=WRONG)
