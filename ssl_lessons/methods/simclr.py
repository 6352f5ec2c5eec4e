"""SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ssl_lessons.losses import nt_xent
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class SimCLR(Method):
    """Two views of an image must find each other among all views of the batch.

    hidden_dim: width of the projector's hidden layers (default: the encoder's).  out_dim: width of z.
    layers: linear maps in the projector.  batch_norm: BatchNorm after its hidden layers.
    """

    several_ranks = True

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float = 0.2,
        hidden_dim: int | None = None,
        out_dim: int = 128,
        layers: int = 2,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim, layers, batch_norm)
        self.temperature = temperature

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return nt_xent(*self.pair(views), self.temperature)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 1)
