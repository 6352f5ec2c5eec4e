"""MMCR (Yerxa et al. 2023, https://arxiv.org/abs/2303.03307)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.second_moment import mmcr
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class MMCR(Method):
    """Maximum manifold capacity: the mean embeddings of the images shall have as large a nuclear norm as can be.

    A mean is short if the views disagree, and the norm is small if the means share directions: one number says both.
    n_views: views per image, 2 or more.  local_weight: of the nuclear norm of each image's own views, which is made
    small.  hidden_dim, out_dim, layers: the projector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_views: int = 4,
        local_weight: float = 0.0,
        hidden_dim: int = 512,
        out_dim: int = 128,
        layers: int = 2,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.n_views, self.local_weight = n_views, local_weight

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,) * self.n_views

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return mmcr(self.embed(torch.cat(views)).chunk(len(views)), self.local_weight)


# Details that matter
# - The authors' code (ThomasYerxa/mmcr, pretrain_cifar_stl.py): 40 views of 32 images, local weight 0, Adam at 1e-3;
#   on ImageNet a momentum encoder besides.  Here: 4 views by default, no momentum encoder.
# - The loss grows with the batch, about as its root times the root of the rank: compare it within one batch size only.
# - Singular values, not eigenvalues of a covariance: the gradient exists where some of them are equal or 0.
