"""The temperature widget: its numbers against autograd and a loop, its picture over the whole slider range."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import temperature as tw
from ssl_lessons.errors import InputError
from ssl_lessons.losses import nt_xent


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    z1 = torch.randn(24, 8, generator=generator)
    return z1, z1 + 0.5 * torch.randn(24, 8, generator=generator)


@pytest.mark.parametrize("tau", [0.02, 0.07, 0.5, 2.0])
@pytest.mark.parametrize("anchor", ["easy", "hard"])
def test_weights_and_shares_agree_with_autograd(views, tau, anchor):
    crowd = tw.crowds(*views)[anchor]
    s = torch.cat([torch.tensor([crowd.positive], dtype=torch.float64), crowd.negatives]).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(s / tau, torch.tensor(0)), s)
    w = tw.weigh(crowd, tau)
    assert torch.allclose(gradient[1:], w.negatives / tau, rtol=1e-9, atol=1e-300)
    assert float(-gradient[0]) == pytest.approx(w.pull, rel=1e-9, abs=1e-12)
    assert torch.allclose(gradient[1:] / gradient[1:].sum(), w.share, rtol=1e-7)
    assert float(w.share.sum()) == pytest.approx(1)


def test_crowds_are_rows_of_the_batch_that_nt_xent_scores(views):
    """The mean over all anchors of -log p+ is the loss; crowds() picks two of those anchors."""
    z1, z2 = (z.double() for z in views)
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    found, losses, margins = tw.crowds(z1, z2), [], []
    for i in range(48):
        others = [float(z[i] @ z[j]) for j in range(48) if j not in (i, (i + 24) % 48)]
        crowd = tw.Crowd(float(z[i] @ z[(i + 24) % 48]), torch.tensor(others, dtype=torch.float64))
        losses.append(-math.log(tw.weigh(crowd, 0.2).positive))
        margins.append((crowd.positive - sum(sorted(others)[-4:]) / 4, crowd))
    assert sum(losses) / 48 == pytest.approx(float(nt_xent(z1, z2, 0.2)), rel=1e-9)
    anchors = sorted(margins[:24], key=lambda pair: pair[0])
    for name, (_, crowd) in (("hard", anchors[0]), ("easy", anchors[-1])):
        assert found[name].positive == pytest.approx(crowd.positive)
        assert torch.allclose(found[name].negatives.sort().values, crowd.negatives.sort().values)


def test_tenths_sum_to_one_fall_and_flatten_as_temperature_rises(views):
    hard = tw.crowds(*views)["hard"]
    shares = {tau: tw.tenths(hard, tau) for tau in (0.02, 0.2, 2.0, 1e6)}
    for share in shares.values():
        assert share.shape == (10,) and float(share.sum()) == pytest.approx(1)
    assert shares[0.02][0] > shares[0.2][0] > shares[2.0][0] > shares[1e6][0]
    sizes = torch.tensor([len(part) for part in hard.negatives.tensor_split(10)]).double()
    assert torch.allclose(shares[1e6], sizes / sizes.sum(), atol=1e-4), (
        "an infinite temperature treats all alike"
    )
    assert tw.effective_negatives(hard, 1e6) == pytest.approx(len(hard.negatives), rel=1e-4)
    assert 1 <= tw.effective_negatives(hard, 0.02) < 5


def test_render_over_the_whole_range_of_every_control(views):
    batch = tw.crowds(*views)
    seen = {}
    for parameters in widgets.sweep(tw.controls(), n=6):
        fig = tw.render_weights(**parameters, batch=batch)
        words = tw.describe_weights(**parameters, batch=batch)
        bars = [bar.get_height() for bar in fig.axes[2].patches]
        assert sum(bars) == pytest.approx(100) and f"{bars[0]:.0f} percent of the push" in words
        assert f"{bars[0]:.0f} percent of the push" in tw.brief_weights(**parameters, batch=batch)
        titles = [
            ax.get_title() or ax.get_title(loc="left") for ax in fig.axes
        ]  # left in the book's own style
        assert all(titles) and all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 8, "every setting draws its own picture"


def test_static_and_live_page(views, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    batch = tw.crowds(*views)
    widgets.explore(partial(tw.render_weights, batch=batch), tw.controls(),
                    static=[{"tau": 0.05}, {"tau": 0.2}, {"tau": 1.0}],
                    alt=partial(tw.describe_weights, batch=batch))  # fmt: skip
    assert all(f"temperature {tau}" in pages[0] for tau in ("0.05", "0.2", "1"))


def test_bad_input_is_refused_with_a_sentence(views):
    z1, z2 = views
    with pytest.raises(InputError, match="temperature must be a positive"):
        tw.weigh(tw.crowds(z1, z2)["easy"], 0.0)
    with pytest.raises(InputError, match="two views"):
        tw.crowds(z1, z2[:5])
    with pytest.raises(InputError, match="no anchor 'middling'"):
        tw.render_weights(0.2, "middling", tw.crowds(z1, z2))
