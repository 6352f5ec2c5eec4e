"""The collapse slider: its losses against loops, its picture and words over the whole range of every control."""

import math

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import collapse
from ssl_lessons.diagnostics import diagnose
from ssl_lessons.errors import InputError
from ssl_lessons.losses.correlation import vicreg


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    z1 = torch.randn(9, 4, generator=generator).double()
    return z1, z1 + 0.3 * torch.randn(9, 4, generator=generator).double()


def test_the_losses_are_those_of_the_literature(pair):
    z1, z2 = pair
    assert float(collapse.vicreg_loss(z1, z2, 1.0, 1.0)) == pytest.approx(float(vicreg(z1, z2)), rel=1e-6)
    u1, u2 = ([[v / math.hypot(*row) for v in row] for row in z.tolist()] for z in pair)
    dots = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in u2] for r in u1]
    pull = sum(2 - 2 * dots[i][i] for i in range(9)) / 9
    push = math.log(sum(math.exp(2 * d) for row in dots for d in row) / 81)
    for amount in (0.0, 0.3, 1.0):
        assert float(collapse.negatives_loss(z1, z2, amount)) == pytest.approx(pull + amount * push)


def test_points_and_views():
    generator = torch.Generator().manual_seed(0)
    x, quarter = collapse.points(generator)
    assert x.shape == (collapse.POINTS, len(collapse.SIGNAL)) and set(quarter.tolist()) == {0, 1, 2, 3}
    assert all((x[quarter == 3][:, :2] > 0).flatten().tolist())
    shaken = collapse.view(x, generator) - x
    assert float(shaken.std()) == pytest.approx(collapse.SHAKE, rel=0.05)


def test_each_ingredient_prevents_its_own_collapse():
    for ingredient in collapse.LOSSES:
        assert collapse.train(ingredient, 1.0).report.verdict == "healthy", ingredient
    assert collapse.train("negatives", 0.003).report.verdict == "complete collapse"
    assert collapse.train("negatives", 0.2).report.verdict == "dimensional collapse"
    assert collapse.train("variance term", 0.0).report.verdict == "complete collapse"
    assert collapse.train("covariance term", 0.0).report.verdict == "dimensional collapse"
    ranks = [collapse.train("negatives", a).report.evidence["effective_rank"] for a in (0.1, 0.2, 0.4, 1.0)]
    assert ranks == sorted(ranks), "directions die one after the other"


def test_the_same_setting_gives_the_same_outcome():
    before = torch.get_rng_state()
    a = collapse.train.__wrapped__("negatives", 0.4)
    assert torch.equal(before, torch.get_rng_state())
    b = collapse.train("negatives", 0.4)
    assert torch.equal(a.z, b.z) and a.history == b.history
    assert diagnose(a.z, history=a.history).verdict == a.report.verdict


def test_render_over_the_whole_range_of_every_control():
    seen = {}
    for parameters in widgets.sweep(collapse.controls(), n=5):
        fig, words = collapse.render(**parameters), collapse.describe(**parameters)
        verdict = collapse.train(parameters["ingredient"], round(parameters["amount"], 4)).report.verdict
        assert verdict in words and parameters["ingredient"] in words
        titles = [ax.get_title() or ax.get_title(loc="left") for ax in fig.axes]
        assert titles[1] == verdict.capitalize()
        assert all(titles) and all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
        seen[tuple(parameters.values())] = plots.png(fig)
    # With all of it left, the two ingredients of VICReg are one and the same network.
    assert seen.pop(("variance term", 1.0)) == seen.get(("covariance term", 1.0))
    assert len(set(seen.values())) == len(seen) >= 6, "every other setting draws its own picture"


def test_bad_input_is_refused_with_a_sentence():
    with pytest.raises(InputError, match="no ingredient 'salt'"):
        collapse.render("salt", 0.5)
    for amount in (-0.1, 1.5):
        with pytest.raises(InputError, match="between 0 and 1"):
            collapse.render("negatives", amount)
