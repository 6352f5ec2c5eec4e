"""What chapter 21 reads from its record: measures, slices, correlations over settings, regrets, and the widget."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import quality
from ssl_lessons.errors import InputError

KEYS = (
    "rank_h rank_z lidar_own_z alpha_h area_z uniformity_z alignment_own_z found_own_z two_nn_h learnability_h tree_h "
    "sigreg_z rotation loss steps probe held_out"
).split()
SETTINGS = [("base", "SimCLR")] + [
    (part, f"setting {i}")
    for part, n in (("temperature", 5), ("augmentation", 5), ("length", 2), ("projector", 2), ("method", 5))
    for i in range(n)
]


@pytest.fixture
def rows():
    g = torch.Generator().manual_seed(0)
    found = [
        {"slice": part, "setting": setting, "seed": seed}
        | dict(zip(KEYS, torch.rand(len(KEYS), generator=g).tolist(), strict=True))
        for seed in (1, 0)
        for part, setting in SETTINGS
    ]
    return quality.complete([*found, {"slice": "floor", "setting": "pixels", "seed": 0}])


def test_complete_keeps_the_seeds_that_every_setting_has(rows):
    assert len(rows) == 2 * len(SETTINGS) and not any(row["slice"] == "floor" for row in rows)
    assert [row["seed"] for row in rows[:4]] == [0, 1, 0, 1] and rows[0]["slice"] == "base"
    gone = [row for row in rows if (row["setting"], row["seed"]) != ("setting 3", 1)]
    assert {row["seed"] for row in quality.complete(gone)} == {0}
    assert quality.complete([]) == []


def test_slices_share_the_base_run(rows):
    counts = {name: len(part) // 2 for name, part in quality.slices(rows).items()}
    assert counts == {
        "temperature": 6, "augmentation": 6, "length": 3, quality.SETTINGS: 8,
        quality.SIMCLR: 15, quality.METHODS: 6, quality.EVERYTHING: 20,
    }  # fmt: skip
    assert all(part[0]["slice"] == "base" for part in quality.slices(rows).values())


def test_the_measures_point_upwards():
    low = dict.fromkeys(KEYS, 0.0) | {"alpha_h": 3.0}
    high = dict.fromkeys(KEYS, 1.0) | {"alpha_h": 1.0}
    downwards = {
        "spectrum area of z",
        "alignment of z",
        "uniformity of z",
        "IdEst of h",
        "SIGReg of z",
        "loss",
    }
    for name in quality.MEASURES:
        first, second = quality.goodness(name, [low, high])
        assert (second < first) == (name in downwards), name


def test_combinations_standardise_before_they_add():
    table = [
        dict.fromkeys(KEYS, 0.0) | {"two_nn_h": x, "learnability_h": y}
        for x, y in ((0, 0.9), (50, 0.8), (100, 0.1))
    ]
    assert quality.goodness("CLID of h", table).argmax() == 1
    table = [
        dict.fromkeys(KEYS, 0.0) | {"rank_z": x, "found_own_z": y}
        for x, y in ((1, 0.1), (900, 0.2), (2, 0.3))
    ]
    assert quality.goodness("rank and views", table).tolist() == [1, 2.5, 2.5]


def test_agreement_counts_settings_and_not_seeds(rows):
    part = quality.slices(rows)["temperature"]
    found = quality.agreement("RankMe of z", part)
    right = spearmanr([r["rank_z"] for r in part], [r["probe"] for r in part]).statistic
    assert found.estimate == pytest.approx(right) and found.n == 6 and found.low < right < found.high
    assert quality.words(found) == f"{right:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
    assert quality.agreement("steps", [row | {"steps": 3} for row in part]) is None
    assert quality.words(None) == "the same for all"
    few = quality.agreement("loss", quality.slices(rows)["length"])
    assert few.low is None and quality.words(few) == f"{few.estimate:+.2f}"


def test_regret_is_what_held_out_labels_would_have_saved(rows):
    part = quality.slices(rows)["augmentation"]
    for i, seed in enumerate((0, 1)):
        mine = [row for row in part if row["seed"] == seed]
        best = max(mine, key=lambda row: row["held_out"])["probe"]
        assert quality.regrets("loss", part)[i] == best - min(mine, key=lambda row: row["loss"])["probe"]
        assert quality.regrets(quality.RANDOM, part)[i] == pytest.approx(
            best - np.mean([r["probe"] for r in mine])
        )
        assert quality.regrets(quality.NOTHING, part)[i] == best - mine[0]["probe"]
    knows = [row | {"rank_z": row["held_out"]} for row in part]
    assert quality.regrets("RankMe of z", knows) == [0, 0]


def test_the_ceiling_is_reached_without_luck_only(rows):
    part = quality.slices(rows)["temperature"]
    same = [row | {"probe": float(len(row["setting"]) + int(row["setting"][-1], 36))} for row in part]
    assert quality.ceiling(same) == pytest.approx(1)
    opposite = [row | {"probe": row["probe"] * (1 - 2 * row["seed"])} for row in same]
    assert quality.ceiling(opposite) == pytest.approx(-1)
    with pytest.raises(InputError, match="two seeds"):
        quality.ceiling([row for row in part if row["seed"] == 0])


def test_render_every_choice(rows):
    seen = {}
    for parameters in widgets.sweep(quality.controls(rows)):
        part = quality.slices(rows)[parameters["part"]]
        found = quality.words(quality.agreement(parameters["measure"], part, 400))
        fig = quality.render(**parameters, rows=rows)
        (ax,) = fig.axes
        assert found in quality.describe(**parameters, rows=rows)
        assert found in (ax.get_title() or ax.get_title(loc="left"))
        assert ax.get_xlabel() and ax.get_ylabel() and len(ax.lines[0].get_xdata()) == len(part)
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) == len(quality.MEASURES) + 6


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
    with pytest.raises(InputError, match="no measure"):
        quality.render("beauty", quality.METHODS, rows)
    with pytest.raises(InputError, match="no runs"):
        quality.describe("loss", "colour", rows)
