"""The quality widget: Kendall's tau against SciPy, the bootstrap, regret and ceiling, the picture for every choice."""

import math
from functools import partial

import pytest
import torch
from scipy.stats import kendalltau

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import quality
from ssl_lessons.errors import InputError

KEYS = ("probe", *(measure.key for measure in quality.MEASURES.values()))


@pytest.fixture
def rows():
    g = torch.Generator().manual_seed(0)
    names = [quality.BASE, ("floor", "untrained")]
    names += [
        (part, f"setting {i}")
        for part in ("temperature", "augmentation", "method", "length")
        for i in range(4)
    ]
    return [
        {"slice": part, "setting": setting, "seed": seed}
        | dict(zip(KEYS, torch.rand(len(KEYS), generator=g).tolist(), strict=True))
        for part, setting in names
        for seed in (0, 1, 2)
    ] + [{"slice": "method", "setting": "half done", "seed": 0} | dict.fromkeys(KEYS, 1.0)]


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
        assert found.low <= found.tau <= found.high and found.n == 40
        hits += found.low <= truth <= found.high
    assert 0.75 < hits / 60 <= 1


def test_undefined_where_all_tie():
    found = quality.tau_interval([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert all(math.isnan(v) for v in found[:3]) and "undefined" in str(found)


def test_parts_share_the_recipe_and_need_every_seed(rows):
    parts = quality.parts(rows)
    assert list(parts) == [
        quality.EVERYTHING, quality.FIXED, quality.POLICIES, quality.METHODS, "temperature", "length"
    ]  # fmt: skip
    assert {name: len(settings) for name, settings in parts.items()} == dict(
        zip(parts, (13, 9, 5, 5, 5, 5), strict=True)
    )
    assert all(settings[0] == quality.BASE for settings in parts.values())
    assert ("method", "half done") not in parts[quality.METHODS]


def test_columns_are_settings_by_seeds(rows):
    settings = quality.parts(rows)["length"]
    found = quality.column(rows, settings, "probe")
    row = next(r for r in rows if (r["slice"], r["setting"], r["seed"]) == (*settings[2], 1))
    assert found.shape == (5, 3) and found[2, 1].item() == row["probe"]
    with pytest.raises(InputError, match="lacks probe"):
        quality.column(rows, [("method", "half done")], "probe")


def test_the_measures_point_upwards():
    def one(name, value):
        rows = [{"slice": "base", "setting": "SimCLR", "seed": 0} | dict.fromkeys(KEYS, value)]
        return quality.goodness(name, rows, [quality.BASE]).item()

    for name in quality.MEASURES:
        less_is_better = name in (
            "loss", "alpha-ReQ of h", "spectrum area of h", "alignment of z", "uniformity of z",
            "alignment of h, common views", "low tree dimension of h", "SIGReg of z",
        )  # fmt: skip
        assert (one(name, 3.0) < one(name, 1.0)) == less_is_better, name


def test_a_combination_is_a_mean_of_ranks(rows):
    settings = quality.parts(rows)[quality.METHODS]
    a, b = (quality.goodness(name, rows, settings) for name in ("rotation probe", "RankMe of z"))
    mean = (a.argsort(0).argsort(0) + b.argsort(0).argsort(0)).double() / 2 + 1
    assert torch.allclose(quality.goodness("rotation and RankMe", rows, settings), mean)


def test_regret_and_ceiling_by_hand():
    truth = torch.tensor([[0.1, 0.3], [0.2, 0.1], [0.4, 0.2]]).double()
    assert quality.regrets(truth, truth) == [0, 0]
    assert quality.regrets(-truth, truth) == pytest.approx([0.3, 0.2])
    assert quality.to_another_seed(truth, truth) == pytest.approx(-1 / 3)
    twice = truth[:, :1].repeat(1, 2)
    assert quality.to_another_seed(twice, twice) == 1
    assert quality.agreement(truth, truth).tau == 1


def test_render_every_choice(rows):
    seen = {}
    for parameters in widgets.sweep(quality.controls(rows)):
        fig = quality.render(**parameters, rows=rows)
        words = quality.describe(**parameters, rows=rows)
        settings = quality.parts(rows)[parameters["part"]]
        score = quality.goodness(parameters["measure"], rows, settings)
        found = quality.agreement(score, quality.column(rows, settings, "probe"))
        assert str(found) in words and str(found) in quality.brief(**parameters, rows=rows)
        (ax,) = fig.axes
        assert str(found) in (ax.get_title() or ax.get_title(loc="left"))
        assert ax.get_xlabel() and ax.get_ylabel()
        dots = [len(line.get_xdata()) for line in ax.lines if line.get_marker() != "None"]
        assert dots == [3 * len(settings), len(settings), 1]
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) == len(quality.MEASURES) + len(quality.COMBINED) + 5


def test_page(rows, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
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
    with pytest.raises(InputError, match="no settings"):
        quality.describe("loss", "colour", rows)
