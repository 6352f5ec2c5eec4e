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
