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


# Details that matter
# - google-research/simclr, model_util.py: BatchNorm after every projector layer, after the last without
#   shift. Here: after hidden layers only; the last has a bias.
# - objective.py adds the losses of the two directions: twice the mean over 2N views, which SGD would feel.
#   Here: the mean.
# - LARS there: 0.3 B / 256 or 0.075 sqrt(B), 10 epochs of warm-up, decay sparing BatchNorm and biases. Here:
#   AdamW 4e-3 at 256, warm-up over a tenth of the steps, the same sparing.
# - Temperature (README): 0.1 for ImageNet at batch 4,096, 0.5 for CIFAR-10 at 512. Here: 0.2, in the quick
#   recipe 0.1.
# - Views (data_util.py): jitter 0.8, hue 0.2, crops from 8 % of the area; on CIFAR-10 half that jitter and no
#   blur. Here: quick has 0.8, hue 0.4, crops from 25 %, no blur.
