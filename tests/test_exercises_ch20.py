"""The checkers of chapter 20 against solutions in several styles, and wrong versions a reader would write."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons import diagnostics
from ssl_lessons.book.exercises import ch20
from ssl_lessons.evaluation.evidence import interval
from ssl_lessons.losses import nt_xent


def clusters_loops(p):
    mean = [sum(row[k] for row in p.tolist()) / len(p) for k in range(p.shape[1])]
    return math.exp(-sum(m * math.log(m) for m in mean if m))


def survivors_numpy(x, noise, push):
    x, noise = x.numpy(), noise.numpy()
    difference = push * np.cov(x.T, bias=True) - noise.T @ noise / len(noise)
    return int((np.linalg.eigvalsh(difference) > 0).sum())


def entropy(values):
    p = values / values.sum()
    return -torch.special.xlogy(p, p).sum()


def worst_alarm(n, d):
    """Her number for the collapsed z."""
    z = torch.ones(n, d)
    return float(1 - (z / z.norm(dim=0)).mean(dim=0).square().sum())


def two_sides(n, d):
    return torch.tensor([1.0, -1.0]).repeat(n // 2)[:, None].expand(n, d)


def copied_noise(n, d):
    """One dimension of noise, standardised, then copied."""
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    return ((z - z.mean()) / z.std(correction=0)).repeat(1, d)


def many_noises(n, d):
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    return (z - z.mean(0)) / z.std(0, correction=0)


def blind_columns(projector, h):
    """The Jacobian row by row, by hand."""
    h = h.clone().requires_grad_()
    z = projector(h)
    rows = [torch.autograd.grad(z[k], h, retain_graph=True)[0] for k in range(len(z))]
    return len(h) - np.linalg.matrix_rank(torch.stack(rows).numpy())


def blind_moved(projector, h):
    """Differences instead of derivatives."""
    eps = 1e-6 * torch.eye(len(h), dtype=h.dtype)
    moved = torch.stack([(projector(h + e) - projector(h - e)) / 2e-6 for e in eps])
    return int((torch.linalg.svdvals(moved.detach()) < 1e-6).sum()) + max(0, len(h) - moved.shape[1])


def interaction_scipy(none, oracle_none, mlp, oracle_mlp):
    from scipy import stats

    d = ((oracle_none - none) - (oracle_mlp - mlp)).numpy()
    low, high = stats.t.interval(0.9, len(d) - 1, d.mean(), d.std(ddof=1) / math.sqrt(len(d)))
    return d.mean(), low, high


CORRECT = {
    "check_clusters_in_use": [clusters_loops, lambda p: min(p.shape) ** diagnostics.cluster_usage_entropy(p)],
    "check_lowest_alarm": [worst_alarm, lambda n, d: (n - d) / n],
    "check_fool": [two_sides, copied_noise, lambda n, d: two_sides(n, d).double().numpy()],
    "check_surviving_directions": [
        survivors_numpy,
        lambda x, noise, push: (
            torch.linalg.eigvals(
                push * (x - x.mean(0)).T @ (x - x.mean(0)) / len(x) - noise.T @ noise / len(noise)
            ).real
            > 0
        ).sum(),
    ],
    "check_blind_directions": [blind_columns, blind_moved],
    "check_interaction": [
        interaction_scipy,
        lambda none, oracle_none, mlp, oracle_mlp: interval(oracle_none - none - oracle_mlp + mlp),
    ],
    "check_direct_clr": [
        lambda h1, h2, d0, t: nt_xent(
            h1.split([d0, h1.shape[1] - d0], dim=1)[0].float(), h2[:, :d0].float(), t
        ),
        lambda h1, h2, d0, t: nt_xent(F.normalize(h1[:, :d0]), F.normalize(h2[:, :d0]), t),
    ],
}
WRONG = [
    ("check_clusters_in_use", "each image", lambda p: sum(entropy(row).exp() for row in p) / len(p)),
    ("check_clusters_in_use", "favourite", lambda p: len(set(p.argmax(1).tolist()))),
    ("check_clusters_in_use", "dim=0", lambda p: torch.special.entr(p.mean(1)).sum().exp()),
    ("check_clusters_in_use", "nobody uses", lambda p: (-(p.mean(0) * p.mean(0).log()).sum()).exp()),
    ("check_lowest_alarm", "one column", lambda n, d: 1 - 1 / n),
    ("check_lowest_alarm", "exchanged", lambda n, d: 1 - n / d),
    ("check_lowest_alarm", "right formula", lambda n, d: 0),
    ("check_fool", "effective rank", many_noises),
    ("check_fool", "share a direction", lambda n, d: 3 + two_sides(n, d)),
    ("check_fool", "deviations", lambda n, d: torch.ones(n, d)),
    ("check_fool", "not finite", lambda n, d: two_sides(n, d) / 0),
    ("check_fool", "float tensor", lambda n, d: two_sides(n, d).long()),
    ("check_fool", "float tensor", lambda n, d: two_sides(d, n)),
    ("check_surviving_directions", "push is missing", lambda x, n, push: survivors_numpy(x, n, 1.0)),
    ("check_surviving_directions", "all directions", lambda x, n, push: x.shape[1]),
    ("check_blind_directions", "does see", lambda projector, h: len(h) - blind_columns(projector, h)),
    ("check_blind_directions", "ReLU", lambda projector, h: ch20._widths(projector, h)),
    (
        "check_interaction",
        "turned",
        lambda *arms: [-x for x in np.array(interaction_scipy(*arms))[[0, 2, 1]]],
    ),
    ("check_interaction", "other seeds", lambda *arms: ch20._unpaired(*arms)),
    ("check_direct_clr", "all channels", lambda h1, h2, d0, t: nt_xent(h1, h2, t)),
    ("check_direct_clr", "columns", lambda h1, h2, d0, t: nt_xent(h1[:d0], h2[:d0], t)),
    (
        "check_direct_clr",
        "cut first",
        lambda h1, h2, d0, t: ch20._scaled(F.normalize(h1)[:, :d0], F.normalize(h2)[:, :d0], t),
    ),
]


TestCheckers = checker_tests(ch20, correct=CORRECT, wrong=WRONG)


def test_a_wrong_answer_without_a_name_shows_the_difference():
    found = ch20.check_lowest_alarm(lambda n, d: 1 - d / n + 0.5)
    assert found.passed is False and "instead of" in found.message


def test_the_alarm_has_no_lower_value():
    for seed in range(20):
        z = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed)) + seed
        assert 1 - (z / z.norm(dim=0)).mean(dim=0).square().sum() >= 1 - 6 / 40 - 1e-6
