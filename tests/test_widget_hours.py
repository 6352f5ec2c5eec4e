"""The hours widget: its numbers by hand, its picture over the whole slider range."""

import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import hours
from ssl_lessons.errors import InputError
from ssl_lessons.training import throughput

START = {name: control.value for name, control in hours.controls().items()}


def test_epochs_by_hand():
    bought = hours.buys(2.0, "small conv net, 32 px", 25_600, "T4")
    flops = hours.work("small conv net, 32 px").flops * 100  # an epoch of 25,600 images
    assert bought.epochs == pytest.approx(2 * 3600 * 0.15 * 65e12 / flops)
    assert bought.low < bought.epochs < bought.high
    assert bought.high / bought.low == pytest.approx(throughput.EFFICIENCY[2] / throughput.EFFICIENCY[0])
    assert bought.steps == pytest.approx(100 * bought.epochs, abs=1)


def test_more_hours_fewer_images_and_smaller_pictures_buy_more_epochs():
    def epochs(**changes):
        return hours.buys(**START | changes).epochs

    assert epochs(hours=6.0) == pytest.approx(2 * epochs(hours=3.0))
    assert epochs(images=50_000) == pytest.approx(2 * epochs(images=100_000), rel=0.01)
    assert epochs(network="ResNet-18, 64 px") == pytest.approx(2.25 * epochs(), rel=0.05)
    assert epochs(gpu="A100") == pytest.approx(312 / 65 * epochs())


def test_render_over_the_whole_range_of_every_control():
    seen = {}
    for parameters in widgets.sweep(hours.controls()):
        fig = hours.render(**parameters)
        words = hours.describe(**parameters)
        bought = hours.buys(**parameters)
        assert f"about {bought.epochs:.0f} epochs" in words and "Estimate" in words
        axes = fig.axes[0]
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_ylim()[1] > bought.high
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 15, "every setting draws its own picture"


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="no network 'ResNet-1000'"):
        hours.buys(**START | {"network": "ResNet-1000"})
    with pytest.raises(InputError, match="unknown GPU 'abacus'"):
        hours.buys(**START | {"gpu": "abacus"})
