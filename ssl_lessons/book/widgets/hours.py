"""What do hours of a GPU buy?  Epochs and steps of an encoder at a size, as an estimate with its range."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.methods import SimCLR
from ssl_lessons.models import encoders
from ssl_lessons.training import throughput

BATCH = 256
NETWORKS = {
    "ResNet-18, 64 px": ("resnet18", {}, 64),
    "ResNet-18, 96 px": ("resnet18", {}, 96),
    "ResNet-18 3x3, 64 px": ("resnet18_3x3", {"max_pool": True}, 64),
    "ResNet-18 3x3, 96 px": ("resnet18_3x3", {"max_pool": True}, 96),
    "small conv net, 32 px": ("convnet", {"width": 16, "dim": 256}, 32),
}
PUBLISHED_EPOCHS = 100  # of the build this course rebuilds


class Bought(NamedTuple):
    """Three estimates of epochs, at the low, the assumed and the high efficiency, and the steps of the middle one."""

    low: float
    epochs: float
    high: float
    steps: int


@cache
def work(network: str) -> throughput.Work:
    """One step of SimCLR on 256 images with this network."""
    if network not in NETWORKS:
        raise InputError(f"There is no network {network!r}; there are {', '.join(NETWORKS)}.")
    name, options, size = NETWORKS[network]
    return throughput.count(SimCLR(encoders.build_encoder(name, **options)), size, BATCH)


def buys(hours: float, network: str, images: int, gpu: str) -> Bought:
    """Epochs that fit, from the published peak of the GPU times an assumed efficiency (throughput.EFFICIENCY)."""
    epochs = []
    for efficiency in throughput.EFFICIENCY:
        seconds = throughput.seconds_per_step(work(network), throughput.published(gpu, efficiency))
        epochs.append(60 * hours / throughput.minutes_per_epoch(seconds, images, BATCH))
    return Bought(*epochs, steps=int(epochs[1] * (images // BATCH)))


def controls(hours: float = 3.0, images: int = 100_000) -> dict[str, Slider | Choice]:
    """Hours, network, images and GPU."""
    return {
        "hours": Slider(0.5, 12.0, hours, "hours", step=0.5, live=True),
        "network": Choice(tuple(NETWORKS), "ResNet-18, 96 px", "network", live=True),
        "images": Slider(5_000, 100_000, images, "images", step=5_000, live=True),
        "gpu": Choice(tuple(throughput.ACCELERATORS), "T4", "GPU", live=True),
    }


def render(hours: float, network: str, images: int, gpu: str) -> Figure:
    """Epochs against hours, with the range of the estimate; the dot is the chosen number of hours."""
    bought = buys(hours, network, images, gpu)
    fig, ax = plots.new_figure(4.2, 2.9)
    grid = [0, 12.0]
    slope = [e / hours for e in bought[:3]]
    ax.fill_between(grid, [slope[0] * h for h in grid], [slope[2] * h for h in grid], color=plots.COLORS[0], alpha=0.15,
                    label=f"efficiency {throughput.EFFICIENCY[0]:.0%} to {throughput.EFFICIENCY[2]:.0%}")  # fmt: skip
    ax.plot(
        grid,
        [slope[1] * h for h in grid],
        color=plots.COLORS[0],
        label=f"{throughput.EFFICIENCY[1]:.0%} assumed",
    )
    ax.plot([hours], [bought.epochs], "o", color=plots.COLORS[1])
    ax.axhline(PUBLISHED_EPOCHS, color=plots.GRAY, linestyle=":", label="the published 100 epochs")
    ax.set(
        xlim=(0, 12),
        ylim=(0, max(1.3 * PUBLISHED_EPOCHS, 1.15 * bought.high)),
        xlabel="hours",
        ylabel="epochs (estimate)",
        title=f"{hours:g} h of a {gpu}: about {bought.epochs:.0f} epochs",
    )
    ax.legend(loc="upper left")
    return fig


def describe(hours: float, network: str, images: int, gpu: str) -> str:
    """The picture of `render` in words."""
    bought = buys(hours, network, images, gpu)
    return (
        f"Estimate: {hours:g} hours of a {gpu} with {network} on {images:,} images buy about "
        f"{bought.epochs:.0f} epochs ({bought.low:.0f} to {bought.high:.0f} over the range of efficiencies), "
        f"that is {bought.steps:,} steps of {BATCH}; the published build has {PUBLISHED_EPOCHS} epochs."
    )
