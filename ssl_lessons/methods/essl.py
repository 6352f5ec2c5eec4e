"""E-SSL (Dangovski et al. 2022, https://arxiv.org/abs/2111.00899)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.methods.pretext_task import gentle
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.views import Policy, normalize
from ssl_lessons.views.pretext import four_rotations


class ESSL(SimCLR):
    """SimCLR, and by how many quarters was a third, small view turned?

    loss = NT-Xent(view 1, view 2) + equivariance_weight * cross-entropy(turns of view 3)      (section 4.1)

    Ignoring is asked of the projection; telling turns is asked of the features, by a head of its own.
    equivariance_weight: lambda.  whole: the third view is as large as the others, gently cropped and in true colours,
    as pretext tasks have it (`pretext_task.gentle`), instead of small and distorted like them.
    """

    several_ranks = False  # the turns would be counted per rank

    def __init__(self, encoder: nn.Module, equivariance_weight: float = 0.4, whole: bool = False, **options):
        super().__init__(encoder, **options)
        self.equivariance_weight, self.whole, self.shrink = equivariance_weight, whole, 1.0 if whole else 0.5
        width = encoder.dim
        self.turn_head = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width),
            nn.ReLU(), nn.Linear(width, 4),
        )  # fmt: skip

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        third = gentle(policy)[0] if self.whole else policy.replace(size=round(self.shrink * policy.size))
        return (policy, policy, third)

    def turn_loss(self, x: Tensor) -> Tensor:
        """Cross-entropy of telling the four turns of views x [N, 3, S, S] apart; log 4 knows nothing."""
        turned, turns = four_rotations(x)
        return cross_entropy(self.turn_head(self.encoder(turned)).float(), turns)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return super().forward(views[:2]) + self.equivariance_weight * self.turn_loss(views[2])

    @torch.no_grad()
    def turn_accuracy(self, images: Tensor) -> float:
        """How often the head names the turn of whole pictures, uint8 [N, 3, H, W], of the size of training."""
        side = round(self.shrink * images.shape[-1])
        turned, turns = four_rotations(normalize(images, side))
        return float((self.turn_head(self.encoder(turned)).argmax(dim=1) == turns).float().mean())


# Details that matter
# - rdangovs/essl, cifar10/main.py: the third view has half the side, the same colours, and all four turns of it
#   are in the batch, in a pass of their own. Here: the same.
# - Its head there: two hidden layers of 2,048 with LayerNorm. Here: as wide as the features.
# - Its InfoNCE compares across views only. Here: SimCLR's loss, 2N - 1 candidates.
# - Turns help there as a question, and hurt as something to ignore (figure 1).
