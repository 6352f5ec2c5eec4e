"""The board: its matrices are distributions, its losses those of the methods it names, and every setting is drawn."""

import pytest
import torch

from ssl_lessons import losses, plots, widgets
from ssl_lessons.book.widgets import board
from ssl_lessons.errors import InputError


@pytest.fixture
def small():
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (16, 3, 8, 8), generator=g, dtype=torch.uint8)
    labels = torch.arange(8).remainder(4).repeat(2)
    return board.Board(images, torch.randn(16, 6, generator=g), labels)


def test_every_setting_has_a_name_two_distributions_and_a_picture(small):
    for p in small.controls["p"].options:
        for alpha in (0.0, 0.9):
            rows = small.wanted(p, alpha).sum(dim=1)
            torch.testing.assert_close(rows, torch.ones_like(rows))
        for q in small.controls["q"].options:
            assert small.loss(p, q) >= 0 and small.name(p, q)
            assert small.name(p, q, 0.5) in small.describe(p, q, 0.5)
    for chosen in widgets.sweep(small.controls):
        plots.png(small.render(**chosen))


def test_the_panel_tells_the_share_for_everybody(small):
    for alpha, title in ((0.0, "p: the other view"), (0.85, "p: the other view, 85% for all")):
        ax = small.render(board.OTHER, board.COSINE, alpha).axes[0]
        assert (ax.get_title(loc="left") or ax.get_title()) == title


def test_two_names_are_what_they_say(small):
    z1, z2 = small.z.chunk(2)
    assert small.loss(board.OTHER, board.COSINE) == pytest.approx(losses.nt_xent(z1, z2, 0.2).item())
    p = small.wanted(board.CLASS)
    entropy = -(p * p.clamp_min(1e-30).log()).sum(dim=1).mean()
    supcon = losses.supcon(z1, z2, small.labels[:8], 0.2)
    assert small.loss(board.CLASS, board.COSINE) == pytest.approx((supcon - entropy).item())


def test_rows_must_fit():
    with pytest.raises(InputError, match="two views"):
        board.Board(torch.zeros(3, 3, 8, 8), torch.zeros(3, 2), torch.zeros(3))
