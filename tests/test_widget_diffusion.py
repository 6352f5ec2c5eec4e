"""The diffusion widget: its guess against an oracle, its picture over the whole range of both controls."""

from functools import partial

import pytest
import torch
from torch import nn

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import diffusion
from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.diffusion import linear_schedule


class Oracle(nn.Module):
    """Knows the clean images, and hence the noise."""

    def __init__(self, images, s):
        super().__init__()
        self.images, self.s = images, s

    def forward(self, x, t):
        a = self.s.alpha_bar[t].view(-1, 1, 1, 1)
        return (x - a.sqrt() * self.images) / (1 - a).sqrt()


@pytest.fixture
def scene():
    s = linear_schedule(50)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {
        "images": images,
        "model": Oracle(images, s),
        "s": s,
        "times": (0, 20, 49),
        "layers": ("first", "second"),
        "scores": torch.tensor([[0.1, 0.2, 0.3], [0.6, 0.5, 0.4]]),
        "display": lambda x: (x + 1) / 2,
    }


def test_an_oracle_guesses_the_clean_images(scene):
    noisy, guess = diffusion.look(scene["images"], 20, scene["model"], scene["s"])
    assert torch.allclose(guess, scene["images"], atol=1e-2)
    assert (noisy - scene["images"]).abs().mean() > 0.3


def test_render_over_the_whole_range_of_every_control(scene):
    seen = {}
    for parameters in widgets.sweep(diffusion.controls(scene["times"], scene["layers"]), n=3):
        fig = diffusion.render(**parameters, **scene)
        words = diffusion.describe(**parameters, **scene)
        row = scene["layers"].index(parameters["layer"])
        assert f"scores {100 * scene['scores'][row, parameters['place']]:.1f};" in words
        assert "'first'" in words or "'second'" in words
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) == 4, "every setting draws its own picture"


def test_describe_names_the_best_cell(scene):
    assert "'second' at step 1 with 60.0 of 100" in diffusion.describe(2, "first", **scene)


def test_static_page(scene, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(diffusion.render, **scene),
        diffusion.controls(scene["times"], scene["layers"]),
        static=[{"place": 0}, {"place": 2}],
        alt=partial(diffusion.describe, **scene),
    )
    assert "step 1 of 50" in pages[0] and "step 50 of 50" in pages[0]


def test_bad_input(scene):
    with pytest.raises(InputError, match="no layer 'third'"):
        diffusion.render(0, "third", **scene)
    with pytest.raises(InputError, match="one row per layer"):
        diffusion.describe(0, "first", **{**scene, "scores": torch.zeros(3, 3)})
