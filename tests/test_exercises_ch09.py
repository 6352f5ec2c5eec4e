"""The checkers of chapter 09 against solutions in several styles, and plausible wrong ones."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch09


def room_loops(room):
    rooms = room.tolist()
    return sum(math.log(rooms.count(r)) for r in rooms) / len(rooms)


def mix_logaddexp(x, y, a):
    return torch.logaddexp(x + math.log(1 - a), y + math.log(a))


def perplexity_numpy(codes, v):
    p = np.bincount(codes.numpy(), minlength=v) / len(codes)
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def above_loops(units, phones):
    units, phones = units.tolist(), phones.tolist()
    right = 0
    for k in set(units):
        mine = [p for u, p in zip(units, phones, strict=True) if u == k]
        right += max(mine.count(p) for p in mine)
    return (right - max(phones.count(p) for p in phones)) / len(phones)


TestCheckers = checker_tests(
    ch09,
    correct={
        "check_room_alone": [room_loops, lambda r: (r[:, None] == r).sum(1).float().log().mean()],
        "check_mix": [mix_logaddexp, lambda x, y, a: torch.log(torch.exp(x) * (1 - a) + torch.exp(y) * a)],
        "check_codes_in_use": [perplexity_numpy],
        "check_above_chance": [above_loops],
    },
    wrong=[
        ("check_room_alone", "keeps nothing", lambda r: math.log(len(r))),
        ("check_room_alone", "mean of logarithms", lambda r: (r[:, None] == r).sum(1).double().mean().log()),
        ("check_mix", "powers add", lambda x, y, a: torch.lerp(x, y, a)),
        ("check_codes_in_use", "weigh by how often", lambda c, v: float(len(set(c.tolist())))),
        (
            "check_above_chance",
            "more than 1 over",
            lambda u, p: ch09._purity(u, p) - 1 / len(set(p.tolist())),
        ),
    ],
)
