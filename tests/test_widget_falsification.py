"""The falsification board: what a point is, what a search finds, and its whole range."""

import math
from functools import partial

import pytest
from scipy.stats import spearmanr

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import falsification
from ssl_lessons.book.widgets.falsification import GROUPS, SCORES
from ssl_lessons.errors import InputError

ARMS = {
    "nothing": (),
    "crop colour": ("crop", "colour"),
    "crop flip": ("crop", "flip"),
    "crop turns": ("crop", "turns"),
    "colour blur": ("colour", "blur"),
    "colour turns": ("colour", "turns"),
    "photographs": ("crop", "colour", "gray", "flip"),
    "crop colour turns blur": ("crop", "colour", "turns", "blur"),
    "crop colour flip blur": ("crop", "colour", "flip", "blur"),
    "crop colour gray blur": ("crop", "colour", "gray", "blur"),
    "crop colour gray": ("crop", "colour", "gray"),
}


@pytest.fixture(scope="module")
def rows():
    """Two worlds: in one the norm of the first tenth ranks the probes, in the other its opposite does."""
    found = []
    for world, sign in (("one", 1), ("other", -1)):
        for i, (arm, parts) in enumerate(ARMS.items()):
            for seed in (0, 1):
                grad = [1.0 + i] + [3.0 + math.sin(7 * i + t) for t in range(9)]
                probe = 0.4 + sign * 0.02 * i + 0.001 * seed
                row = {
                    "data": world,
                    "arm": arm,
                    "parts": list(parts),
                    "seed": seed,
                    "grad": grad,
                    "probe": probe,
                }
                row |= {"losses": grad[::-1], "rank_h": 10.0 + i % 5, "quarter": 0.25 + 0.01 * i}
                found.append(row | {"early": 0.3 - 0.01 * i})
        found.append({"data": world, "arm": "untrained", "seed": 0, "probe": 0.1})
    return found


def test_points_average_seeds_and_leave_groups_out(rows):
    found = falsification.points(rows, "one", "gradient norm", 1, 1)
    assert set(found) == set(ARMS) and found["crop turns"] == pytest.approx((4.0, 0.4605))
    kept = set(falsification.points(rows, "one", without="those that turn"))
    assert set(ARMS) - kept == {"crop turns", "colour turns", "crop colour turns blur"}
    assert set(falsification.points(rows, "one", without="those without colour")) == {
        a for a, p in ARMS.items() if "colour" in p
    }
    backwards = falsification.points(rows, "one", "gradient norm", 7, 2)
    assert backwards == falsification.points(rows, "one", "gradient norm", 2, 7)


def test_each_score_reads_its_own_column(rows):
    assert (
        falsification.points(rows, "one", "loss", 10, 10)["nothing"][0] == 1.0
    )  # the first gradient, reversed
    assert falsification.points(rows, "one", "RankMe")["crop turns"][0] == 13
    assert falsification.points(rows, "one", "which quarter")["crop turns"][0] == pytest.approx(0.28)
    assert falsification.points(rows, "one", "early kNN")["crop turns"][0] == pytest.approx(0.27)


@pytest.mark.parametrize(
    ("world", "options", "says"),
    [
        ("one", {"without": "the rest"}, "to leave out"),
        ("one", {"score": "luck"}, "scores: gradient norm"),
        ("third", {}, "no runs in the world"),
    ],
)
def test_what_is_not_there_is_refused(rows, world, options, says):
    with pytest.raises(InputError, match=says):
        falsification.points(rows, world, **options)


def test_the_search_finds_both_signs(rows):
    found = falsification.every_choice(rows, ("one", "other"))
    assert len(found) == 2 * len(GROUPS) * 55
    first = [f for f in found if (f["first"], f["last"], f["without"]) == (1, 1, "nothing")]
    assert [f["rho"] for f in first] == pytest.approx([1, -1])
    whole = next(
        f for f in found if (f["world"], f["first"], f["last"], f["without"]) == ("one", 1, 10, "nothing")
    )
    x, y = zip(*falsification.points(rows, "one").values(), strict=True)
    assert whole["rho"] == pytest.approx(spearmanr(x, y).statistic)


def test_render_over_the_whole_range_of_every_control(rows):
    for parameters in widgets.sweep(falsification.controls(("one", "other")), n=5):
        fig = falsification.render(**parameters, rows=rows)
        words = falsification.describe(**parameters, rows=rows)
        rho = (fig.axes[0].get_title(loc="left") or fig.axes[0].get_title()).split("rho ")[1].split(" ")[0]
        assert f"correlation {rho} (" in falsification.brief(**parameters, rows=rows)
        assert f"probe {rho}," in words and parameters["without"] in words and parameters["score"] in words
        assert fig.axes[0].get_xlabel() and fig.axes[0].get_ylabel() and plots.png(fig)


def test_only_timed_scores_speak_of_tenths(rows):
    options = {"world": "one", "first": 1, "last": 1, "without": "nothing", "rows": rows}
    told = {score: "tenth 1" in falsification.describe(score=score, **options) for score in SCORES}
    assert [score for score, timed in told.items() if timed] == list(falsification.TIMED)


def test_named_policies_have_their_name_beside_them(rows):
    fig, ax = plots.new_figure(4, 3)
    falsification.draw(ax, falsification.points(rows, "one"), named=("photographs", "not there"))
    assert [t.get_text() for t in ax.texts] == ["photographs"]


def test_static_page(rows, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(falsification.render, rows=rows),
        falsification.controls(("one", "other")),
        static=[{"world": "one"}, {"world": "other", "last": 1}],
        alt=partial(falsification.describe, rows=rows),
    )
    assert "World one" in pages[0] and "tenth 1" in pages[0]
