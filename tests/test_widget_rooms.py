"""The widget of chapter 12c: plans in two rooms."""

import matplotlib.pyplot as plt

from ssl_lessons.book.widgets import rooms
from ssl_lessons.book.widgets.core import sweep


def test_the_question_is_answered_inside_the_sliders():
    """Looking far enough ahead gets round the wall; looking one action ahead does not."""
    assert not rooms.trip(0.9, 0.9, 1, "nearest").reached[0]
    assert rooms.trip(0.9, 0.9, 6, "nearest").reached[0]


def test_every_setting_draws_and_is_told_in_words():
    for asked in sweep(rooms.CONTROLS, 3):
        plt.close(rooms.render(**asked))
        reached = bool(rooms.trip(asked["start"], asked["goal"], asked["ahead"], asked["cost"]).reached[0])
        assert (": there in" in rooms.describe(**asked)) == reached
