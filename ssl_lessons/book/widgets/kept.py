"""What two runs keep, side by side: how well a probe reads each factor, from a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError


class Kept:
    """`render(one, other)` draws what can be read from two arms: a bar per factor, a mark per seed.

    rows: dicts with "arm", "seed" and "factors", as the record `keep` has them.  names: factor -> how it is called
    here, in order.  start: the two arms shown first.
    """

    def __init__(self, rows: Sequence[Mapping], names: Mapping[str, str], start: tuple[str, str]):
        self.names, self.found = dict(names), {}
        for row in rows:
            self.found.setdefault(row["arm"], []).append([row["factors"][name] for name in self.names])
        if missing := [arm for arm in start if arm not in self.found]:
            raise InputError(f"no row has the arm {missing[0]!r}; there are {', '.join(self.found)}")
        arms = tuple(self.found)
        self.controls = {
            "one": Choice(arms, start[0], "one", live=True),
            "other": Choice(arms, start[1], "the other", live=True),
        }

    def values(self, arm: str) -> dict[str, list[float]]:
        """Factor -> one value per seed, 0 (chance) to 1."""
        if arm not in self.found:
            raise InputError(f"no row has the arm {arm!r}; there are {', '.join(self.found)}")
        return dict(zip(self.names.values(), map(list, zip(*self.found[arm], strict=True)), strict=True))

    def render(self, one: str, other: str) -> Figure:
        """Bars of the means, marks of the seeds."""
        fig, ax = plots.new_figure(5.0, 3.0)
        for k, (arm, mark) in enumerate(((one, "o"), (other, "s"))):
            values = self.values(arm)
            places = [i + 0.4 * k - 0.2 for i in range(len(values))]
            ax.bar(
                places, [fmean(v) for v in values.values()], 0.38, color=plots.COLORS[k], alpha=0.5, label=arm
            )
            for place, seeds in zip(places, values.values(), strict=True):
                ax.plot([place] * len(seeds), seeds, mark, color=plots.COLORS[k], markersize=4)
        ax.set_xticks(range(len(self.names)), self.names.values(), rotation=30, ha="right")
        ax.set(ylim=(0, 1), ylabel="readable (0 chance, 1 all)", title="What a linear probe reads")
        ax.legend()
        return fig

    def describe(self, one: str, other: str) -> str:
        """The picture of `render` in words."""
        sides = (
            "; ".join(f"{n} {fmean(v):.0%}" for n, v in self.values(arm).items()) for arm in (one, other)
        )
        return "How much of each factor a probe reads. " + " ".join(
            f"{arm}: {side}." for arm, side in zip((one, other), sides, strict=True)
        )
