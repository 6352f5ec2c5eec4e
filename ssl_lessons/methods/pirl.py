"""PIRL, pretext-invariant representation learning (Misra & van der Maaten 2020, https://arxiv.org/abs/1912.01991)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.instance import instdisc
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.instdisc import MemoryBank
from ssl_lessons.models import projection_head


def shuffled_tiles(x: Tensor, grid: int) -> Tensor:
    """The grid^2 tiles [N, grid^2, 3, s, s] of views [N, 3, S, S], in a random order per image; s = S // grid."""
    s = x.shape[-1] // grid
    tiles = x[:, :, : grid * s, : grid * s].unfold(2, s, s).unfold(3, s, s)  # [N, 3, grid, grid, s, s]
    tiles = tiles.flatten(2, 3).transpose(1, 2)
    order = torch.rand(tiles.shape[:2], device=x.device).argsort(dim=1)
    return tiles[torch.arange(len(x), device=x.device)[:, None], order]


class PIRL(Method):
    """An image and its jigsaw both look for the image's row in a memory bank: the representation should not change
    when the tiles are shuffled, the opposite of predicting how they were.

        loss = weight L(m_i, g(jigsaw)) + (1 - weight) L(m_i, f(image))        (eq. 6)

    f: a linear head on the image's features; g: a linear head on each tile's features, another on their
    concatenation in shuffled order.  L is the softmax over the whole bank; the paper's NCE samples 32,000
    negatives and adds a term -log(1 - P) for each.

    grid: tiles per side (paper: 3).  temperature: the paper's is 0.07.  bank_momentum: the paper's is 0.5.
    """

    needs_index = True

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        grid: int = 2,
        temperature: float = 0.1,
        weight: float = 0.5,
        bank_momentum: float = 0.5,
        layers: int = 1,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, encoder.dim, out_dim, layers)
        self.tile_head = nn.Linear(encoder.dim, out_dim)
        self.jigsaw_head = nn.Linear(grid**2 * out_dim, out_dim)
        self.bank = MemoryBank(n_images, out_dim)
        self.grid, self.temperature, self.weight, self.bank_momentum = (
            grid,
            temperature,
            weight,
            bank_momentum,
        )

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        if len(views) != 2:
            raise InputError(
                f"PIRL takes two views of every image, one to be cut into tiles, got {len(views)}"
            )
        z = self.embed(views[0])
        tiles = shuffled_tiles(views[1], self.grid)
        jigsaw = self.jigsaw_head(self.tile_head(self.encoder(tiles.flatten(0, 1))).view(len(z), -1))
        self.newest = (index, z.detach())
        lost, found = (instdisc(v, self.bank.rows, index, self.temperature) for v in (jigsaw, z))
        return self.weight * lost + (1 - self.weight) * found

    def after_step(self, progress: float) -> None:
        self.bank.update(*self.newest, self.bank_momentum)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(len(self.bank.rows))


# Details that matter
# - VISSL, pirl_jigsaw_4node_resnet50.yaml: image crops from 8 % of the area, tile crops from 60 %; tiles of
#   64 px lie at random in cells of 85. Here: both from 25 %, tiles of 16 px fill their cells.
# - There jitter, grayscale and flip come after the cut and are drawn anew for every tile
#   (ssl_transforms_wrapper.py). Here: before the cut, so the tiles of an image share them.
# - The bank takes the image's embedding only (update_mem_with_emb_index: 1), momentum 0.5, after the forward
#   pass. Here: the same, after the optimiser's step; rows start as random directions.
# - Heads there: 2048 -> 128 for every tile, 9 x 128 -> 128 for the jigsaw, 2048 -> 128 for the image, all
#   linear. Here: the same form with 4 tiles.
# - Rate 0.03 per 256 images, decay 1e-4, not on BatchNorm and biases, 800 epochs. Here: 0.06 at 256, decay
#   5e-4, spared likewise.
