"""The widget of chapter 22c: what two runs keep."""

import matplotlib.pyplot as plt
import pytest

from ssl_lessons.book.widgets.core import sweep
from ssl_lessons.book.widgets.kept import Kept
from ssl_lessons.errors import InputError

NAMES = {"kind": "kind", "object_hue": "its hue"}
ROWS = [
    {"arm": arm, "seed": seed, "factors": {"kind": kind + seed / 100, "object_hue": 1 - kind, "x": 0.5}}
    for arm, kind in (("a", 0.2), ("b", 0.7))
    for seed in (0, 1)
]


def test_values_are_those_of_the_rows():
    kept = Kept(ROWS, NAMES, ("a", "b"))
    assert list(kept.values("a")) == ["kind", "its hue"]
    assert kept.values("a")["kind"] == pytest.approx([0.2, 0.21])
    assert kept.values("a")["its hue"] == pytest.approx([0.8, 0.8])
    fig = kept.render("a", "b")
    heights = [bar.get_height() for bar in fig.axes[0].patches]
    assert heights == pytest.approx([0.205, 0.8, 0.705, 0.3])
    plt.close(fig)


def test_every_setting_draws_and_is_told_in_words():
    kept, told = Kept(ROWS, NAMES, ("a", "b")), set()
    for asked in sweep(kept.controls, 2):
        plt.close(kept.render(**asked))
        told.add(kept.describe(**asked))
        assert f"{asked['one']}: kind" in kept.describe(**asked)
    assert len(told) == 3


def test_unknown_arms_are_refused():
    with pytest.raises(InputError, match="no row has the arm 'c'"):
        Kept(ROWS, NAMES, ("a", "c"))
    with pytest.raises(InputError, match="there are a, b"):
        Kept(ROWS, NAMES, ("a", "b")).values("c")
