"""Do measures without labels rank runs as labels do? Kendall's tau with its uncertainty, and a scatter per slice."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError


class Measure(NamedTuple):
    """How to read a measure from a recorded run, and how to make "more is better" of it.

    value: run -> the number as published.  goodness: number -> what should grow with quality.
    """

    value: Callable[[Mapping], float]
    axis: str
    goodness: Callable[[float], float] = lambda v: v


def _of(key: str) -> Callable[[Mapping], float]:
    return lambda row: row[key]


MEASURES = {
    "RankMe of h": Measure(_of("rank_h"), "effective rank of the features (dimensions)"),
    "RankMe of z": Measure(_of("rank_z"), "effective rank of the embeddings (dimensions)"),
    "LiDAR of h": Measure(_of("lidar_own_h"), "LiDAR of the features (dimensions)"),
    "LiDAR of z": Measure(_of("lidar_own_z"), "LiDAR of the embeddings (dimensions)"),
    "alpha-ReQ of h": Measure(_of("alpha_h"), "decay exponent alpha of the features", lambda a: -abs(a - 1)),
    "spectrum AUC of h": Measure(_of("auc_h"), "area under the cumulative spectrum", lambda a: -a),
    "uniformity of z": Measure(_of("uniformity_z"), "uniformity (lower = more spread)", lambda u: -u),
    "alignment of z": Measure(_of("alignment_own_z"), "squared distance of two views", lambda a: -a),
    "rotation probe": Measure(_of("rotation"), "rotation read from h (0 = chance, 1 = always)"),
    "loss": Measure(_of("loss"), "training loss (nats)", lambda v: -v),
}
EVERYTHING = "all SimCLR runs"
METHODS = "all methods"


class Tau(NamedTuple):
    """Kendall's tau-b and a bootstrap interval; NaN where all runs tie."""

    tau: float
    low: float
    high: float
    runs: int


def kendall_tau(x: Sequence[float], y: Sequence[float], weights: Tensor | None = None) -> Tensor:
    """Kendall's tau-b of n pairs (x_i, y_i): concordant minus discordant pairs, over the root of the untied ones.

    weights: [B, n], how often each run counts, gives [B] values, one per resample; without, one number.
    NaN if all of x or all of y tie. Raises InputError for fewer than two runs or lengths that differ.
    """
    x, y = (torch.as_tensor(v, dtype=torch.float64) for v in (x, y))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise InputError("Kendall's tau needs two lists of the same length, two runs at least.")
    sign_x, sign_y = ((v[:, None] - v).sign() for v in (x, y))
    w = torch.ones(1, len(x), dtype=torch.float64) if weights is None else weights.double()

    def total(pairs: Tensor) -> Tensor:
        return ((w @ pairs) * w).sum(dim=1)

    tau = total(sign_x * sign_y) / (total(sign_x.abs()) * total(sign_y.abs())).sqrt()
    return tau if weights is not None else tau[0]


def tau_interval(
    x: Sequence[float], y: Sequence[float], resamples: int = 2000, level: float = 0.9, seed: int = 0
) -> Tau:
    """Kendall's tau and its percentile bootstrap interval: runs are drawn again with replacement."""
    n = len(x)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    weights = torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(resamples, n, dtype=torch.float64)
    )
    tau = float(kendall_tau(x, y))
    values = kendall_tau(x, y, weights)
    values = values[values.isfinite()]  # a resample of one run only has no ranking
    if not math.isfinite(tau) or not len(values):
        return Tau(math.nan, math.nan, math.nan, n)
    edge = (1 - level) / 2
    low, high = values.quantile(torch.tensor([edge, 1 - edge], dtype=torch.float64)).tolist()
    return Tau(tau, low, high, n)


def slices(rows: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """The recorded runs by slice, each with the base run (seed 0), and the two large groups."""
    base = [row for row in rows if row["slice"] == "base" and row["seed"] == 0]
    names = dict.fromkeys(row["slice"] for row in rows if row["slice"] != "base")
    parts = {name: base + [row for row in rows if row["slice"] == name] for name in names}
    parts[EVERYTHING] = [row for row in rows if row["slice"] != "method"]
    parts[METHODS] = list(rows)
    return parts


def goodness(name: str, rows: Sequence[Mapping]) -> list[float]:
    """A measure of every run, turned so that more should be better."""
    measure = MEASURES[name]
    return [measure.goodness(measure.value(row)) for row in rows]


def agreement(name: str, rows: Sequence[Mapping], resamples: int = 2000) -> Tau:
    """Kendall's tau between a measure (turned so that more should be better) and the probe."""
    return tau_interval(goodness(name, rows), [row["probe"] for row in rows], resamples)


def controls(rows: Sequence[Mapping]) -> dict[str, Choice]:
    """The widget's inputs: which measure, which runs."""
    parts = tuple(slices(rows))
    return {
        "measure": Choice(tuple(MEASURES), "RankMe of h", "measure", live=True),
        "part": Choice(parts, METHODS, "runs", live=True),
    }


def _words(found: Tau) -> str:
    if not math.isfinite(found.tau):
        return "tau is undefined: all runs tie"
    return f"tau {found.tau:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def render(measure: str, part: str, rows: Sequence[Mapping]) -> Figure:
    """The measure against the probe, one dot per run of the slice, coloured by what was changed."""
    chosen = _chosen(measure, part, rows)
    found = agreement(measure, chosen)
    fig, ax = plots.new_figure(4.6, 3.3)
    names = list(dict.fromkeys(row["slice"] for row in rows))
    for i, name in enumerate(names):
        runs = [row for row in chosen if row["slice"] == name]
        if runs:
            x = [MEASURES[measure].value(row) for row in runs]
            y = [100 * row["probe"] for row in runs]
            ax.plot(
                x, y, "oshD^vX*"[i % 8], color=plots.COLORS[i % len(plots.COLORS)], label=name, markersize=5
            )
    ax.axhline(10, color=plots.GRAY, linestyle=":")
    ax.set(xlabel=MEASURES[measure].axis, ylabel="probe, 100 labels (%)", ylim=(0, None))
    ax.set_title(f"{measure}, {part}:\n{_words(found)}")
    fig.legend(loc="outside right upper", fontsize=7)
    return fig


def describe(measure: str, part: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    chosen = _chosen(measure, part, rows)
    values = goodness(measure, chosen)
    pick, best = chosen[values.index(max(values))], max(chosen, key=lambda row: row["probe"])
    return (
        f"{measure} against the probe for {len(chosen)} runs ({part}): {_words(agreement(measure, chosen))}. The "
        f"measure prefers {pick['slice']} {pick['setting']} with a probe of {100 * pick['probe']:.0f} percent; the "
        f"best run is {best['slice']} {best['setting']} with {100 * best['probe']:.0f} percent."
    )


def _chosen(measure: str, part: str, rows: Sequence[Mapping]) -> list[Mapping]:
    if measure not in MEASURES:
        raise InputError(f"There is no measure {measure!r}; there are {', '.join(MEASURES)}.")
    parts = slices(rows)
    if part not in parts:
        raise InputError(f"There are no runs {part!r}; there are {', '.join(parts)}.")
    return parts[part]
