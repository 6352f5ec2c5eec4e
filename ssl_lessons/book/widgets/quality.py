"""Do measures without labels rank runs as labels do?  What chapter 21 reads from its record: measures, slices, rank
correlations over settings, the cost of choosing, and a scatter plot."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.evidence import Verdict, correlation

Rows = Sequence[Mapping]


class Measure(NamedTuple):
    """How to read a measure from recorded runs.  goodness: runs -> numbers that should grow with quality."""

    goodness: Callable[[Rows], np.ndarray]
    axis: str


def _of(key: str, sign: int = 1) -> Callable[[Rows], np.ndarray]:
    return lambda rows: sign * np.array([row[key] for row in rows], dtype=float)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / max(float(values.std()), 1e-12)


def _clid(rows: Rows) -> np.ndarray:
    return _standard(_of("two_nn_h")(rows)) + _standard(_of("learnability_h")(rows))


def _ranks_of(*keys: str) -> Callable[[Rows], np.ndarray]:
    from scipy.stats import rankdata

    return lambda rows: np.mean([rankdata(_of(key)(rows)) for key in keys], axis=0)


MEASURES = {
    "RankMe of z": Measure(_of("rank_z"), "effective rank of z"),
    "RankMe of h": Measure(_of("rank_h"), "effective rank of h"),
    "alpha-ReQ of h": Measure(lambda rows: -abs(_of("alpha_h")(rows) - 1), "minus |alpha - 1| of h"),
    "spectrum area of z": Measure(_of("area_z", -1), "minus area under the cumulative spectrum of z"),
    "LiDAR of z": Measure(_of("lidar_own_z"), "LiDAR of z"),
    "alignment of z": Measure(_of("alignment_own_z", -1), "minus squared distance of two views in z"),
    "uniformity of z": Measure(_of("uniformity_z", -1), "minus uniformity of z"),
    "views found in z": Measure(_of("found_own_z"), "share of views whose nearest is the other view"),
    "CLID of h": Measure(_clid, "TwoNN dimension + learnability of h, standardised"),
    "IdEst of h": Measure(_of("tree_h", -1), "minus tree dimension of h"),
    "SIGReg of z": Measure(_of("sigreg_z", -1), "minus SIGReg of standardised z"),
    "rotation probe": Measure(_of("rotation"), "rotation read from h (0 = chance)"),
    "rank and views": Measure(
        _ranks_of("rank_z", "found_own_z"), "mean rank by RankMe of z and by views found"
    ),
    "loss": Measure(_of("loss", -1), "minus training loss"),
    "steps": Measure(_of("steps"), "training steps"),
}
RANDOM, NOTHING = "(a run at random)", "(the recipe as it is)"
TRAINING = (
    "temperature",
    "projector",
    "learning rate",
)  # slices of settings, with the views and the length fixed
SETTINGS, SIMCLR, METHODS, EVERYTHING = "training settings", "all SimCLR runs", "methods", "all runs"


def complete(rows: Rows) -> list[Mapping]:
    """The trained runs of those seeds that every setting has, ordered by setting and seed."""
    runs = [row for row in rows if row["slice"] != "floor"]
    seeds = {}
    for row in runs:
        seeds.setdefault(setting(row), set()).add(row["seed"])
    common = set.intersection(*seeds.values()) if seeds else set()
    order = list(seeds)
    kept = [row for row in runs if row["seed"] in common]
    return sorted(kept, key=lambda row: (order.index(setting(row)), row["seed"]))


def setting(row: Mapping) -> str:
    return f"{row['slice']}: {row['setting']}"


def slices(rows: Rows) -> dict[str, list[Mapping]]:
    """The runs by what was changed, each slice with the base runs, then the large groups."""

    def having(*names: str) -> list[Mapping]:
        return [row for row in rows if row["slice"] in ("base", *names)]

    changed = list(dict.fromkeys(row["slice"] for row in rows if row["slice"] != "base"))
    parts = {name: having(name) for name in ("temperature", "augmentation", "length")}
    parts[SETTINGS] = having(*TRAINING)
    parts[SIMCLR] = having(*(name for name in changed if name != "method"))
    parts[METHODS] = having("method")
    parts[EVERYTHING] = list(rows)
    return parts


def goodness(name: str, rows: Rows) -> np.ndarray:
    """A measure of every run, turned so that more should be better."""
    return MEASURES[name].goodness(rows)


def agreement(name: str, rows: Rows, draws: int = 1000) -> Verdict | None:
    """Spearman's rank correlation between a measure (more should be better) and the probe, with its interval over
    settings: the seeds of one setting are drawn together.  None where the measure is the same for all."""
    x, y = goodness(name, rows), [row["probe"] for row in rows]
    if np.ptp(x) == 0:
        return None
    return correlation(x, y, groups=[setting(row) for row in rows], draws=draws)


def by_seed(rows: Rows) -> list[list[Mapping]]:
    """The runs of every seed, in the order of the seeds."""
    return [[row for row in rows if row["seed"] == seed] for seed in sorted({row["seed"] for row in rows})]


def picks(name: str, rows: Rows) -> list[Mapping]:
    """The run that a measure prefers, one for every seed."""
    return [runs[int(goodness(name, runs).argmax())] for runs in by_seed(rows)]


def oracle(rows: Rows) -> list[Mapping]:
    """The run with the best probe on held-out labels, one for every seed: what choosing with labels finds."""
    return [max(runs, key=lambda row: row["held_out"]) for runs in by_seed(rows)]


def _preferred(name: str, runs: Rows) -> float:
    """The probe of the run that a measure prefers; the mean where several tie, lest their order decide."""
    values = goodness(name, runs)
    return float(np.mean([row["probe"] for row, v in zip(runs, values, strict=True) if v == values.max()]))


def regrets(name: str, rows: Rows) -> list[float]:
    """Test accuracy lost by choosing with a measure instead of with held-out labels, one number for every seed.

    RANDOM: the mean run; NOTHING: the base run.  Below 0 where the measure chose better than the labels did.
    """
    best = [row["probe"] for row in oracle(rows)]
    if name == RANDOM:
        chosen = [float(np.mean([row["probe"] for row in runs])) for runs in by_seed(rows)]
    elif name == NOTHING:
        chosen = [row["probe"] for runs in by_seed(rows) for row in runs if row["slice"] == "base"]
    else:
        chosen = [_preferred(name, runs) for runs in by_seed(rows)]
    return [b - c for b, c in zip(best, chosen, strict=True)]


def ceiling(rows: Rows) -> float:
    """Rank correlation of one seed's probes with the mean of the other seeds', over the settings, mean over seeds:
    a cautious estimate of what a measure could reach that knew every setting's quality and not a run's luck (the mean
    of the others carries luck, too)."""
    table = np.array([[row["probe"] for row in runs] for runs in by_seed(rows)])
    if len(table) < 2:
        raise InputError("the ceiling needs at least two seeds")
    order = table.argsort(axis=1).argsort(axis=1)
    others = ((table.sum(0) - table) / (len(table) - 1)).argsort(axis=1).argsort(axis=1)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(order, others, strict=True)]))


# ---- the widget ------------------------------------------------------------------------------------------------


def controls(rows: Rows) -> dict[str, Choice]:
    """The widget's inputs: which measure, which runs."""
    return {
        "measure": Choice(tuple(MEASURES), "RankMe of z", "measure", live=True),
        "part": Choice(tuple(slices(rows)), SETTINGS, "runs", live=True),
    }


def words(found: Verdict | None) -> str:
    """A correlation and its interval."""
    if found is None:
        return "the same for all"
    text = f"{found.estimate:+.2f}"
    return text if found.low is None else f"{text} ({found.low:+.2f} to {found.high:+.2f})"


def render(measure: str, part: str, rows: Rows) -> Figure:
    """The measure against the probe, a dot per run; marked are its picks and those of held-out labels."""
    chosen = _chosen(measure, part, rows)
    x, y = goodness(measure, chosen), np.array([100 * row["probe"] for row in chosen])
    fig, ax = plots.new_figure(4.4, 3.2)
    ax.plot(x, y, "o", color=plots.GRAY, markersize=4)
    for found, mark, color, label in (
        (oracle(chosen), "s", plots.COLORS[0], "chosen with labels"),
        (picks(measure, chosen), "*", plots.COLORS[1], "chosen by the measure"),
    ):
        at = [chosen.index(row) for row in found]
        ax.plot(x[at], y[at], mark, color=color, markersize=9, label=label)
    ax.axhline(10, color=plots.GRAY, linestyle=":")
    ax.set(xlabel=MEASURES[measure].axis, ylabel="probe, 100 labels (%)", ylim=(0, None))
    ax.set_title(f"{measure}, {part}:\nrank correlation {words(agreement(measure, chosen, 400))}")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def describe(measure: str, part: str, rows: Rows) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    chosen = _chosen(measure, part, rows)
    lost = np.mean(regrets(measure, chosen))
    pick, best = picks(measure, chosen)[0], oracle(chosen)[0]
    return (
        f"{measure} against the probe for {len(chosen)} runs ({part}): rank correlation "
        f"{words(agreement(measure, chosen, 400))}. Of the first seed the measure prefers {setting(pick)} with a probe "
        f"of {100 * pick['probe']:.0f} percent; held-out labels choose {setting(best)} with {100 * best['probe']:.0f} "
        f"percent. Mean loss over the seeds: {100 * lost:.1f} points."
    )


def _chosen(measure: str, part: str, rows: Rows) -> list[Mapping]:
    if measure not in MEASURES:
        raise InputError(f"There is no measure {measure!r}; there are {', '.join(MEASURES)}.")
    parts = slices(rows)
    if part not in parts:
        raise InputError(f"There are no runs {part!r}; there are {', '.join(parts)}.")
    return parts[part]
