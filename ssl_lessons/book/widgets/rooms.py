"""Plans in two rooms, made by somebody who knows exactly what each move does: how far ahead must one look?"""

from functools import cache

import torch
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.modalities.agents import planning, world

CONTROLS = {
    "start": Slider(0.05, 0.95, 0.9, "height of the start (0 top, 1 bottom)", step=0.05, live=True),
    "goal": Slider(0.05, 0.95, 0.9, "height of the goal", step=0.05, live=True),
    "ahead": Slider(1, 10, 6, "actions looked ahead, two moves each", step=1, live=True),
    "cost": Choice(planning.COSTS, "nearest", "distance to the goal counted at the moment", live=True),
}
LEFT, RIGHT, MOVES = 0.3, 0.7, 28


@cache
def trip(start: float, goal: float, ahead: int, cost: str) -> planning.Trips:
    """One trip from (0.3, start) to (0.7, goal), planned with the true moves."""
    ends = torch.tensor([[[LEFT, start]], [[RIGHT, goal]]])
    return planning.travel(
        None, planning.true_moves, *ends, moves=MOVES, horizon=ahead, replan=2 * min(2, ahead), cost=cost
    )


def draw_rooms(ax) -> None:
    """The wall with its door, on an axis that looks like the pictures: y downwards."""
    for low, high in ((0, world.DOOR[0]), (world.DOOR[1], 1)):
        ax.plot([world.WALL] * 2, [low, high], color=plots.COLORS[0], linewidth=4)
    ax.set(
        xlim=(0, 1),
        ylim=(1, 0),
        xticks=[0, 0.5, 1],
        yticks=[0, 0.5, 1],
        aspect="equal",
        xlabel="x",
        ylabel="y",
    )


def _asked(start: float, goal: float, ahead: int, cost: str) -> planning.Trips:
    return trip(round(float(start), 3), round(float(goal), 3), int(ahead), str(cost))


def render(start: float, goal: float, ahead: int, cost: str) -> Figure:
    """The way that was walked; the title says whether it got there."""
    found = _asked(start, goal, ahead, cost)
    fig, ax = plots.new_figure(3.6, 3.4)
    draw_rooms(ax)
    way = found.positions[0]
    ax.plot(*way.T, color=plots.COLORS[1], marker="o", markersize=3)
    ax.plot(LEFT, float(start), "s", color=plots.COLORS[2], markersize=8)
    ax.plot(RIGHT, float(goal), "*", color=plots.COLORS[3], markersize=12)
    ax.set_title(f"looking {int(ahead)} ahead: {_words(found)}")
    return fig


def moves_needed(found: planning.Trips) -> int:
    """Moves until the trip ended (all of them where it never did)."""
    same = (found.positions[0] == found.positions[0, -1]).all(dim=1)
    return int(same.nonzero()[0]) if bool(found.reached[0]) else MOVES


def _words(found: planning.Trips) -> str:
    return (
        f"there in {moves_needed(found)} moves" if bool(found.reached[0]) else f"not there in {MOVES} moves"
    )


def describe(start: float, goal: float, ahead: int, cost: str) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    found = _asked(start, goal, ahead, cost)
    x, y = found.positions[0, -1].tolist()
    return (
        f"Two rooms seen from above, a door in the middle of the wall. A way from the left room at height {start:.2f} "
        f"towards the right room at height {goal:.2f}, looking {int(ahead)} actions ahead, distance counted at the "
        f"{cost} moment: {_words(found)}; it ends at x {x:.2f}, y {y:.2f}."
    )
