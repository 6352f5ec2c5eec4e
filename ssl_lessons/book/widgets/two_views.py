"""Split a picture in two: what can each view tell, and what do they share?  Chapter 11b's widget."""

from __future__ import annotations

from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons import evaluation
from ssl_lessons.book import plots
from ssl_lessons.book.chapter import recorded
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.data.image_set import Factor
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import encoders, wordless, world

CONTROLS = {
    "split": Choice(tuple(wordless.SPLITS), "lightness, colour", "split by", live=True),
    "scene": Slider(0, 19, 3, "scene", step=1, live=True),
}
NAMES = {
    "lightness, colour": ("lightness", "colour"),
    "rows": ("even rows", "odd rows"),
    "thirds": ("left third", "right third"),
}


@cache
def scenes() -> tuple[world.Scenes, world.Scenes]:
    return world.scenes("train", 1000), world.scenes("test", 500)


@cache
def told(split: str) -> tuple[dict[str, float], dict[str, float]]:
    """Factor -> what a linear readout finds (0 chance, 1 always right) in an untrained eye on one view alone; twice."""
    eyes, found = _eyes(split), []
    for k in (0, 1):
        sides = []
        for some in scenes():
            factors = {name: Factor(v, "categorical") for name, v in some.factors.items()}
            sides += [
                encoders.apply(lambda x, k=k: eyes.eyes[k](eyes.views(x)[k]), some.pictures, eyes),
                factors,
            ]
        found.append(evaluation.factor_probe(*sides))
    return tuple(found)


def _eyes(split: str) -> wordless.TwoEyes:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return wordless.TwoEyes(256, split)


def kept(split: str) -> dict[str, float] | None:
    """Factor -> the readout after CMC on this split, the mean over the seeds of the record; None where it has none."""
    try:
        rows = recorded("other_pairs")[0]
    except InputError:  # no such file
        return None
    found = [r["factors"] for r in rows if (r["part"], r["arm"]) == ("eyes", f"CMC, {split}")]
    return {k: sum(f[k] for f in found) / len(found) for k in found[0]} if found else None


def shown(split: str, scene: int) -> list[Tensor]:
    """Both views of a scene as pictures [S, S, 3] from 0 to 1; of colours without lightness, at medium lightness."""
    picture = scenes()[1].pictures[scene : scene + 1]
    views = wordless.SPLITS[split][0](picture)
    if split != "lightness, colour":
        return [((v[0] + 1) / 2).permute(1, 2, 0) for v in views]
    from ssl_lessons.views.color import lab_to_rgb

    light, colour = views
    full = torch.cat([torch.full_like(light, 60.0), 60 * colour], dim=1)
    gray = ((light + 1) / 2).expand(-1, 3, -1, -1)
    return [x[0].clamp(0, 1).permute(1, 2, 0) for x in (gray, lab_to_rgb(full))]


def render(split: str, scene: int) -> Figure:
    """The two views of a scene, and bars: what either view alone tells an untrained eye, and what CMC made of both."""
    fig, (left, right, ax) = plots.new_figure(8.6, 2.9, columns=3)
    for place, picture, name in zip((left, right), shown(split, int(scene)), NAMES[split], strict=True):
        place.imshow(picture.numpy())
        place.set(title=name)
        place.set_axis_off()
    factors, trained = list(world.FACTORS), kept(split)
    for k, (values, name) in enumerate(zip(told(split), NAMES[split], strict=True)):
        at = [i + 0.36 * (k - 0.5) for i in range(len(factors))]
        heights = [100 * values[f] for f in factors]
        ax.bar(at, heights, 0.34, color=plots.COLORS[k], hatch=("", "//")[k], edgecolor="white", label=name)
    if trained:
        ax.plot([100 * trained[f] for f in factors], "D", color=plots.COLORS[2], label="both, after CMC")
    ax.set_xticks(range(len(factors)), factors, rotation=30)
    ax.set(ylabel="readout (0 chance)", ylim=(0, 115), title="What each view tells")
    ax.legend(fontsize=8, loc="upper left", ncols=3)
    return fig


def describe(split: str, scene: int) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    words = [
        f"{name}: " + ", ".join(f"{f} {100 * v:.0f}" for f, v in values.items())
        for name, values in zip(NAMES[split], told(split), strict=True)
    ]
    trained = kept(split)
    after = (
        " After CMC: " + ", ".join(f"{f} {100 * v:.0f}" for f, v in trained.items()) + "." if trained else ""
    )
    return (
        f"Two views of one scene, split by {split}, and what a linear readout of an untrained eye finds in each, "
        f"from 0 to 100. {'. '.join(words)}.{after}"
    )


def brief(split: str, scene: int) -> str:
    """`describe` in few words: the factors that the splits treat differently."""
    one, other = told(split)
    trained = kept(split)
    words = [
        f"{factor} {100 * one[factor]:.0f} and {100 * other[factor]:.0f}"
        + (f", after CMC {100 * trained[factor]:.0f}" if trained else "")
        for factor in ("colour", "place", "ground")
    ]
    return f"{'; '.join(words)}."
