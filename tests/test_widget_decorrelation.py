"""The VICReg flow: its ends under each missing term, and its picture over the whole slider range."""

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import decorrelation as dw
from ssl_lessons.losses.correlation import cca, vicreg


@pytest.mark.parametrize(
    "weights, end",
    [
        ((25.0, 25.0, 10.0), "spread out, views agree"),
        ((25.0, 0.0, 10.0), "collapsed to a point"),
        ((25.0, 0.0, 0.0), "collapsed to a point"),
        ((25.0, 25.0, 0.0), "collapsed to a line"),
        ((0.0, 25.0, 10.0), "spread out, views disagree"),
    ],
)
def test_each_term_does_its_work(weights, end):
    assert dw.verdict(dw.flow(*weights)) == end


def test_all_three_terms_find_the_canonical_directions():
    """A linear encoder under VICReg ends near CCA: the two shared signals, and no nuisance."""
    signals, views = dw.two_views()
    best = cca(*views, k=2).correlations.mean().item()
    assert dw.flow(25.0, 25.0, 10.0).shared[-1] == pytest.approx(best, abs=0.05) and best > 0.8
    z = dw.flow(25.0, 25.0, 10.0).end.mean(dim=0)
    assert cca(z, signals).correlations.min() > 0.9


def test_the_flow_goes_down_the_loss_and_stays_finite():
    start = dw.two_views()[1] @ (0.2 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1)).double())
    for parameters in widgets.sweep(dw.controls(), n=6):
        found, weights = dw.flow(*parameters.values()), tuple(parameters.values())
        assert found.end.isfinite().all() and found.end.abs().max() < 8
        assert vicreg(*found.end, *weights) <= vicreg(*start, *weights) + 1e-9
        assert len(found.steps) == len(found.wide) == len(found.shared)


def test_render_over_the_whole_range_of_every_control():
    seen = {}
    for parameters in widgets.sweep(dw.controls(), n=5):
        fig = dw.render(**parameters)
        titles = [ax.get_title() or ax.get_title(loc="left") for ax in fig.axes]
        assert all(titles) and all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
        words = dw.describe(**parameters)
        assert dw.verdict(dw.flow(*map(float, parameters.values()))) in words
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 12


def test_static_and_live_page(monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(dw.render, dw.controls(), static=[{}, {"variance": 0.0}], alt=dw.describe,
                    captions=["all three", "no variance"])  # fmt: skip
    assert "spread out" in pages[0] and "point" in pages[0]
