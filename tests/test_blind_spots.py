"""What `diagnose` says about what it cannot see: whitened outputs, evaluation mode, labels."""

import json

import pytest
import torch
from torch import nn

from ssl_lessons.diagnostics import diagnose
from ssl_lessons.losses.correlation import whiten

WHITE, MODE, PROBE = "are whitened", "evaluation mode", "necessary, not sufficient"


def normal(n=300, d=32, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(steps=120, **last):
    """A healthy history, with measures on its first and last row."""
    history = [{"loss": 6.0 - 0.01 * i} for i in range(steps)]
    for row in (history[0], history[-1]):
        row |= last
    return history


def has(report, words):
    return any(words in sentence for sentence in report.blind)


# --- whitened outputs ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n, d", [(300, 32), (40, 32), (300, 3)])
def test_whitened_outputs_are_named(n, d, dtype):
    """Also of pure noise, and on another scale."""
    skewed = normal(n, d) * torch.linspace(0.5, 5, d) + 5
    for z in (whiten(skewed), 30 * whiten(skewed) + 2, whiten(skewed, eps=1e-4)):
        report = diagnose(z.to(dtype))
        assert has(report, WHITE) and "only a probe can tell" in str(report)
        assert report.evidence["unevenness"] < 1e-3
    assert not has(diagnose(skewed.to(dtype)), WHITE)


def test_fewer_rows_than_dimensions_can_be_whitened_too():
    z = normal(60, 100)
    u, _, v = torch.linalg.svd(z - z.mean(dim=0), full_matrices=False)
    assert has(diagnose(u[:, :59] @ v[:59]), WHITE) and not has(diagnose(z), WHITE)


@pytest.mark.parametrize("n, d", [(300, 3), (3000, 3), (300, 32), (64, 512), (3000, 8)])
def test_a_gaussian_sample_is_not_called_whitened(n, d):
    """Its unevenness is 1 on average, whatever its size."""
    found = [diagnose(normal(n, d, seed)) for seed in range(12)]
    assert not any(has(report, WHITE) for report in found)
    mean = sum(report.evidence["unevenness"] for report in found) / 12
    assert mean == pytest.approx(1, abs=0.6 if d == 3 else 0.15)


@pytest.mark.parametrize("z", [torch.ones(50, 8), normal(50, 2), normal(3, 8)])
def test_where_evenness_says_nothing(z):
    assert not has(diagnose(z), WHITE)
    assert diagnose(z).as_dict()["evidence"]["unevenness"] is None


# --- evaluation mode -------------------------------------------------------------------------------


def untrained(layers=3, seed=0):
    """A projector with BatchNorms that have seen nothing."""
    torch.manual_seed(seed)
    parts = []
    for _ in range(layers):
        parts += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(64, 64))


@torch.no_grad()
def outputs(network, x, training):
    return network.train(training)(x)


def test_a_tiny_spread_in_many_directions_may_be_unsettled_statistics():
    x = 0.05 * normal(300, 64).float()
    unsettled = diagnose(outputs(untrained(), x, training=False))
    assert unsettled.verdict == "complete collapse"
    assert "not settled" in unsettled.causes[0] and "settle" in unsettled.try_first
    assert diagnose(outputs(untrained(), x, training=True)).verdict == "healthy"


def test_nothing_is_excused_where_that_cannot_be():
    """One output for all images, one direction left, or a run of a hundred steps, after which statistics follow."""
    tiny = normal(1, 64, seed=3) + 1e-3 * normal(300, 64)
    line = normal(1, 64, seed=3) + 1e-3 * normal(300, 1) @ normal(1, 64)
    for z, history in ((torch.ones(300, 64), None), (line, None), (tiny, rows())):
        report = diagnose(z, history=history)
        assert report.verdict == "complete collapse"
        assert "not settled" not in report.causes[0] and "settle" not in report.try_first
    assert "not settled" in diagnose(tiny).causes[0]


def test_the_mode_is_a_blind_spot_without_a_history():
    assert has(diagnose(normal()), MODE) and not has(diagnose(normal(), history=rows()), MODE)
    assert not has(diagnose(history=rows()), MODE)


def test_a_young_run_is_told_that_its_statistics_are_not_settled():
    report = diagnose(normal(1, 8) + 1e-4 * normal(300, 8), history=rows(5))
    assert report.verdict == "healthy" and "not settled" in report.explanation


# --- labels, and health ----------------------------------------------------------------------------


def test_whether_labels_were_used():
    for report in (diagnose(normal()), diagnose(normal(), history=rows()), diagnose(history=rows())):
        assert has(report, "No labels were used")
    labelled = diagnose(normal(), history=rows(knn=0.5))
    assert has(labelled, "kNN") and not has(labelled, "No labels") and "knn" in labelled.evidence


def test_health_is_not_said_to_be_enough():
    for report in (diagnose(normal()), diagnose(normal(), history=rows()), diagnose(history=rows())):
        assert report.verdict == "healthy" and PROBE in report.explanation
    assert PROBE not in str(diagnose(torch.ones(50, 8)))


def test_blind_spots_are_part_of_text_and_record():
    report = diagnose(whiten(normal()))
    assert len(report.blind) == 3 and all(sentence in str(report) for sentence in report.blind)
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["blind"] == list(report.blind)
    assert diagnose(normal() * torch.nan).blind == ()
