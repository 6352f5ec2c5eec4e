"""A hypothesis and its escape routes: a cheap score against the probe, for whichever runs and moments one counts."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence

# A score of a run, from its row and the tenths of the run that count; only the first two know tenths.
SCORES: dict[str, Callable[[Mapping, int, int], float]] = {
    "gradient norm": lambda row, first, last: float(np.mean(row["grad"][first - 1 : last])),
    "loss": lambda row, first, last: float(np.mean(row["losses"][first - 1 : last])),
    "RankMe": lambda row, first, last: row["rank_h"],
    "which quarter": lambda row, first, last: row["quarter"],
    "early kNN": lambda row, first, last: row["early"],
}
TIMED = ("gradient norm", "loss")
# What a reader may leave out: whether that strikes a policy with these parts.
GROUPS: dict[str, Callable[[Sequence[str]], bool]] = {
    "nothing": lambda parts: False,
    "those without colour": lambda parts: "colour" not in parts,
    "those without crop": lambda parts: "crop" not in parts,
    "those that turn": lambda parts: "turns" in parts,
    "those that blur": lambda parts: "blur" in parts,
}
DRAWS = 500  # of the bootstrap, on the board


def points(
    rows: Sequence[Mapping],
    world: str,
    score: str = "gradient norm",
    first: int = 1,
    last: int = 10,
    without: str = "nothing",
) -> dict[str, tuple[float, float]]:
    """policy -> (score, probe), means over the seeds, in one world.

    rows: with arm, data, probe, parts and what the scores read; rows without `parts` are no policies.  first, last:
    which tenths of the run count.  Raises InputError for a score or group that is none of SCORES and GROUPS, and for a
    world without runs.
    """
    if score not in SCORES or without not in GROUPS:
        raise InputError(f"scores: {', '.join(SCORES)}; to leave out: {', '.join(GROUPS)}.")
    first, last = sorted((int(first), int(last)))
    found: dict[str, list] = {}
    for row in rows:
        if row["data"] == world and row.get("parts") is not None and not GROUPS[without](row["parts"]):
            found.setdefault(row["arm"], []).append((SCORES[score](row, first, last), row["probe"]))
    if not found:
        raise InputError(f"no runs in the world {world!r}.")
    return {arm: tuple(np.mean(pairs, axis=0)) for arm, pairs in found.items()}


def every_choice(rows: Sequence[Mapping], worlds: Sequence[str], score: str = "gradient norm") -> list[dict]:
    """The rank correlation for all worlds, groups left out and stretches of the run: what a search would find."""
    from scipy.stats import spearmanr

    windows = [(a, b) for a in range(1, 11) for b in range(a, 11)]
    found = []
    for world, without, (first, last) in itertools.product(worlds, GROUPS, windows):
        x, y = zip(*points(rows, world, score, first, last, without).values(), strict=True)
        rho = float(spearmanr(x, y).statistic)
        found.append({"world": world, "without": without, "first": first, "last": last, "rho": rho})
    return found


def controls(worlds: Sequence[str]) -> dict[str, Slider | Choice]:
    """The board's inputs: which world and score, which tenths of the run count, and what is left out."""
    return {
        "world": Choice(worlds, worlds[0], "world", live=True),
        "score": Choice(tuple(SCORES), "gradient norm", "score", live=True),
        "first": Slider(1, 10, 1, "from tenth", step=1, live=True),
        "last": Slider(1, 10, 10, "to tenth", step=1, live=True),
        "without": Choice(tuple(GROUPS), "nothing", "leave out", live=True),
    }


def render(world: str, score: str, first: int, last: int, without: str, rows: Sequence[Mapping]) -> Figure:
    """Score against probe, one point per policy, with the rank correlation and its 90 % interval in the title."""
    found = points(rows, world, score, first, last, without)
    x, y = np.array(list(found.values())).T
    result = evidence.correlation(x, y, draws=DRAWS)
    fig, ax = plots.new_figure(4.8, 3.2)
    draw(ax, found)
    ax.set(
        xlabel=f"{score}, {_window(score, first, last)}",
        ylabel="probe, 100 labels (%)",
        title=f"{world}: rho {result.estimate:+.2f} ({result.low:+.2f} to {result.high:+.2f})",
    )
    return fig


def draw(ax, found: Mapping[str, tuple[float, float]], named: Sequence[str] = ()) -> None:
    """Points (score, probe in %); the policies in `named` have their own marker and their name beside it."""
    x, y = np.array(list(found.values())).T
    ax.plot(x, 100 * y, "o", color=plots.COLORS[0], alpha=0.7)
    ax.axhline(10, color=plots.GRAY, linestyle=":")
    for arm in named:
        if arm in found:
            a, b = found[arm]
            ax.plot(a, 100 * b, "D", color=plots.COLORS[1], markersize=8)
            ax.annotate(arm, (a, 100 * b), textcoords="offset points", xytext=(6, 4), fontsize=8)


def describe(world: str, score: str, first: int, last: int, without: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    found = points(rows, world, score, first, last, without)
    result = evidence.correlation(*np.array(list(found.values())).T, draws=DRAWS)
    best = max(found, key=lambda arm: found[arm][1])
    largest = max(found, key=lambda arm: found[arm][0])
    return (
        f"World {world}, {len(found)} policies, left out: {without}, {score} over {_window(score, first, last)}: rank "
        f"correlation with the probe {result.estimate:+.2f}, 90 percent interval {result.low:+.2f} to "
        f"{result.high:+.2f}. The best probe belongs to {best}, the largest score to {largest}."
    )


def brief(world: str, score: str, first: int, last: int, without: str, rows: Sequence[Mapping]) -> str:
    """`describe` in few words."""
    found = points(rows, world, score, first, last, without)
    result = evidence.correlation(*np.array(list(found.values())).T, draws=DRAWS)
    return (
        f"{score} over {_window(score, first, last)}, {len(found)} policies: correlation "
        f"{result.estimate:+.2f} ({result.low:+.2f} to {result.high:+.2f})."
    )


def _window(score: str, first: int, last: int) -> str:
    first, last = sorted((int(first), int(last)))
    if score not in TIMED or (first, last) == (1, 10):
        return "whole run"
    return f"tenth {first}" if first == last else f"tenths {first} to {last}"
