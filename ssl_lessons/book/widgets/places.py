"""Where does a network see the same as here?  One place of a picture, and its similarity to all others."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Slider
from ssl_lessons.errors import InputError


def decode(texts: Sequence[str]) -> np.ndarray:
    """Cosines between the places of each picture, [n, P, P], from what benchmarks/dense.py writes: int8 as base64."""
    grams = [np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32) / 127 for text in texts]
    side = round(len(grams[0]) ** 0.5) if grams else 0
    if not grams or any(len(g) != side**2 for g in grams):
        raise InputError("the record must hold one square matrix of cosines per picture")
    return np.stack(grams).reshape(-1, side, side)


def controls(pictures: int, side: int = 8) -> dict[str, Slider]:
    """Which picture, and which place of it."""
    return {
        "picture": Slider(1, pictures, 1, "picture", step=1, live=True),
        "row": Slider(1, side, side // 2, "row", step=1, live=True),
        "column": Slider(1, side, side // 2, "column", step=1, live=True),
    }


def ranking(cosines: np.ndarray, share: np.ndarray, place: int) -> float:
    """How well similarity to `place` ranks the other places by "mostly object": the area under the ROC curve.

    cosines: [P, P]; share: [P], how much of each place the object covers.  0.5 is chance; for a place on the ground it
    is the ranking of the ground.  NaN where no other place is on the same side.
    """
    on = share >= 0.5
    same = on if on[place] else ~on
    others = np.arange(len(share)) != place
    a, b = cosines[place][others & same], cosines[place][others & ~same]
    if not len(a) or not len(b):
        return float("nan")
    return float((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2)


def render(
    picture: int,
    row: int,
    column: int,
    pictures: np.ndarray,
    shares: np.ndarray,
    cosines: Mapping[str, np.ndarray],
) -> Figure:
    """The picture with the place marked, and one map of similarity per network.

    pictures: [n, S, S, 3] in 0..1; shares: [n, side, side]; cosines: network -> [n, P, P].
    """
    k, side = picture - 1, shares.shape[1]
    place = (row - 1) * side + column - 1
    fig, axes = plots.new_figure(2.1 * (1 + len(cosines)), 2.5, 1, 1 + len(cosines))
    step = pictures.shape[1] / side
    axes[0].imshow(pictures[k])
    axes[0].plot(
        (column - 0.5) * step - 0.5, (row - 0.5) * step - 0.5, "s", mfc="none", mec="white", ms=11, mew=2.5
    )
    axes[0].plot(
        (column - 0.5) * step - 0.5, (row - 0.5) * step - 0.5, "s", mfc="none", mec="black", ms=11, mew=1
    )
    side_of = "object" if shares[k].flat[place] >= 0.5 else "ground"
    axes[0].set_title(f"you are on the {side_of}")
    for ax, (name, grams) in zip(axes[1:], cosines.items(), strict=True):
        value = ranking(grams[k], shares[k].ravel(), place)
        ax.imshow(grams[k][place].reshape(side, side), cmap="viridis")
        ax.contour(shares[k], levels=[0.5], colors="white", linewidths=1.5)
        ax.plot(column - 1, row - 1, "s", mfc="none", mec="white", ms=11, mew=2)
        ax.set_title(f"{name}\nranking {value:.2f}")
    for ax in axes:
        ax.set_axis_off()
    return fig


def describe(
    picture: int,
    row: int,
    column: int,
    pictures: np.ndarray,
    shares: np.ndarray,
    cosines: Mapping[str, np.ndarray],
) -> str:
    """The picture of `render` in words."""
    k, side = picture - 1, shares.shape[1]
    place = (row - 1) * side + column - 1
    side_of = "object" if shares[k].flat[place] >= 0.5 else "ground"
    values = ", ".join(f"{name} {ranking(g[k], shares[k].ravel(), place):.2f}" for name, g in cosines.items())
    return (
        f"Picture {picture}, place in row {row}, column {column}, on the {side_of}. How well similarity to this place "
        f"ranks the places of its side first (0.5 is chance): {values}."
    )
