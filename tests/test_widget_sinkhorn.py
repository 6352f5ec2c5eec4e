"""The Sinkhorn widget: its numbers against known cases, its picture over the whole slider range."""

import math
from functools import partial

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import sinkhorn
from ssl_lessons.errors import InputError


@pytest.fixture
def batch():
    scores = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)).tanh()
    return {"as trained": scores, "with a favourite": scores + torch.eye(8)[2]}


def test_balance_of_known_assignments():
    one = torch.zeros(6, 4)
    one[:, 1] = 1
    assert sinkhorn.balance(one) == pytest.approx({"used": 1, "undecided": 1, "largest": 1})
    even = torch.full((6, 4), 0.25)
    assert sinkhorn.balance(even) == pytest.approx({"used": 4, "undecided": 4, "largest": 0.25})
    sorted_out = torch.eye(4)
    assert sinkhorn.balance(sorted_out) == pytest.approx({"used": 4, "undecided": 1, "largest": 0.25})


def test_perplexity_by_hand():
    p = torch.tensor([0.5, 0.25, 0.25, 0.0])
    assert sinkhorn.perplexity(p).item() == pytest.approx(math.exp(1.5 * math.log(2)))


def test_render_over_the_whole_range_of_every_control(batch):
    seen = {}
    for parameters in widgets.sweep(sinkhorn.controls(tuple(batch)), n=6):
        fig = sinkhorn.render(**parameters, batch=batch)
        words = sinkhorn.describe(**parameters, batch=batch)
        bars = [bar.get_height() for bar in fig.axes[1].patches]
        assert len(bars) == 8 and sum(bars) == pytest.approx(100)
        assert f"{max(bars):.1f} percent" in words and f"{max(bars):.1f} percent" in sinkhorn.brief(
            **parameters, batch=batch
        )
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes[:2])
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 10, "every setting draws its own picture"


def test_iterations_balance_what_the_softmax_does_not(batch):
    before = sinkhorn.describe(0.05, 0, "with a favourite", batch)
    after = sinkhorn.render(0.05, 10, "with a favourite", batch)
    bars = [bar.get_height() for bar in after.axes[1].patches]
    assert max(bars) < 20 < 50 < float(before.split("gets ")[1].split(" percent")[0])


def test_static_page(batch, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        partial(sinkhorn.render, batch=batch),
        sinkhorn.controls(tuple(batch)),
        static=[{"iterations": 0}, {"iterations": 3}],
        alt=partial(sinkhorn.describe, batch=batch),
    )
    assert "0 iterations" in pages[0] and "3 iterations" in pages[0]


def test_unknown_scores_are_refused(batch):
    with pytest.raises(InputError, match="no scores 'other'"):
        sinkhorn.render(0.05, 3, "other", batch)
