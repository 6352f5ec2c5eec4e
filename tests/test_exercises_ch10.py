"""The checkers of chapter 10 against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch10


def best_loop(p, reverse):
    return sum(max(float(p[f]), float(p[reverse[f]])) for f in range(len(p))) / 2


def far_loop(frames, window):
    return torch.tensor([[abs(a - b) > window for b in range(frames)] for a in range(frames)])


def home_loop(score):
    n, found = len(score), []
    for i in range(n):
        there = score[i].softmax(0)
        found.append(sum(there[j] * score[:, j].softmax(0)[i] for j in range(n)))
    return torch.stack(found)


CORRECT = {
    "check_best_accuracy": [best_loop, lambda p, r: 0.5 + (p - p[r]).abs().sum() / 4],
    "check_leak": [lambda ratio, slices: 1 - ratio ** (slices - 1)],
    "check_far": [far_loop, lambda t, w: far_loop(t, w).float()],
    "check_home_again": [home_loop, lambda s: home_loop(s.float())],
}
WRONG = [
    ("check_best_accuracy", "half of the cases", lambda p, r: torch.maximum(p, p[r]).sum()),
    ("check_best_accuracy", "worst", lambda p, r: torch.minimum(p, p[r]).sum() / 2),
    ("check_best_accuracy", "instead of", lambda p, r: 0.5),
    ("check_leak", "hidden already", lambda r, s: 1 - r**s),
    ("check_leak", "one neighbour", lambda r, s: 1 - r),
    ("check_leak", "from 1", lambda r, s: r ** (s - 1)),
    ("check_far", "still neighbours", lambda t, w: far_loop(t, w - 1)),
    ("check_far", "outside", lambda t, w: ~far_loop(t, w)),
    ("check_home_again", "way back", lambda s: (s.softmax(1) @ s.softmax(1).T).diagonal()),
    ("check_home_again", "same direction", lambda s: (s.softmax(1) @ s.softmax(1)).diagonal()),
]
TestCheckers = checker_tests(ch10, correct=CORRECT, wrong=WRONG)
