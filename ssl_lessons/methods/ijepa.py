"""I-JEPA (Assran et al. 2023, https://arxiv.org/abs/2301.08243)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ssl_lessons.losses.masked import ijepa
from ssl_lessons.methods.base import momentum_copy, momentum_update
from ssl_lessons.methods.masked import MaskedMethod, mask_token
from ssl_lessons.models import sincos_positions, take, transformer_blocks
from ssl_lessons.views.masks import context_and_targets


class IJEPA(MaskedMethod):
    """From one context block, predict the features that a momentum encoder gives to other blocks of the image.

    targets: number of blocks to predict (paper: 4, on a grid of 14 x 14 patches).  momentum: of the target encoder
    (paper: .996 rising to 1).  stop_gradient=False: the targets come from the online encoder and learn too, which
    invites collapse.  predictor_dim, predictor_depth: a narrow transformer (paper: 384 x 12 beside 1280 x 32).
    """

    def __init__(
        self,
        encoder: nn.Module,
        targets: int = 2,
        momentum: float = 0.99,
        stop_gradient: bool = True,
        predictor_dim: int = 48,
        predictor_depth: int = 2,
    ):
        super().__init__(encoder)
        self.n_targets, self.momentum, self.stop_gradient = targets, momentum, stop_gradient
        self.teacher = momentum_copy(encoder)
        self.narrow = nn.Linear(encoder.dim, predictor_dim)
        self.mask_token = mask_token(predictor_dim)
        self.register_buffer("positions", sincos_positions(encoder.side, predictor_dim), persistent=False)
        self.predictor = transformer_blocks(predictor_dim, predictor_depth, heads=4)
        self.widen = nn.Sequential(nn.LayerNorm(predictor_dim), nn.Linear(predictor_dim, encoder.dim))

    def predict(self, context: Tensor, places: Tensor, blocks: Tensor) -> Tensor:
        """Features [N, M, B, dim] of the target blocks [N, M, B], each from the context tokens [N, K, dim] alone."""
        (n, m, b), k = blocks.shape, places.shape[1]
        seen = self.narrow(context) + self.positions[places]  # [N, K, predictor_dim]
        asked = self.mask_token.to(seen.dtype) + self.positions[blocks]  # [N, M, B, predictor_dim]
        tokens = torch.cat([seen[:, None].expand(-1, m, -1, -1), asked], dim=2).flatten(0, 1)
        for block in self.predictor:
            tokens = block(tokens)
        return self.widen(tokens[:, k:]).view(n, m, b, -1)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x = views[0]
        context, blocks = context_and_targets(len(x), self.encoder.n_tokens, self.n_targets)
        context, blocks = context.to(x.device), blocks.to(x.device)
        with torch.no_grad() if self.stop_gradient else nullcontext():
            target = (self.teacher if self.stop_gradient else self.encoder).patches(x)
            target = layer_norm(target, target.shape[-1:])  # as in the published code
            target = take(target, blocks.flatten(1)).view(*blocks.shape, -1)
        prediction = self.predict(self.encoder.patches(x, context), context, blocks)
        return ijepa(prediction, target)

    def after_step(self, progress: float) -> None:
        momentum_update(self.encoder, self.teacher, self.momentum)

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher)]


# Details that matter
# - The paper writes a squared distance, facebookresearch/ijepa, src/train.py, takes smooth L1. Here: the
#   square.
# - src/train.py normalises the target over its features behind the encoder's last norm, without parameters.
#   Here: the same; a constant target would be worth nothing.
# - multiblock.py cuts all contexts to the shortest by dropping their last patches in reading order, those at
#   the bottom right. Here: the dropped ones are drawn at random.
# - src/train.py raises the momentum in a straight line from 0.996 to 1, and the weight decay from 0.04 to
#   0.4. Here: momentum 0.99 and decay 0.05 throughout.
# - configs/in1k_vith14_ep300.yaml: crops of 30 to 100 %, no flips, targets of 15 to 20 % of 256 patches.
#   Here: crops of 50 to 100 % and flips; targets of 2 or 4 of 16 patches.
