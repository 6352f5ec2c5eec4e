"""Split-brain autoencoder (Zhang et al. 2017, https://arxiv.org/abs/1611.09842)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from ssl_lessons.color import ab_bins, nearest_bins
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.colorization import LabChannels, lab
from ssl_lessons.methods.context_encoder import painter
from ssl_lessons.methods.rotation import gentle
from ssl_lessons.views import Policy

LIGHTNESS_BIN = 5  # L in 0..100 makes 20 classes


def fresh_copy(module: nn.Module) -> nn.Module:
    """The same architecture with newly drawn weights."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return twin


class SplitEncoder(nn.Module):
    """Two halves that see different channels, side by side: normalised RGB [N, 3, S, S] -> h [N, 2 dim]."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.light, self.colour = LabChannels(encoder, "L"), LabChannels(fresh_copy(encoder), "ab")
        self.dim = 2 * encoder.dim
        self.name = "split"
        self.options = self.light.options

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.light(x), self.colour(x)], dim=1)


class SplitBrain(Method):
    """One half predicts the colours from the lightness, the other the lightness from the colours; both by
    classification (section 3.1).  No half sees what it predicts, and together they have seen everything.

    The features are those of both halves side by side (eq. 4): give the method a half-sized encoder to compare at
    equal width.  size: side of the views; the predicted maps have a quarter of it.  grid: side of an ab bin (paper:
    10).
    """

    def __init__(self, encoder: nn.Module, size: int = 32, grid: int = 20):
        super().__init__()
        self.encoder = SplitEncoder(encoder)
        self.side = size // 4
        self.register_buffer("bins", ab_bins(grid))
        self.to_colour = painter(encoder.dim, len(self.bins), self.side, width=64)
        self.to_light = painter(encoder.dim, 100 // LIGHTNESS_BIN, self.side, width=64)

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def targets(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes of the cells: lightness and colour, int64 [N, side, side] each."""
        cells = avg_pool2d(lab(x), x.shape[-1] // self.side)
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
