"""The power board: its shares are those of the rule, its picture over the whole range of every slider."""

import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import power
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import FAILS, HOLDS, UNSURE


def test_the_shares_are_those_of_the_rule():
    found = power.chances(3, 3, 3, 2)
    assert found == evidence.chances(3, 3, 3, 2)
    assert sum(found.values()) == pytest.approx(1)


def test_more_seeds_and_less_spread_find_a_true_effect():
    few, many, calm = (power.chances(3, *c, 2)[HOLDS] for c in ((3, 3), (3, 22), (1, 3)))
    assert few < 0.4 < 0.9 < many and calm > 0.85


def test_an_effect_at_the_margin_is_never_decided_and_none_is_refuted():
    assert power.chances(2, 3, 40, 2)[UNSURE] > 0.35
    assert power.chances(0, 3, 40, 2)[FAILS] > 0.95


def test_render_over_the_whole_range_of_every_control():
    seen = {}
    for parameters in widgets.sweep(power.controls(), n=4):
        fig, words = power.render(**parameters), power.describe(**parameters)
        ax = fig.axes[0]
        assert ax.get_xlabel() and ax.get_ylabel() and f"{parameters['seeds']} seeds" in words
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 12, "every setting draws its own picture"
