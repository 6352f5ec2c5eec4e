"""The checkers of chapter 06 against solutions in several styles, and wrong versions a reader would write."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch06


def rotate_by_flips(x, k):
    for _ in range(k % 4):
        x = x.transpose(-1, -2).flip(-2)
    return x


def ceiling_loops(joint):
    return sum(max(row) for row in joint.tolist())


def next_loops(chosen, candidates):
    best, found = -1, None
    for candidate in candidates:
        least = min(int((candidate != row).sum()) for row in chosen)
        if least > best:
            best, found = least, candidate
    return found


def counting_loops(whole, parts, margin):
    total = 0.0
    for i in range(len(whole)):
        s = parts[i].sum(dim=0)
        y = whole[(i + 1) % len(whole)]
        total += (whole[i] - s).square().sum() + max(torch.tensor(0.0), margin - (y - s).square().sum())
    return total / len(whole)


CORRECT = {
    "check_rotate": [rotate_by_flips, lambda x, k: torch.rot90(x.float(), k, dims=(2, 3))],
    "check_ceiling": [ceiling_loops, lambda joint: joint.amax(1).sum()],
    "check_next_permutation": [next_loops],
    "check_counting": [counting_loops, lambda w, p, m: counting_loops(w.float(), p.float(), m)],
}
WRONG = [
    ("check_rotate", "clockwise", lambda x, k: torch.rot90(x, -k, dims=(2, 3))),
    ("check_rotate", "reflection", lambda x, k: x.transpose(2, 3) if k % 2 else x),
    ("check_rotate", "not turned at all", lambda x, k: x),
    ("check_ceiling", "along the row", lambda joint: joint.amax(0).sum()),
    ("check_ceiling", "may depend on x", lambda joint: joint.sum(0).amax()),
    ("check_ceiling", "weighed", lambda joint: (joint.amax(1) / joint.sum(1)).mean()),
    (
        "check_next_permutation",
        "on average",
        lambda c, o: o[(o[:, None] != c).float().sum(2).mean(1).argmax()],
    ),
    ("check_next_permutation", "shape", lambda c, o: o),
    ("check_counting", "free", lambda w, p, m: (w - p.sum(1)).square().sum(1).mean()),
    ("check_counting", "averaged", lambda w, p, m: counting_loops(w, p / 4, m)),
]


TestCheckers = checker_tests(ch06, correct=CORRECT, wrong=WRONG)
