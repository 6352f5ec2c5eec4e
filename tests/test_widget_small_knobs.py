"""The page of small knobs: paired seeds, the order of the effects, and every picture of the widget."""

import numpy as np
import pytest

from ssl_lessons import widgets
from ssl_lessons.book.widgets import small_knobs as page


@pytest.fixture
def rows():
    """Every advice is worth as many hundredths as its place on the page, alternately up and down."""
    arms = {}
    for i, (group, base, advice) in enumerate(page.PAGE.values()):
        for sign, arm in ((0, base), ((-1) ** i * (i + 1), advice)):
            arms.setdefault((group, arm), 0.30 + 0.01 * sign)
    return [
        {"part": part, "group": group, "arm": arm, "seed": seed, "score": score + 0.02 * seed + off}
        for (group, arm), score in arms.items()
        for part, off in (("main", 0.0), ("tune", 0.5))
        for seed in (2, 0, 1)
    ]


def test_seeds_are_paired_and_in_order(rows):
    assert page.scores(rows, "width", "256") == pytest.approx([30, 32, 34])
    assert page.difference(rows, "smaller patches") == pytest.approx([1, 1, 1])
    assert np.ptp(page.difference(rows, "LayerScale")) < 1e-9


def test_the_largest_effect_comes_first(rows):
    found = page.effects(rows)
    assert set(found) == set(page.PAGE) and len(found) == 11
    sizes = [abs(d) for d, _, _ in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert all(low <= d <= high for d, low, high in found.values())


def test_every_picture_draws_and_is_told(rows):
    for parameters in widgets.sweep(page.CONTROLS):
        fig = page.render(**parameters, rows=rows)
        seeds, all_of_them = fig.axes
        assert len(seeds.lines) == 3 and len(all_of_them.get_yticklabels()) == 11
        words = page.describe(**parameters, rows=rows)
        assert words.startswith(parameters["knob"]) and words.count(" to ") == 4
