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


# Details that matter
# - jhaochenz96/spectral_contrastive_learning, models/spectral.py: only rows longer than sqrt(mu) are cut, mu
#   = 1 on CIFAR-10, 10 on ImageNet. Here: all rows get length 2 (mu = 4), short ones too.
# - There the loss is divided by mu. Here: it is not; AdamW does not care, SGD would need another rate.
# - Head there (cifar_resnet_1_mlp_norelu.py): 2048-1000 with BatchNorm on the output. Here: 256-128, the
#   output without BatchNorm.
# - There each view passes the network on its own. Here: both in one batch. Scores compare view 1 with view 2
#   only, i = j left out of the squares, in both.
