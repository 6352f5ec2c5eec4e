"""VICReg (Bardes et al. 2022, https://arxiv.org/abs/2105.04906)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.losses.correlation import vicreg
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class VICReg(Method):
    """Views agree (invariance), every dimension keeps its spread (variance), none repeats another (covariance).

    The three weights: as in the paper by default, 25, 25 and 1.  variance_weight=0 lets everything collapse to a
    point, covariance_weight=0 to a line.  hidden_dim, out_dim, layers: the projector, which the paper calls expander
    (8192, 8192, 3).  train_projector=False keeps the projector as it was drawn (Mialon et al. 2022).
    """

    several_ranks = True

    def __init__(
        self,
        encoder: nn.Module,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        hidden_dim: int = 512,
        out_dim: int = 512,
        layers: int = 2,
        train_projector: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.projector.requires_grad_(train_projector)
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z1, z2 = self.pair(views)
        return vicreg(z1, z2, self.invariance_weight, self.variance_weight, self.covariance_weight)

    def chance_loss(self, batch_size: int) -> float:
        """Nothing varies: only the hinge of the variance term is left, 1 - sqrt(1e-4) per dimension."""
        return 0.99 * self.variance_weight


# Details that matter
# - facebookresearch/vicreg, main_vicreg.py: each view passes the network on its own, so BatchNorm sees one
#   view. Here: both in one batch.
# - Variance and covariance there are those of the batch gathered from all processes, 2,048 by default. Here:
#   gathered too, 256 in quick.
# - The whole forward pass there runs under autocast, products of the covariance included. Here: the loss is
#   always computed in float32.
# - LARS there, rate 0.2 B / 256, decay 1e-6, both adaptation and decay sparing one-dimensional tensors, 10
#   epochs of warm-up. Here: AdamW 4e-3, decay 1e-4 with the same sparing.
