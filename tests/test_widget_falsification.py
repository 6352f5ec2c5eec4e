"""The falsification board: its rank correlation against scipy and a loop, its ruling case by case, its whole range."""

import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import falsification
from ssl_lessons.book.widgets.falsification import GROUPS, Interval, rank_correlation, ruling
from ssl_lessons.errors import InputError

ARMS = ("standard", "no colour", "gray only", "no hue", "quarter turns", "any turn", "no crop", "gentle crop",
        "tight crop", "half the colour", "no flip", "blur")  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    """Two worlds: in one the norm of the first tenth ranks the probes, in the other its opposite does."""
    found = []
    for world, sign in (("one", 1), ("other", -1)):
        for i, arm in enumerate(ARMS):
            for seed in (0, 1):
                grad = [1.0 + i] + [3.0 + math.sin(7 * i + t) for t in range(9)]
                probe = 0.4 + sign * 0.02 * i + 0.001 * seed
                found.append({"data": world, "arm": arm, "seed": seed, "grad": grad, "probe": probe})
        found.append({"data": world, "arm": "untrained", "seed": 0, "probe": 0.1})
    return found


def test_rank_correlation_is_spearmans_with_ties():
    x, y = [1, 2, 2, 5, 9, 9, 4], [3, 1, 4, 4, 8, 2, 6]
    assert rank_correlation(x, y).rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_interval_is_the_bootstrap_written_as_a_loop():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=9), rng.normal(size=9)
    chosen = np.random.default_rng(0).integers(9, size=(200, 9))
    values = [spearmanr(x[c], y[c]).statistic for c in chosen]
    expected = np.quantile(values, [0.025, 0.975])
    assert rank_correlation(x, y, draws=200)[1:] == pytest.approx(expected, abs=1e-12)


def test_few_pairs_give_wide_intervals_and_many_narrow_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = x + rng.normal(size=400)
    few, many = rank_correlation(x[:8], y[:8]), rank_correlation(x, y)
    assert few.high - few.low > 3 * (many.high - many.low) and 0.5 < many.low < many.rho < many.high < 0.8


@pytest.mark.parametrize(
    "x, y", [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3]), ([1, 1, 1, 1], [1, 2, 3, 4])]
)
def test_useless_lists_are_refused(x, y):
    with pytest.raises(InputError, match="at least 4 pairs"):
        rank_correlation(x, y)


@pytest.mark.parametrize(
    "intervals, expected",
    [
        ([(0.6, 0.1, 0.9), (0.7, 0.3, 0.9)], "supported"),
        ([(-0.6, -0.9, -0.1), (-0.7, -0.9, -0.3)], "supported"),
        ([(0.6, 0.1, 0.9), (-0.7, -0.9, -0.3)], "refuted"),
        ([(0.0, -0.4, 0.4), (0.7, 0.3, 0.9)], "refuted"),
        ([(0.4, -0.1, 0.8), (0.7, 0.3, 0.9)], "undecided"),
        ([(0.4, -0.1, 0.8), (0.1, -0.6, 0.6)], "undecided"),
    ],
)
def test_ruling(intervals, expected):
    assert ruling([Interval(*i) for i in intervals]) == expected


def test_points_average_seeds_and_leave_groups_out(rows):
    found = falsification.points(rows, "one", 1, 1)
    assert set(found) == set(ARMS) and found["no hue"] == pytest.approx((4.0, 0.4605))
    assert set(ARMS) - set(falsification.points(rows, "one", without="the turns")) == {
        "quarter turns",
        "any turn",
    }
    assert falsification.points(rows, "one", 7, 2) == falsification.points(rows, "one", 2, 7)
    with pytest.raises(InputError, match="leave out one of"):
        falsification.points(rows, "one", without="the rest")
    with pytest.raises(InputError, match="no runs in the world"):
        falsification.points(rows, "third")


def test_the_search_finds_both_signs(rows):
    found = falsification.every_choice(rows, ("one", "other"))
    assert len(found) == 2 * len(GROUPS) * 55
    first = [f for f in found if (f["first"], f["last"], f["without"]) == (1, 1, "nothing")]
    assert [f["rho"] for f in first] == pytest.approx([1, -1])
    assert max(f["rho"] for f in found) == pytest.approx(1) and min(f["rho"] for f in found) == pytest.approx(
        -1
    )


def test_render_over_the_whole_range_of_every_control(rows):
    for parameters in widgets.sweep(falsification.controls(("one", "other")), n=5):
        fig = falsification.render(**parameters, rows=rows)
        words = falsification.describe(**parameters, rows=rows)
        rho = (fig.axes[0].get_title(loc="left") or fig.axes[0].get_title()).split("rho ")[1].split(" ")[0]
        assert f"probe {rho}," in words and parameters["without"] in words
        assert fig.axes[0].get_xlabel() and fig.axes[0].get_ylabel() and plots.png(fig)


def test_static_page(rows, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: pages.append(alt))
    widgets.explore(
        partial(falsification.render, rows=rows),
        falsification.controls(("one", "other")),
        static=[{"world": "one"}, {"world": "other", "last": 1}],
        alt=partial(falsification.describe, rows=rows),
    )
    assert "World one" in pages[0] and "tenth 1" in pages[0]
