"""FroSSL (Skean et al. 2024, https://arxiv.org/abs/2310.02903)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.second_moment import frossl
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class FroSSL(Method):
    """Views agree with their mean, and the second moments of a view are spread over all directions.

    How much they are is read off the Frobenius norm of a matrix of trace 1.  invariance_weight: of the agreement.
    unit: what has length 1, "images" (rows) or "dimensions" (columns).  n_views: views per image, 2 or more.
    hidden_dim, out_dim, layers: the projector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        invariance_weight: float = 1.0,
        unit: str = "images",
        n_views: int = 2,
        hidden_dim: int = 512,
        out_dim: int = 128,
        layers: int = 2,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.invariance_weight, self.unit, self.n_views = invariance_weight, unit, n_views

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,) * self.n_views

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return frossl(self.embed(torch.cat(views)).chunk(len(views)), self.invariance_weight, self.unit)


# Details that matter
# - We follow multiview_frossl_loss_func of the authors' code (OFSkean/FroSSL, solo/losses/frossl.py): rows of length 1.
#   The ports in solo-learn and lightly give the columns length 1, and weigh the agreement differently.
# - Nothing is centred: a common mean of all embeddings counts as one direction too many.
