"""The collapse measures on data whose answer is known, and the verdicts of diagnose."""

import json
import math

import pytest
import torch
from torch import nn

from ssl_lessons.diagnostics import (
    alignment,
    alpha_req,
    diagnose,
    feature_std,
    rank_me,
    singular_values,
    uniformity,
)
from ssl_lessons.errors import InputError


def normal(n=1000, d=32, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rank_k(k, n=400, d=64, noise=0.0):
    return normal(n, k) @ normal(k, d, seed=1) + noise * normal(n, d, seed=2)


def rotation(d=32):
    return torch.linalg.qr(normal(d, d, seed=9))[0]


def power_law(alpha, n=500, d=100):
    """Exactly the covariance eigenvalues i^-alpha: orthonormal centred columns, scaled."""
    columns = normal(n, d)
    columns, _ = torch.linalg.qr(columns - columns.mean(dim=0))
    return columns * torch.arange(1, d + 1, dtype=torch.float64).pow(-alpha / 2) @ rotation(d)


def relu_features(images, seed=0):
    """A small random conv net ending in ReLU and the spatial mean: untrained, but in good order."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        with torch.no_grad():
            return net(images).mean(dim=(2, 3))


def images(n=300, mean=0.5, std=0.25):
    scene = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))  # coarse blobs of color
    return (nn.functional.interpolate(scene, size=16, mode="bilinear") - mean) / std


# --- known values ----------------------------------------------------------------------------------


def test_an_isotropic_gaussian_fills_its_space():
    z = normal(5000, 32)
    assert feature_std(z) == pytest.approx(1, abs=0.02)
    assert rank_me(z) == pytest.approx(32, rel=0.02)
    assert alpha_req(z) == pytest.approx(0, abs=0.15)
    assert alignment(z, normal(5000, 32, seed=1)) == pytest.approx(2, abs=0.02)


def test_equal_embeddings_have_neither_spread_nor_rank():
    z = torch.ones(50, 8)
    assert feature_std(z) == pytest.approx(0, abs=1e-7)
    assert rank_me(z) == pytest.approx(1, abs=1e-4)
    assert uniformity(z) == pytest.approx(0, abs=1e-7)
    assert alignment(z, z) == 0
    assert math.isnan(alpha_req(z))


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_rank_k_data_has_k_singular_values(k):
    spectrum = singular_values(rank_k(k))
    assert int((spectrum > 1e-9 * spectrum[0]).sum()) == k
    assert k / 2 < rank_me(rank_k(k)) < k + 0.01


def test_rank_me_equals_the_formula():
    z = normal(20, 6)
    s = torch.linalg.svd(z, full_matrices=False).S.tolist()
    p = [value / sum(s) + 1e-7 for value in s]
    assert rank_me(z) == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)))
    assert rank_me(z + 100) < rank_me(z) - 2  # not centred, as in the paper


def test_singular_values_are_those_of_the_covariance():
    z = normal(200, 6) * torch.arange(1, 7) + 50
    eigenvalues = torch.linalg.eigvalsh(torch.cov(z.T)).flip(0)
    torch.testing.assert_close(singular_values(z).square() / 199, eigenvalues)
    assert len(singular_values(z[:4])) == 4


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_recovers_a_power_law(alpha):
    assert alpha_req(power_law(alpha)) == pytest.approx(alpha, abs=0.05)
    assert alpha_req(power_law(alpha), first=5, last=60) == pytest.approx(alpha, abs=0.05)


def test_uniformity_equals_the_double_loop():
    z = normal(12, 3)
    unit = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in z.tolist()]
    for t in (2, 3.5):
        terms = [
            math.exp(-t * sum((a - b) ** 2 for a, b in zip(unit[i], unit[j], strict=True)))
            for i in range(12)
            for j in range(12)
            if i < j
        ]
        assert uniformity(z, t) == pytest.approx(math.log(sum(terms) / len(terms)))


def test_alignment_equals_the_loop():
    z1, z2 = normal(12, 3), normal(12, 3, seed=1)
    for alpha in (1, 2, 3):
        total = 0.0
        for a, b in zip(z1.tolist(), z2.tolist(), strict=True):
            na, nb = math.hypot(*a), math.hypot(*b)
            total += math.dist([x / na for x in a], [y / nb for y in b]) ** alpha
        assert alignment(z1, z2, alpha) == pytest.approx(total / 12)


MEASURES = [rank_me, alpha_req, uniformity, lambda z: alignment(z, z.flip(1))]


@pytest.mark.parametrize("measure", [feature_std, *MEASURES])
@pytest.mark.parametrize("scale", [1e-4, 300])
def test_scale_does_not_matter(measure, scale):
    z = power_law(1.0)
    assert measure(scale * z) == pytest.approx(measure(z), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES[:3])
def test_rotation_does_not_matter(measure):
    z = normal() * torch.arange(1, 33)
    assert measure(z @ rotation()) == pytest.approx(measure(z), rel=1e-6)
    assert alignment(z @ rotation(), z.flip(0) @ rotation()) == pytest.approx(alignment(z, z.flip(0)))


# --- verdicts --------------------------------------------------------------------------------------

CASES = {
    "gaussian": (normal(300, 64), "healthy"),
    "gaussian, more dimensions than samples": (normal(64, 512), "healthy"),
    "power law": (power_law(1.5), "healthy"),
    "quarter of the dimensions": (rank_k(16, noise=0.01), "healthy"),
    "relu of a gaussian": (normal(300, 64).relu(), "healthy"),
    "strong common mean": (normal(300, 64) + 5, "healthy"),
    "untrained relu network": (relu_features(images()), "healthy"),
    "constant": (torch.ones(300, 64), "complete collapse"),
    "zeros": (torch.zeros(300, 64), "complete collapse"),
    "constant + tiny noise": (1 + 1e-3 * normal(300, 64), "complete collapse"),
    "almost constant, one direction left": (
        normal(1, 64, seed=3) + 0.03 * rank_k(1, 300, noise=0.03),
        "complete collapse",
    ),
    "line": (rank_k(1), "dimensional collapse"),
    "rank 2 + noise": (rank_k(2, noise=0.01), "dimensional collapse"),
    "rank 4 of 512": (rank_k(4, 520, 512, noise=0.01), "dimensional collapse"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name):
    z, verdict = CASES[name]
    report = diagnose(z)
    assert report.verdict == verdict, str(report)
    assert bool(report.causes) == bool(report.try_first) == (verdict != "healthy")
    for same in (1e-4 * z, 1000 * z, z.double() @ rotation(z.shape[1])):
        assert diagnose(same).verdict == verdict


@pytest.mark.parametrize("seed", range(3))
def test_untrained_relu_networks_raise_no_alarm(seed):
    for mean, std in ((0.5, 0.25), (0, 1), (-1, 1)):  # also with images that nobody normalized
        report = diagnose(relu_features(images(mean=mean, std=std), seed))
        assert report.verdict == "healthy", str(report)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ["gaussian", "untrained relu network", "rank 2 + noise", "zeros"])
def test_precision_of_the_input_does_not_change_the_verdict(name, dtype):
    z, verdict = CASES[name]
    assert diagnose(z.to(dtype)).verdict == verdict


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_named(bad):
    z = normal(100, 8)
    z[[3, 7], 2] = bad
    report = diagnose(z)
    assert report.verdict == "not finite" and report.evidence["rows_not_finite"] == 2
    assert "2 of 100" in str(report) and report.causes and report.try_first
    assert diagnose(normal(100, 8), z).verdict == "not finite"
    with pytest.raises(InputError, match="NaN"):
        rank_me(z)


def test_the_report_carries_its_evidence():
    z, other = normal(300, 16), normal(300, 16, seed=1)
    report = diagnose(z, other)
    assert report.evidence["alignment"] == pytest.approx(alignment(z, other))
    assert report.evidence["rank_me"] == pytest.approx(rank_me(z))
    assert report.evidence["feature_std"] == pytest.approx(feature_std(z))
    assert "alignment" not in diagnose(z).evidence
    collapsed = diagnose(torch.ones(300, 16))  # its alpha does not exist
    assert math.isnan(collapsed.evidence["alpha_req"])
    record = json.loads(json.dumps(collapsed.as_dict(), allow_nan=False))
    assert record["verdict"] == "complete collapse" and record["evidence"]["alpha_req"] is None
    assert str(collapsed).startswith("Complete collapse.") and collapsed.causes[0] in str(collapsed)


def test_a_small_sample_is_mentioned():
    assert "small sample" in diagnose(normal(40, 16)).explanation
    assert "small sample" not in diagnose(normal(400, 16)).explanation


def test_the_embeddings_may_carry_a_gradient():
    assert diagnose(normal().requires_grad_()).verdict == "healthy"


@pytest.mark.parametrize("measure", [feature_std, singular_values, rank_me, alpha_req, uniformity, diagnose])
def test_unusable_input(measure):
    for z, message in (
        (torch.ones(1, 4), "two"),
        (torch.ones(4), "2-D"),
        (torch.ones(2, 3, 4), "2-D"),
        ([[1.0, 2.0], [3.0, 4.0]], "2-D"),
        (torch.ones(4, 0), "2-D"),
    ):
        with pytest.raises(InputError, match=message):
            measure(z)


@pytest.mark.parametrize("compare", [alignment, diagnose])
def test_views_must_match(compare):
    with pytest.raises(InputError, match="shape"):
        compare(normal(10, 4), normal(9, 4))
