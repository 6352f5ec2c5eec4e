"""The checkers of chapter 05 against solutions in several styles, and wrong versions a reader would write."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch05


def hole_loss_by_selection(x, painted, hole):
    return (x - painted)[:, :, hole.bool()].square().mean()


def linear_loops(v):
    return torch.tensor([u / 12.92 if u <= 0.04045 else ((u + 0.055) / 1.055) ** 2.4 for u in v.tolist()])


def rebalancing_loops(p, lam):
    raw = [1 / ((1 - lam) * q + lam / len(p)) for q in p.tolist()]
    mean = sum(q * w for q, w in zip(p.tolist(), raw, strict=True))
    return torch.tensor([w / mean for w in raw])


def annealed_by_powers(p, bins, T):
    q = p ** (1 / T)
    return (q / q.sum(dim=1, keepdim=True)) @ bins


CORRECT = {
    "check_hole_loss": [hole_loss_by_selection],
    "check_linear": [linear_loops],
    "check_rebalancing": [rebalancing_loops],
    "check_annealed_mean": [annealed_by_powers, lambda p, b, T: annealed_by_powers(p.float(), b.float(), T)],
}
WRONG = [
    ("check_hole_loss", "all pixels", lambda x, y, m: torch.nn.functional.mse_loss(x, y)),
    ("check_hole_loss", "outside", lambda x, y, m: hole_loss_by_selection(x, y, 1 - m)),
    ("check_hole_loss", "also those outside", lambda x, y, m: ((x - y) * m).square().mean()),
    ("check_linear", "straight part", lambda v: ((v + 0.055) / 1.055).pow(2.4)),
    ("check_linear", "2.2", lambda v: v.pow(2.2)),
    ("check_rebalancing", "not normalised", lambda p, lam: 1 / ((1 - lam) * p + lam / p.numel())),
    ("check_rebalancing", "wrong side", lambda p, lam: rebalancing_loops(p, 1 - lam)),
    ("check_annealed_mean", "plain mean", lambda p, b, T: p @ b),
    ("check_annealed_mean", "sharpen", lambda p, b, T: annealed_by_powers(p, b, 1 / T)),
]


TestCheckers = checker_tests(ch05, correct=CORRECT, wrong=WRONG)
