"""Jigsaw puzzles, the context-free network (Noroozi & Favaro 2016, https://arxiv.org/abs/1603.09246)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssl_lessons.methods.pretext_task import PretextTask
from ssl_lessons.models import projection_head
from ssl_lessons.views.pretext import normalize_tiles, permutation_set, shuffle, tiles


class Jigsaw(PretextTask):
    """Shuffled tiles: which order of a fixed set was it?

    Every tile goes through the encoder alone ("context-free"); only the classifier sees them together.

    orders: size of the permutation set, chosen for a large Hamming distance (paper: 1,000 of 9!).  grid: tiles per
    side.  gap: share of a cell's side left free around its tile (paper: 64 of 75 px).  tile_dim: width per tile at the
    classifier's entrance.  zoom: the view's side over the recipe's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        orders: int = 50,
        grid: int = 3,
        gap: float = 0.15,
        tile_dim: int = 64,
        zoom: float = 1.5,
    ):
        super().__init__()
        self.encoder = encoder
        self.tile_head = nn.Linear(encoder.dim, tile_dim)
        self.classifier = projection_head(grid**2 * tile_dim, encoder.dim, orders)
        self.register_buffer("permutations", permutation_set(grid**2, orders))
        self.grid, self.gap, self.zoom = grid, gap, zoom

    def cut(self, x: Tensor) -> Tensor:
        """Normalised tiles [N, grid^2, 3, s, s] of views x [N, 3, S, S], in reading order."""
        cell = x.shape[-1] // self.grid
        return normalize_tiles(tiles(x, self.grid, max(1, round((1 - self.gap) * cell)), jitter=True))

    def predict(self, shuffled: Tensor) -> Tensor:
        """Logits [N, orders] of tiles [N, grid^2, 3, s, s] in some order."""
        h = self.tile_head(self.encoder(shuffled.flatten(0, 1))).relu()
        return self.classifier(h.view(len(shuffled), -1)).float()

    def quiz(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cut = self.cut(x)
        order = torch.randint(len(self.permutations), (len(cut),)).to(cut.device)
        return self.predict(shuffle(cut, self.permutations[order])), order

    def chance_loss(self, batch_size: int) -> float:
        return math.log(len(self.permutations))


# Details that matter
# - MehdiNoroozi/JigsawPuzzleSolver, train_val_cfn_jps.prototxt: tiles of 64 px anywhere in cells of 85, a
#   quarter is gap, so that edges cannot be matched. Here: 14 of 16 px, an eighth.
# - data_transformer.cpp subtracts each tile's own mean, channel by channel, and stops there; the paper
#   divides by its deviation too (section 4.2). Here: both.
# - data_transformer.cpp draws the order anew at every visit, so that no tile has a place of its own. Here:
#   the same, 25 times in the quick recipe's 25 epochs.
# - The prototxt joins tiles behind fc6 (1024 numbers each) and has no BatchNorm. Here: they join behind 64
#   numbers each, but the encoder's BatchNorm sees all 9 N tiles: not quite context-free.
# - generate_jps_dataset.cpp takes the central 255 px of an image, never mirrored (mirror: false). Here:
#   random crops of at least half the image, mirrored half of the time.
