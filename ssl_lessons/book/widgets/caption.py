"""Choose the words of a caption and see which pictures come first: chapter 11's widget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions
from ssl_lessons.modalities.pairs.world import Scenes

UNSAID = "(unsaid)"
CONTROLS = {
    name: Choice((UNSAID, *words), words[0] if name in ("kind", "colour") else UNSAID, name)
    for name, words in captions.SAID.items()
}


class Ranking:
    """`render(kind, colour, size, place, ground)` shows the `k` pictures nearest to the caption of these words.

    scenes: N scenes of one thing.  vectors: [N, D], what the eye made of their pictures.  read: texts -> [., D].
    """

    def __init__(self, scenes: Scenes, vectors: Tensor, read: Callable[[Sequence[str]], Tensor], k: int = 8):
        if len(vectors) != len(scenes) or not 1 <= k <= len(scenes):
            raise InputError(f"give one vector to each of the {len(scenes)} scenes, and k from 1 to as many")
        self.scenes, self.read, self.k = scenes, read, k
        self.vectors = torch.nn.functional.normalize(vectors, dim=1)

    def text(self, **words: str) -> str:
        """The caption that says the chosen words and is silent about the others."""
        said = {name: captions.SAID[name].index(word) for name, word in words.items() if word != UNSAID}
        return captions.describe(dict.fromkeys(captions.SAID, 0) | said, 0, tuple(said))

    def first(self, **words: str) -> tuple[Tensor, Tensor]:
        """The numbers [k] of the nearest pictures, and bool [k]: whether all words are true of them."""
        order = (self.vectors @ self.read([self.text(**words)])[0]).argsort(descending=True)[: self.k]
        true = torch.ones(len(order), dtype=torch.bool)
        for name, word in words.items():
            if word != UNSAID:
                true &= self.scenes.factors[name][order] == captions.SAID[name].index(word)
        return order, true

    def render(self, **words: str) -> Figure:
        """The nearest pictures in order; the title counts those of which every word is true."""
        order, true = self.first(**words)
        fig, axes = plots.new_figure(1.1 * self.k, 1.9, 1, self.k)
        for ax, i, right in zip(axes, order.tolist(), true.tolist(), strict=True):
            color = plots.COLORS[2 if right else 1]
            ax.imshow(self.scenes.pictures[i].permute(1, 2, 0).numpy())
            ax.set_xticks([])
            ax.set_yticks([])
            for spine in ax.spines.values():
                spine.set(visible=True, color=color, linewidth=2.5)
            ax.set_title("✓" if right else "✗", fontsize=9, loc="center", pad=2, color=color)
        fig.suptitle(f"“{self.text(**words)}”: true of {int(true.sum())} of the first {self.k}")
        return fig

    def describe(self, **words: str) -> str:
        """The picture of `render` in words, for readers who do not see it."""
        order, true = self.first(**words)
        shown = []
        for i, right in zip(order.tolist(), true.tolist(), strict=True):
            values = {
                name: captions.SAID[name][int(v[i])]
                for name, v in self.scenes.factors.items()
                if name in words
            }
            shown.append(f"{values['size']} {values['colour']} {values['kind']}{'' if right else ' (wrong)'}")
        return f"The pictures nearest to “{self.text(**words)}”, in order: {', '.join(shown)}."
