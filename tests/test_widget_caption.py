"""The widget of chapter 11: words in, pictures in order out."""

import pytest
import torch

from ssl_lessons.book.widgets import caption
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions, world


def known() -> caption.Ranking:
    """Vectors that hold which words are true of a picture, and a reader that marks the words of a text."""
    scenes = world.scenes("test", 300, said=1.0)
    words = torch.zeros(300, len(captions.VOCABULARY)).scatter_(1, scenes.ids, 1.0)

    def read(texts):
        ids = captions.encode(texts)
        return torch.zeros(len(ids), len(captions.VOCABULARY)).scatter_(1, ids, 1.0)

    words[:, : captions.encode(["disc"])[0, 0]] = 0  # padding and the words between the words
    return caption.Ranking(scenes, words, read)


START = {name: control.value for name, control in caption.CONTROLS.items()}


def test_the_words_make_the_caption():
    ranking = known()
    assert ranking.text(**START) == "a red disc"
    chosen = START | {"kind": caption.UNSAID, "place": "top left"}
    assert ranking.text(**chosen) == "a red something at the top left"


def test_pictures_of_which_the_words_are_true_come_first():
    ranking = known()
    order, true = ranking.first(**START | {"colour": caption.UNSAID})
    assert true.all() and (ranking.scenes.factors["kind"][order] == 0).all()
    _, none_said = ranking.first(**dict.fromkeys(captions.SAID, caption.UNSAID))
    assert none_said.all()  # of nothing, everything is true


def test_the_picture_is_told_in_words_and_every_choice_draws():
    ranking = known()
    assert "red disc" in ranking.describe(**START)
    for name, control in caption.CONTROLS.items():
        assert "true of" in ranking.render(**START | {name: control.options[-1]}).get_suptitle()


def test_bad_input_gets_one_clear_error():
    scenes = world.scenes("test", 3)
    with pytest.raises(InputError, match="one vector"):
        caption.Ranking(scenes, torch.zeros(2, 4), lambda texts: None)
