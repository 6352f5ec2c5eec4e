"""The collapse measures on data whose answer is known, and the verdicts of diagnose.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import json
import math

import pytest
import torch
from torch import nn

from ssl_lessons.diagnostics import (
    VERDICTS,
    alignment,
    alpha_req,
    assignment_information,
    cluster_usage_entropy,
    diagnose,
    feature_correlation,
    feature_std,
    lidar,
    norm_statistics,
    rank_me,
    singular_values,
    spread,
    teacher_distance,
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


def test_spread_is_one_minus_the_mean_cosine():
    z = normal(30, 5) + 0.4
    unit = nn.functional.normalize(z, dim=1)
    assert spread(z) == pytest.approx(1 - float((unit @ unit.T).mean()))
    assert spread(torch.ones(9, 3)) == pytest.approx(0, abs=1e-12)
    assert spread(torch.cat([z, -z])) == pytest.approx(1)


def test_lidar_equals_the_formula():
    """The LDA matrix built entry by entry, its eigenvalues from the unsymmetric product."""
    n, q, d, delta = 6, 4, 3, 0.01
    z = normal(n, d)[:, None] + 0.3 * normal(n * q, d, seed=1).view(n, q, d)
    means = [z[i].mean(dim=0) for i in range(n)]
    centre = sum(means) / n
    between, within = torch.zeros(d, d).double(), delta * torch.eye(d).double()
    for i in range(n):
        between += torch.outer(means[i] - centre, means[i] - centre) / n
        for j in range(q):
            within += torch.outer(z[i, j] - means[i], z[i, j] - means[i]) / (n * q)
    eigenvalues = torch.linalg.eigvals(torch.linalg.inv(within) @ between).real
    p = [float(x / eigenvalues.sum()) + 1e-7 for x in eigenvalues]
    assert lidar(z, delta) == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)))


def test_lidar_counts_what_survives_augmentation_and_rank_me_does_not():
    image, wobble = torch.zeros(300, 1, 16).double(), torch.zeros(300, 10, 16).double()
    image[:, 0, :8] = normal(300, 8)
    wobble[..., 8:] = normal(3000, 8, seed=1).view(300, 10, 8)
    z = image + 0.05 * normal(3000, 16, seed=2).view(300, 10, 16) + wobble
    assert rank_me(z.flatten(0, 1)) > 14 and lidar(z) == pytest.approx(8, abs=0.5)
    with pytest.raises(InputError, match="images, views"):
        lidar(z[0])
    with pytest.raises(InputError, match="images, views"):
        lidar(z[:, :1])
    with pytest.raises(InputError, match="delta"):
        lidar(z, delta=0)


def test_feature_correlation_equals_the_loop():
    z = normal(40, 4) @ normal(4, 4, seed=3) + 7
    pairs = [abs(float(torch.corrcoef(z[:, [i, j]].T)[0, 1])) for i in range(4) for j in range(i)]
    assert feature_correlation(z) == pytest.approx(sum(pairs) / 6)
    assert feature_correlation(torch.cat([z[:, :1], -3 * z[:, :1] + 2], dim=1)) == pytest.approx(1)
    assert feature_correlation(torch.cat([z, torch.ones(40, 2)], dim=1)) == pytest.approx(sum(pairs) / 6)
    assert feature_correlation(normal(4000, 10)) == pytest.approx(math.sqrt(2 / math.pi / 4000), rel=0.3)
    assert math.isnan(feature_correlation(torch.ones(40, 3)))


def test_norm_statistics():
    z = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])
    assert norm_statistics(z) == pytest.approx(
        {"mean": 5, "variation": math.sqrt(50 / 3) / 5, "min": 0, "max": 10}
    )
    assert norm_statistics(torch.zeros(3, 2))["variation"] == 0


def test_cluster_usage_and_information():
    one, own = torch.eye(4)[0].expand(8, 4), torch.eye(4).repeat(2, 1)
    even, two = torch.full((8, 4), 0.25), torch.eye(4)[[0, 1] * 4]
    for p, usage, information in ((one, 0, 0), (own, 1, 1), (even, 1, 0), (two, 0.5, 0.5)):
        assert cluster_usage_entropy(p) == pytest.approx(usage, abs=1e-12)
        assert assignment_information(p) == pytest.approx(information, abs=1e-12)
    p = normal(5, 7).softmax(dim=1)
    mean = [float(p[:, k].mean()) for k in range(7)]
    entropy = -sum(m * math.log(m) for m in mean)
    inside = -sum(float(x) * math.log(x) for x in p.flatten()) / 5
    assert cluster_usage_entropy(p) == pytest.approx(
        entropy / math.log(5)
    )  # five images fill five clusters at most
    assert assignment_information(p) == pytest.approx((entropy - inside) / math.log(5))
    for bad in (-one, 2 * one, torch.ones(8, 1)):
        with pytest.raises(InputError, match="probabilities"):
            cluster_usage_entropy(bad)


def test_teacher_distance():
    student, teacher = nn.Linear(2, 1), nn.Linear(2, 1)
    with torch.no_grad():
        student.weight.copy_(torch.tensor([[3.0, 0.0]])), student.bias.fill_(4.0)
        teacher.weight.copy_(torch.tensor([[3.0, 2.0]])), teacher.bias.fill_(2.5)
    assert teacher_distance([(student, teacher)]) == pytest.approx(2.5 / 5)
    assert teacher_distance([(student, teacher), (student, student)]) == pytest.approx(2.5 / math.sqrt(50))
    assert teacher_distance([(student, student)]) == 0
    with pytest.raises(InputError, match="teacher"):
        teacher_distance([])


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


# --- verdicts from the history ----------------------------------------------------------------------


def run(losses, every=10, **measured):
    """A history: one row per loss, and a value of each series after step 1, every `every` steps and the last."""
    rows = [{"step": i + 1, "loss": float(x)} for i, x in enumerate(losses)]
    due = [i for i in range(len(rows)) if i == 0 or (i + 1) % every == 0 or i + 1 == len(rows)]
    for name, values in measured.items():
        for k, i in enumerate(due):
            rows[i][name] = values(k / (len(due) - 1)) if callable(values) else values
    return rows


def ramp(a, b, steps=120, wobble=0.05, seed=0):
    """From a to b, fast at first, with noise."""
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    noise = wobble * abs(a - b) * normal(steps, 1, seed)[:, 0]
    return (b + (a - b) * torch.exp(-5 * t) + noise).tolist()


NT_XENT = math.log(511)
LEARNING = {"knn": lambda t: 0.3 + 0.3 * t, "chance_loss": NT_XENT}
FLAT = {"knn": 0.3, "chance_loss": NT_XENT}
GOOD = normal(256, 64)

BAD_HISTORIES = {
    "loss NaN": ([*ramp(6, 5), math.nan], {}, "not finite"),
    "loss rises to four times the start": (ramp(6.2, 25), FLAT, "divergence"),
    "features explode": (ramp(6.2, 5), FLAT | {"norm_h": lambda t: 5 * 1e4**t}, "divergence"),
    "embeddings explode": (ramp(6.2, 6.2), {"norm_z": lambda t: 5 * 1e4**t}, "divergence"),
    "spread gone": (ramp(2, 0.01), {"spread_z": lambda t: 0.5 * 1e-4**t}, "complete collapse"),
    "spread on its way down": (ramp(2, 0.1), {"spread_z": lambda t: 0.5 * 0.03**t}, "complete collapse"),
    "one cluster": (
        ramp(4, 0.1),
        {"usage": lambda t: 0.9 - 0.88 * t, "information": 0.02},
        "cluster collapse",
    ),
    "no cluster": (ramp(5.5, 5.5), {"usage": 1.0, "information": 1e-4}, "cluster collapse"),
    "teacher never moves": (
        ramp(3, 1),
        {"teacher_distance": lambda t: 0.13 * t**0.5},
        "teacher-student drift",
    ),
    "loss at log(2N-1)": (ramp(NT_XENT + 0.03, NT_XENT), FLAT, "loss at chance"),
    "solved without learning": (ramp(6.2, 0.2), FLAT, "shortcut"),
}


@pytest.mark.parametrize("name", BAD_HISTORIES)
def test_a_sick_history_is_named(name):
    losses, measured, verdict = BAD_HISTORIES[name]
    for embeddings in (None, GOOD):
        if embeddings is not None and "spread" in name:
            embeddings = normal(1, 64, seed=3) + 0.12 * GOOD  # spread 0.014, as the history ends
        report = diagnose(embeddings, history=run(losses, **measured))
        assert report.verdict == verdict, str(report)
        assert report.causes and report.try_first and report.explanation
        json.dumps(report.as_dict(), allow_nan=False)


def test_every_verdict_is_reached_and_has_advice():
    reached = {v for _, _, v in BAD_HISTORIES.values()} | {v for _, v in CASES.values()}
    assert reached == set(VERDICTS)


HEALTHY_HISTORIES = {
    "SimCLR": (ramp(6.9, 3.5), LEARNING | {"spread_z": lambda t: 0.003 + 0.5 * t, "norm_z": lambda t: 0.4 + 20 * t}),
    "SimCLR, no monitor": (ramp(6.9, 5.2), {}),
    "SimCLR, slow start": (ramp(6.24, 6.0), LEARNING),
    "SimCLR at a low temperature, solved and learned": (ramp(6.9, 0.4), LEARNING),
    "supervised": (ramp(2.3, 0.05), {"knn": lambda t: 0.3 + 0.4 * t, "chance_loss": math.log(10)}),
    "MoCo, whose queue fills": (ramp(1.0, 5.0), {"knn": lambda t: 0.3 + 0.2 * t, "chance_loss": math.log(2049)}),
    "BYOL, down and up again": (
        ramp(4, 0.4, 40) + ramp(0.4, 1.1, 80),
        {"teacher_distance": lambda t: 0.9 * math.sin(3 * t), "spread_z": lambda t: 0.9 - 0.6 * t},
    ),
    "SimSiam, negative loss": (ramp(0, -0.9), {"knn": lambda t: 0.3 + 0.1 * t}),
    "SimSiam, rising": (ramp(-0.95, -0.7), {"knn": lambda t: 0.3 + 0.1 * t}),
    "VICReg": (ramp(48, 22), LEARNING | {"chance_loss": 24.75}),
    "Barlow Twins": (ramp(25, 9), LEARNING | {"chance_loss": 25.6}),
    "spectral, negative without bound": (ramp(0, -30), {"knn": lambda t: 0.3 + 0.1 * t}),
    "DINO": (ramp(5.5, 5.2), {"usage": 0.95, "information": 0.4, "knn": lambda t: 0.3 + 0.1 * t, "chance_loss": 5.545}),
    "SwAV": (ramp(4.16, 3.6), {"usage": 0.97, "information": 0.3, "chance_loss": 4.159}),
    "MSN, chance 0": (ramp(0.0, -0.6), {"usage": 0.9, "information": 0.5, "knn": 0.3, "chance_loss": 0.0}),
    "MAE, neighbours flat": (ramp(1.05, 0.6), {"knn": 0.3}),
    "data2vec, targets grow": (ramp(0.4, 0.6), {"knn": 0.3, "teacher_distance": lambda t: 0.3 * math.sin(3 * t)}),
    "a spike that is over": (ramp(6, 5, 60) + [60.0, 40.0] + ramp(5.2, 4, 60), LEARNING),
    "teacher that catches up": (ramp(3, 1), {"teacher_distance": lambda t: 1.5 * math.sin(2.8 * t)}),
    "five steps": (ramp(6.24, 6.24, 5), FLAT | {"spread_z": 1e-5, "usage": 0.0, "norm_z": lambda t: 1000**t}),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HEALTHY_HISTORIES)
def test_healthy_histories_raise_no_alarm(name, seed):
    losses, measured = HEALTHY_HISTORIES[name]
    shaken = [
        x * (1 + 0.03 * e) for x, e in zip(losses, normal(len(losses), 1, seed)[:, 0].tolist(), strict=True)
    ]
    for last in (25, 60, len(losses)):  # nor on the way
        rows = run(shaken, **measured)[:last]
        report = diagnose(GOOD, history=rows)
        assert report.verdict == "healthy", str(report)


def test_assignments_are_judged():
    assert diagnose(GOOD, assignments=torch.eye(8)[0].expand(256, 8)).verdict == "cluster collapse"
    assert diagnose(GOOD, assignments=torch.full((256, 8), 1 / 8)).verdict == "cluster collapse"
    report = diagnose(GOOD, assignments=(4 * normal(256, 8)).softmax(dim=1))
    assert report.verdict == "healthy" and report.evidence["usage"] > 0.9 and report.evidence["clusters"] == 8


def test_the_worst_finding_wins():
    """A divergence that also collapsed, and a collapse at chance, get the name that says more."""
    rows = run(ramp(6.2, 6.2), norm_h=lambda t: 5 * 1e4**t, **FLAT)
    assert diagnose(torch.ones(100, 8), history=rows).verdict == "divergence"
    assert diagnose(torch.ones(100, 8), history=run(ramp(6.2, 6.2), **FLAT)).verdict == "complete collapse"


def test_diagnose_wants_something_to_look_at():
    for history in (None, []):
        with pytest.raises(InputError, match="embeddings"):
            diagnose(history=history)
    with pytest.raises(InputError, match="loss"):
        diagnose(history=[{"step": 1, "loss": 1.0}, {"step": 2}])


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
