"""How sure anybody can be of the arrow of time, when a ball loses a little at each bounce and the film is short."""

from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Slider
from ssl_lessons.modalities.video import world

CONTROLS = {
    "loss": Slider(0.0, 0.6, 0.2, "share of its speed lost at a bounce", step=0.05, live=True),
    "frames": Slider(3, 16, 8, "frames in the film", step=1, live=True),
}
BALLS = 2000


@cache
def heights(loss: float, frames: int, seed: int = 0) -> Tensor:
    """[BALLS, frames] heights above the floor, from the world's own parabolas."""
    generator = torch.Generator().manual_seed(seed)
    y = world._bounce(generator, BALLS, torch.arange(frames).float(), loss)
    return 1 - world.RADIUS - y


def rule_accuracy(loss: float, frames: int) -> float:
    """How often this rule is right: the film runs forwards if the ball is higher, on average, in its first half.

    Half of the films are shown backwards; equal halves count as half right.
    """
    h = heights(round(float(loss), 3), int(frames))
    half = h.shape[1] // 2
    difference = h[:, :half].mean(1) - h[:, h.shape[1] - half :].mean(1)
    return float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())


def render(loss: float, frames: int) -> Figure:
    """Heights of three balls; the title says how often the rule is right on 2,000 others."""
    fig, ax = plots.new_figure(4.8, 3.0)
    shown = heights(round(float(loss), 3), int(frames))[:3]
    for row, color, mark in zip(shown, plots.COLORS, "os^", strict=False):
        ax.plot(range(1, int(frames) + 1), row, color=color, marker=mark, markersize=4)
    ax.set(
        xlabel="frame", ylabel="height (share of the picture)", ylim=(-0.02, 0.75),
        title=f"Loses {loss:.0%} at a bounce: rule right in {rule_accuracy(loss, frames):.0%}",
    )  # fmt: skip
    ax.locator_params(axis="x", integer=True)
    return fig


def describe(loss: float, frames: int) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    h = heights(round(float(loss), 3), int(frames))
    half = h.shape[1] // 2
    first, second = float(h[:, :half].mean()), float(h[:, h.shape[1] - half :].mean())
    return (
        f"Heights of three bouncing balls over {int(frames)} frames, {loss:.0%} of the speed lost at each bounce. Over "
        f"{BALLS} balls the mean height is {first:.2f} in the first half and {second:.2f} in the second; the rule that "
        f"the higher half comes first is right in {rule_accuracy(loss, frames):.0%}."
    )
