"""What the window and the number of negatives do to a word's neighbours: seen by factorising the counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import counts, geometry

SHOWN = 8  # neighbours in the picture


@dataclass(frozen=True)
class Tables:
    """Co-occurrence counts of a corpus for every window from 1 to the last: {window: [V, V]}."""

    words: tuple[str, ...]
    by_window: dict[int, Tensor]
    dim: int


def tables(corpus: counts.Corpus, windows: int = 8, dim: int = 40) -> Tables:
    """Counts at distance 1, 2, ..., added up: tables for windows 1 to `windows`, and the dimension to factorise to."""
    result, so_far = {}, 0
    for window in range(1, windows + 1):
        offsets = counts.context_windows(corpus, window)[:, [0, -1]]  # the two outermost columns are new
        row, column = (offsets >= 0).nonzero(as_tuple=True)
        cell = corpus.tokens[row] * len(corpus.words) + offsets[row, column]
        v = len(corpus.words)
        so_far = so_far + torch.bincount(cell, minlength=v * v).view(v, v).double()
        result[window] = so_far
    return Tables(corpus.words, result, dim)


def vectors(table: Tables, window: int, negatives: int) -> Tensor:
    """Word vectors [V, dim]: the shifted positive PMI for k = `negatives`, factorised (Levy and Goldberg 2014)."""
    if window not in table.by_window:
        raise InputError(f"There are counts for windows 1 to {max(table.by_window)}, not for {window}.")
    matrix = counts.shifted_positive_pmi(table.by_window[window], negatives).float()
    # A truncated factorisation is enough, and many times faster than all singular values.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        u, s, _ = torch.svd_lowrank(matrix, q=table.dim, niter=4)
    return u * s.sqrt()


def controls(words: Sequence[str], windows: int = 8) -> dict[str, Slider | Choice]:
    """The widget's inputs: the window, the negatives k from 1 to 20, and which of `words` is looked up."""
    return {
        "window": Slider(1, windows, 2, "window", step=1),
        "negatives": Slider(1, 20, 1, "negatives k", step=1),
        "word": Choice(tuple(words), words[0], "word"),
    }


def neighbours(
    window: int, negatives: int, word: str, table: Tables
) -> tuple[list[tuple[str, float]], float]:
    """The word's nearest neighbours with their cosines, and the share of cells that survive the shift by log k."""
    if word not in table.words:
        raise InputError(f"The word {word!r} is not in this vocabulary.")
    vecs, i = vectors(table, window, negatives), table.words.index(word)
    kept = float((counts.shifted_positive_pmi(table.by_window[window], negatives) > 0).double().mean())
    if not vecs[i].norm() > 1e-6:
        return [], kept  # nothing of the word's row is left
    cosine, index = geometry.nearest(vecs, vecs[i], SHOWN, exclude=[i])
    return [(table.words[j], float(c)) for c, j in zip(cosine, index, strict=True)], kept


def render(window: int, negatives: int, word: str, table: Tables) -> Figure:
    """Bars: the cosines of the word's nearest neighbours."""
    found, kept = neighbours(window, negatives, word, table)
    fig, ax = plots.new_figure(3.3, 2.9)
    ax.barh(
        [w for w, _ in found] or ["(nothing left)"], [c for _, c in found] or [0.0], color=plots.COLORS[0]
    )
    ax.invert_yaxis()
    ax.set(
        xlim=(0, 1),
        xlabel="cosine (no unit)",
        ylabel="neighbour",
        title=f'Nearest to "{word}" ({kept:.1%} of cells kept)',
    )
    return fig


def describe(window: int, negatives: int, word: str, table: Tables) -> str:
    """The picture of `render` in words."""
    found, kept = neighbours(window, negatives, word, table)
    names = ", ".join(f"{w} ({c:.2f})" for w, c in found) or "none, nothing of its row is left"
    return (
        f"Window {window}, {negatives} negatives, {100 * kept:.1f} percent of the table's cells above zero. "
        f"Nearest to {word}: {names}."
    )


def brief(window: int, negatives: int, word: str, table: Tables) -> str:
    """`describe` in few words: the share of cells that is left, and the two nearest words."""
    found, kept = neighbours(window, negatives, word, table)
    names = ", ".join(f"{w} ({c:.2f})" for w, c in found[:2]) or "nothing left"
    return f"{100 * kept:.1f} percent kept; near {word}: {names}."
