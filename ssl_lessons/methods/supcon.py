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
