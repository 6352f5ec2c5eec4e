"""A sentence is changed in one of several ways: what it still says, and how many of its words are left."""

from functools import cache

import torch
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import positives, sentences
from ssl_lessons.modalities.words.positives import Way

STRENGTHS = {  # of the ways that have one: strength -> way
    "thesaurus": lambda s: lambda ids, g: positives.synonyms(ids, g, s),
    "hide words": lambda s: lambda ids, g: positives.masking(ids, g, s),
    "delete words": lambda s: lambda ids, g: positives.deletion(ids, g, s),
    "crop": lambda s: lambda ids, g: positives.cropping(ids, g, 1 - s),
}
FIXED = {
    "swap two words": positives.swapping,
    "EDA": positives.eda,
    "translate back": positives.back_translation,
}
WAYS = (*STRENGTHS, *FIXED)
CONTROLS = {
    "way": Choice(WAYS, "hide words", "way"),
    "strength": Slider(0.1, 0.9, 0.3, "share of words", step=0.1),
}
SEEN = 2000  # sentences that are read


@cache
def texts() -> torch.Tensor:
    """SEEN sentences, always the same: ids [SEEN, 12]."""
    return sentences.documents(SEEN // 4, sentences=4, seed=7).flat()[0]


def way_of(way: str, strength: float) -> Way:
    """The way with its strength, where it has one.  Raises InputError for a way that is none of WAYS."""
    if way not in WAYS:
        raise InputError(f"There is no way {way!r}; there are {', '.join(WAYS)}.")
    return FIXED[way] if way in FIXED else STRENGTHS[way](float(strength))


@cache
def kept(way: str, strength: float) -> dict[str, float]:
    """What is left of the factors and of the names, over SEEN sentences; see `positives.kept`."""
    return positives.kept(way_of(way, strength), texts(), torch.Generator().manual_seed(0))


def example(way: str, strength: float) -> tuple[str, str]:
    """One sentence, and what the way makes of it."""
    ids = texts()[3:4]
    changed = way_of(way, strength)(ids, torch.Generator().manual_seed(1))
    return sentences.decode(ids[0]), sentences.decode(changed[0])


def render(way: str, strength: float) -> Figure:
    """Bars: the share of sentences that still say the same of each factor, and of names still there."""
    share = kept(way, round(float(strength), 3))
    fig, ax = plots.new_figure(7.4, 2.9)
    names = list(share)
    colors = [plots.COLORS[1] if n == "words" else plots.COLORS[0] for n in names]
    bars = ax.bar(names, [100 * v for v in share.values()], color=colors, edgecolor="white")
    bars[-1].set_hatch("//")
    ax.set(ylabel="kept (%)", ylim=(0, 105))
    before, after = example(way, strength)
    ax.set_title(f"{before}\n{after}", fontsize="medium")
    return fig


def describe(way: str, strength: float) -> str:
    """The picture of `render` in words."""
    before, after = example(way, strength)
    share = kept(way, round(float(strength), 3))
    told = ", ".join(f"{name} {100 * v:.0f}" for name, v in share.items())
    return f"{way}: '{before}' becomes '{after}'. Kept, in percent: {told}."
