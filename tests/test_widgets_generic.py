"""The generic part of the widgets: sliders, the static picture, the live panel without a browser."""

import math

import numpy as np
import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import Choice, Slider
from ssl_lessons.errors import InputError

CONTROLS = {
    "tau": Slider(0.05, 2.0, 0.5, "temperature", log=True),
    "k": Slider(1, 9, 3, "negatives"),
    "mode": Choice(("soft", "hard"), "soft", "weights"),
}


def render(tau=0.5, k=3, mode="soft"):
    fig, ax = plots.new_figure(2.0, 1.2)
    ax.plot([0, 1], [tau, k])
    ax.set_title(mode)
    if mode == "hard":
        raise ValueError("no <hard> weights")
    return fig


def describe(tau, k, mode):
    return f"A line from {tau:.2f} to {k}"


@pytest.fixture
def shown(monkeypatch):
    """What explore() would put on the page: (figure, alt, markup around the picture)."""
    calls = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, around: calls.append((fig, alt, around("<img>"))))
    return calls


def test_points_cover_the_whole_range_and_keep_the_kind():
    assert CONTROLS["tau"].points(5)[0] == 0.05 and CONTROLS["tau"].points(5)[-1] == 2.0
    ratios = np.diff(np.log(CONTROLS["tau"].points(5)))
    assert np.allclose(ratios, math.log(40) / 4), "a log slider moves by equal factors"
    assert CONTROLS["k"].points(5) == [1, 3, 5, 7, 9] and all(
        isinstance(v, int) for v in CONTROLS["k"].points(4)
    )
    assert CONTROLS["mode"].points() == ["soft", "hard"]
    assert Slider(0.0, 1.0, 0.5, "x").points(3) == [0.0, 0.5, 1.0]


def test_sweep_moves_one_control_at_a_time_and_starts_at_the_start_values():
    sets = list(widgets.sweep(CONTROLS, n=3))
    start = {"tau": 0.5, "k": 3, "mode": "soft"}
    assert sets[0] == start
    assert all(sum(s[name] != start[name] for name in start) <= 1 for s in sets)
    assert {s["tau"] for s in sets} >= {0.05, 2.0} and {s["mode"] for s in sets} == {"soft", "hard"}


@pytest.mark.parametrize(
    "bad",
    [
        {"low": 1.0, "high": 1.0, "value": 1.0},
        {"low": 0.0, "high": 1.0, "value": 2.0},
        {"low": 0.0, "high": 1.0, "value": 0.5, "log": True},
    ],
)
def test_impossible_sliders_are_refused(bad):
    with pytest.raises(InputError, match="needs low < high"):
        Slider(label="x", **bad)
    with pytest.raises(InputError, match="not one of"):
        Choice(("a", "b"), "c", "letter")


def test_static_picture_shows_each_set_with_its_caption_and_alt(shown):
    widgets.explore(render, CONTROLS, static=[{"tau": 0.05}, {"tau": 2.0, "k": 9}], alt=describe)
    [(sheet, alt, markup)] = shown
    captions = [text.get_text() for text in sheet.texts]
    assert captions == ["temperature = 0.05", "temperature = 2, negatives = 9"]
    assert "A line from 0.05 to 3" in alt and "A line from 2.00 to 9" in alt
    assert markup.endswith("<img>") and "<details" not in markup, "nothing is folded without a kernel"


def test_a_sheet_of_many_is_told_in_brief(shown):
    options = {"static": [{"tau": 0.05}, {"k": 9}], "alt": describe, "captions": ["cold", "many"]}

    def documented(tau, k, mode):
        """A line.

        It goes up.
        """
        return render(tau, k, mode)

    widgets.explore(documented, CONTROLS, **options, brief=lambda tau, k, **_: f"to {k}.")
    assert shown[0][1] == "A line. cold: to 3. many: to 9."


def test_side_by_side_keeps_every_pixel():
    def figures():  # fresh ones: constrained layout settles a little further each time a figure is drawn
        return [render(tau=0.1), render(tau=1.9)]

    single = [_pixels(fig) for fig in figures()]
    sheet = _pixels(plots.side_by_side(figures(), columns=2))
    assert np.array_equal(sheet[:, :200], single[0]) and np.array_equal(sheet[:, 200:], single[1])
    assert not np.array_equal(single[0], single[1])
    stacked = _pixels(plots.side_by_side(figures(), ["a", "b"], columns=1))
    assert np.array_equal(stacked[-120:], single[1]), (
        "the second figure stands at the bottom, under its caption"
    )


def _pixels(fig):
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(plots.png(fig))).convert("RGB"))


def test_live_panel_redraws_on_change_and_shows_errors_as_text():
    tau, k, mode, _, picture = widgets.live_panel(render, CONTROLS, describe).children
    before = picture.value
    assert 'alt="A line from 0.50 to 3"' in before
    k.value = 7
    assert 'alt="A line from 0.50 to 7"' in picture.value and picture.value != before
    tau.value = 1.0
    assert 'alt="A line from 1.00 to 7"' in picture.value
    mode.value = "hard"
    assert "ValueError: no &lt;hard&gt; weights" in picture.value and "<img" not in picture.value
    mode.value = "soft"
    assert "<img" in picture.value, "the widget recovers after an error"


def test_live_sliders_have_the_range_of_their_control_and_a_label():
    tau, k, mode, *_ = widgets.live_panel(render, CONTROLS, describe).children
    assert [box.description for box in (tau, k, mode)] == ["temperature", "negatives", "weights"]
    assert 10**tau.min == pytest.approx(0.05) and 10**tau.max == pytest.approx(2.0)
    assert (k.min, k.max, k.value) == (1, 9, 3) and isinstance(k.value, int)
    assert not tau.continuous_update and tuple(mode.options) == ("soft", "hard")


def test_explore_refuses_what_would_leave_a_reader_without_a_picture(shown):
    with pytest.raises(InputError, match="static"):
        widgets.explore(render, CONTROLS, static=[], alt="x")
    with pytest.raises(InputError, match="no control is named 'taw'"):
        widgets.explore(render, CONTROLS, static=[{"taw": 1}], alt="x")
    with pytest.raises(
        ValueError, match="hard"
    ):  # a broken static picture must fail the build, not hide in it
        widgets.explore(render, CONTROLS, static=[{"mode": "hard"}], alt="x")
    assert not shown
