"""Barlow Twins (Zbontar et al. 2021, https://arxiv.org/abs/2103.03230)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.losses.correlation import barlow_twins
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class BarlowTwins(Method):
    """The cross-correlation matrix of two views should be the identity: its diagonal makes the views agree,
    the rest keeps the dimensions from repeating each other.

    lambd: weight of the off-diagonal terms (paper: 5e-3 at 8192 dimensions; their number grows with the square of
    out_dim).  hidden_dim, out_dim, layers: the projector (paper: 8192, 8192, 3).  scale: factor on the loss, which is
    a sum over dimensions; SGD feels it, Adam and LARS do not.
    """

    several_ranks = True

    def __init__(
        self,
        encoder: nn.Module,
        lambd: float = 0.01,
        hidden_dim: int = 512,
        out_dim: int = 256,
        layers: int = 2,
        scale: float = 0.1,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        # The loss sees neither mean nor scale of a dimension: without this, they would drift.
        self.projector.append(nn.BatchNorm1d(out_dim, affine=False))
        self.lambd, self.out_dim, self.scale = lambd, out_dim, scale

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z1, z2 = self.pair(views)
        return self.scale * barlow_twins(z1, z2, self.lambd)

    def chance_loss(self, batch_size: int) -> float:
        """Nothing varies: every C_ii = 0."""
        return self.scale * self.out_dim


# Details that matter
# - facebookresearch/barlowtwins, main.py: lambda 0.0051 at 8192 dimensions, so that 8191 C_ij weigh 42 beside
#   one C_ii. Here: 0.01 at 256, 255 of them weigh 2.6; a wider projector needs a smaller lambd.
# - There each view passes the network on its own, up to the last BatchNorm. Here: BatchNorm sees both at
#   once, and the loss then standardises each view alone (eps 1e-5 in both codes).
# - main.py: LARS with two rates, 0.2 for matrices, 0.0048 for biases and BatchNorm, which are spared decay
#   and adaptation. Here: one rate for all (quick recipe: AdamW, 4e-3); biases are spared the decay too.
# - main.py draws the views from two recipes: blur with probability 1.0 and 0.1, solarisation 0.0 and 0.2.
#   Here: both come from one policy, without blur or solarisation in the quick recipe.
