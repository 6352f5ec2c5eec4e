"""SupCon, supervised contrastive learning (Khosla et al. 2020, https://arxiv.org/abs/2004.11362)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.losses.contrastive import supcon
from ssl_lessons.methods.simclr import SimCLR


class SupCon(SimCLR):
    """SimCLR with labels: all views of all images of my class are positives, the other classes negatives.

    It needs the label of every image it trains on and is no self-supervised method: a yardstick for them.
    """

    needs_labels = True

    def __init__(self, encoder: nn.Module, temperature: float = 0.1, **head):
        super().__init__(encoder, temperature, **head)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return supcon(*self.pair(views), labels, self.temperature)


# Details that matter
# - HobbitLong/SupContrast, losses.py: the loss is multiplied by temperature / 0.07, 1.43 at 0.1, which SGD
#   feels. Here: it is not.
# - Head there (networks/resnet_big.py): two layers without BatchNorm, out 128. Here: BatchNorm after the
#   hidden layer.
# - README: batch 1,024, SGD 0.5, temperature 0.1 with labels, 0.5 without. Here: batch 256, AdamW 4e-3, 0.1.
# - Positives grow with the batch: with ten classes a view has about 204 there, about 50 here.
