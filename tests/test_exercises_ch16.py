"""The checkers of chapters 16 and 16b against solutions in several styles, and wrong versions a reader would write."""

import math
from functools import partial

import pytest
import torch
from exercise_cases import checker_tests

from ssl_lessons import diagnostics
from ssl_lessons.book.exercises import ch16


def cross_flat(z1, z2):
    z1, z2 = z1.flatten(0, 1), z2.flatten(0, 1)
    z1, z2 = ((z - z.mean(dim=0)) / z.std(dim=0, correction=0) for z in (z1, z2))
    return z1.T @ z2 / len(z1)


def cross_sums(z1, z2):
    """As machines that exchange sums only would do it."""
    n, d = z1.shape[0] * z1.shape[1], z1.shape[2]
    m1, m2 = z1.sum((0, 1)) / n, z2.sum((0, 1)) / n
    c = sum((a.T @ b for a, b in zip(z1, z2, strict=True)), torch.zeros(d, d)) / n - torch.outer(m1, m2)
    v1, v2 = z1.square().sum((0, 1)) / n - m1**2, z2.square().sum((0, 1)) / n - m2**2
    return c / torch.outer(v1, v2).sqrt()


def cross_corrcoef(z1, z2):
    d = z1.shape[2]
    return torch.corrcoef(torch.cat([z1, z2], dim=2).flatten(0, 1).T)[:d, d:]


def zca_svd(z):
    z = z - z.mean(dim=0)
    u, s, vt = torch.linalg.svd(z, full_matrices=False)
    return (len(z) - 1) ** 0.5 * u @ vt


def zca_eigenvectors(z):
    z = z - z.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    return z @ (vectors / values.sqrt()) @ vectors.T


def pca_whiten(z):
    z = z - z.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    return z @ vectors / values.sqrt()


def cholesky_whiten(z):
    z = z - z.mean(dim=0)
    return z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T


def term_by_images(z):
    z = z - z.mean(dim=0)
    total = (z @ z.T).square().sum() - z.square().sum(dim=0).square().sum()
    return total / ((len(z) - 1) ** 2 * z.shape[1])


def term_by_svd(z):
    z = z - z.mean(dim=0)
    total = torch.linalg.svdvals(z).pow(4).sum() - z.norm(dim=0).pow(4).sum()
    return total / ((len(z) - 1) ** 2 * z.shape[1])


def term_by_covariance(z):
    c = torch.cov(z.T)
    return (c.square().sum() - c.diagonal().square().sum()) / len(c)


def useless(n, d):
    z = torch.zeros(n, d)
    a = math.sqrt((n - 1) / 2)
    z[:d], z[d : 2 * d] = a * torch.eye(d), -a * torch.eye(d)
    return z


def rewards(loss):
    cloud, point = torch.randn(512, 6, generator=torch.Generator().manual_seed(3)), torch.ones(512, 6)
    return float(loss([point, point])) <= float(loss([cloud, cloud]))


def rewards_elsewhere(loss):
    z = torch.linalg.qr(torch.randn(64, 8, generator=torch.Generator().manual_seed(3)).double())[0] * 8
    flat = torch.randn(1, 8, generator=torch.Generator().manual_seed(4)).double().expand(64, -1)
    return loss([z, z]) - loss([flat, flat]) >= 0


def threshold(n, d, draws=250):
    g = torch.Generator().manual_seed(0)
    normal = [torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(draws)]
    null = torch.tensor([diagnostics.sigreg(z, directions=128, seed=i) for i, z in enumerate(normal)])
    return null.quantile(0.95)


CORRECT = {
    "check_cross_correlation": [cross_flat, cross_sums, cross_corrcoef],
    "check_stable_point": [
        lambda inv, rho, eps: 4 * inv * (1 - rho) * math.sqrt(eps),
        lambda inv, rho, eps: torch.tensor(4 * inv * (1 - rho) * eps**0.5),
    ],
    "check_zca_whiten": [zca_svd, zca_eigenvectors, lambda z: zca_eigenvectors(z.float())],
    "check_covariance_term": [term_by_images, term_by_svd],
    "check_useless_cloud": [useless, lambda n, d: useless(n, d).double()],
    "check_rewards_the_point": [rewards, rewards_elsewhere],
    "check_threshold": [threshold, lambda n, d: float(threshold(n, d))],
}
WRONG = [
    (
        "check_cross_correlation",
        "colleague",
        lambda a, b: torch.stack(
            [
                ((x - x.mean(0)) / x.std(0)).T @ ((y - y.mean(0)) / y.std(0)) / len(x)
                for x, y in zip(a, b, strict=True)
            ]
        ).mean(0),
    ),
    (
        "check_cross_correlation",
        "mean of the machines' correlations",
        lambda a, b: torch.stack([cross_corrcoef(x[None], y[None]) for x, y in zip(a, b, strict=True)]).mean(
            0
        ),
    ),
    ("check_cross_correlation", "transposed", lambda a, b: cross_flat(b, a)),
    ("check_stable_point", "under a root", lambda inv, rho, eps: 4 * inv * (1 - rho) * eps),
    ("check_stable_point", "factor of 2", lambda inv, rho, eps: 2 * inv * (1 - rho) * math.sqrt(eps)),
    ("check_zca_whiten", "white, but rotated", pca_whiten),
    ("check_zca_whiten", "white, but rotated", cholesky_whiten),
    ("check_zca_whiten", "instead of", lambda z: z),
    ("check_covariance_term", "compare images", term_by_covariance),
    ("check_covariance_term", "mean of each dimension", lambda z: ch16._by_images(z, centre=False)),
    ("check_covariance_term", "columns", lambda z: ch16._by_images(z, less="rows")),
    ("check_useless_cloud", "opposite sides", lambda n, d: useless(n, d).abs()),
    (
        "check_useless_cloud",
        "divide the squares by n - 1",
        lambda n, d: useless(n, d) * math.sqrt(n / (n - 1)),
    ),
    ("check_useless_cloud", "correlate", lambda n, d: useless(n, d)[:, :1].expand(-1, d)),
    ("check_useless_cloud", "rows are equal", lambda n, d: zca_svd(torch.randn(n, d, dtype=torch.float64))),
    ("check_rewards_the_point", "is sound, and you refuse it", lambda loss: True),
    ("check_rewards_the_point", "and you pass it", lambda loss: False),
    ("check_rewards_the_point", "return True or False", lambda loss: 0.5),
    ("check_threshold", "too low", lambda n, d: 1.05),
    ("check_threshold", "too high", lambda n, d: 2.2),
    ("check_threshold", "one finite number", lambda n, d: math.nan),
]


TestCheckers = checker_tests(ch16, correct=CORRECT, wrong=WRONG)


def test_the_covariance_term_is_the_packages_own():
    (z,) = ch16.COVARIANCE_TERM.inputs()[0]
    assert float(term_by_images(z)) == pytest.approx(float(term_by_covariance(z)), rel=1e-9)


def test_the_judge_knows_who_rewards_the_point():
    for name, loss, expected in ch16._JUDGED:
        assert bool(rewards(partial(ch16._exactly, loss))) is expected, name
