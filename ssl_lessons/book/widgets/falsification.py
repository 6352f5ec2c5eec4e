"""A hypothesis and its escape routes: gradient norm against probe, for whichever runs and moments one counts."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError

# What a reader may leave out, and which policies that strikes.
GROUPS = {
    "nothing": (),
    "the colour shortcuts": ("no colour", "gray only", "no hue"),
    "the turns": ("quarter turns", "any turn"),
    "the crops": ("no crop", "gentle crop", "tight crop"),
    "the mild changes": ("half the colour", "no flip", "blur"),
}
SLACK = 0.5  # a rank correlation inside plus or minus this is no alignment worth the name


class Interval(NamedTuple):
    """A rank correlation and the ends of its 95 % interval."""

    rho: float
    low: float
    high: float


def rank_correlation(x: Sequence[float], y: Sequence[float], draws: int = 1000, seed: int = 0) -> Interval:
    """Spearman's rank correlation of pairs (x_i, y_i) with a 95 % interval: the bootstrap over the pairs.

    Each draw takes n of the n pairs with replacement; draws in which x or y is constant are left out.
    Raises InputError for fewer than 4 pairs, lists of different lengths, or a list that is constant.
    """
    pairs = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)]) if len(x) == len(y) else None
    if pairs is None or pairs.shape[1] < 4 or (np.ptp(pairs, axis=1) == 0).any():
        raise InputError("a rank correlation needs at least 4 pairs (x, y), and neither x nor y constant.")
    n = pairs.shape[1]
    chosen = np.random.default_rng(seed).integers(n, size=(draws, n))
    samples = pairs[:, chosen]  # [2, draws, n]
    found = _pearson(*rankdata(samples[:, (np.ptp(samples, axis=2) > 0).all(axis=0)], axis=2))
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(_pearson(*rankdata(pairs, axis=1))), float(low), float(high))


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation along the last axis."""
    a, b = (v - v.mean(axis=-1, keepdims=True) for v in (a, b))
    return (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))


def ruling(intervals: Sequence[Interval]) -> str:
    """The rule that was written down before the runs: "supported", "refuted" or "undecided".

    Supported: every interval leaves out zero, all on the same side.  Refuted: two of them leave it out on different
    sides, or one lies inside -SLACK to SLACK.  Else undecided.
    """
    sides = {1 if i.low > 0 else -1 if i.high < 0 else 0 for i in intervals}
    if {1, -1} <= sides or any(-SLACK < i.low and i.high < SLACK for i in intervals):
        return "refuted"
    return "supported" if len(sides) == 1 and 0 not in sides else "undecided"


def points(
    rows: Sequence[Mapping], world: str, first: int = 1, last: int = 10, without: str = "nothing"
) -> dict:
    """policy -> (gradient norm, probe), means over the seeds, in one world.

    rows: with arm, data, probe and grad (ten means over tenths of the run).  first, last: which tenths count.
    without: one of GROUPS.  Raises InputError for an unknown world or group.
    """
    if without not in GROUPS:
        raise InputError(f"leave out one of {', '.join(GROUPS)}, not {without!r}.")
    first, last = sorted((int(first), int(last)))
    found: dict[str, list] = {}
    for row in rows:
        if row["data"] == world and row.get("grad") and row["arm"] not in GROUPS[without]:
            found.setdefault(row["arm"], []).append((np.mean(row["grad"][first - 1 : last]), row["probe"]))
    if not found:
        raise InputError(f"no runs in the world {world!r}.")
    return {arm: tuple(np.mean(pairs, axis=0)) for arm, pairs in found.items()}


def every_choice(rows: Sequence[Mapping], worlds: Sequence[str]) -> list[dict]:
    """The rank correlation for all worlds, groups left out and stretches of the run: what a search would find."""
    windows = [(a, b) for a in range(1, 11) for b in range(a, 11)]
    choices = itertools.product(worlds, GROUPS, windows)
    found = []
    for world, without, (first, last) in choices:
        pairs = points(rows, world, first, last, without).values()
        rho = _pearson(*rankdata(np.array(list(pairs)).T, axis=1))
        found.append({"world": world, "without": without, "first": first, "last": last, "rho": float(rho)})
    return found


def controls(worlds: Sequence[str]) -> dict[str, Slider | Choice]:
    """The board's inputs: which world, which tenths of the run count, and what is left out."""
    return {
        "world": Choice(worlds, worlds[0], "world", live=True),
        "first": Slider(1, 10, 1, "from tenth", step=1, live=True),
        "last": Slider(1, 10, 10, "to tenth", step=1, live=True),
        "without": Choice(tuple(GROUPS), "nothing", "leave out", live=True),
    }


def render(world: str, first: int, last: int, without: str, rows: Sequence[Mapping]) -> Figure:
    """Gradient norm against probe, one point per policy, with the rank correlation and its interval in the title."""
    found = points(rows, world, first, last, without)
    norms, probes = np.array(list(found.values())).T
    result = rank_correlation(norms, probes)
    fig, ax = plots.new_figure(4.8, 3.4)
    draw(ax, found, names(rows))
    ax.axhline(10, color=plots.GRAY, linestyle=":")
    ax.set(
        xlabel=f"gradient norm, {_window(first, last)}",
        ylabel="probe accuracy, 100 labels (%)",
        ylim=(0, None),
        title=f"{world}: rho {result.rho:+.2f} ({result.low:+.2f} to {result.high:+.2f})",
    )
    return fig


def names(rows: Sequence[Mapping]) -> list[str]:
    """The policies in the rows, in order of their first run: a policy keeps its number whatever is left out."""
    return list(dict.fromkeys(row["arm"] for row in rows if row.get("grad")))


def draw(ax, found: Mapping[str, tuple], order: Sequence[str], key: bool = True) -> None:
    """Numbered points (norm, probe in %) on a logarithmic axis; `key` lists the numbers to the right."""
    for arm, (norm, probe) in found.items():
        ax.plot(norm, 100 * probe, "o", color=plots.COLORS[0], markersize=10, markeredgecolor="white")
        ax.text(
            norm, 100 * probe, str(order.index(arm) + 1), color="white", fontsize=7, ha="center", va="center"
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}")
    ax.tick_params(axis="x", which="both", labelsize=7)
    ax.margins(x=0.1)
    if key:
        lines = [f"{order.index(arm) + 1} {arm}" for arm in order if arm in found]
        ax.text(1.03, 1, "\n".join(lines), transform=ax.transAxes, fontsize=7, va="top")


def describe(world: str, first: int, last: int, without: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    found = points(rows, world, first, last, without)
    result = rank_correlation(*np.array(list(found.values())).T)
    best = max(found, key=lambda arm: found[arm][1])
    largest = max(found, key=lambda arm: found[arm][0])
    return (
        f"World {world}, {len(found)} policies, left out: {without}, gradient norm over {_window(first, last)}: rank "
        f"correlation with the probe {result.rho:+.2f}, 95 percent interval {result.low:+.2f} to {result.high:+.2f}. "
        f"The best probe belongs to {best}, the largest norm to {largest}."
    )


def _window(first: int, last: int) -> str:
    first, last = sorted((int(first), int(last)))
    if (first, last) == (1, 10):
        return "whole run"
    return f"tenth {first}" if first == last else f"tenths {first} to {last}"
