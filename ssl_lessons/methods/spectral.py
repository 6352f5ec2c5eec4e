"""Spectral contrastive learning (HaoChen et al. 2021, https://arxiv.org/abs/2106.04156)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.losses.contrastive import spectral_contrastive
from ssl_lessons.methods.simclr import SimCLR


class Spectral(SimCLR):
    """SimCLR with squares instead of a softmax: pull a pair's product up, push the square of the others' down.

    radius: every embedding is brought to this length; it plays the role of the temperature.  (The paper's loss takes
    embeddings as they are; the authors' code shortens those longer than sqrt(mu).)
    """

    def __init__(self, encoder: nn.Module, radius: float = 2.0, **head):
        super().__init__(encoder, **head)
        self.radius = radius

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z1, z2 = (self.radius * normalize(z.float(), dim=1) for z in self.pair(views))
        return spectral_contrastive(z1, z2)

    def chance_loss(self, batch_size: int) -> float:
        return self.radius**4 - 2 * self.radius**2
