"""The widget of the colour bins: its numbers against known cases, its picture over the whole slider range."""

from functools import partial

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import color_bins
from ssl_lessons.errors import InputError
from ssl_lessons.views.color import ab_bins, rebalancing


@pytest.fixture
def ab():
    generator = torch.Generator().manual_seed(0)
    return torch.cat(
        [4 * torch.randn(500, 2, generator=generator), 30 + 5 * torch.randn(60, 2, generator=generator)]
    )


def test_frequencies_of_one_colour_sit_around_its_bin():
    p = color_bins.frequencies(torch.zeros(10, 2), 20)
    assert p.sum().item() == pytest.approx(1) and ab_bins(20)[p.argmax()].tolist() == [0, 0]


def test_numbers(ab):
    found = color_bins.numbers(20, 0.5, 1.0, ab)
    p = color_bins.frequencies(ab, 20)
    w = rebalancing(p, 0.5)
    assert found["bins"] == len(ab_bins(20)) and found["ratio"] == pytest.approx(float(w.max() / w.min()))
    assert color_bins.numbers(20, 1.0, 1.0, ab)["ratio"] == pytest.approx(1)
    # the mean of 60 % yellow and 40 % blue, and its mode
    assert found["b"] == pytest.approx(0.6 * 60 - 0.4 * 50, abs=4)
    assert color_bins.numbers(10, 1.0, 0.05, ab)["b"] == pytest.approx(60, abs=3)


def test_swatches_are_colours_of_that_lightness():
    from ssl_lessons.views.color import rgb_to_lab

    ab = torch.tensor([[0.0, 0.0], [20.0, 10.0]], dtype=torch.float64)
    lab = rgb_to_lab(color_bins.swatch(ab).T.reshape(1, 3, -1, 1))[0, :, :, 0].T
    assert torch.allclose(lab[:, 0], torch.full((2,), 60.0, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(lab[:, 1:], ab, atol=1e-6)


def test_render_over_the_whole_range_of_every_control(ab):
    seen = {}
    for parameters in widgets.sweep(color_bins.controls(), n=4):
        fig = color_bins.render(**parameters, ab=ab)
        words = color_bins.describe(**parameters, ab=ab)
        assert f"{len(ab_bins(parameters['grid']))} of them" in words
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes[:2])
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(seen) >= 9 and len(set(seen.values())) == len(seen)


def test_static_page(ab, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(color_bins.render, ab=ab),
        color_bins.controls(),
        static=[{}, {"lam": 1.0}],
        alt=partial(color_bins.describe, ab=ab),
    )
    assert "lambda 0.50" in pages[0] and "lambda 1.00" in pages[0]


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"\[M, 2\]"):
        color_bins.render(10, 0.5, 0.38, torch.zeros(3, 4))
