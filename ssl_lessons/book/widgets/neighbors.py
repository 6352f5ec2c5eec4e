"""Nearest neighbours of a picture in several feature spaces: chapter 00's widget, and chapter 25's screen."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.data import ImageSet
from ssl_lessons.errors import InputError


def nearest(features: Tensor, query: int, k: int) -> Tensor:
    """Indices [k] of the images most similar to image `query` in cosine similarity, itself left out."""
    z = normalize(features, dim=1)
    similarity = z @ z[query]
    similarity[query] = -2
    return similarity.topk(k).indices


def _draw(ax, images: ImageSet, index: int, title: str, color: str) -> None:
    ax.imshow(np.asarray(images.images[index].permute(1, 2, 0)))
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(visible=True, color=color, linewidth=2.5)
    ax.set_title(title, fontsize=8, loc="center", pad=2, color=color)


class Neighbors:
    """`render(query, space)` shows a picture beside its `k` nearest neighbours; `controls` has both sliders.

    images: a labelled ImageSet.  spaces: name -> features [N, D] of these images.
    """

    def __init__(self, images: ImageSet, spaces: dict[str, Tensor], k: int = 6):
        if any(len(f) != len(images) for f in spaces.values()) or not spaces:
            raise InputError("every space needs one feature row per image")
        self.images, self.spaces, self.k = images, spaces, k
        self.controls = {
            "query": Slider(0, len(images) - 1, 0, "picture", step=1),
            "space": Choice(tuple(spaces), next(iter(spaces)), "neighbours by"),
        }

    def neighbors(self, query: int, space: str) -> Tensor:
        return nearest(self.spaces[space], query, self.k)

    def render(self, query: int, space: str) -> Figure:
        found = self.neighbors(query, space)
        labels, names = self.images.labels, self.images.classes
        right = int((labels[found] == labels[query]).sum())
        fig, axes = plots.new_figure(1.15 * (self.k + 1), 1.75, 1, self.k + 1)
        _draw(axes[0], self.images, query, f"{names[labels[query]]} (query)", "black")
        for ax, i in zip(axes[1:], found.tolist(), strict=True):
            same = labels[i] == labels[query]
            name = names[labels[i]]
            _draw(ax, self.images, i, f"✓ {name}" if same else f"✗ {name}", plots.COLORS[2 if same else 1])
        fig.suptitle(f"Nearest by {space}: {right} of {self.k} show the same kind of thing")
        return fig

    def alt(self, query: int, space: str) -> str:
        labels, names = self.images.labels, self.images.classes
        found = [names[labels[i]] for i in self.neighbors(query, space).tolist()]
        return f"A {names[labels[query]]} and its nearest neighbours by {space}: {', '.join(found)}."
