"""Split-brain autoencoder (Zhang et al. 2017, https://arxiv.org/abs/1611.09842)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.methods.base import Method
from ssl_lessons.methods.colorization import lab_cells
from ssl_lessons.methods.context_encoder import painter
from ssl_lessons.methods.pretext_task import gentle
from ssl_lessons.models import SplitChannels
from ssl_lessons.views import Policy
from ssl_lessons.views.color import ab_bins, nearest_bins

LIGHTNESS_BIN = 5  # L in 0..100 makes 20 classes


class SplitBrain(Method):
    """One half predicts the colours from the lightness, the other the lightness from the colours; both by
    classification (section 3.1).  No half sees what it predicts, and together they have seen everything.

    The features are those of both halves side by side (eq. 4): give the method a half-sized encoder to compare at
    equal width.  size: side of the views; the predicted maps have a quarter of it.  grid: side of an ab bin (paper:
    10).
    """

    def __init__(self, encoder: nn.Module, size: int = 32, grid: int = 20):
        super().__init__()
        self.encoder = SplitChannels(encoder)
        self.side = size // 4
        self.register_buffer("bins", ab_bins(grid))
        self.to_colour = painter(encoder.dim, len(self.bins), self.side, width=64)
        self.to_light = painter(encoder.dim, 100 // LIGHTNESS_BIN, self.side, width=64)

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def targets(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes of the cells: lightness and colour, int64 [N, side, side] each."""
        cells = lab_cells(x, self.side)
        light = (cells[:, 0] / LIGHTNESS_BIN).long().clamp(0, 100 // LIGHTNESS_BIN - 1)
        return light, nearest_bins(cells[:, 1:].movedim(1, -1), self.bins)[..., 0]

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x = views[0]
        light, colour = self.targets(x)
        painted = self.to_colour(self.encoder.light(x)).float()
        shaded = self.to_light(self.encoder.colour(x)).float()
        return cross_entropy(painted, colour) + cross_entropy(shaded, light)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)


# Details that matter
# - richzhang/splitbrainauto, issue 2: two networks were trained apart and merged afterwards. Here: one loss,
#   their sum; as they share no weight, either half gets its own gradient only.
# - models/deploy_lab.prototxt: lightness centred to -50..50. Here: (L - 50) / 25, a / 25, b / 25, about
#   -2..2.
# - Bins: a re-implementation (Shubashree/Split_Brain) has 100 for L, 16 x 16 for ab, on 12 x 12 cells. Here:
#   20 for L, 76 for ab, on 8 x 8 cells; a cell's class is its nearest bin.
# - Colorization's code weighs the gradient of rare colours up (richzhang/colorization, issue 18). Here:
#   `colorization` does too, this method does not.
