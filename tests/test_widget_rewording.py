"""The widget of chapter 8b: shares are shares, every setting draws, and what is said of it is what is drawn."""

import pytest

from ssl_lessons.book import widgets
from ssl_lessons.book.widgets import rewording
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import sentences


def test_every_setting_draws_and_is_described():
    for chosen in widgets.sweep(rewording.CONTROLS, 3):
        fig = rewording.render(**chosen)
        share = rewording.kept(**chosen)
        assert [round(b.get_height(), 6) for b in fig.axes[0].patches] == [
            round(100 * v, 6) for v in share.values()
        ]
        assert set(share) == {*sentences.FACTORS, "words"} and all(0 <= v <= 1 for v in share.values())
        assert f"{100 * share['sign']:.0f}" in rewording.describe(**chosen)


def test_the_question_of_the_chapter_has_its_answers():
    back, crop = rewording.kept("translate back", 0.3), rewording.kept("crop", 0.3)
    assert back["words"] < 0.5 and all(back[f] == 1 for f in sentences.FACTORS)
    assert min(crop, key=crop.get) == "place"


def test_strength_changes_what_has_one():
    assert rewording.kept("hide words", 0.9)["deed"] < rewording.kept("hide words", 0.1)["deed"]
    assert rewording.kept("EDA", 0.1) == rewording.kept("EDA", 0.9)
    with pytest.raises(InputError):
        rewording.kept("sing", 0.5)
