"""The widget of chapter 9b: what a probe reads after each layer."""

import matplotlib.pyplot as plt

from ssl_lessons.book.widgets import depth
from ssl_lessons.book.widgets.core import sweep


def test_the_question_is_answered_inside_the_sliders():
    """The tune needs depth, the key does not."""
    tune, key = depth.curve("prior", "tune"), depth.curve("prior", "key")
    assert max(tune) > tune[0] + 10 and max(key) < key[0] + 10


def test_every_setting_draws_and_is_told_in_words():
    for asked in sweep(depth.CONTROLS, 2):
        plt.close(depth.render(**asked))
        assert f"Marked: layer {int(asked['layer'])}." in depth.describe(**asked)
