"""Margin and mining in the plane: which points a metric loss pulls and pushes, and what becomes of them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.losses.metric import contrastive_pairs, hardest_triplets, semi_hard_triplets, triplet

LOSSES = ("contrastive pairs", "all triplets", "semi-hard triplets", "hardest triplets")
STEPS = 60
CLASSES, PER_CLASS = 3, 6
_RATES = dict(
    zip(LOSSES, (0.08, 0.01, 0.01, 0.01), strict=True)
)  # how far a step moves a point along its force
_MARKERS = ("o", "s", "^")


class Moment(NamedTuple):
    """One step: positions [N, 2], the force on every point [N, 2], pairs or triplets that exert one, and how many
    there are in all, the loss, the share of points whose nearest neighbour has their label, and the cloud's radius.
    """

    z: Tensor
    force: Tensor
    active: Tensor
    count: int
    loss: float
    accuracy: float
    radius: float


def all_triplets(labels: Tensor) -> Tensor:
    """Every (anchor, positive, negative), as rows [T, 3] of indices."""
    same = labels[:, None] == labels
    others = same & ~torch.eye(len(labels), dtype=torch.bool)
    return (others[:, :, None] & ~same[:, None]).nonzero()


def start(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points [N, 2] of three classes that overlap, and their labels [N]."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    corner = 0.5 * torch.tensor([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.0]])[labels]
    return corner + 0.75 * torch.randn(len(labels), 2, generator=g), labels


def _loss(loss: str, z: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor, int]:
    """The loss, the index rows [A, 2 or 3] of what still moves points, and how many pairs or triplets there are."""
    if loss == "contrastive pairs":
        i, j = torch.triu_indices(len(z), len(z), 1)
        same = labels[i] == labels[j]
        near = (z[i] - z[j]).norm(dim=1) < margin
        active = torch.stack([i, j], dim=1)[same | near]
        return contrastive_pairs(z[i], z[j], same, margin), active, len(i)
    rows = {
        "all triplets": lambda: all_triplets(labels),
        "semi-hard triplets": lambda: semi_hard_triplets(z, labels),
        "hardest triplets": lambda: hardest_triplets(z, labels),
    }[loss]()
    if not len(rows):
        return 0 * z.sum(), rows, 0
    a, p, n = z[rows].unbind(dim=1)
    hinge = (a - p).square().sum(dim=1) - (a - n).square().sum(dim=1) + margin
    return triplet(a, p, n, margin), rows[hinge > 0], len(rows)


@lru_cache(maxsize=64)
def trajectory(loss: str, margin: float) -> tuple[Moment, ...]:
    """STEPS + 1 moments of gradient descent on the positions themselves: no network stands between.

    Raises InputError for a loss that is not one of LOSSES or a margin <= 0.
    """
    if loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}.")
    z, labels = start()
    moments = []
    for _ in range(STEPS + 1):
        z = z.detach().requires_grad_()
        value, active, count = _loss(loss, z, labels, margin)
        (gradient,) = torch.autograd.grad(value, z)
        # The losses are means over pairs or triplets; times N, a point feels the mean of its own.
        force = -len(z) * gradient
        moments.append(_moment(z.detach(), force, active, count, float(value.detach()), labels))
        z = z + _RATES[loss] * force
    return tuple(moments)


def _moment(z: Tensor, force: Tensor, active: Tensor, count: int, loss: float, labels: Tensor) -> Moment:
    nearest = torch.cdist(z, z).fill_diagonal_(torch.inf).argmin(dim=1)
    accuracy = float((labels[nearest] == labels).float().mean())
    radius = float((z - z.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    return Moment(z, force, active, count, loss, accuracy, radius)


def controls(loss: str = LOSSES[0], margin: float = 1.0, step: int = 0) -> dict[str, Slider | Choice]:
    """The widget's inputs: which loss, its margin from 0.1 to 3, and the step from 0 to STEPS."""
    return {
        "loss": Choice(LOSSES, loss, "loss", live=True),
        "margin": Slider(0.1, 3.0, margin, "margin", step=0.1, live=True),
        "step": Slider(0, STEPS, step, "step", step=1, live=True),
    }


def render(loss: str, margin: float, step: int) -> Figure:
    """Left: the points, the force on each, and for one anchor whom it pulls and pushes.  Right: the cloud's radius."""
    moments = trajectory(loss, round(float(margin), 3))
    now = moments[int(step)]
    labels = start()[1]
    fig, (left, right) = plots.new_figure(6.6, 3.3, 1, 2, width_ratios=(1.1, 1))
    _draw_lines(left, now, labels, loss, margin)
    for c, marker in enumerate(_MARKERS):
        z = now.z[labels == c]
        left.plot(z[:, 0], z[:, 1], marker, color=plots.COLORS[c], markersize=5, label=f"class {c + 1}")
    left.quiver(
        *now.z.T, *(0.3 * now.force).T, angles="xy", scale_units="xy", scale=1, width=0.006, color=plots.GRAY
    )
    reach = max(float(m.z.abs().max()) for m in moments) * 1.1
    left.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="z1", ylabel="z2")
    what = "pairs" if loss == LOSSES[0] else "triplets"
    left.set_title(f"Step {int(step)}: {len(now.active)} of {now.count} {what} act")
    right.plot([m.radius for m in moments], color=plots.COLORS[5])
    right.plot(int(step), now.radius, "o", color="black", markersize=5)
    highest = 1.15 * max(m.radius for m in moments)
    right.set(xlabel="step", ylabel="radius", ylim=(0, highest))
    right.set_title(f"Nearest neighbour right: {now.accuracy:.0%}")
    return fig


def _draw_lines(ax, now: Moment, labels: Tensor, loss: str, margin: float) -> None:
    """Solid lines to what pulls the first point, dotted to what pushes it; a ring where the push of a pair ends."""
    anchor = 0
    if loss == LOSSES[0]:
        others = [int(r[1]) for r in now.active if int(r[0]) == anchor]
        ax.add_patch(Circle(now.z[anchor].tolist(), margin, fill=False, linestyle=":", color=plots.GRAY))
    else:
        others = {int(i) for r in now.active if int(r[0]) == anchor for i in r[1:]}
    for j in others:
        pulled = bool(labels[j] == labels[anchor])
        ends = torch.stack([now.z[anchor], now.z[j]]).T
        ax.plot(*ends, "-" if pulled else ":", color=plots.COLORS[0 if pulled else 1], linewidth=0.9)


def describe(loss: str, margin: float, step: int) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    moments = trajectory(loss, round(float(margin), 3))
    now = moments[int(step)]
    what = "pairs" if loss == LOSSES[0] else "triplets"
    return (
        f"Eighteen points of three classes, loss {loss}, margin {margin:.2g}, after {int(step)} steps: "
        f"{len(now.active)} of {now.count} {what} still move points, the loss is {now.loss:.3f}, the nearest neighbour "
        f"has the right class for {now.accuracy:.0%}, and the radius of the cloud is {now.radius:.2f} "
        f"({moments[0].radius:.2f} at the start)."
    )


def brief(loss: str, margin: float, step: int) -> str:
    """`describe` in few words."""
    now = trajectory(loss, round(float(margin), 3))[int(step)]
    moving = f"{len(now.active)} of {now.count} move points"
    return f"{moving}; neighbour right for {now.accuracy:.0%}; radius {now.radius:.2f}."
