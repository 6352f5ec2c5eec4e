"""Moving pictures: they move, they stay small, and somebody who wants a still gets one."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from ssl_lessons.book import films
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import world


def test_a_film_moves_and_its_still_does_not():
    some = world.clips("train", 3).frames
    markup = films.film_html(list(some), "three <films>")
    still, moving = (
        Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", markup)
    )
    assert moving.n_frames == 8 and getattr(still, "n_frames", 1) == 1 and moving.size == still.size
    assert "three &lt;films&gt;" in markup and "prefers-reduced-motion" in markup
    assert len(markup) < 120_000


@pytest.mark.parametrize(
    "shown, alt",
    [([], "x"), ([torch.zeros(8, 3, 4, 4).byte()], " "), ([torch.zeros(8, 4, 4).byte()], "x")],
)
def test_bad_films_get_one_clear_error(shown, alt):
    with pytest.raises(InputError):
        films.film_html(shown, alt)
