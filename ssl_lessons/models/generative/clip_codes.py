"""Codes of clips, and what predicts the next one: 3-D convolutions into a codebook, and a prior over the codes.

The parts of VideoGPT (Yan et al. 2021) and of Walker et al. 2021, in miniature: `ClipVQ` turns a clip into a block of
codes [T', H', W']; `autoregressive.GPT` reads the block as one sequence; `CausalConvs` is a PixelCNN with a time axis;
`CountTable` is the simplest rule that could win.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.vq import VectorQuantizer


class ClipVQ(nn.Module):
    """A vector-quantised autoencoder of clips: time halved, height and width quartered (Yan et al. 2021, section 3.1).

    forward(x float [N, 3, T, S, S]) -> (reconstruction, codebook and commitment loss, codes [N, T / 2, S / 4, S / 4]).
    VideoGPT adds axial attention to encoder and decoder; here convolutions have to do.
    """

    def __init__(self, codes: int = 64, dim: int = 16, width: int = 24):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv3d(3, width, (1, 4, 4), (1, 4, 4)), nn.ReLU(),
            nn.Conv3d(width, width, (2, 1, 1), (2, 1, 1)), nn.ReLU(),
            nn.Conv3d(width, dim, (1, 3, 3), padding=(0, 1, 1)),
        )  # fmt: skip
        self.quantizer = VectorQuantizer(codes, dim)
        self.decoder = nn.Sequential(
            nn.Conv3d(dim, width, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU(),
            nn.ConvTranspose3d(width, width, (2, 1, 1), (2, 1, 1)), nn.ReLU(),
            nn.ConvTranspose3d(width, 3, (1, 4, 4), (1, 4, 4)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized, loss, codes = self.quantizer(self.encoder(x))
        return self.decoder(quantized), loss, codes

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.quantizer(self.encoder(x))[2]


class MaskedConv3d(nn.Conv3d):
    """A k x k x k convolution that sees, for each place, only those before it: earlier moments, and within the moment
    raster order.  kind "A" also hides the place itself (first layer), "B" lets it through.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, kind: str):
        if kernel % 2 == 0 or kind not in ("A", "B"):
            raise InputError(
                f"a masked convolution needs an odd kernel and kind A or B, got {kernel}, {kind!r}"
            )
        super().__init__(c_in, c_out, kernel, padding=kernel // 2)
        mask = torch.zeros(kernel**3)
        mask[: kernel**3 // 2 + (kind == "B")] = 1
        self.register_buffer("mask", mask.view(kernel, kernel, kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.weight * self.mask, self.bias, padding=self.padding)


class CausalConvs(nn.Module):
    """A prior of masked 3-D convolutions: codes int64 [N, T, H, W] -> logits [N, codes, T, H, W].

    A PixelCNN with a time axis; Walker et al. 2021 predict a hierarchy of codes, the fine ones given the coarse.
    """

    def __init__(self, codes: int, width: int = 32, depth: int = 3):
        super().__init__()
        self.embed = nn.Embedding(codes, width)
        self.first = MaskedConv3d(width, width, 3, "A")
        self.layers = nn.ModuleList(MaskedConv3d(width, width, 3, "B") for _ in range(depth - 1))
        self.out = nn.Conv3d(width, codes, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(self.embed(x).movedim(-1, 1)))
        for layer in self.layers:
            h = h + F.relu(layer(h))
        return self.out(h)


class CountTable:
    """How often each code followed its neighbour in the training codes: the prior that counts.

    look: "nothing" (each code's frequency), "before" (the code at the same place a moment earlier), "left", or "both".
    A pair never seen falls back to shorter contexts: with n counts of a context, its own shares weigh
    n / (n + strength), and the shorter context's the rest.  codes: int64 [N, T, H, W].
    Raises InputError for another look.
    """

    LOOKS = {"nothing": (), "before": ("before",), "left": ("left",), "both": ("before", "left")}

    def __init__(self, codes: Tensor, symbols: int, look: str = "before", strength: float = 8.0):
        if look not in self.LOOKS:
            raise InputError(f"a table looks at {', '.join(self.LOOKS)}, not at {look!r}")
        self.symbols, self.parts, self.strength = symbols, self.LOOKS[look], strength
        self.tables = []
        for k in range(len(self.parts) + 1):
            context = self._context(codes, self.parts[:k]).flatten()
            size = (symbols + 1) ** k
            counts = torch.bincount(context * symbols + codes.flatten(), minlength=size * symbols)
            self.tables.append(counts.view(size, symbols).double())

    def bits(self, codes: Tensor) -> Tensor:
        """-log2 p of every code, float64, the shape of `codes`."""
        p = torch.full((*codes.shape, self.symbols), 1 / self.symbols, dtype=torch.float64)
        for k, table in enumerate(self.tables):
            counts = table[self._context(codes, self.parts[:k])]
            p = (counts + self.strength * p) / (counts.sum(dim=-1, keepdim=True) + self.strength)
        return -p.gather(-1, codes[..., None])[..., 0].log2()

    def _context(self, codes: Tensor, parts: tuple[str, ...]) -> Tensor:
        found = torch.zeros_like(codes)
        for part in parts:
            dim = {"before": 1, "left": 3}[part]
            edge = torch.full_like(
                codes.narrow(dim, 0, 1), self.symbols
            )  # a number of its own: nothing is there
            other = torch.cat([edge, codes.narrow(dim, 0, codes.shape[dim] - 1)], dim=dim)
            found = found * (self.symbols + 1) + other
        return found


@torch.no_grad()
def bits_of(prior: nn.Module, codes: Tensor, batch: int = 100) -> Tensor:
    """-log2 p of every code under a prior, the shape of `codes` [N, T, H, W]."""
    parts = [F.cross_entropy(prior(x), x, reduction="none") for x in codes.split(batch)]
    return torch.cat(parts) / math.log(2)


def mixed(codes: Tensor, generator: torch.Generator) -> Tensor:
    """The moments of each block of codes [N, T, H, W] in a random order: what moves no longer does."""
    order = torch.rand(codes.shape[:2], generator=generator).argsort(dim=1)
    return codes.gather(1, order[..., None, None].expand_as(codes))
