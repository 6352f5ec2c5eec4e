"""SIGReg's statistic against its definition, and its calibration."""

import cmath
import math

import pytest
import torch
from torch.nn.functional import normalize

from ssl_lessons.diagnostics import sigreg
from ssl_lessons.errors import InputError


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(z, directions, seed):
    """N times the integral over [-3, 3], 33 knots, trapezoidal; complex numbers, one by one."""
    n, d = z.shape
    a = torch.randn(d, directions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    step, total = 6 / 32, 0.0
    for m in range(directions):
        length = math.sqrt(sum(float(v) ** 2 for v in a[:, m]))
        shadow = [sum(float(x) * float(v) for x, v in zip(row, a[:, m], strict=True)) / length for row in z]
        for k in range(33):
            t = -3 + k * step
            empirical = sum(cmath.exp(1j * t * s) for s in shadow) / n
            gauss = math.exp(-t * t / 2)
            total += (0.5 if k in (0, 32) else 1) * step * abs(empirical - gauss) ** 2 * gauss
    return n * total / directions


@pytest.mark.parametrize("directions, seed", [(1, 0), (6, 0), (6, 3)])
def test_sigreg_equals_its_definition(directions, seed):
    z = 1.5 * normal(20, 3, seed=7) + 0.3
    assert sigreg(z, directions, seed) == pytest.approx(naive(z, directions, seed), rel=1e-9)


def test_half_precision_is_summed_in_float64():
    z = normal(50, 8).half()
    assert sigreg(z) == sigreg(z.double())


@pytest.mark.parametrize("n, d", [(64, 4), (64, 64), (512, 16), (2000, 64)])
def test_a_gaussian_sample_gives_about_one_whatever_its_size(n, d):
    """The mean over samples is sum of weight * gauss * (1 - gauss^2) = 1.05."""
    found = [sigreg(normal(n, d, seed), 64, seed) for seed in range(40)]
    assert sum(found) / 40 == pytest.approx(1.052, abs=0.12)


def shapes(n, d):
    direction = normalize(normal(1, d, seed=9), dim=1) * math.sqrt(d)
    return {
        "all at zero": (torch.zeros(n, d), 0.402),
        "one point of length sqrt(d)": (direction.expand(n, d), 1.052),
        "a line with the variance of N(0, I)": (normal(n, 1, seed=8) * direction, 0.167),
        "far too wide": (1000 * normal(n, d), 1.26),
    }


@pytest.mark.parametrize("name", shapes(2, 2))
@pytest.mark.parametrize("n, d", [(256, 64), (1024, 64)])
def test_what_is_wrong_grows_with_the_sample(n, d, name):
    z, per_row = shapes(n, d)[name]
    assert sigreg(z, directions=2048) / n == pytest.approx(per_row, abs=0.03)


def test_every_departure_from_the_standard_normal_is_felt():
    z = normal(1000, 16)
    heavy = z / normal(1000, 1, seed=1).abs().clamp_min(0.2)
    for other in (z + 0.5, 0.5 * z, 2 * z, z * torch.linspace(0.2, 1.8, 16), heavy):
        assert sigreg(other) > 10 * sigreg(z)


def test_projections_of_many_independent_dimensions_look_gaussian():
    """The price of slicing: corners of a cube pass, as the central limit theorem has it; in two dimensions not."""
    assert sigreg(normal(500, 128).sign()) < 1.3 and sigreg(normal(500, 2).sign()) > 5


def test_the_directions_come_from_the_seed_alone():
    z = normal(50, 5)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = sigreg(z, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(4)
    assert sigreg(z, seed=1) == first != sigreg(z, seed=2)


def test_unusable_input():
    for z, directions, message in (
        (normal(5, 2), 0, "directions"),
        (normal(1, 2), 8, "two"),
        (normal(5, 2)[0], 8, "2-D"),
        (normal(5, 2) / 0, 8, "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            sigreg(z, directions)
