"""The checkers of chapter 12c against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch12c


def way_loop(a, b, door):
    """The best of many heights of the door."""
    found = []
    for p, q in zip(a, b, strict=True):
        if (p[0] < 0.5) == (q[0] < 0.5):
            found.append((p - q).norm())
            continue
        middle = p[1] + (0.5 - p[0]) / (q[0] - p[0]) * (q[1] - p[1])
        door_at = torch.stack([torch.tensor(0.5).double(), middle.clamp(*door)])
        found.append((p - door_at).norm() + (door_at - q).norm())
    return torch.stack(found)


def later_sum(p, discount):
    total, power = torch.zeros_like(p), p
    for k in range(400):
        total, power = total + (1 - discount) * discount**k * power, power @ p
    return total


def round_sorted(plans, costs, elite):
    best = plans[costs.argsort()[:elite]]
    return torch.stack([best.mean(0), best.std(0)])


CORRECT = {
    "check_way": [way_loop, lambda a, b, d: way_loop(a, b, d).float()],
    "check_later": [
        later_sum,
        lambda p, g: (1 - g) * torch.linalg.solve(torch.eye(len(p)).double() - g * p, p),
    ],
    "check_round": [round_sorted, lambda p, c, e: round_sorted(p, c, e).float()],
    "check_surprise_left": [lambda x: (x - x.mean(0)).square().mean(), lambda x: x.numpy().var(0).mean()],
}
WRONG = [
    ("check_round", "deviation comes second", lambda p, c, e: round_sorted(p, c, e).flip(0)),
    ("check_way", "through the wall", lambda a, b, d: (a - b).norm(dim=1)),
    (
        "check_later",
        "begins with one move",
        lambda p, g: (1 - g) * torch.linalg.inv(torch.eye(len(p)) - g * p),
    ),
    ("check_later", "sum to 1", lambda p, g: p @ torch.linalg.inv(torch.eye(len(p)) - g * p)),
    ("check_later", "one move", lambda p, g: p),
    ("check_round", "expensive", lambda p, c, e: round_sorted(p, -c, e)),
    ("check_round", "count alike", lambda p, c, e: round_sorted(p, c, len(c))),
    ("check_surprise_left", "twice", lambda x: 2 * (x - x.mean(0)).square().mean()),
    ("check_surprise_left", "learned away", lambda x: 0.0),
]
TestCheckers = checker_tests(ch12c, correct=CORRECT, wrong=WRONG)
