"""A small encoder of spectrograms for all objectives, and one of raw samples."""

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio.world import FRAMES


class SoundEncoder(nn.Module):
    """log-mel [B, T, mels] -> z [B, T / 2, width] (two frames each, no overlap) -> c, the same after attention.

    One network for every objective: causal for CPC (c_t sees z up to t), with hidden frames for wav2vec 2.0 and HuBERT,
    averaged over the times for a clip.
    """

    def __init__(self, mels: int = 32, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.width = width
        self.patches = nn.Sequential(
            nn.Conv1d(mels, width, 2, stride=2), nn.GELU(), nn.Conv1d(width, width, 1)
        )
        self.norm = nn.LayerNorm(width)  # frame by frame: a norm over the times would let the future in
        self.position = nn.Parameter(0.02 * torch.randn(FRAMES // 2, width))
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerEncoder(
            layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def frames(self, x: Tensor) -> Tensor:
        """z [B, T / 2, width]: what stands in two frames of 10 ms, without neighbours."""
        if x.ndim != 3 or x.shape[1] % 2 or x.shape[1] > FRAMES:
            raise InputError(
                f"x must be [clips, times, filters] with an even number of times up to {FRAMES}."
            )
        return self.norm(self.patches(x.mT).mT)

    def context(self, z: Tensor, hidden: Tensor | None = None, causal: bool = False) -> Tensor:
        """c [B, T', width] of z; frames with hidden [B, T'] True are replaced by one learned vector first."""
        if hidden is not None:
            z = torch.where(hidden[..., None].to(z.device), self.hidden, z)
        z = z + self.position[: z.shape[1]]
        mask = None
        if causal:
            mask = nn.Transformer.generate_square_subsequent_mask(z.shape[1], device=z.device, dtype=z.dtype)
        return self.attention(z, mask=mask, is_causal=causal)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        return self.context(self.frames(x), causal=causal)


class WaveEncoder(nn.Module):
    """Raw samples [B, S] -> [B, S / 160, width]: four convolutions whose strides multiply to 160 (20 ms)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers, channels = [], 1
        for kernel, stride, out in ((20, 10, 24), (8, 4, 32), (4, 2, width), (4, 2, width)):
            layers += [
                nn.Conv1d(channels, out, kernel, stride, kernel // 2 - stride // 2),
                nn.GroupNorm(1, out),
            ]
            layers += [nn.GELU()]
            channels = out
        self.layers = nn.Sequential(*layers)

    def forward(self, wave: Tensor) -> Tensor:
        return self.layers(wave[:, None]).mT
