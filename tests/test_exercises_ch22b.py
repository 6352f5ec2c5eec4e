"""The checkers of chapter 22b against solutions in several styles, and plausible wrong ones."""

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch22b


def painted(height, width, y, x, side):
    """Paint the box and count."""
    kept = np.ones((height, width), bool)
    for row in range(height):
        for column in range(width):
            half_y, half_x = int(height * side) // 2, int(width * side) // 2
            if -half_y <= row - y < half_y and -half_x <= column - x < half_x:
                kept[row, column] = False
    return kept.mean()


def guess_loop(logits, temperature):
    p = sum(torch.softmax(row, 0) for row in logits) / len(logits)
    powers = [float(v) ** (1 / temperature) for v in p]
    return torch.tensor([v / sum(powers) for v in powers])


def believe_loop(confidence, right):
    best = (None, float("-inf"))
    for threshold in confidence.tolist():
        gain = sum(
            1 if r else -1 for c, r in zip(confidence.tolist(), right.tolist(), strict=True) if c >= threshold
        )
        if gain > best[1] or (gain == best[1] and threshold > best[0]):
            best = (threshold, gain)
    return best


CORRECT = {
    "check_box_share": [painted, lambda *a: torch.tensor(painted(*a), dtype=torch.float32)],
    "check_guess": [guess_loop, lambda z, t: (z.float().softmax(1).mean(0).log() / t).softmax(0)],
    "check_believe": [believe_loop, lambda c, r: np.array(believe_loop(c, r))],
}
WRONG = [
    (
        "check_box_share",
        "sticks out",
        lambda h, w, y, x, s: 1 - (2 * (int(h * s) // 2)) * (2 * (int(w * s) // 2)) / h / w,
    ),
    ("check_box_share", "asked for", lambda h, w, y, x, s: 1 - s**2),
    ("check_guess", "first the mean", lambda z, t: (z / t).softmax(1).mean(0)),
    ("check_guess", "not of logits", lambda z, t: (z.mean(0) / t).softmax(0)),
    ("check_believe", "right ones only", lambda c, r: (c[r].min(), r.sum())),
]
TestCheckers = checker_tests(ch22b, correct=CORRECT, wrong=WRONG)
