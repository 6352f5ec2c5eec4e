"""The margin widget: its triplets by loops, its forces by finite differences, its picture over the slider range."""

import itertools
import math

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import margin
from ssl_lessons.errors import InputError
from ssl_lessons.losses.metric import hardest_triplets


def dist(z, i, j):
    return math.dist(z[i].tolist(), z[j].tolist())


def test_triplets_by_loops():
    z, labels = margin.start()
    n = len(z)
    wanted = {
        (a, p, f)
        for a, p, f in itertools.product(range(n), repeat=3)
        if a != p and labels[a] == labels[p] and labels[a] != labels[f]
    }
    assert set(map(tuple, margin.all_triplets(labels).tolist())) == wanted


def test_the_hardest_are_those_of_the_chapter():
    z, labels = margin.start()
    _, active, count = margin._loss("hardest triplets", z, labels, 100.0)  # all hinges open
    assert torch.equal(active, hardest_triplets(z, labels)) and count == 3 * 6 * 5


@pytest.mark.parametrize("loss", margin.LOSSES)
def test_forces_point_downhill(loss):
    first, second = margin.trajectory(loss, 1.0)[:2]
    assert torch.allclose(second.z, first.z + margin._RATES[loss] * first.force)
    z, labels = margin.start()
    z = z.double()
    step = 1e-6 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    up, down = (float(margin._loss(loss, z + s * step, labels, 1.0)[0]) for s in (1, -1))
    expected = -float((first.force.double() * step).sum()) / len(z)
    assert (up - down) / 2 == pytest.approx(expected, rel=1e-3)


def test_pairs_beyond_the_margin_are_left_alone():
    z, labels = margin.start()
    _, active, count = margin._loss("contrastive pairs", z, labels, 0.5)
    assert count == len(z) * (len(z) - 1) // 2
    expected = [
        [i, j]
        for i, j in itertools.combinations(range(len(z)), 2)
        if labels[i] == labels[j] or dist(z, i, j) < 0.5
    ]
    assert active.tolist() == expected


def test_what_the_widget_teaches():
    for loss in margin.LOSSES[:3]:
        path = margin.trajectory(loss, 1.0)
        assert path[-1].accuracy > path[0].accuracy and path[-1].accuracy > 0.9, loss
    hardest = margin.trajectory("hardest triplets", 1.0)
    assert min(m.radius for m in hardest) < 0.9 * hardest[0].radius  # the cloud shrinks before it parts
    wide, narrow = (margin.trajectory("contrastive pairs", m)[-1].radius for m in (3.0, 0.3))
    assert wide > 2 * narrow


def test_render_over_the_whole_range_of_every_control():
    seen = {}
    for parameters in widgets.sweep(margin.controls(), n=4):
        fig, words = margin.render(**parameters), margin.describe(**parameters)
        now = margin.trajectory(parameters["loss"], round(parameters["margin"], 3))[parameters["step"]]
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
        assert f"{now.radius:.2f}" in words and f"{len(now.active)} of {now.count}" in words
        few = margin.brief(**parameters)
        assert f"radius {now.radius:.2f}" in few and f"{len(now.active)} of {now.count}" in few
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 9, "every setting draws its own picture"


def test_static_page(monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        margin.render,
        margin.controls(),
        static=[{"loss": name, "step": 20} for name in margin.LOSSES],
        alt=margin.describe,
    )
    assert all(name in pages[0] for name in margin.LOSSES)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="one of contrastive pairs"):
        margin.render("quadruplets", 1.0, 0)
    with pytest.raises(InputError, match="margin"):
        margin.trajectory("all triplets", 0.0)
