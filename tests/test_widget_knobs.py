"""One knob at a time: which seeds count, where the base stands, and the whole range of the picture."""

import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import knobs
from ssl_lessons.errors import InputError


def row(knob, level, seed, probe, **more):
    return {"knob": knob, "level": level, "seed": seed, "probe": probe, "knn": 0.5,
            "rank_h": 50.0, "loss": 2.0} | more  # fmt: skip


@pytest.fixture
def rows():
    found = [row("untrained", "", s, 0.15) for s in range(3)]
    found += [row("base", "", s, 0.40 + 0.01 * s) for s in range(3)]
    heat = {"levels": ["0.05", "0.1", "0.5"], "usual": "0.1"}
    found += [row("temperature", level, s, 0.3, **heat) for level in ("0.05", "0.5") for s in range(3)]
    found += [row("blur", "on", s, 0.41, levels=["off", "on"], usual="off") for s in range(2)]
    return found


def test_the_base_stands_among_the_levels_and_seeds_are_complete(rows):
    found = knobs.levels(rows, "temperature")
    assert list(found) == ["0.05", "0.1", "0.5"] and found["0.1"] == pytest.approx([0.40, 0.41, 0.42])
    assert knobs.knobs(rows) == ["temperature"] and knobs.seeds(rows, "blur") == [0, 1]
    rows.append(row("blur", "on", 2, None, levels=["off", "on"], usual="off"))
    assert knobs.seeds(rows, "blur") == [0, 1]  # a run that broke off measures nothing
    with pytest.raises(InputError, match="no knob"):
        knobs.levels(rows, "taste")


def test_the_whole_range_draws_and_is_told(rows):
    for parameters in widgets.sweep(knobs.controls(knobs.knobs(rows))):
        fig = knobs.render(**parameters, rows=rows)
        ax = fig.axes[0]
        assert (ax.get_title(loc="left") or ax.get_title()) and ax.get_ylabel()
        assert "Band of the base" in knobs.describe(**parameters, rows=rows)
        plots.png(fig)
    assert "inside it: 0.1." in knobs.describe("temperature", "probe", rows)
