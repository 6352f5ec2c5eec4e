"""DCL, decoupled contrastive learning (Yeh et al. 2022, https://arxiv.org/abs/2110.06848)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ssl_lessons.losses.contrastive import dcl
from ssl_lessons.methods.simclr import SimCLR


class DCL(SimCLR):
    """SimCLR whose denominator leaves the positive out, so that a pair already found still pulls."""

    def __init__(self, encoder: nn.Module, temperature: float = 0.1, **head):
        super().__init__(encoder, temperature, **head)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return dcl(*self.pair(views), self.temperature)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 2)
