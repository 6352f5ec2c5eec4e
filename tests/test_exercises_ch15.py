"""The checkers of chapter 15 against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch15


def byol_loops(prediction, target):
    total = 0.0
    for p, z in zip(prediction, target, strict=True):
        total += ((p / p.norm() - z / z.norm()) ** 2).sum()
    return total / len(prediction)


def roots(decay, noise):
    """The cubic dp/dt = p^2 - (1 + noise) p^3 - decay p, by numpy."""
    found = np.roots([-(1 + noise), 1, -decay, 0])
    return max([r.real for r in found if abs(r.imag) < 1e-9] + [0.0])


def lower_root(decay, noise):
    room = 1 - 4 * decay * (1 + noise)
    return (1 - math.sqrt(room)) / (2 * (1 + noise)) if room > 0 else 0.0


CORRECT = {
    "check_byol_loss": [
        byol_loops,
        lambda p, z: 2 - 2 * F.cosine_similarity(p, z).mean(),
        lambda p, z: (F.normalize(p.float()) - F.normalize(z.float())).pow(2).sum(1).mean(),
    ],
    "check_momentum_for_half_life": [
        lambda steps: 0.5 ** (1 / steps),
        lambda steps: math.exp(-math.log(2) / steps),
        lambda steps: torch.tensor(2.0) ** (-1 / steps),
    ],
    "check_teacher_probabilities": [
        lambda z, c, t: F.softmax((z.float() - c) / t, dim=-1),
        lambda z, c, t: ((z - c) / t - ((z - c) / t).logsumexp(dim=1, keepdim=True)).exp(),
    ],
    "check_resting_point": [
        roots,
        lambda d, n: (1 + math.sqrt(max(0, 1 - 4 * d * (1 + n)))) / (2 * (1 + n)) * (4 * d * (1 + n) < 1),
    ],
}
WRONG = [
    ("check_byol_loss", "not normalized", lambda p, z: ((p - z) ** 2).sum(1).mean()),
    (
        "check_byol_loss",
        "batch axis",
        lambda p, z: ((p / p.norm(dim=0) - z / z.norm(dim=0)) ** 2).sum(1).mean(),
    ),
    (
        "check_byol_loss",
        "sum over the dimensions",
        lambda p, z: ((F.normalize(p) - F.normalize(z)) ** 2).mean(),
    ),
    ("check_byol_loss", "SimSiam", lambda p, z: -F.cosine_similarity(p, z).mean()),
    ("check_byol_loss", "1 - cos", lambda p, z: 1 - F.cosine_similarity(p, z).mean()),
    ("check_byol_loss", "square it", lambda p, z: (F.normalize(p) - F.normalize(z)).norm(dim=1).mean()),
    ("check_byol_loss", "target needs unit length", lambda p, z: ((F.normalize(p) - z) ** 2).sum(1).mean()),
    ("check_momentum_for_half_life", "1/e", lambda n: 1 - 1 / n),
    ("check_momentum_for_half_life", "1/e", lambda n: math.exp(-1 / n)),
    ("check_momentum_for_half_life", "1 - momentum", lambda n: 1 - 2 ** (-1 / n)),
    ("check_momentum_for_half_life", "upside down", lambda n: 0.5**n),
    ("check_teacher_probabilities", "centre is missing", lambda z, c, t: F.softmax(z / t, dim=1)),
    ("check_teacher_probabilities", "temperature is missing", lambda z, c, t: F.softmax(z - c, dim=1)),
    ("check_teacher_probabilities", "added", lambda z, c, t: F.softmax((z + c) / t, dim=1)),
    ("check_teacher_probabilities", "divide all", lambda z, c, t: F.softmax(z / t - c, dim=1)),
    ("check_teacher_probabilities", "wrong axis", lambda z, c, t: F.softmax((z - c) / t, dim=0)),
    ("check_teacher_probabilities", "running centre", lambda z, c, t: F.softmax((z - z.mean(0)) / t, dim=1)),
    ("check_resting_point", "repelling", lambda d, n: lower_root(d, n)),
    ("check_resting_point", "decay is missing", lambda d, n: 1 / (1 + n)),
    ("check_resting_point", "noise is missing", lambda d, n: roots(d, 0)),
    ("check_resting_point", "variance", lambda d, n: roots(d, n) ** 2),
]


TestCheckers = checker_tests(ch15, correct=CORRECT, wrong=WRONG)
