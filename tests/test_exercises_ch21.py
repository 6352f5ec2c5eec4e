"""Chapter 21's checkers against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch21
from ssl_lessons.diagnostics import lidar


def shares_in_numpy(z):
    s = np.linalg.svd(np.asarray(z), compute_uv=False)
    p = s / s.sum()
    return float(np.exp(-(p * np.log(p + 1e-12)).sum()))


def detects(measure):
    """Against a value known by hand: singular values 2 and 1, far from the origin, rows of unlike length."""
    z = torch.zeros(4, 3, dtype=torch.float64)
    z[0, 0], z[1, 1] = 2.0, 1.0
    by_hand = math.exp(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3))
    lifted = z + torch.tensor([5.0, 0, 0])
    return abs(float(measure(z)) - by_hand) < 0.01 and (
        abs(float(measure(lifted)) - shares_in_numpy(lifted)) < 0.01
    )


def detects_by_numpy(measure):
    z = torch.randn(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(
        1, 7
    )
    z = z + 3
    return np.bool_(abs(float(measure(z)) / shares_in_numpy(z) - 1) < 1e-3)


def flat_clouds_only(measure):
    return abs(float(measure(torch.eye(8, dtype=torch.float64))) - 8) < 0.01


def centred_cloud_only(measure):
    z = torch.randn(500, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(
        1, 7
    )
    z = z - z.mean(0)
    return abs(float(measure(z)) / shares_in_numpy(z) - 1) < 1e-3


def sides(images):
    x = images.double().mean(1)
    return x[:, :, :4].mean((1, 2)) - x[:, :, 4:].mean((1, 2))


def thin(images):
    z = torch.zeros(len(images), 16)
    z[:, 0] = sides(images)
    return z


def scrambled(images):
    """Sines of a weighted sum of the pixels: a hash."""
    weights = torch.arange(1, 193) ** 2 % 211
    code = (images.flatten(1).long() * weights).sum(1).double()
    return torch.sin(code[:, None] * torch.arange(1, 17).double() * 1.2345)


def seeded(images):
    rows = []
    for picture in images:
        code = int((picture.flatten().long() * torch.arange(1, 193)).sum())
        rows.append(torch.randn(16, generator=torch.Generator().manual_seed(code)))
    return torch.stack(rows)


def one_line(images):
    return sides(images)[:, None].float() * torch.linspace(1, 2, 16)


def taus(spread, noise):
    r = spread**2 / (spread**2 + noise**2)
    return 2 * math.asin(r) / math.pi, 2 * math.asin(r**0.5) / math.pi


def planted(s, w, q, delta):
    ratio = (s + w / q) / (w * (q - 1) / q + delta)
    p = ratio / ratio.sum()
    return float((-(p * p.log()).sum()).exp())


CORRECT = {
    "check_is_rank_me": [detects, detects_by_numpy],
    "check_two_clouds": [
        lambda x: (scrambled(x), thin(x)),
        lambda x: [seeded(x), one_line(x)],
    ],
    "check_planted_lidar": [
        planted,
        lambda s, w, q, delta: float(
            np.exp(
                -sum(
                    p * np.log(p)
                    for p in (lambda r: r / r.sum())(
                        ((s + w / q) / (w - w / q + delta)).numpy().astype(np.float32)
                    )
                )
            )
        ),
    ],
    "check_two_taus": [taus, lambda s, n: torch.tensor(taus(s, n)).tolist()],
}
WRONG = [
    ("check_is_rank_me", "without the exponential is not", lambda measure: True),
    ("check_is_rank_me", "you refuse it", lambda measure: False),
    ("check_is_rank_me", "squares the singular values is not", flat_clouds_only),
    ("check_is_rank_me", "centres z is not", centred_cloud_only),
    ("check_is_rank_me", "return True or False", lambda measure: measure(torch.eye(3).double())),
    ("check_two_clouds", "another order", lambda x: (torch.randn(len(x), 16), thin(x))),
    (
        "check_two_clouds",
        "another order",
        lambda x: (torch.eye(16).repeat(len(x) // 16 + 1, 1)[: len(x)], thin(x)),
    ),
    ("check_two_clouds", "empty: RankMe", lambda x: (thin(x), thin(x))),
    (
        "check_two_clouds",
        "knows something",
        lambda x: (scrambled(x) + 0.02 * sides(x)[:, None] * torch.eye(16)[0], thin(x)),
    ),
    ("check_two_clouds", "thin: RankMe", lambda x: (scrambled(x), scrambled(x))),
    (
        "check_two_clouds",
        "thin: the probe",
        lambda x: (scrambled(x), x.double().mean((1, 2, 3))[:, None] * torch.ones(16)),
    ),
    ("check_two_clouds", "return a pair", lambda x: scrambled(x)),
    ("check_planted_lidar", "still wobbles", lambda s, w, q, d: planted(s - w / q, w, q, d)),
    (
        "check_planted_lidar",
        "takes its share",
        lambda s, w, q, d: planted(s + w / q - w / 1e9, w, 1e9, d),
    ),
    ("check_planted_lidar", "exponential", lambda s, w, q, d: math.log(planted(s, w, q, d))),
    ("check_two_taus", "correlations", lambda s, n: (s**2 / (s**2 + n**2), s / math.hypot(s, n))),
    ("check_two_taus", "below 1", lambda s, n: (taus(s, n)[0], 1.0)),
    ("check_two_taus", "wrong order", lambda s, n: taus(s, n)[::-1]),
    ("check_two_taus", "variances add up", lambda s, n: taus(s**0.5, n**0.5)),
]


def test_the_planted_formula_is_what_lidar_measures():
    g = torch.Generator().manual_seed(0)
    s, w, q = torch.tensor([4.0, 2.0, 1.0, 0.5]).double(), torch.tensor([0.2, 1.0, 0.5, 1.0]).double(), 6
    pictures = torch.randn(20_000, 1, 4, generator=g, dtype=torch.float64) * s.sqrt()
    z = pictures + torch.randn(20_000, q, 4, generator=g, dtype=torch.float64) * w.sqrt()
    assert abs(lidar(z, delta=0.05) / planted(s, w, q, 0.05) - 1) < 0.01


def test_the_two_taus_are_what_noise_does():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(2000, generator=g)
    probes = truth + 0.7 * torch.randn(2, 2000, generator=g)

    def tau(x, y):
        return float(((x[:, None] - x).sign() * (y[:, None] - y).sign()).mean())

    measured = tau(*probes), tau(truth, probes[0])
    assert np.allclose(measured, taus(1.0, 0.7), atol=0.03)


TestCheckers = checker_tests(ch21, correct=CORRECT, wrong=WRONG)
