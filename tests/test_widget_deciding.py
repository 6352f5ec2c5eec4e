"""The widget of chapter 05: what deciding costs, and when it convinces, against closed forms and loops."""

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import deciding
from ssl_lessons.errors import InputError


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_error_is_that_of_drawn_patches(share):
    true, _ = deciding.samples(1.0, share, 20_000)
    floor = (true - true.mean(dim=0)).square().mean()
    for decided in (0.1, 0.5, 1.0):
        true, painted = deciding.samples(decided, share, 20_000)
        found = (true - painted).square().mean() / floor
        assert float(found) == pytest.approx(deciding.error(decided), rel=0.02)


def test_a_painter_that_draws_is_caught_as_often_as_a_coin_says():
    for critic in deciding.SEES:
        assert deciding.caught(1.0, 0.6, critic) == pytest.approx(0.5)


@pytest.mark.parametrize("critic", deciding.SEES)
def test_the_densities_are_those_of_torch(critic):
    share, decided = 0.7, 0.6
    start = (deciding.SIDE - deciding.SEES[critic]) // 2
    rows = columns = slice(start, start + deciding.SEES[critic])
    if critic == "one pixel":
        rows, columns = slice(7, 8), slice(3, 4)
        assert deciding.pictures()[:, rows, columns].flatten().tolist() == [1, 0]
    true, painted = (x[:, rows, columns].flatten(1) for x in deciding.samples(decided, share, 200))
    centres = deciding.pictures()[:, rows, columns].flatten(1)
    mean = share * centres[0] + (1 - share) * centres[1]

    def density(x, at, deviation):
        parts = [torch.distributions.Normal(c, deviation).log_prob(x).sum(dim=1) for c in at]
        return (share * parts[0].exp() + (1 - share) * parts[1].exp()).log()

    says_true = [
        density(x, centres, deciding.NOISE)
        > density(x, mean + decided * (centres - mean), decided * deciding.NOISE)
        for x in (true, painted)
    ]
    right = (says_true[0].double().mean() + (~says_true[1]).double().mean()) / 2
    assert deciding.caught(decided, share, critic, n=200) == pytest.approx(float(right))


def test_what_the_widget_teaches():
    scores = {c: [deciding.caught(s, 0.6, c) for s in (0.25, 0.5, 0.8, 0.95)] for c in deciding.SEES}
    for row in scores.values():
        assert row == sorted(row, reverse=True), "the more is decided, the less it is caught"
    pixel, part, whole = scores.values()
    assert all(a < b + 1e-9 < c + 2e-9 for a, b, c in zip(pixel[1:], part[1:], whole[1:], strict=True))
    assert whole[2] > 0.95 and deciding.error(0.5) == 1.25


def test_render_over_the_whole_range_of_every_control():
    seen = {}
    for parameters in widgets.sweep(deciding.controls(), n=3):
        fig, words = deciding.render(**parameters), deciding.describe(**parameters)
        assert f"{deciding.error(parameters['decided']):.2f}" in words
        assert f"{deciding.caught(**parameters):.0%}" in words
        assert fig.axes[1].get_xlabel() and fig.axes[1].get_ylabel()
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 6, "every setting draws its own picture"


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="one of one pixel"):
        deciding.caught(0.5, 0.6, "the frame")
    for decided, share in ((0.0, 0.6), (1.2, 0.6), (0.5, 1.0)):
        with pytest.raises(InputError, match="above 0"):
            deciding.caught(decided, share, "one pixel")
