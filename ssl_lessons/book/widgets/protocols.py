"""The same encoders under ten protocols: which order does each give?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence


def _mean(values) -> float:
    return float(np.mean(list(values)))


# A protocol's number of a row of the record `protocols`; KeyError where the arm cannot be read so.
PROTOCOLS: dict[str, Callable[[Mapping], float]] = {
    "neighbours": lambda row: row["knn"],
    "linear, 100 % of labels": lambda row: row["linear"],
    "linear, 10 %": lambda row: _mean(row["low"]["20"]),
    "linear, 1 %": lambda row: _mean(row["low"]["2"]),
    "hidden layer, 10 %": lambda row: row["mlp"],
    "fine-tuned, 5 %": lambda row: _mean(row["tuned"]["10"]),
    "retrieval (mAP)": lambda row: row["map"],
    "where it stands (R2)": lambda row: _mean(row["factors"][axis] for axis in "xy"),
    "damaged pictures": lambda row: _mean(row["damaged"].values()),
    "digits": lambda row: _mean(row["transfer"]["digits"]["low"]),
}
FLOORS = ("untrained", "pixels", "edges")  # what has learned nothing: drawn as diamonds
CHANCE = dict.fromkeys(PROTOCOLS, 0.1) | {"where it stands (R2)": 0.0}


def scores(rows: Sequence[Mapping], protocol: str) -> dict[str, list[float]]:
    """arm -> one number per seed, in the order of the seeds; arms without this reading are left out.

    rows: part "encoders" of the record.  Raises InputError for another protocol than those of PROTOCOLS.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocols: {', '.join(PROTOCOLS)}.")
    found: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        try:
            value = PROTOCOLS[protocol](row)
        except KeyError:
            continue
        found.setdefault(row["arm"], []).append(value)
    return found


def ranking(rows: Sequence[Mapping], protocol: str) -> list[str]:
    """The arms, best first, by their means over the seeds."""
    found = scores(rows, protocol)
    return sorted(found, key=lambda arm: -_mean(found[arm]))


def agreement(rows: Sequence[Mapping], protocol: str, against: str) -> float:
    """Spearman's rank correlation of two protocols over the arms that both can read."""
    from scipy.stats import spearmanr

    a, b = scores(rows, protocol), scores(rows, against)
    arms = [arm for arm in a if arm in b]
    return float(spearmanr([_mean(a[arm]) for arm in arms], [_mean(b[arm]) for arm in arms]).statistic)


def controls() -> dict[str, Choice]:
    """The protocol that orders the arms, and the one whose places stand beside their names."""
    return {
        "protocol": Choice(tuple(PROTOCOLS), "linear, 100 % of labels", "protocol", live=True),
        "against": Choice(tuple(PROTOCOLS), "linear, 100 % of labels", "places by", live=True),
    }


def render(protocol: str, against: str, rows: Sequence[Mapping]) -> Figure:
    """One line per arm, best on top: mean and 90 % interval over seeds (diamonds: nothing was learned); beside the
    name its place by `against`.
    """
    found, order, other = scores(rows, protocol), ranking(rows, protocol), ranking(rows, against)
    scale = 1 if "R2" in protocol else 100
    fig, ax = plots.new_figure(5.4, 3.4)
    for place, arm in enumerate(order):
        values = found[arm]
        middle, low, high = evidence.interval(values) if len(values) > 1 else (values[0],) * 3
        color, mark = (plots.COLORS[1], "D") if arm in FLOORS else (plots.COLORS[0], "o")
        ax.plot([scale * low, scale * high], [place, place], color=color)
        ax.plot(scale * middle, place, mark, color=color)
    ax.axvline(scale * CHANCE[protocol], color=plots.GRAY, linestyle=":")
    names = [f"{arm} ({other.index(arm) + 1})" if arm in other else f"{arm} (-)" for arm in order]
    ax.set_yticks(range(len(order)), names)
    ax.invert_yaxis()
    ax.set(
        title=f"{protocol}: {order[0]} first",
        xlabel=("R2" if scale == 1 else "%") + f"   (in brackets: place by {against})",
    )
    return fig


def describe(protocol: str, against: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    found, order = scores(rows, protocol), ranking(rows, protocol)
    values = ", ".join(f"{arm} {_mean(found[arm]):.2f}" for arm in order)
    return (
        f"Protocol {protocol}, best first: {values}. Rank correlation with {against}: "
        f"{agreement(rows, protocol, against):+.2f}."
    )
