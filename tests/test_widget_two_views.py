"""The widget of chapter 11b: two views of a picture, and what each of them tells."""

import pytest
import torch

from ssl_lessons.book.widgets import core, two_views
from ssl_lessons.modalities.pairs import wordless, world


@pytest.mark.parametrize("chosen", list(core.sweep(two_views.CONTROLS, 2)), ids=str)
def test_every_choice_is_drawn_and_told(chosen):
    fig = two_views.render(**chosen)
    titles = [
        ax.get_title(loc="left") or ax.get_title() for ax in fig.axes[:2]
    ]  # the book's style has them left
    assert titles == list(two_views.NAMES[chosen["split"]])
    text = two_views.describe(**chosen)
    assert all(name in text for name in (*two_views.NAMES[chosen["split"]], *world.FACTORS))
    one, other = two_views.told(chosen["split"])
    assert f"place {100 * one['place']:.0f} and {100 * other['place']:.0f}" in two_views.brief(**chosen)


def test_a_view_without_lightness_cannot_tell_stripes_and_one_without_colour_can():
    light, colour = two_views.told("lightness, colour")
    assert light["ground"] > 0.9 and colour["colour"] > light["colour"]
    assert light["stripes"] > 0.15 and colour["stripes"] < 0.05


def test_thirds_share_what_is_everywhere_and_rows_share_the_thing():
    first, second = two_views.told("rows")
    assert min(first["size"], second["size"]) > 0.2 and min(first["place"], second["place"]) > 0.3
    for view, whole in zip(two_views.told("thirds"), (first, second), strict=True):
        assert view["ground"] > 0.9  # a thing is in a third in half of the scenes
        assert 0.1 < view["colour"] < 0.75 * whole["colour"] and view["size"] < 0.75 * whole["size"]


def test_views_are_shown_as_they_are():
    for split in wordless.SPLITS:
        for picture in two_views.shown(split, 0):
            assert picture.shape == (24, 24, 3) and 0 <= picture.min() and picture.max() <= 1
    left, right = two_views.shown("thirds", 0)
    assert torch.equal(left[:, 8:], torch.full((24, 16, 3), 0.5))
    assert torch.equal(right[:, :16], torch.full((24, 16, 3), 0.5))


def test_nothing_is_said_of_a_record_that_is_not_there(monkeypatch):
    monkeypatch.setattr(two_views, "kept", lambda split: None)
    assert "After CMC" not in two_views.describe("rows", 0)
    assert "CMC" not in two_views.brief("rows", 0)
    monkeypatch.setattr(two_views, "kept", lambda split: dict.fromkeys(world.FACTORS, 0.5))
    assert "After CMC: kind 50" in two_views.describe("rows", 0)
    assert ", after CMC 50; place" in two_views.brief("rows", 0)
