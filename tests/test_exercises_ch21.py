"""Chapter 21's checkers against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch21

RIGHT = {
    "RankMe": True,
    "LiDAR": False,
    "TwoNN": True,
    "views found": True,
    "best fit of labels by least squares": False,
}


def predicted(**changes):
    answer = RIGHT | {name.replace("_", " "): value for name, value in changes.items()}
    return lambda measure: answer[measure]


def fixed(images, dim):
    return torch.randn(len(images), dim, generator=torch.Generator().manual_seed(7))


def cosines(images, dim):
    place = torch.arange(len(images)).double() + 0.5
    return (place[:, None] * torch.arange(1, dim + 1) * math.pi / len(images)).cos()


def identity(images, dim):
    return torch.eye(dim).repeat(len(images) // dim + 1, 1)[: len(images)]


def seeded(images, dim):
    torch.manual_seed(0)
    return torch.randn(len(images), dim)


def better_loops(measure, probe, setting):
    right, pairs = 0.0, 0
    for i in range(len(measure)):
        for j in range(i):
            if setting[i] != setting[j]:
                pairs += 1
                product = (measure[i] - measure[j]) * (probe[i] - probe[j])
                right += 0.5 if product == 0 else float(product > 0)
    return right / pairs


def ceiling_numpy(probes):
    p = probes.numpy()
    luck = p.var(axis=1, ddof=1).mean()
    quality = max(p.mean(axis=1).var(ddof=1) - luck / p.shape[1], 0)
    return float(np.sqrt(quality / (quality + luck)))


def parts(p):
    luck = p.var(dim=1).mean()
    return p.mean(dim=1).var() - luck / p.shape[1], luck


CORRECT = {
    "check_linear_map": [predicted()],
    "check_impostor": [fixed, cosines],
    "check_better_of_two": [
        better_loops,
        lambda m, p, s: ((1 + (m[:, None] - m).sign() * (p[:, None] - p).sign()) / 2)[s[:, None] != s].mean(),
    ],
    "check_ceiling": [ceiling_numpy],
}

WRONG = [
    ("check_linear_map", "LiDAR: ", predicted(LiDAR=True)),
    ("check_linear_map", "RankMe: ", predicted(RankMe=False)),
    ("check_linear_map", "views found: ", predicted(views_found=False)),
    ("check_linear_map", "least squares", predicted(best_fit_of_labels_by_least_squares=True)),
    ("check_linear_map", "True", predicted(TwoNN="yes")),
    ("check_linear_map", "LiDAR: ", lambda measure: True),
    ("check_impostor", "only", identity),
    ("check_impostor", "90 %", lambda x, d: torch.arange(len(x))[:, None].double().repeat(1, d)),
    ("check_impostor", "global random state", lambda x, d: torch.randn(len(x), d)),
    ("check_impostor", "global random state", seeded),
    ("check_impostor", "look at the images", lambda x, d: fixed(x, d) + x.mean((1, 2, 3))[:, None]),
    ("check_impostor", "[200, 32]", lambda x, d: fixed(x, d).T),
    ("check_impostor", "NaN", lambda x, d: fixed(x, d) * torch.nan),
    ("check_better_of_two", "pairs of one setting", lambda m, p, s: better_loops(m, p, torch.arange(len(m)))),
    ("check_better_of_two", "tau", lambda m, p, s: 2 * better_loops(m, p, s) - 1),
    ("check_better_of_two", "oppositely", lambda m, p, s: better_loops(-m, p, s)),
    ("check_ceiling", "root", lambda p: ceiling_numpy(p) ** 2),
    ("check_ceiling", "below 0", lambda p: (parts(p)[0] / (parts(p)[0] + parts(p)[1])).sqrt()),
    ("check_ceiling", "swapped", lambda p: ceiling_numpy(p.T)),
]

TestCheckers = checker_tests(ch21, correct=CORRECT, wrong=WRONG)
