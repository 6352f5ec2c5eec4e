"""The quality widget: Kendall's tau against SciPy, the bootstrap, the picture for every choice."""

import math
from functools import partial

import pytest
import torch
from scipy.stats import kendalltau

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import quality
from ssl_lessons.errors import InputError

KEYS = (
    "rank_h rank_z lidar_own_h lidar_own_z alpha_h auc_h uniformity_z alignment_own_z rotation loss probe"
).split()


@pytest.fixture
def rows():
    g = torch.Generator().manual_seed(0)
    names = [("base", "SimCLR", 0), ("base", "SimCLR", 1)]
    names += [
        (part, f"setting {i}", 0) for part in ("temperature", "augmentation", "method") for i in range(4)
    ]
    return [
        {"slice": part, "setting": setting, "seed": seed}
        | dict(zip(KEYS, torch.rand(len(KEYS), generator=g).tolist(), strict=True))
        for part, setting, seed in names
    ]


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("ties", [False, True])
def test_tau_is_scipys(n, ties):
    g = torch.Generator().manual_seed(n)
    x = torch.randn(n, generator=g)
    y = x + torch.randn(n, generator=g)
    if ties:
        x, y = x.round(), (2 * y).round() / 2
    right = kendalltau(x.numpy(), y.numpy()).statistic
    assert quality.kendall_tau(x, y).item() == pytest.approx(right, nan_ok=True)


def test_tau_of_a_resample_is_that_of_the_repeated_runs():
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 2.0, 5.0, 4.0]
    weights = torch.tensor([[2.0, 0.0, 1.0, 1.0, 1.0], [0.0, 3.0, 1.0, 0.0, 1.0]])
    for w, tau in zip(weights, quality.kendall_tau(x, y, weights), strict=True):
        index = torch.arange(5).repeat_interleave(w.long())
        a, b = torch.tensor(x)[index].numpy(), torch.tensor(y)[index].numpy()
        assert tau.item() == pytest.approx(kendalltau(a, b).statistic)


def test_known_values():
    up = [1.0, 2.0, 3.0, 4.0]
    assert quality.kendall_tau(up, up).item() == 1
    assert quality.kendall_tau(up, up[::-1]).item() == -1
    assert quality.kendall_tau(up, [1.0, 2.0, 4.0, 3.0]).item() == pytest.approx(
        2 / 3
    )  # five pairs of six right
    assert math.isnan(quality.kendall_tau(up, [7.0] * 4))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Gaussian pairs with correlation rho have tau = 2 asin(rho) / pi."""
    rho, hits = 0.6, 0
    truth = 2 * math.asin(rho) / math.pi
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(40, generator=g)
        y = rho * x + math.sqrt(1 - rho**2) * torch.randn(40, generator=g)
        found = quality.tau_interval(x, y, resamples=400)
        assert found.low <= found.tau <= found.high and found.runs == 40
        hits += found.low <= truth <= found.high
    assert 0.75 < hits / 60 <= 1


def test_undefined_where_all_tie():
    found = quality.tau_interval([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert all(math.isnan(v) for v in found[:3])


def test_slices_share_the_base_run(rows):
    parts = quality.slices(rows)
    assert list(parts) == ["temperature", "augmentation", "method", quality.EVERYTHING, quality.METHODS]
    assert len(parts["temperature"]) == 5 and parts["temperature"][0]["slice"] == "base"
    assert len(parts[quality.EVERYTHING]) == 10 and len(parts[quality.METHODS]) == len(rows) == 14


def test_the_measures_point_upwards():
    low = dict.fromkeys(KEYS, 0.0) | {"alpha_h": 3.0}
    high = dict.fromkeys(KEYS, 1.0) | {"alpha_h": 1.0}
    upwards = {"RankMe of h", "RankMe of z", "LiDAR of h", "LiDAR of z", "rotation probe", "alpha-ReQ of h"}
    for name in quality.MEASURES:
        first, second = quality.goodness(name, [low, high])
        assert (second > first) == (name in upwards), name


def test_render_every_choice(rows):
    seen = {}
    for parameters in widgets.sweep(quality.controls(rows)):
        fig = quality.render(**parameters, rows=rows)
        words = quality.describe(**parameters, rows=rows)
        found = quality.agreement(parameters["measure"], quality.slices(rows)[parameters["part"]])
        assert f"{found.tau:+.2f}" in words
        (ax,) = fig.axes
        assert f"{found.tau:+.2f}" in (ax.get_title() or ax.get_title(loc="left"))
        assert ax.get_xlabel() and ax.get_ylabel()
        assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() != "None") == found.runs
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) == len(quality.MEASURES) + 4


def test_page(rows, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: pages.append(alt))
    widgets.explore(
        partial(quality.render, rows=rows),
        quality.controls(rows),
        static=[{"part": "temperature"}, {"measure": "LiDAR of z"}],
        alt=partial(quality.describe, rows=rows),
    )
    assert "temperature" in pages[0] and "LiDAR of z" in pages[0]


def test_bad_input(rows):
    with pytest.raises(InputError, match="same length"):
        quality.kendall_tau([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="two runs"):
        quality.kendall_tau([1.0], [1.0])
    with pytest.raises(InputError, match="no measure"):
        quality.render("beauty", quality.METHODS, rows)
    with pytest.raises(InputError, match="no runs"):
        quality.describe("loss", "colour", rows)
