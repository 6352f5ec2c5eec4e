"""MAE, the masked autoencoder (He et al. 2022, https://arxiv.org/abs/2111.06377)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.masked import mae
from ssl_lessons.methods.masked import MaskedMethod, mask_token
from ssl_lessons.models import patchify, sincos_positions, transformer_blocks
from ssl_lessons.views.masks import random_mask, visible


class MAE(MaskedMethod):
    """The encoder sees the visible patches only; a small decoder paints the hidden ones.

    mask_ratio: share of patches hidden (paper: .75).  norm_targets: patches are normalised before they are predicted
    (the paper's better variant; with as few steps as here, plain pixels teach more, and they can be painted back).
    masked_only=False: the loss covers visible patches too.
    decoder_dim, decoder_depth: the decoder is narrower than the encoder (paper: 512 x 8 beside 1024 x 24).
    """

    def __init__(
        self,
        encoder: nn.Module,
        mask_ratio: float = 0.75,
        norm_targets: bool = False,
        masked_only: bool = True,
        decoder_dim: int = 64,
        decoder_depth: int = 1,
    ):
        super().__init__(encoder)
        self.mask_ratio, self.norm_targets, self.masked_only = mask_ratio, norm_targets, masked_only
        self.narrow = nn.Linear(encoder.dim, decoder_dim)
        self.mask_token = mask_token(decoder_dim)
        self.register_buffer("positions", sincos_positions(encoder.side, decoder_dim), persistent=False)
        self.decoder = transformer_blocks(decoder_dim, decoder_depth, heads=4)
        self.paint = nn.Sequential(nn.LayerNorm(decoder_dim), nn.Linear(decoder_dim, 3 * encoder.patch**2))

    def reconstruct(self, x: Tensor, mask: Tensor) -> Tensor:
        """Predicted patches [N, T, 3 patch^2] of images x [N, 3, S, S] under a mask, bool [N, T], True = hidden."""
        keep = visible(mask)
        seen = self.narrow(self.encoder.patches(x, keep))  # [N, K, decoder_dim]: the hidden ones cost nothing
        index = keep[:, :, None].expand_as(seen)
        tokens = self.mask_token.to(seen.dtype).expand(*mask.shape, -1).scatter(1, index, seen)
        tokens = tokens + self.positions
        for block in self.decoder:
            tokens = block(tokens)
        return self.paint(tokens)

    def draw_mask(self, n: int) -> Tensor:
        return random_mask(n, self.encoder.n_tokens, self.mask_ratio)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x = views[0]
        mask = self.draw_mask(len(x)).to(x.device)
        counted = mask if self.masked_only else torch.ones_like(mask)
        target = patchify(x, self.encoder.patch)
        return mae(self.reconstruct(x, mask), target, counted, self.norm_targets)


# Details that matter
# - facebookresearch/mae, models_mae.py: norm_pix_loss is off by default, PRETRAIN.md's command turns it on.
#   Here: off; where on, with n - 1 in the variance and 1e-6 under the root, as there.
# - models_mae.py adds the decoder's positions to visible and mask tokens alike. Here: the same: without them
#   all hidden patches would get one and the same answer.
# - models_mae.py has a class token and starts all linear maps with Xavier. Here: no class token, features are
#   the mean of the patches; Xavier for the patch map and the attention's input, PyTorch's start elsewhere.
# - PRETRAIN.md: rate 1.5e-4 per 256 images, 40 of 800 epochs of warm-up; main_pretrain.py: AdamW, betas 0.9
#   and 0.95. Here: 3e-3, a tenth, 0.9 and 0.999; decay 0.05 in both, biases and norms spared.
# - main_pretrain.py: crops of 20 to 100 % and flips, no colour change. Here: crops of 50 to 100 % and flips.
