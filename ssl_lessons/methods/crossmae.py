"""CrossMAE (Fu et al. 2024, https://arxiv.org/abs/2401.14391)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.masked import mae
from ssl_lessons.methods.masked import MaskedMethod, mask_token
from ssl_lessons.models import patchify, sincos_positions, take
from ssl_lessons.views.masks import random_mask, visible


class CrossMAE(MaskedMethod):
    """MAE with a decoder in which hidden patches ask the visible ones and never each other.

    mask_ratio: share of patches hidden (paper: .75).  predict_ratio: share of all patches that are predicted, at most
    mask_ratio (default: all hidden ones; the README's command: .25).  norm_targets, decoder_dim, decoder_depth: as in
    MAE (paper: 512 x 12 beside a ViT-B).  every_layer: each decoder block reads its own learned mix of the encoder's
    layers; False: all read the last.
    """

    def __init__(
        self,
        encoder: nn.Module,
        mask_ratio: float = 0.75,
        predict_ratio: float | None = None,
        norm_targets: bool = False,
        decoder_dim: int = 64,
        decoder_depth: int = 1,
        every_layer: bool = True,
    ):
        super().__init__(encoder)
        self.mask_ratio, self.norm_targets, self.every_layer = mask_ratio, norm_targets, every_layer
        self.predicted = round((mask_ratio if predict_ratio is None else predict_ratio) * encoder.n_tokens)
        if not 0 < self.predicted <= round(mask_ratio * encoder.n_tokens):
            raise InputError(
                f"predict_ratio must lie between 0 and mask_ratio = {mask_ratio}, got {predict_ratio}"
            )
        if every_layer:
            maps = len(encoder.blocks) + 1
            self.mix = nn.Parameter(torch.randn(decoder_depth, maps) / math.sqrt(maps))
            self.norms = nn.ModuleList(nn.LayerNorm(encoder.dim) for _ in range(decoder_depth))
        self.mask_token = mask_token(decoder_dim)
        self.register_buffer("positions", sincos_positions(encoder.side, decoder_dim), persistent=False)
        self.decoder = nn.ModuleList(CrossBlock(decoder_dim, encoder.dim, 4) for _ in range(decoder_depth))
        self.paint = nn.Sequential(nn.LayerNorm(decoder_dim), nn.Linear(decoder_dim, 3 * encoder.patch**2))

    def answer(self, x: Tensor, keep: Tensor, places: Tensor) -> Tensor:
        """Predicted patches [N, P, 3 patch^2] at places [N, P] of images x, from the visible places keep [N, K]."""
        tokens = take(self.encoder.tokens(x), keep)
        last, layers = self.encoder.encode(tokens, layers=True)
        maps = torch.stack([tokens, *layers[:-1], last])  # [L + 1, N, K, dim]
        asked = self.mask_token + self.positions[places]  # [N, P, decoder_dim]
        for i, block in enumerate(self.decoder):
            seen = self.norms[i](torch.einsum("l,lnkd->nkd", self.mix[i], maps)) if self.every_layer else last
            asked = block(asked, seen)
        return self.paint(asked)

    def reconstruct(self, x: Tensor, mask: Tensor) -> Tensor:
        """Predicted patches [N, T, 3 patch^2] at all places of images x under a mask, bool [N, T], True = hidden."""
        everywhere = torch.arange(mask.shape[1], device=x.device).expand(len(x), -1)
        return self.answer(x, visible(mask), everywhere)

    def draw_mask(self, n: int) -> Tensor:
        return random_mask(n, self.encoder.n_tokens, self.mask_ratio)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x, mask = views[0], self.draw_mask(len(views[0]))
        places = (
            (mask + torch.rand(mask.shape)).topk(self.predicted, dim=1).indices.to(x.device)
        )  # hidden ones
        target = take(patchify(x, self.encoder.patch), places)
        counted = torch.ones_like(places, dtype=torch.bool)
        return mae(self.answer(x, visible(mask).to(x.device), places), target, counted, self.norm_targets)


class CrossBlock(nn.Module):
    """Pre-norm block whose queries [N, P, dim] attend to keys [N, K, seen_dim] and not to each other."""

    def __init__(self, dim: int, seen_dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, heads, kdim=seen_dim, vdim=seen_dim, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, asked: Tensor, seen: Tensor) -> Tensor:
        asked = asked + self.attend(self.norm1(asked), seen, seen, need_weights=False)[0]
        return asked + self.mlp(self.norm2(asked))


# Details that matter
# - TonyLianLong/CrossMAE, models_cross.py: only mask tokens enter the decoder, each with its position. Keys and
#   values come from the encoder at its own width, without positions of the decoder's. Here: the same.
# - --weight_fm mixes the token embeddings (--use_input) and the outputs of all blocks, one row of weights for
#   each decoder block, drawn with deviation 1/sqrt(number of maps), then a LayerNorm. Here: the same, but the
#   last map is behind the encoder's final norm, so that this norm learns too.
# - The answers do not depend on each other: asking at fewer places changes none of the others and saves time.
#   README's command predicts 0.25 of all patches where 0.75 are hidden. Here: all hidden ones.
# - The README's command has 12 decoder blocks, as many as the ViT-B encoder. Here: 1, as for our MAE.
# - Normalised targets (--norm_pix_loss), a class token among the keys, and Xavier for all linear maps there.
#   Here: plain pixels, no class token, PyTorch's start in the decoder.
