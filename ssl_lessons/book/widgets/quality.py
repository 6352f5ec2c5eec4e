"""Do measures without labels rank settings as labels do?  Kendall's tau with its interval, regret, and a scatter.

Everything is read from rows of the record "quality": one row per setting and seed, see benchmarks/quality.py.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError

Setting = tuple[str, str]  # slice and name


class Measure(NamedTuple):
    """A column of the record, what to write on its axis, and how to make "more is better" of it."""

    key: str
    axis: str
    goodness: Callable[[float], float] = lambda v: v


MEASURES = {
    "rotation probe": Measure("rotation", "rotation read from h (0 = chance, 1 = always)"),
    "loss": Measure("loss", "training loss (nats)", lambda v: -v),
    "RankMe of z": Measure("rank_z", "effective rank of z (dimensions)"),
    "RankMe of h": Measure("rank_h", "effective rank of h (dimensions)"),
    "alpha-ReQ of h": Measure("alpha_h", "decay exponent alpha of h", lambda a: -abs(a - 1)),
    "spectrum area of h": Measure("area_h", "area under the cumulative spectrum of h", lambda a: -a),
    "LiDAR of z": Measure("lidar_own_z", "LiDAR of z (dimensions)"),
    "alignment of z": Measure("alignment_own_z", "squared distance of two views in z", lambda a: -a),
    "alignment of h, common views": Measure(
        "alignment_common_h", "squared distance of two views in h", lambda a: -a
    ),
    "uniformity of z": Measure("uniformity_z", "uniformity of z (lower = more spread)", lambda u: -u),
    "clusters of h (CL)": Measure("learnability_h", "share of clusters that neighbours tell"),
    "TwoNN dimension of h": Measure("two_nn_h", "intrinsic dimension of h, two neighbours"),
    "low tree dimension of h": Measure("tree_h", "intrinsic dimension of h, spanning tree", lambda d: -d),
    "SIGReg of z": Measure("sigreg_z", "SIGReg of standardised z (lower = Gaussian)", lambda v: -v),
}
COMBINED = {
    "CLID of h": ("clusters of h (CL)", "TwoNN dimension of h"),
    "rotation and RankMe": ("rotation probe", "RankMe of z"),
}
BASE: Setting = ("base", "SimCLR")
EVERYTHING = "all SimCLR settings"
FIXED = "one policy"
POLICIES = "policies"
METHODS = "methods"


class Tau(NamedTuple):
    """Kendall's tau-b and a bootstrap interval over n settings; NaN where all tie."""

    tau: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if not math.isfinite(self.tau):
            return "undefined: all tie"
        return f"{self.tau:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def kendall_tau(x: Sequence[float], y: Sequence[float], weights: Tensor | None = None) -> Tensor:
    """Kendall's tau-b of n pairs (x_i, y_i): concordant minus discordant pairs, over the root of the untied ones.

    weights: [B, n], how often each pair counts, gives [B] values, one per resample; without, one number.
    NaN if all of x or all of y tie. Raises InputError for fewer than two pairs or lengths that differ.
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
    """Kendall's tau and its percentile bootstrap interval: pairs are drawn again with replacement."""
    n = len(x)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    weights = torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(resamples, n, dtype=torch.float64)
    )
    tau = float(kendall_tau(x, y))
    values = kendall_tau(x, y, weights)
    values = values[values.isfinite()]  # a resample of one setting only has no ranking
    if not math.isfinite(tau) or not len(values):
        return Tau(math.nan, math.nan, math.nan, n)
    edge = (1 - level) / 2
    low, high = values.quantile(torch.tensor([edge, 1 - edge], dtype=torch.float64)).tolist()
    return Tau(tau, low, high, n)


def seeds(rows: Sequence[Mapping]) -> list[int]:
    """The seeds of the record, in order."""
    return sorted({row["seed"] for row in rows})


def parts(rows: Sequence[Mapping]) -> dict[str, list[Setting]]:
    """Name -> settings that every seed has: the groups that the chapter compares, then the slices of one choice.

    Every slice begins with the recipe itself; the floor belongs to none.
    """
    found: dict[Setting, set] = {}
    for row in rows:
        if row["slice"] != "floor":
            found.setdefault((row["slice"], row["setting"]), set()).add(row["seed"])
    complete = [s for s, have in found.items() if len(have) == len(seeds(rows)) and s != BASE]

    def of(*slices: str) -> list[Setting]:
        return [BASE, *(s for s in complete if s[0] in slices)]

    single = list(dict.fromkeys(s[0] for s in complete))
    groups = {EVERYTHING: [s for s in single if s != "method"]}
    groups[FIXED] = [s for s in groups[EVERYTHING] if s != "augmentation"]
    groups |= {POLICIES: ["augmentation"], METHODS: ["method"]}
    return {name: of(*slices) for name, slices in groups.items()} | {
        name: of(name) for name in single if name not in ("augmentation", "method")
    }


def column(rows: Sequence[Mapping], settings: Sequence[Setting], key: str) -> Tensor:
    """A column of the record as [settings, seeds], float64.  Raises InputError where a run is missing."""
    cells = {(row["slice"], row["setting"], row["seed"]): row.get(key) for row in rows}
    wanted = [[cells.get((*s, seed)) for seed in seeds(rows)] for s in settings]
    if missing := [s for s, values in zip(settings, wanted, strict=True) if None in values]:
        raise InputError(f"the record lacks {key} of {missing[0]} for some seed")
    return torch.tensor(wanted, dtype=torch.float64)


def goodness(name: str, rows: Sequence[Mapping], settings: Sequence[Setting]) -> Tensor:
    """A measure turned so that more should be better, [settings, seeds]; a combination is its mean rank of the two."""
    if name in COMBINED:
        from scipy.stats import rankdata

        each = [goodness(part, rows, settings) for part in COMBINED[name]]
        return sum(torch.from_numpy(rankdata(v.numpy(), axis=0)) for v in each) / len(each)
    if name not in MEASURES:
        raise InputError(f"There is no measure {name!r}; there are {', '.join((*MEASURES, *COMBINED))}.")
    measure = MEASURES[name]
    values = column(rows, settings, measure.key)
    return values.apply_(measure.goodness)


def agreement(score: Tensor, truth: Tensor, resamples: int = 2000) -> Tau:
    """Kendall's tau of two tables [settings, seeds] by the settings' means over the seeds."""
    return tau_interval(score.mean(dim=1).tolist(), truth.mean(dim=1).tolist(), resamples)


def to_another_seed(score: Tensor, truth: Tensor) -> float:
    """Mean tau of the score in one seed with the truth in another, over all ordered pairs of seeds.

    With the truth as its own score: what a measure as noisy as the truth would reach, for the truth of one seed does
    not order the settings as that of another.  A measure with less noise can pass it.
    """
    n = score.shape[1]
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    return statistics.fmean(float(kendall_tau(score[:, a], truth[:, b])) for a, b in pairs)


def regrets(score: Tensor, truth: Tensor) -> list[float]:
    """By seed: the truth of the best setting minus that of the one with the highest score, both [settings, seeds]."""
    picked = truth.gather(0, score.argmax(dim=0, keepdim=True))[0]
    return (truth.max(dim=0).values - picked).tolist()


def controls(rows: Sequence[Mapping]) -> dict[str, Choice]:
    """The widget's inputs: which measure, which settings."""
    return {
        "measure": Choice((*MEASURES, *COMBINED), "RankMe of z", "measure", live=True),
        "part": Choice(tuple(parts(rows)), EVERYTHING, "settings", live=True),
    }


def render(measure: str, part: str, rows: Sequence[Mapping]) -> Figure:
    """The measure against the probe: a dot per setting (means), a thin mark per seed, a square around the pick."""
    settings, score, probe = _chosen(measure, part, rows)
    raw = column(rows, settings, MEASURES[measure].key) if measure in MEASURES else score
    axis = MEASURES[measure].axis if measure in MEASURES else f"{measure}: mean rank of the two"
    tau, lost = agreement(score, probe), statistics.fmean(regrets(score, probe))
    fig, ax = plots.new_figure(4.6, 3.3)
    ax.plot(raw.flatten(), 100 * probe.flatten(), ".", color=plots.GRAY, markersize=4, label="one seed")
    ax.plot(
        raw.mean(1), 100 * probe.mean(1), "o", color=plots.COLORS[0], label=f"mean of {probe.shape[1]} seeds"
    )
    pick = int(score.mean(1).argmax())
    ax.plot(
        raw[pick].mean(), 100 * probe[pick].mean(), "s", markersize=12, fillstyle="none", color=plots.COLORS[1],
        label="picked",
    )  # fmt: skip
    ax.axhline(10, color=plots.GRAY, linestyle=":")
    ax.set(xlabel=axis, ylabel="probe, 100 labels (%)", ylim=(0, None))
    ax.set_title(f"{measure}; {part}\ntau {tau}, regret {100 * lost:.1f} points")
    ax.legend(fontsize=8)
    return fig


def describe(measure: str, part: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    settings, score, probe = _chosen(measure, part, rows)
    pick, best = (settings[int(v.mean(1).argmax())] for v in (score, probe))
    of = {s: 100 * float(v) for s, v in zip(settings, probe.mean(1), strict=True)}
    lost = 100 * statistics.fmean(regrets(score, probe))
    return (
        f"{measure} against the probe for {len(settings)} settings ({part}): tau {agreement(score, probe)}. Its mean "
        f"over the seeds is best for {pick[0]} {pick[1]}, probe {of[pick]:.0f} percent; the best probe has {best[0]} "
        f"{best[1]}, {of[best]:.0f} percent. Choosing by it, seed by seed, costs {lost:.1f} points."
    )


def brief(measure: str, part: str, rows: Sequence[Mapping]) -> str:
    """`describe` in few words."""
    _, score, probe = _chosen(measure, part, rows)
    lost = 100 * statistics.fmean(regrets(score, probe))
    return f"tau {agreement(score, probe)}; choosing by it costs {lost:.1f} points."


def _chosen(measure: str, part: str, rows: Sequence[Mapping]) -> tuple[list[Setting], Tensor, Tensor]:
    groups = parts(rows)
    if part not in groups:
        raise InputError(f"There are no settings {part!r}; there are {', '.join(groups)}.")
    settings = groups[part]
    return settings, goodness(measure, rows, settings), column(rows, settings, "probe")
