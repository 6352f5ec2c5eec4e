"""The receptive-field widget: its map against paths counted by hand, its picture over the whole range."""

import pytest

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import receptive_field as widget
from ssl_lessons.errors import InputError


def reachable(depth, kernel):
    """Pixels on a path of one masked layer of kind A and depth - 1 of kind B, by walking all paths."""
    r = kernel // 2
    b = [(i, j) for i in range(-r, 1) for j in range(-r, r + 1) if i < 0 or j <= 0]
    a = [offset for offset in b if offset != (0, 0)]
    place = {(widget.ROW, widget.COLUMN)}
    for layer in range(depth):  # the gradient walks down: kind B first, kind A last
        offsets = a if layer == depth - 1 else b
        place = {(y + i, x + j) for y, x in place for i, j in offsets}
    return {(y, x) for y, x in place if 0 <= y < widget.SIDE and 0 <= x < widget.SIDE}


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_one_stack_sees_what_paths_reach(depth, kernel):
    kind = widget.regions(depth, kernel, "one stack")
    # A path that leaves the image could not come back: padding holds no pixel.
    inside = {(y, x) for y, x in reachable(depth, kernel)}
    seen = {tuple(p) for p in (kind == 0).nonzero().tolist()}
    assert seen <= inside and len(inside - seen) <= (0 if depth < 5 else 2)


def test_depth_closes_everything_but_the_blind_spot():
    one, two = (widget.regions(10, 3, stacks) for stacks in widget.STACKS)
    assert (one == 1).sum() == 0 and (one == 2).sum() > 10
    assert (two != 3).sum() == (two == 0).sum() == widget.ROW * widget.SIDE + widget.COLUMN


def test_render_over_the_whole_range_of_every_control():
    seen = set()
    for parameters in widgets.sweep(widget.controls(), n=5):
        fig, words = widget.render(**parameters), widget.describe(**parameters)
        ax = fig.axes[0]
        title = ax.get_title() or ax.get_title(loc="left")
        assert ax.get_xlabel() and ax.get_ylabel() and title.split(": ")[1].split(" ")[0] in words
        seen.add(plots.png(fig))
    assert len(seen) >= 7


def test_static_page(monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(
        widget.render, widget.controls(), static=[{"depth": 2}, {"stacks": "two stacks"}], alt=widget.describe
    )
    assert "one stack, 2 layers" in pages[0] and "two stacks, 3 layers" in pages[0]


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="one stack, two stacks"):
        widget.render(3, 3, "three stacks")
