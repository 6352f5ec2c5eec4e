"""EMP-SSL (Tong et al. 2023, https://arxiv.org/abs/2304.03977)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.rate_reduction import emp_ssl
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class EMPSSL(Method):
    """Many patches of an image agree with their mean; the coding rate keeps the images apart.

    The more patches, the fewer epochs, the paper says: it has one.  n_views: patches per image, 2 or more.  patch: the
    share of the image's area that each shows.  invariance_weight, eps: of the loss.  hidden_dim, out_dim, layers: the
    projector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_views: int = 8,
        patch: float = 0.25,
        invariance_weight: float = 200.0,
        eps: float = 0.2,
        hidden_dim: int = 512,
        out_dim: int = 128,
        layers: int = 2,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.n_views, self.patch = n_views, patch
        self.invariance_weight, self.eps = invariance_weight, eps

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy.replace(crop_scale=(self.patch, self.patch), crop_ratio=(1.0, 1.0)),) * self.n_views

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return emp_ssl(self.embed(torch.cat(views)).chunk(len(views)), self.eps, self.invariance_weight)


# Details that matter
# - The authors' code (tsb0601/EMP-SSL, main.py and dataset/aug.py): 100 patches of a quarter of the area by default,
#   weight 200, eps 0.2, LARS; its probe sees features averaged over patches.  Here: 8 patches, and the probe sees the
#   whole image.
# - The coding rate is maximised, as in the paper.  lightly 1.6.0 minimises it, and nothing holds the images apart.
