"""The widget of chapter 10b: marks from motion, and answers about a still picture."""

import base64

import numpy as np
import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import stillness
from ssl_lessons.errors import InputError


@pytest.fixture(scope="module")
def data():
    truth = (stillness.films().masks[:, stillness.FRAME] > 0).numpy()
    text = base64.b64encode(np.where(truth, 200, 20).astype(np.uint8).tobytes()).decode()
    rows = [
        {"arm": f"difference, gap {g}", "answers": text, "iou_at": [g / 10] * 9, "seed": 0}
        for g in stillness.GAPS
    ]
    return stillness.answered([{"arm": "edges"}, *rows])


def test_decoding_gives_back_what_was_written(data):
    assert data[2]["probability"].shape == (4, 24, 24)
    assert data[2]["probability"].max() == pytest.approx(200 / 255)
    with pytest.raises(InputError, match="4 pictures of 24 x 24"):
        stillness.decode(base64.b64encode(b"abc").decode())


def test_overlaps_are_measured(data):
    found = stillness.measured(2, 6, 0.5, data)
    assert found["network"] == 1 and 0 < found["difference"] < 0.55 and found["all"] == 0.6
    assert stillness.measured(2, 6, 0.8, data)["network"] == 0


def test_every_setting_is_drawn_and_described(data):
    for parameters in widgets.sweep(stillness.CONTROLS, n=3):
        fig = stillness.render(**parameters, data=data)
        assert len(fig.axes) == 4 and len(plots.png(fig)) > 1000
        assert f"Frames {parameters['gap']} apart" in stillness.describe(**parameters, data=data)
        found, few = stillness.measured(**parameters, data=data), stillness.brief(**parameters, data=data)
        assert f"frames {parameters['gap']} apart, {found['network']:.2f} for the network" in few
