"""Ten protocols, one picture each: what a number is, who comes first, and the whole range of the controls."""

from functools import partial

import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import protocols
from ssl_lessons.book.widgets.protocols import PROTOCOLS
from ssl_lessons.errors import InputError


def made_up(arm: str, seed: int, level: float, network: bool) -> dict:
    row = {
        "arm": arm, "seed": seed, "knn": level, "linear": 1 - level, "mlp": level, "map": level,
        "low": {"2": [level, level], "20": [level - 0.1, level + 0.1]},
        "factors": {"x": 0.1, "y": level}, "damaged": {"noise, weak": level, "noise, strong": level},
        "transfer": {"digits": {"low": [level]}},
    }  # fmt: skip
    return row | ({"tuned": {"10": [level, level]}} if network else {})


@pytest.fixture(scope="module")
def rows():
    levels = {"one": 0.7, "other": 0.5, "pixels": 0.3}
    return [
        made_up(arm, seed, level + 0.01 * seed, arm != "pixels")
        for seed in (2, 0, 1)
        for arm, level in levels.items()
    ]


def test_a_score_is_a_mean_over_draws_and_seeds_are_in_order(rows):
    assert protocols.scores(rows, "neighbours")["one"] == [0.7, 0.71, 0.72]
    assert protocols.scores(rows, "linear, 10 %")["other"] == pytest.approx([0.5, 0.51, 0.52])
    assert protocols.scores(rows, "where it stands (R2)")["one"] == pytest.approx([0.4, 0.405, 0.41])


def test_what_cannot_be_read_is_left_out(rows):
    assert set(protocols.scores(rows, "fine-tuned, 5 %")) == {"one", "other"}
    with pytest.raises(InputError, match="protocols: neighbours"):
        protocols.scores(rows, "guess")


def test_orders_and_their_agreement(rows):
    assert protocols.ranking(rows, "neighbours") == ["one", "other", "pixels"]
    assert protocols.ranking(rows, "linear, 100 % of labels") == ["pixels", "other", "one"]
    assert protocols.agreement(rows, "neighbours", "linear, 100 % of labels") == pytest.approx(-1)
    assert protocols.agreement(rows, "fine-tuned, 5 %", "neighbours") == pytest.approx(1)


def test_render_over_the_whole_range_of_every_control(rows):
    for parameters in widgets.sweep(protocols.controls()):
        fig = protocols.render(**parameters, rows=rows)
        words = protocols.describe(**parameters, rows=rows)
        first = protocols.ranking(rows, parameters["protocol"])[0]
        assert f"best first: {first}" in words and parameters["against"] in words
        assert first in (fig.axes[0].get_title(loc="left") or fig.axes[0].get_title())
        assert fig.axes[0].get_yticklabels()[0].get_text().startswith(first) and plots.png(fig)


def test_one_seed_and_a_missing_place(rows):
    some = [row for row in rows if row["seed"] == 0]
    fig = protocols.render("neighbours", "fine-tuned, 5 %", some)
    assert "pixels (-)" in [label.get_text() for label in fig.axes[0].get_yticklabels()]


def test_static_page(rows, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(protocols.render, rows=rows), protocols.controls(),
        static=[{"protocol": name} for name in tuple(PROTOCOLS)[:2]],
        alt=partial(protocols.describe, rows=rows),
    )  # fmt: skip
    assert "best first: one" in pages[0] and "best first: pixels" in pages[0]
