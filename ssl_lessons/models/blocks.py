"""Parts of transformers: fixed positions, and blocks whose branches can be scaled and dropped at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError


def sincos_positions(side: int, dim: int) -> Tensor:
    """Fixed positions [side^2, dim]: sines and cosines of the row in one half, of the column in the other.

    Frequencies fall geometrically from 1 to 1/10000 (Vaswani et al. 2017, section 3.5; in two dimensions as in
    MoCo v3 and MAE).  dim must be a multiple of 4.
    """
    if dim % 4:
        raise InputError(f"sine-cosine positions need a dim that is a multiple of 4, got {dim}")
    frequency = 10_000 ** (-torch.arange(dim // 4) / (dim // 4))
    angle = torch.arange(side)[:, None] * frequency
    line = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, dim / 2]
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, dim)


class ScaledBlock(nn.TransformerEncoderLayer):
    """A pre-norm block with two branches f, attention and MLP, scaled and sometimes left out: [N, T, dim] -> same.

        x + (b / p) diag(l) f(LN(x)),   b = 1 with probability p = 1 - drop_path, else 0, anew for every image

    layer_scale: every entry of l [2, dim] at the start, learned from there; None: l = 1, fixed (LayerScale: Touvron et
    al. 2021, "Going deeper with image transformers", section 2, https://arxiv.org/abs/2103.17239).  drop_path: of
    stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382), which multiplies by p in the test instead
    of dividing by it in training: the same expectation.  In eval() nothing is dropped.
    """

    def __init__(self, dim: int, heads: int, layer_scale: float | None = None, drop_path: float = 0.0):
        super().__init__(
            dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.scales = None if layer_scale is None else nn.Parameter(torch.full((2, dim), layer_scale))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.branch(0, self.self_attn(h, h, h, need_weights=False)[0])
        return x + self.branch(1, self.linear2(self.activation(self.linear1(self.norm2(x)))))

    def branch(self, i: int, f: Tensor) -> Tensor:
        """What branch i adds to its input: f [N, T, dim], scaled and perhaps dropped."""
        f = f if self.scales is None else self.scales[i] * f
        if not self.training or self.drop_path == 0:
            return f
        keep = 1 - self.drop_path
        return f * torch.empty(len(f), 1, 1, dtype=f.dtype, device=f.device).bernoulli_(keep) / keep


def transformer_blocks(
    dim: int, depth: int, heads: int, layer_scale: float | None = None, drop_path: float = 0.0
) -> nn.ModuleList:
    """Pre-norm transformer blocks with GELU and an MLP four times as wide, without dropout: [N, T, dim] -> same.

    layer_scale, drop_path: of `ScaledBlock`; block i of 1 .. depth is dropped with probability drop_path i / depth
    (Huang et al. 2016, section 3, linear decay of survival).  Without both the blocks are PyTorch's own.
    Raises InputError unless 0 <= drop_path < 1 and layer_scale is a number of 0 or more, or None.
    """
    if not 0 <= drop_path < 1:
        raise InputError(f"drop_path is a probability of 0 or more and below 1, not {drop_path}")
    if layer_scale is not None and not layer_scale >= 0:
        raise InputError(f"layer_scale is where the scales start, 0 or more (or None), not {layer_scale}")
    if layer_scale is None and drop_path == 0:
        return nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
    return nn.ModuleList(
        ScaledBlock(dim, heads, layer_scale, drop_path * i / depth) for i in range(1, depth + 1)
    )
