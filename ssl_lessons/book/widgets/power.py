"""How many seeds decide?  The chances of the four words before a study, from effect, spread and number of seeds."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Slider
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import FAILS, HOLDS, UNSURE

SEEDS = (3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40)
WORDS = (HOLDS, FAILS, UNSURE)


@lru_cache(maxsize=512)
def _chances(effect: float, spread: float, n: int, margin: float) -> tuple[float, ...]:
    found = evidence.chances(effect, spread, n, margin)
    return tuple(found[word] for word in WORDS)


def chances(effect: float, spread: float, seeds: int, margin: float) -> dict[str, float]:
    """How often each word is said, {word: share}; all numbers in points."""
    return dict(zip(WORDS, _chances(float(effect), float(spread), int(seeds), float(margin)), strict=True))


def controls() -> dict[str, Slider]:
    """True effect, spread of the differences over seeds, margin (all in points), and seeds."""
    return {
        "effect": Slider(-2.0, 8.0, 3.0, "true effect (points)", step=0.5),
        "spread": Slider(0.5, 8.0, 3.0, "spread over seeds (points)", step=0.5),
        "margin": Slider(0.5, 5.0, 2.0, "margin (points)", step=0.5),
        "seeds": Slider(3, 40, 3, "seeds", step=1),
    }


def render(effect: float, spread: float, margin: float, seeds: int) -> Figure:
    """The shares of the words against the number of seeds, one upon the other; the line is the chosen number."""
    found = [chances(effect, spread, n, margin) for n in SEEDS]
    now = chances(effect, spread, seeds, margin)
    fig, ax = plots.new_figure(4.8, 3.2)
    shares = [[100 * f[word] for f in found] for word in WORDS]
    colors = (plots.COLORS[0], plots.COLORS[1], "#c8c8c8")
    stacks = ax.stackplot(SEEDS, shares, colors=colors, labels=WORDS, alpha=0.85)
    for stack, hatch in zip(stacks, ("", "//", ""), strict=True):
        stack.set(hatch=hatch, edgecolor="white", linewidth=0)
    ax.axvline(seeds, color=plots.GRAY, linestyle=":")
    ax.set(
        xlim=(2, SEEDS[-1]),
        ylim=(0, 100),
        xlabel="seeds",
        ylabel="of 100 studies",
        title=f"{seeds} seeds: {now[HOLDS] + now[FAILS]:.0%} of the studies decide",
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize=8, columnspacing=1.0)
    return fig


def describe(effect: float, spread: float, margin: float, seeds: int) -> str:
    """The picture of `render` in words."""
    now = chances(effect, spread, seeds, margin)
    said = ", ".join(f"{word} {now[word]:.0%}" for word in WORDS)
    needed = evidence.pairs_to_decide(effect, spread, margin)
    enough = f"more than {evidence.MOST}" if needed > evidence.MOST else f"about {needed}"
    return (
        f"True effect {effect:+g} points, spread {spread:g}, margin {margin:g}, {seeds} seeds: {said}. "
        f"Four of five studies decide with {enough} seeds."
    )
