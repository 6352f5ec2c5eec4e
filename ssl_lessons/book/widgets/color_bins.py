"""Colour as classes: the bins of the ab plane, what rebalancing does to them, and one colour out of many."""

from functools import lru_cache

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.views.color import (
    ab_bins,
    annealed_mean,
    lab_to_rgb,
    nearest_bins,
    rebalancing,
    smooth_frequencies,
)

LIGHTNESS = 60.0  # at which the bins are painted
# A pixel that is yellow or blue, more often yellow; (a, b), share, spread
GUESSES = (((5.0, 60.0), 0.6, 12.0), ((5.0, -50.0), 0.4, 12.0))


def swatch(ab: Tensor, lightness: float = LIGHTNESS) -> Tensor:
    """The colours (a, b) [M, 2] at one lightness as sRGB in [0, 1], [M, 3]; what a screen cannot show is clipped."""
    lab = torch.cat([torch.full((len(ab), 1), lightness, dtype=ab.dtype), ab], dim=1)
    return lab_to_rgb(lab.T.reshape(1, 3, -1, 1))[0, :, :, 0].T.clamp(0, 1)


def frequencies(ab: Tensor, grid: int) -> Tensor:
    """How often each bin of side `grid` occurs among colours [M, 2], smoothed: float64 [Q] of sum 1."""
    bins = ab_bins(grid)
    if ab.ndim != 2 or ab.shape[1] != 2 or not len(ab):
        raise InputError(f"colours must be [M, 2], a and b of M pixels, not {list(ab.shape)}")
    counts = torch.bincount(nearest_bins(ab.float(), bins)[:, 0], minlength=len(bins)).double()
    return smooth_frequencies(counts / counts.sum(), bins.double())


@lru_cache
def two_guesses(grid: int) -> Tensor:
    """Log probabilities [Q] of the pixel that is yellow or blue."""
    bins = ab_bins(grid).double()
    p = torch.zeros(len(bins), dtype=torch.float64)
    for centre, share, spread in GUESSES:
        square = (bins - torch.tensor(centre, dtype=torch.float64)).square().sum(dim=1)
        p += share * (-square / (2 * spread**2)).softmax(dim=0)
    return p.clamp_min(1e-30).log()


def controls() -> dict[str, Slider | Choice]:
    """Side of a bin, lam of the rebalancing (1: none), temperature of the annealed mean (1: plain mean)."""
    return {
        "grid": Choice((10, 20, 40), 10, "side of a bin"),
        "lam": Slider(0.05, 1.0, 0.5, "lambda"),
        "temperature": Slider(0.05, 1.0, 0.38, "temperature", log=True),
    }


def numbers(grid: int, lam: float, temperature: float, ab: Tensor) -> dict[str, float]:
    """bins: how many.  share_gray: how often the bin at (0, 0) occurs.  ratio: largest over smallest weight.
    a, b: the annealed mean of the two guesses.
    """
    bins, p = ab_bins(grid), frequencies(ab, grid)
    w = rebalancing(p, lam)
    a, b = annealed_mean(two_guesses(grid), bins, temperature).tolist()
    gray = int((bins == 0).all(dim=1).nonzero()[0, 0])
    return {
        "bins": len(bins),
        "share_gray": float(p[gray]),
        "ratio": float(w.max() / w.min()),
        "a": a,
        "b": b,
    }


def render(grid: int, lam: float, temperature: float, ab: Tensor) -> Figure:
    """Left: the bins, in their colours, and how often they occur.  Middle: their weights.  Right: one colour of many.

    ab: colours [M, 2] of a picture's pixels.
    """
    bins, p = ab_bins(grid), frequencies(ab, grid)
    w, found = rebalancing(p, lam), numbers(grid, lam, temperature, ab)
    fig, (left, middle, right) = plots.new_figure(9.2, 3.0, 1, 3, width_ratios=(1.15, 1.25, 1))
    paint = swatch(bins.double()).numpy()
    for (a, b), colour in zip(bins.tolist(), paint, strict=True):
        left.add_patch(
            Rectangle((a - grid / 2, b - grid / 2), grid, grid, facecolor=colour, edgecolor="none")
        )
    often = p > 1e-4
    left.scatter(*bins[often].T.tolist(), s=(900 * p[often]).clamp(1, 300).tolist(), color="black", alpha=0.6)
    left.set(xlim=(-110, 110), ylim=(-120, 110), xlabel="a (green to red)", ylabel="b (blue to yellow)",
             title=f"{found['bins']} bins; dots: how often", aspect="equal")  # fmt: skip
    shown = middle.scatter(*bins.T.tolist(), c=w.log10().tolist(), cmap="viridis", s=grid**2 / 12, marker="s")
    fig.colorbar(shown, ax=middle, label="log10 of the weight")
    middle.set(xlim=(-110, 110), ylim=(-120, 110), xlabel="a", ylabel="b", aspect="equal",
               title=f"Weights differ by a factor of {found['ratio']:.0f}")  # fmt: skip
    temperatures = (1.0, temperature, 0.01)
    names = ("mean\nT = 1", f"annealed\nT = {temperature:.2g}", "mode\nT near 0")
    points = torch.stack([annealed_mean(two_guesses(grid), bins, t) for t in temperatures])
    for i, (colour, name) in enumerate(zip(swatch(points).numpy(), names, strict=True)):
        right.add_patch(Rectangle((i, 0), 0.94, 1, facecolor=colour))
        right.text(i + 0.47, -0.08, name, ha="center", va="top", fontsize=8)
    right.set(xlim=(0, 3), ylim=(-0.6, 1.05), title="A pixel: 60 % yellow, 40 % blue")
    right.axis("off")
    return fig


def describe(grid: int, lam: float, temperature: float, ab: Tensor) -> str:
    """The picture of `render` in words."""
    found = numbers(grid, lam, temperature, ab)
    return (
        f"Bins of side {grid}: {found['bins']} of them hold a colour of the screen; {100 * found['share_gray']:.1f} "
        f"percent of the pixels are in the gray one. With lambda {lam:.2f} the rarest bin weighs {found['ratio']:.0f} "
        f"times as much as the commonest. A pixel that is yellow or blue becomes a {found['a']:.0f}, "
        f"b {found['b']:.0f} at temperature {temperature:.2g}."
    )
