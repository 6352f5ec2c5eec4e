"""LeJEPA (Balestriero & LeCun 2025, https://arxiv.org/abs/2511.08544)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.gaussian import lejepa, random_directions
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy
from ssl_lessons.views.constants import to_device


class LeJEPA(Method):
    """Views of an image meet at their mean, and the embeddings of a batch are a sample of N(0, I): nothing else.

    No negatives, no teacher, no stopped gradient, one weight: sigreg_weight, between 0 (everything collapses to a
    point) and 1.  n_views: views per image, 2 or more.  directions: random ones per step, on which the embeddings must
    look normal.  hidden_dim, out_dim, layers: the projector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        sigreg_weight: float = 0.02,
        n_views: int = 2,
        directions: int = 256,
        hidden_dim: int = 512,
        out_dim: int = 64,
        layers: int = 3,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers)
        self.sigreg_weight, self.n_views = sigreg_weight, n_views
        self.directions, self.out_dim = directions, out_dim

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,) * self.n_views

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z = self.embed(torch.cat(views)).chunk(len(views))
        directions = to_device(random_directions(self.out_dim, self.directions), z[0].device)
        return lejepa(z, directions, self.sigreg_weight)


# Details that matter
# - The authors' minimal example (rbalestr-lab/lejepa, MINIMAL.md): weight 0.02, 4 views, 256 directions, a projector
#   2048-2048-16 with BatchNorm, AdamW.  Here: 2 views by default, so that a step costs what SimCLR's does.
# - The statistic is multiplied by the batch size, there and here: a smaller batch needs a larger weight.
# - New directions in every step; here from the CPU's generator, which a checkpoint keeps.
