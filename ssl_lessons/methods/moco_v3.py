"""MoCo v3 (Chen et al. 2021, https://arxiv.org/abs/2104.02057)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.contrastive import info_nce
from ssl_lessons.methods.base import Method, cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.models import projection_head


class MoCoV3(Method):
    """MoCo without the queue: a predicted query looks for its key among the keys of its own batch, both ways.

        loss = ctr(q1, k2) + ctr(q2, k1),  ctr = 2 temperature InfoNCE        (algorithm 1)

    The factor makes the gradient with respect to the cosines independent of the temperature at first order.  Keys
    come from the teacher, a moving average of encoder and projector, without the predictor.

    layers: of the projector (paper: 3, with the ViT; 2 with a ResNet); the predictor has two.  hidden_dim, out_dim:
    the paper's are 4096 and 256.  temperature: the paper's is 0.2.  momentum: at the start; it rises to 1 along half
    a cosine, from 0.99 in the paper.
    """

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float = 0.2,
        momentum: float = 0.99,
        layers: int = 2,
        hidden_dim: int = 512,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.predictor = projection_head(out_dim, hidden_dim, out_dim)
        self.teacher = momentum_copy(nn.Sequential(self.encoder, self.projector))
        self.temperature, self.momentum = temperature, momentum

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"MoCo v3 compares two views of every image, got {len(views)}")
        q1, q2 = (self.predictor(self.embed(x)) for x in views)
        with torch.no_grad():
            k1, k2 = (self.teacher(x) for x in views)
        both_ways = info_nce(q1, k2, temperature=self.temperature) + info_nce(
            q2, k1, temperature=self.temperature
        )
        return 2 * self.temperature * both_ways

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, cosine_momentum(self.momentum, progress))

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher[0]), (self.projector, self.teacher[1])]

    def chance_loss(self, batch_size: int) -> float:
        return 4 * self.temperature * math.log(batch_size)


# Details that matter
# - facebookresearch/moco-v3, moco/builder.py: a BatchNorm without parameters ends the projector, for ViTs the
#   predictor too; no biases. Here: nothing follows the last linear map, which has a bias.
# - CONFIG.md: temperature 1.0 for ResNets (the default), 0.2 for ViTs. Here: 0.2, also for the quick recipe's
#   conv net.
# - main_moco.py draws the views from two recipes: blur with probability 1.0 and 0.1, solarisation 0.0 and
#   0.2. Here: one policy without either; the loss counts both directions in both codes.
# - vits.py can keep the patch map at its random start (--stop-grad-conv1, set in CONFIG.md for every ViT).
#   Here: an option of the ViT (freeze_patches), off; the quick recipe has a conv net.
# - CONFIG.md: LARS, decay 1e-6, for ResNets; AdamW 1.5e-4, decay 0.1, for ViTs. Here: SGD 0.06 and 5e-4.
