"""The checkers of chapter 22d against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch22d
from ssl_lessons.evaluation.fine_tuning import layer_groups
from ssl_lessons.models import build_encoder, transformer_blocks


def by_loop(lr, decay, blocks):
    found = [lr]
    for _ in range(blocks + 1):
        found.insert(0, found[0] * decay)
    return torch.tensor(found)


def by_package(lr, decay, blocks):
    vit = build_encoder("vit", size=8, patch=8, dim=8, depth=blocks, heads=2)
    return torch.tensor([g["lr"] for g in layer_groups(vit, torch.nn.Linear(8, 2), lr, decay)])


def by_formula(depth, drop):
    stay = [1 - i / depth * drop for i in range(1, depth + 1)]
    return [depth * 2 - drop * (depth + 1), math.prod(stay) ** 2]


def by_blocks(depth, drop):
    stay = torch.tensor(
        [1 - b.drop_path for b in transformer_blocks(8, depth, 2, drop_path=drop)] * 2
    ).double()
    return torch.stack([stay.sum(), stay.prod()])


def seed_by_seed(scores):
    found = []
    for s in range(scores.shape[2]):
        keep = [t for t in range(scores.shape[2]) if t != s]
        best = scores[:, :, keep].mean(dim=2).argmax(dim=1)
        found.append(scores[1, best[1], s] - scores[0, best[0], s])
    return torch.stack(found)


CORRECT = {
    "check_rates": [by_loop, by_package],
    "check_whole": [by_formula, by_blocks],
    "check_fair": [seed_by_seed, lambda s: seed_by_seed(s.float())],
}
WRONG = [
    (
        "check_rates",
        "one layer is counted that is not there",
        lambda lr, d, n: torch.tensor([lr * d ** (n + 2 - i) for i in range(n + 1)] + [lr]),
    ),
    ("check_whole", "two branches", lambda n, d: (by_formula(n, d)[0] / 2, math.sqrt(by_formula(n, d)[1]))),
    ("check_fair", "choose on the other seeds", lambda s: s.amax(1)[1] - s.amax(1)[0]),
]
TestCheckers = checker_tests(ch22d, correct=CORRECT, wrong=WRONG)
