"""The denoising widget: its numbers against known cases, its picture over the whole slider range."""

from functools import partial

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import denoising
from ssl_lessons.errors import InputError


@pytest.fixture
def scene():
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    models = {"copy": lambda x: x, "grey": lambda x: 0 * x}
    return {"images": images, "models": models, "display": lambda x: (x + 1) / 2}


def test_errors_of_known_models(scene):
    numbers = denoising.errors(scene["images"], 0.5, "Gaussian", scene["models"])
    assert numbers["nothing done"] == numbers["copy"] == pytest.approx(0.5, rel=0.05)
    assert numbers["grey"] == pytest.approx(scene["images"].square().mean().sqrt().item())
    assert denoising.errors(scene["images"], 0.0, "Gaussian", scene["models"])["copy"] == 0
    assert denoising.errors(scene["images"], denoising.HIGH, "hidden patches", scene["models"])[
        "copy"
    ] == pytest.approx(numbers["grey"])


def test_render_over_the_whole_range_of_every_control(scene):
    seen = {}
    for parameters in widgets.sweep(denoising.controls(), n=6):
        fig = denoising.render(**parameters, **scene)
        words = denoising.describe(**parameters, **scene)
        bars = [bar.get_width() for bar in fig.axes[-1].patches]
        assert len(bars) == 3 and all(f"{bar:.2f}" in words for bar in bars)
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 6, "every setting draws its own picture"


def test_static_page(scene, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(denoising.render, **scene),
        denoising.controls(),
        static=[{"level": 0.0}, {"level": 1.0}],
        alt=partial(denoising.describe, **scene),
    )
    assert "level 0.00" in pages[0] and "level 1.00" in pages[0]


def test_unknown_noise_is_refused(scene):
    with pytest.raises(InputError, match="no corruption 'salt'"):
        denoising.render(0.5, "salt", **scene)


def test_the_slider_ends_where_it_is_told():
    level = denoising.controls(0.5, high=1.5)["level"]
    assert (level.low, level.high, level.value, level.step) == (0.0, 1.5, 0.5, pytest.approx(0.05))
    for high in (0.0, denoising.HIGH + 1):
        with pytest.raises(InputError, match="must end above 0 and at most at 3"):
            denoising.controls(high=high)
