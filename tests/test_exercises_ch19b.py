"""The checkers of chapter 19b against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests
from scipy.optimize import brentq

from ssl_lessons.book.exercises import ch19b
from ssl_lessons.diagnostics import information as info


def audit(draw, draws=400, size=16, limit=0.05):
    def overclaims(estimator):
        g = torch.Generator().manual_seed(1)
        found = [float(estimator(draw(size, g))) for _ in range(draws)]
        return sum(found) / draws > limit

    return overclaims


def noise(size, g):
    return 0.5 * torch.randn(size, size, generator=g).double()


def towers(size, g):
    x, y = torch.randn(2, size, 4, generator=g).double()
    return x @ y.T / 8


def by_numpy(joint, codes):
    p = np.zeros((int(codes.max()) + 1, joint.shape[1]))
    np.add.at(p, codes.numpy(), joint.numpy())
    q = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def by_one_hot(joint, codes):
    joint = joint.float()
    return torch.tensor(info.table_information(torch.nn.functional.one_hot(codes).float().T @ joint))


def entropy(e):
    return -e * math.log(e) - (1 - e) * math.log(1 - e)


def by_root(nats):
    return brentq(lambda e: math.log(2) - entropy(e) - nats, 1e-12, 0.5 - 1e-12, xtol=1e-14)


def by_grid(nats):
    e = np.linspace(1e-9, 0.5, 2_000_001)
    shared = math.log(2) + e * np.log(e) + (1 - e) * np.log(1 - e)
    return float(e[np.abs(shared - nats).argmin()])


def needed(target, rho):
    tau = (rho**2).sum()
    return target + tau * (1 - target)


def uniform_tau(target, rho):
    return target + (1 - target) / len(rho)


def bits(joint, codes):
    return by_numpy(joint, codes) / math.log(2)


def before_the_encoder(joint, codes):
    return info.table_information(joint)


def shares_the_entropy(nats):
    return brentq(lambda e: entropy(e) - nats, 1e-12, 0.5)


TestCheckers = checker_tests(
    ch19b,
    correct={
        "check_overclaims": [audit(noise), audit(towers), audit(noise, 1000, 8)],
        "check_information_of": [by_numpy, by_one_hot],
        "check_jitter_for": [by_root, by_grid],
        "check_loss_needed": [
            needed,
            lambda t, r: torch.tensor(t) * (1 - r.square().sum()) + r.square().sum(),
        ],
    },
    wrong=[
        ("check_overclaims", "is sound, and you refuse it", lambda estimator: True),
        ("check_overclaims", "overclaims, and you pass it", lambda estimator: False),
        (
            "check_overclaims",
            "is sound, and you refuse it",
            lambda estimator: float(estimator(torch.eye(8).double() * 20)) > 0.05,
        ),
        ("check_information_of", "bits", bits),
        ("check_information_of", "before the encoder", before_the_encoder),
        ("check_jitter_for", "entropy", shares_the_entropy),
        ("check_jitter_for", "straight line", lambda n: 0.5 - 0.5 * n / math.log(2)),
        ("check_loss_needed", "equally frequent", uniform_tau),
        ("check_loss_needed", "collisions are missing", lambda t, r: t - t * r.square().sum()),
    ],
)


def test_half_of_the_information_is_gone_early():
    assert round(by_root(math.log(2) / 2), 2) == 0.11
