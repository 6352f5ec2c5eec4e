"""The checkers of chapter 18c against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch18c


def kept_by_loop(n, rounds):
    left, kept = n, []
    for r in range(1, rounds + 1):
        stay = int(n * math.cos(math.pi * r / (2 * rounds)) + 1e-9)
        kept.append(left - stay)
        left = stay
    return kept


def kept_by_numpy(n, rounds):
    stay = np.floor(n * np.cos(np.pi / 2 * np.arange(rounds + 1) / rounds) + 1e-6)
    return tuple(float(v) for v in -np.diff(stay))


def variety_by_loop(x):
    pictures = []
    for picture in x.float():
        c = picture.shape[-1]
        pairs = [
            (1 - F.cosine_similarity(picture[..., i].flatten(), picture[..., j].flatten(), dim=0)) / 2
            for i in range(c) for j in range(c)
        ]  # fmt: skip
        pictures.append(sum(pairs) / c**2)
    return sum(pictures) / len(pictures)


def variety_by_sums(x):
    """The mean cosine of all pairs is the squared length of the mean unit channel."""
    u = F.normalize(x.flatten(1, 2), dim=1)
    return (1 - u.mean(dim=2).square().sum(dim=1).mean()) / 2


def quarter(rounds):
    return np.cos(np.pi / 2 * np.arange(rounds + 1) / rounds)


def stay_hidden(n, rounds):
    return [math.floor(v + 1e-6) for v in n * quarter(rounds)[1:]]


def kept_of_the_rest(n, rounds):
    left = [n]
    for share in quarter(rounds)[1:]:
        left.append(math.floor(left[-1] * share + 1e-6))
    return [a - b for a, b in zip(left[:-1], left[1:], strict=True)]


def products(x):
    return torch.einsum("nhwi,nhwj->nij", x, x)


def cosines(x):
    return products(x / x.square().sum(dim=(1, 2), keepdim=True).sqrt())


CORRECT = {
    "check_newly_kept": [kept_by_loop, kept_by_numpy, lambda n, r: np.array(kept_by_loop(n, r))],
    "check_variety": [variety_by_loop, variety_by_sums, lambda x: float(variety_by_sums(x))],
}
WRONG = [
    ("check_newly_kept", "stay hidden", stay_hidden),
    ("check_newly_kept", "nearest", lambda n, r: [float(a) for a in -np.diff(np.round(n * quarter(r)))]),
    ("check_newly_kept", "other way round", lambda n, r: kept_by_loop(n, r)[::-1]),
    ("check_newly_kept", "one round late", lambda n, r: [0, *kept_by_loop(n, r)[:-1]]),
    ("check_newly_kept", "hidden still", kept_of_the_rest),
    ("check_variety", "sign", lambda x: (1 - cosines(x).abs()).mean() / 2),
    ("check_variety", "of a place", lambda x: (1 - products(F.normalize(x, dim=-1))).mean() / 2),
    ("check_variety", "divide by 2", lambda x: 2 * variety_by_sums(x)),
    ("check_variety", "correlation", lambda x: variety_by_sums(x - x.mean(dim=(1, 2), keepdim=True))),
    ("check_variety", "places are compared", lambda x: variety_by_sums(x.flatten(1, 2).mT[:, None])),
]  # fmt: skip

TestCheckers = checker_tests(ch18c, correct=CORRECT, wrong=WRONG)
