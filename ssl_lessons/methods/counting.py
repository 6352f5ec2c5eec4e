"""Learning to count (Noroozi et al. 2017, https://arxiv.org/abs/1708.06734)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ssl_lessons.losses.common import check_pair, check_positive, full_precision
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.pretext_task import gentle
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy
from ssl_lessons.views.pretext import tiles


def counting(whole: Tensor, parts: Tensor, margin: float = 10.0, contrast: float = 1.0) -> Tensor:
    """What is counted in an image is the sum of what is counted in its tiles; other images differ (eq. 4).

        mean over x of  |phi(D x) - s(x)|^2 + contrast max(0, margin - |phi(D y) - s(x)|^2),  s(x) = sum_j phi(T_j x)

    whole: phi of the shrunken images [N, K].  parts: phi of the four tiles of each [N, 4, K].  y is the next image of
    the batch.  Returns a scalar, float32 or better, also under autocast.  contrast=0 leaves the first term (eq. 3),
    which phi = 0 makes zero.  Raises InputError for fewer than two images or a margin that is not positive.
    """
    check_positive(margin=margin)
    check_pair(whole, parts.sum(dim=1))
    with torch.autocast(whole.device.type, enabled=False):
        whole, parts = full_precision(whole, parts)
        total = parts.sum(dim=1)
        same = (whole - total).square().sum(dim=1)
        other = (whole.roll(-1, dims=0) - total).square().sum(dim=1)
        return (same + contrast * (margin - other).relu()).mean()


class Counting(Method):
    """A vector of counts, none negative, that adds up over the four quarters of an image.

    counts: how many things are counted (paper: 1,000).  margin: how far apart the counts of two images should be
    (paper: 10).  contrast: weight of that term; 0 leaves the trivial solution open.
    """

    def __init__(self, encoder: nn.Module, counts: int = 64, margin: float = 10.0, contrast: float = 1.0):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(
            projection_head(encoder.dim, encoder.dim, counts, batch_norm=False), nn.ReLU()
        )
        self.margin, self.contrast = margin, contrast

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def count(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Counts of the shrunken views [N, K] and of their quarters [N, 4, K]; x [N, 3, S, S], S even.

        All five pictures have S / 2 pixels a side.
        """
        quarters = tiles(x, 2)
        five = torch.cat([avg_pool2d(x, 2)[:, None], quarters], dim=1)  # [N, 5, 3, S / 2, S / 2]
        phi = self.projector(self.encoder(five.flatten(0, 1))).view(len(x), 5, -1)
        return phi[:, 0], phi[:, 1:]

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return counting(*self.count(views[0]), self.margin, self.contrast)

    def embed(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(avg_pool2d(x, 2)))

    def chance_loss(self, batch_size: int) -> float:
        return self.contrast * self.margin


# Details that matter
# - The paper draws the way of shrinking at every step from four (table 4: at least 2.2 points of detection),
#   lest the network tell tiles from shrunken images. Here: always the mean of 2 x 2: that clue is left.
# - The paper turns 67 % of the images gray, whole and tiles alike, against the lens's colour fringes. Here:
#   the colours always stay.
# - The margin holds the distance of whole count vectors (eq. 4). clvrai's code asks it of each dimension,
#   which kept ahmdtaha/tf_learning_to_count from converging (docs/clvr_bug.md). Here: whole vectors.
