"""VISReg (Wu et al. 2026, https://arxiv.org/abs/2606.02572)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.gaussian import random_directions, visreg
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy
from ssl_lessons.views.constants import to_device


class VISReg(Method):
    """Views meet at their mean; the embeddings of a batch keep centre, scale and shape of N(0, I), each by itself.

    regularization_weight: share of the three, between 0 (everything collapses to a point) and 1.  scale_weight,
    shape_weight, center_weight: theirs among themselves; scale_weight=0 takes away what pulls a collapsed batch apart.
    n_views: views per image, 2 or more.  directions: random ones per step, for the shape.  hidden_dim, out_dim,
    layers: the projector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        regularization_weight: float = 0.6,
        scale_weight: float = 1.0,
        shape_weight: float = 1.0,
        center_weight: float = 1.0,
        n_views: int = 2,
        directions: int = 256,
        hidden_dim: int = 512,
        out_dim: int = 128,
        layers: int = 3,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.regularization_weight, self.n_views = regularization_weight, n_views
        self.scale_weight, self.shape_weight, self.center_weight = scale_weight, shape_weight, center_weight
        self.directions, self.out_dim = directions, out_dim

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,) * self.n_views

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z = self.embed(torch.cat(views)).chunk(len(views))
        directions = to_device(random_directions(self.out_dim, self.directions), z[0].device)
        weights = self.scale_weight, self.shape_weight, self.center_weight
        return visreg(z, directions, self.regularization_weight, None, *weights)


# Details that matter
# - The authors' small run (HaiyuWu/visreg, train_inet10_toy.py and configs/imagenette.yaml): weight 0.6, 4 views, 256
#   directions, a projector 2048-2048-128 with BatchNorm, AdamW, gradients clipped to length 1.  Here: 2 views by
#   default, and no clipping.
# - New directions in every step; here from the CPU's generator, which a checkpoint keeps.
