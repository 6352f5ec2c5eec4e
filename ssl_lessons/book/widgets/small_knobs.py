"""The page of chapter 22d: what each of eleven small knobs did to its own base, seed by seed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.chapter import per_seed
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.evaluation import evidence

# knob -> group of the record, the base, the advice; all three were fixed before the runs.
PAGE = {
    "smaller patches": ("vit", "patch 8", "patch 4"),
    "BatchNorm in the projector": ("vit", "no BatchNorm", "patch 8"),
    "class token": ("vit labels", "base", "cls"),
    "LayerScale": ("vit labels", "base", "scale 0.1"),
    "stochastic depth": ("vit labels", "base", "drop 0.2"),
    "layer decay": ("decay", "1", "0.75"),
    "wider output": ("width", "256", "1024"),
    "moving projector": ("keys", "own", "projector"),
    "moving temperature": ("tail", "fixed", "wave"),
    "curated pool": ("pool", "messy", "curated"),
    "messy pool": ("pool", "clean", "messy"),
}


def scores(rows: Sequence[Mapping], group: str, arm: str) -> np.ndarray:
    """Scores of an arm, one per seed, in points."""
    return 100 * np.array(per_seed(rows, "score", part="main", group=group, arm=arm))


def difference(rows: Sequence[Mapping], knob: str) -> np.ndarray:
    """Advice minus base, one number per seed, in points."""
    group, base, advice = PAGE[knob]
    return scores(rows, group, advice) - scores(rows, group, base)


def effects(rows: Sequence[Mapping]) -> dict[str, tuple[float, float, float]]:
    """knob -> mean difference and its 90 % interval, the largest first."""
    found = {knob: evidence.interval(difference(rows, knob)) for knob in PAGE}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1][0])))


CONTROLS = {"knob": Choice(tuple(PAGE), next(iter(PAGE)), "knob", live=True)}


def render(knob: str, rows: Sequence[Mapping]) -> Figure:
    """Left, the base and the advice in every seed; right, the difference on the page of all."""
    group, base, advice = PAGE[knob]
    found = effects(rows)
    fig, (seeds, page) = plots.new_figure(8.4, 3.6, columns=2)
    for a, b in zip(scores(rows, group, base), scores(rows, group, advice), strict=True):
        seeds.plot([0, 1], [a, b], "o-", color=plots.COLORS[0])
    seeds.set_xticks([0, 1], [base, advice])
    seeds.set(xlim=(-0.4, 1.4), ylabel="score (%)", title=f"{knob}: three seeds")
    names = list(found)[::-1]
    for y, name in enumerate(names):
        mean, low, high = found[name]
        color = plots.COLORS[1] if name == knob else plots.GRAY
        page.plot([low, high], [y, y], color=color)
        page.plot(mean, y, "o", color=color)
    page.axvline(0, color=plots.GRAY, linestyle=":")
    page.set_yticks(range(len(names)), names)
    page.set(xlabel="advice minus base (points), 90 %", title="all eleven")
    return fig


def describe(knob: str, rows: Sequence[Mapping]) -> str:
    """The picture of `render` in words."""
    group, base, advice = PAGE[knob]
    mean, low, high = evidence.interval(difference(rows, knob))
    pairs = zip(scores(rows, group, base), scores(rows, group, advice), strict=True)
    told = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in pairs)
    return f"{knob}, {base} against {advice}, score by seed: {told}; {mean:+.1f} points ({low:+.1f} to {high:+.1f})."
