"""One knob at a time: recorded runs at each of its levels, beside the band of the base."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError

BASE, UNTRAINED = "base", "untrained"
FEWEST = 3  # seeds of a knob that may be shown
QUANTITIES = {  # column of the record -> name, factor
    "probe": ("probe, 100 labels (%)", 100),
    "knn": ("kNN (%)", 100),
    "rank_h": ("RankMe of h", 1),
    "loss": ("loss at the end (nats)", 1),
}


def seeds(rows: Sequence[Mapping], knob: str, key: str = "probe") -> list[int]:
    """The seeds at which the base and all levels of a knob were run and measured."""
    return _complete(rows, knob, key)[1]


def levels(rows: Sequence[Mapping], knob: str, key: str = "probe") -> dict[str, list[float]]:
    """level -> one number per complete seed, in the knob's order, the base under the name that it has there.

    rows: of benchmarks/knobs.py, SimCLR's.  Raises InputError for a knob that the rows do not have.
    """
    names, complete = _complete(rows, knob, key)
    usual = _first(rows, knob)["usual"]
    found = {}
    for level in names:
        place = (BASE, "") if level == usual else (knob, level)
        by_seed = {r["seed"]: r for r in rows if (r["knob"], r["level"]) == place}
        found[level] = [by_seed[s][key] for s in complete]
    return found


def knobs(rows: Sequence[Mapping], key: str = "probe") -> list[str]:
    """The knobs with at least FEWEST complete seeds, in the record's order."""
    names = dict.fromkeys(r["knob"] for r in rows if "levels" in r)
    return [name for name in names if len(seeds(rows, name, key)) >= FEWEST]


def usual(rows: Sequence[Mapping], knob: str) -> str:
    """The name of the level that the base has."""
    return _first(rows, knob)["usual"]


def controls(names: Sequence[str]) -> dict[str, Choice]:
    """Which knob, and which quantity to look at."""
    return {
        "knob": Choice(tuple(names), names[0], "knob", live=True),
        "key": Choice(tuple(QUANTITIES), "probe", "quantity", live=True),
    }


def render(knob: str, key: str, rows: Sequence[Mapping]) -> Figure:
    """The quantity at every level of the knob, all seeds, on the band of the base; dotted: before training."""
    name, factor = QUANTITIES[key]
    found = {level: factor * np.array(v) for level, v in levels(rows, knob, key).items()}
    base = found[usual(rows, knob)]
    fig, ax = plots.new_figure(4.8, 3.2)
    ax.axhspan(base.min(), base.max(), color=plots.GRAY, alpha=0.25, linewidth=0)
    x = np.arange(len(found))
    for values in np.array(list(found.values())).T:
        ax.plot(x, values, "o-", color=plots.COLORS[0], alpha=0.45, markersize=4)
    ax.plot(x, [v.mean() for v in found.values()], "D-", color=plots.COLORS[1], linewidth=2)
    if floor := [factor * r[key] for r in rows if r["knob"] == UNTRAINED and key in r]:
        ax.axhline(np.mean(floor), color=plots.GRAY, linestyle=":")
    ax.set_xticks(x, found, rotation=20 if max(map(len, found)) > 8 else 0)
    ax.set(title=f"{knob}: seeds (thin), mean (diamonds)", ylabel=name)
    return fig


def describe(knob: str, key: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    name, factor = QUANTITIES[key]
    found = {level: factor * np.array(v) for level, v in levels(rows, knob, key).items()}
    base = found[usual(rows, knob)]
    said = ", ".join(f"{level} {v.mean():.1f}" for level, v in found.items())
    inside = [level for level, v in found.items() if base.min() <= v.mean() <= base.max()]
    return (
        f"{knob}, {name}, means of {len(base)} seeds: {said}. Band of the base {base.min():.1f} to {base.max():.1f}; "
        f"inside it: {', '.join(inside)}."
    )


def _first(rows: Sequence[Mapping], knob: str) -> Mapping:
    found = next((r for r in rows if r["knob"] == knob and "levels" in r), None)
    if found is None:
        raise InputError(f"the record has no knob {knob!r}.")
    return found


def _complete(rows: Sequence[Mapping], knob: str, key: str) -> tuple[list[str], list[int]]:
    """The levels of a knob in order, and the seeds that have all of them."""
    first = _first(rows, knob)
    places = {(BASE, "") if level == first["usual"] else (knob, level) for level in first["levels"]}
    have: dict[int, set] = {}
    for r in rows:
        if (r["knob"], r["level"]) in places and r.get(key) is not None:
            have.setdefault(r["seed"], set()).add((r["knob"], r["level"]))
    return list(first["levels"]), sorted(s for s, found in have.items() if found == places)
