"""The map of similarities: what its number means, and its whole range."""

import base64

import numpy as np
import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import places
from ssl_lessons.errors import InputError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    shares = np.zeros((2, 8, 8))
    shares[0, 2:5, 2:5], shares[1, 4:, :3] = 1, 1
    z = rng.standard_normal((2, 64, 8))
    z[..., 0] += 9 * shares.reshape(2, 64)  # a network that knows the object
    z /= np.linalg.norm(z, axis=2, keepdims=True)
    knows = z @ z.transpose(0, 2, 1)
    return {
        "pictures": rng.random((2, 32, 32, 3)),
        "shares": shares,
        "cosines": {"knows": knows, "nothing": np.ones((2, 64, 64))},
    }


def test_the_ranking(data):
    share = data["shares"][0].ravel()
    inside = 2 * 8 + 2
    assert places.ranking(data["cosines"]["knows"][0], share, inside) > 0.95
    assert places.ranking(data["cosines"]["nothing"][0], share, inside) == 0.5
    opposite = -data["cosines"]["knows"][0]
    assert places.ranking(opposite, share, inside) < 0.05
    assert np.isnan(places.ranking(opposite, np.zeros(64), 0))


def test_decoding_gives_back_what_was_written():
    wanted = np.array([[127, -64], [-64, 127]], np.int8)
    text = base64.b64encode(wanted.tobytes()).decode()
    assert np.allclose(places.decode([text, text])[1] * 127, wanted)
    for wrong in ([], [text, text[:4]]):
        with pytest.raises(InputError):
            places.decode(wrong)


def test_every_setting_is_drawn_and_described(data):
    for parameters in widgets.sweep(places.controls(2), n=3):
        fig = places.render(**parameters, **data)
        assert len(fig.axes) == 3 and len(plots.png(fig)) > 1000
        words = places.describe(**parameters, **data)
        assert "knows" in words and ("object" in words or "ground" in words)


def test_the_place_is_where_the_sliders_say(data):
    words = places.describe(1, 3, 3, **data)
    assert "row 3, column 3, on the object" in words
    assert "on the ground" in places.describe(1, 8, 8, **data)
