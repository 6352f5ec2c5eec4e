"""Three bounds on mutual information side by side: what they report batch by batch, and what there is."""

import functools
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.diagnostics import information as info
from ssl_lessons.errors import InputError

NAMES = ("InfoNCE", "Donsker-Varadhan", "NWJ")
DIM, BATCHES = 20, 40


def controls() -> dict[str, Slider | Choice]:
    """The true information, the candidates, and how sure the critic is (1: the best one)."""
    return {
        "nats": Slider(0.5, 12.0, 4.0, "true information", step=0.5, live=True),
        "k": Choice((8, 32, 128), 128, "candidates K", live=True),
        "sureness": Slider(0.25, 3.0, 1.0, "critic, times the best", step=0.25, live=True),
    }


@functools.lru_cache(maxsize=8)
def _best(nats: float, k: int) -> tuple[Tensor, float]:
    rho = math.sqrt(-math.expm1(-2 * nats / DIM))
    x, y = info.gaussian_pairs(rho, (BATCHES, k, DIM), torch.Generator().manual_seed(0))
    return info.gaussian_log_ratio(x, y, rho), rho


def reports(nats: float, k: int, sureness: float = 1.0) -> dict[str, Tensor]:
    """What each bound reports in BATCHES batches of k Gaussian pairs with `nats` in common.

    The critic is the best one times `sureness` (for NWJ plus 1, its best constant).  Raises InputError unless nats and
    sureness are positive and k is at least 2.
    """
    if not (nats > 0 and sureness > 0 and k >= 2):
        raise InputError("nats and sureness must be positive, and k at least 2.")
    scores = sureness * _best(nats, k)[0]
    bounds = (info.info_nce_bound, info.dv_bound, lambda s: info.nwj_bound(s + 1))
    return {name: torch.stack([f(s) for s in scores]) for name, f in zip(NAMES, bounds, strict=True)}


def render(nats: float, k: int, sureness: float) -> Figure:
    """One dot per batch and bound, with the median, the truth and the ceiling log K."""
    found = reports(nats, k, sureness)
    fig, ax = plots.new_figure(4.8, 3.2)
    low, high = -8.0, 24.0  # what lies outside is drawn at the edge
    for place, values in enumerate(found.values()):
        spread = torch.linspace(-0.18, 0.18, len(values))
        ax.plot(place + spread, values.clamp(low, high), "o", color=plots.COLORS[place], alpha=0.4, ms=4)
        middle = min(max(float(values.median()), low), high)
        ax.plot([place - 0.3, place + 0.3], [middle] * 2, color=plots.COLORS[place], linewidth=2.5)
    ax.axhline(nats, color=plots.GRAY, label=f"truth {nats:g}")
    ax.axhline(math.log(k), color=plots.GRAY, linestyle=":", label=f"log K {math.log(k):.2f}")
    ax.set_xticks(range(len(NAMES)), NAMES)
    medians = ", ".join(f"{float(v.median()):.1f}" for v in found.values())
    ax.set(
        ylim=(low - 0.5, high + 0.5), ylabel="reported (nats)",
        title=f"{nats:g} nats, K = {k}, critic x {sureness:g}: medians {medians}",
    )  # fmt: skip
    ax.legend(loc="upper left", fontsize=8)
    return fig


def describe(nats: float, k: int, sureness: float) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    told = (
        f"{name} median {float(v.median()):.1f}, from {float(v.min()):.1f} to {float(v.max()):.1f}"
        for name, v in reports(nats, k, sureness).items()
    )
    return (
        f"Reports of {BATCHES} batches with {nats:g} nats to find, {k} candidates (log K {math.log(k):.2f}), "
        f"the critic {sureness:g} times the best: " + "; ".join(told) + "."
    )
