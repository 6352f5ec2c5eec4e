"""DenseCL (Wang et al. 2021, https://arxiv.org/abs/2011.09157)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses import nt_xent
from ssl_lessons.losses.dense import best_matches, dense_info_nce
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class DenseCL(Method):
    """SimCLR, and the same question at every place: which of these vectors shows what I show, in the other view?

    Places are matched by the encoder's own maps: each to the one most like it.  Wants an encoder with `maps`.
    dense_weight: lambda of the paper, the share of the dense loss; 0 is SimCLR.  The dense head works on every place
    alike (1 x 1 convolutions, as a linear map of rows).
    """

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float = 0.2,
        dense_weight: float = 0.5,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        if not hasattr(encoder, "maps"):
            raise InputError("DenseCL compares places and needs an encoder with maps, such as convnet")
        if not 0 <= dense_weight <= 1:
            raise InputError(f"dense_weight is a share from 0 to 1, not {dense_weight!r}")
        self.encoder = encoder
        width = hidden_dim or encoder.dim
        self.projector = projection_head(encoder.dim, width, out_dim)
        self.dense_projector = projection_head(encoder.dim, width, out_dim, batch_norm=False)
        self.temperature, self.dense_weight = temperature, dense_weight

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"DenseCL compares two views of every image, got {len(views)}")
        maps = self.encoder.maps(torch.cat(views)).flatten(2).mT  # [2N, P, D]
        z1, z2 = self.projector(maps.mean(dim=1)).chunk(2)
        f1, f2 = maps.chunk(2)
        r1, r2 = self.dense_projector(maps).chunk(2)
        dense = (
            dense_info_nce(r1, r2, best_matches(f1, f2), self.temperature)
            + dense_info_nce(r2, r1, best_matches(f2, f1), self.temperature)
        ) / 2
        return (1 - self.dense_weight) * nt_xent(z1, z2, self.temperature) + self.dense_weight * dense


# Details that matter
# - WXinlong/DenseCL, models/densecl.py, is MoCo v2: keys from a momentum encoder, no gradient to them, queues of
#   65,536 for both losses. Here: SimCLR, negatives from the batch, gradient to both views.
# - Its negatives of the dense loss (queue2) are the dense vectors averaged over a picture's places, then
#   normalised. Here: the same, of the batch.
# - Positives come from the largest cosine of backbone features, in one direction (query to key). Here: the same
#   rule, in both directions.
# - models/necks.py: both heads are conv or linear, ReLU, conv or linear, without BatchNorm. Here: BatchNorm in
#   the global head, as in our SimCLR; none in the dense one.
# - hooks/densecl_warmup_hook.py can keep lambda at 0 for the first 1,000 steps; neither configuration (ImageNet,
#   COCO) names it. Here: no.
