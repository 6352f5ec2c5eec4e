"""Two moons: which points have labels, what a rule may use, and the whole range of the picture."""

import pytest
import torch

from ssl_lessons import losses, plots, widgets
from ssl_lessons.book.widgets import two_moons
from ssl_lessons.errors import InputError


def labels_only(model, moons, generator, done):
    return torch.nn.functional.cross_entropy(model(moons.few), moons.y)


def smooth(model, moons, generator, done):
    return labels_only(model, moons, generator, done) + losses.vat(model, moons.x, 0.5, generator)


def test_labels_are_shared_out_evenly_and_the_test_points_are_others():
    world = two_moons.moons(3, 1)
    assert world.y.tolist() == [0, 0, 0, 1, 1, 1] and len(world.x) == len(world.x_test) == 500
    assert not (world.x[:, None] == world.x_test).all(-1).any()
    assert (world.x[:, None] == world.few).all(-1).any(0).all()
    with pytest.raises(InputError, match="1 to 50"):
        two_moons.moons(0)


def test_a_rule_that_asks_for_smoothness_finds_the_moons():
    found = {}
    for rule in (labels_only, smooth):
        model = two_moons.learn(rule, 3, 0)
        found[rule] = two_moons.accuracy(model, two_moons.moons(3, 0))
    assert found[smooth] > found[labels_only] + 0.03 and found[smooth] > 0.9


def test_the_whole_range_draws_and_is_told(monkeypatch):
    monkeypatch.setattr(two_moons.learn, "__defaults__", (3, 0, 2))
    board = two_moons.Board({"labels only": labels_only, "smooth": smooth})
    for parameters in widgets.sweep(board.controls, 3):
        fig = board.render(**parameters)
        assert fig.axes[0].get_title(loc="left") or fig.axes[0].get_title()
        assert "new points right" in board.describe(**parameters)
        plots.png(fig)
    with pytest.raises(InputError, match="no rule"):
        board.render("none", 3, 0)
