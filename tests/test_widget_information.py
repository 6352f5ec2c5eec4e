"""The widget of the three bounds: its numbers, its picture over the whole range, its question."""

import math

import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import information
from ssl_lessons.errors import InputError


def test_info_nce_keeps_under_its_ceiling_and_the_others_scatter():
    found = information.reports(12.0, 32)
    assert float(found["InfoNCE"].max()) <= math.log(32) + 1e-5
    assert float(found["Donsker-Varadhan"].std()) > 3 * float(found["InfoNCE"].std())


def test_little_information_is_found_by_all():
    for values in information.reports(0.5, 128).values():
        assert float(values.median()) == pytest.approx(0.5, abs=0.2)


def test_the_question_has_its_answer_within_the_sliders():
    medians = {name: float(v.median()) for name, v in information.reports(12.0, 128).items()}
    assert [name for name, m in medians.items() if abs(m - 12) < 2] == ["Donsker-Varadhan", "NWJ"]
    too_sure = {name: float(v.median()) for name, v in information.reports(12.0, 128, 2.0).items()}
    assert abs(too_sure["InfoNCE"] - medians["InfoNCE"]) < 0.1
    assert too_sure["Donsker-Varadhan"] > 14 and too_sure["NWJ"] < -8


def test_render_over_the_whole_range_of_every_control():
    for parameters in widgets.sweep(information.controls(), n=4):
        fig = information.render(**parameters)
        words = information.describe(**parameters)
        medians = fig.axes[0].get_title(loc="left") or fig.axes[0].get_title()
        assert medians.split("medians ")[1].split(",")[0] in words
        assert fig.axes[0].get_ylabel() and plots.png(fig)


@pytest.mark.parametrize("arguments", [(0.0, 8), (1.0, 1), (1.0, 8, 0.0)])
def test_bad_input_is_refused(arguments):
    with pytest.raises(InputError):
        information.reports(*arguments)
