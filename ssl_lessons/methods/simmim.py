"""SimMIM (Xie et al. 2022, https://arxiv.org/abs/2111.09886)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.losses.masked import simmim
from ssl_lessons.methods.masked import MaskedMethod, mask_token
from ssl_lessons.models import patchify
from ssl_lessons.views.masks import random_mask


class SimMIM(MaskedMethod):
    """Mask tokens go through the encoder itself, and one linear layer paints the pixels behind them.

    mask_ratio: share of patches hidden (paper: .6).  cell: patches are hidden in squares of cell x cell (paper: 2, a
    mask unit of 32 px on patches of 16).
    """

    def __init__(self, encoder: nn.Module, mask_ratio: float = 0.6, cell: int = 1):
        super().__init__(encoder)
        self.mask_ratio, self.cell = mask_ratio, cell
        self.mask_token = mask_token(encoder.dim)
        self.paint = nn.Linear(encoder.dim, 3 * encoder.patch**2)

    def reconstruct(self, x: Tensor, mask: Tensor) -> Tensor:
        """Predicted patches [N, T, 3 patch^2] of images x [N, 3, S, S] under a mask, bool [N, T], True = hidden."""
        return self.paint(self.encoder.patches(x, mask=mask, mask_token=self.mask_token))

    def draw_mask(self, n: int) -> Tensor:
        return random_mask(n, self.encoder.n_tokens, self.mask_ratio, self.cell)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x = views[0]
        mask = self.draw_mask(len(x)).to(x.device)
        return simmim(self.reconstruct(x, mask), patchify(x, self.encoder.patch), mask)


# Details that matter
# - microsoft/SimMIM, models/simmim.py: absolute error on hidden pixels only, of the normalised image, not per
#   patch as in MAE. Here: the same (mean 0.5, deviation 0.25).
# - data/data_simmim.py, ViT: cells of 32 px, ceil(0.6 x 49) = 30 of 49 hidden. Here: cells of 8 px in 32, 10
#   of 16; a cell is a quarter of the side.
# - Positions (configs/vit_base__800ep): none added, a shared relative bias instead. Here: fixed sines added
#   after the mask token has replaced the patch, so it knows its place.
# - There crops of 67 % to all of the area and a flip. Here: 50 % to all, and a flip.
# - ViT there: AdamW, decay 0.05, rate 1e-4 per 512 images, a tenth after epoch 700 of 800; gradients clipped
#   at 5. Here: decay 0.05, 2e-3, cosine, no clipping.
