"""W-MSE (Ermolov et al. 2021, https://arxiv.org/abs/2007.06346)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.losses.correlation import w_mse
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class WMSE(Method):
    """Whiten the embeddings of each view over the batch, then pull partners together: whitened points cannot all be
    equal.  (A few outliers can still carry all the variance: watch the rank of z.)

    hidden_dim, out_dim: the projector (paper: 1024 and 64 for small images).  sub_batch: whiten groups of that many
    images (paper: 128 at 64 dimensions; at least twice out_dim); 0 = the whole batch.  eps: share of the identity
    mixed into the covariance, for numerical safety (the authors' default is 0).
    """

    several_ranks = True

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 512,
        out_dim: int = 64,
        sub_batch: int = 128,
        eps: float = 1e-4,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim)
        # Whitening sees neither mean nor scale of a dimension: without this, they would drift.
        self.projector.append(nn.BatchNorm1d(out_dim, affine=False))
        self.sub_batch, self.eps = sub_batch, eps

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z1, z2 = self.pair(views)
        return w_mse(z1, z2, self.sub_batch or None, self.eps)


# Details that matter
# - htdt/self-supervised, methods/w_mse.py: the batch is regrouped at random in every step, alike for all
#   views, four times for STL-10 and Tiny ImageNet. Here: consecutive rows of the shuffled batch, once.
# - Head there (model.py): Linear, BatchNorm, ReLU, Linear. Here: one BatchNorm without affine more, at the
#   end.
# - All runs of the README have 2 rows per dimension. Here: by default too; the quick recipe has 8, all 256
#   rows in 32 dimensions.
# - cfg.py there: Adam 3e-3 (README), L2 1e-6, rate times 0.2 at 50 and 25 epochs before the end; jitter 0.4,
#   hue 0.1. Here: AdamW 2e-3, cosine; jitter 0.8, hue 0.4.
# - There also with four views, all six pairs. Here: two. In both each view is whitened apart, then brought to
#   unit length.
