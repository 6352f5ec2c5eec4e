"""Colourisation as classification (Zhang et al. 2016, https://arxiv.org/abs/1603.08511)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot

from ssl_lessons import data
from ssl_lessons.color import (
    ab_bins,
    annealed_mean,
    lab_to_rgb,
    nearest_bins,
    rebalancing,
    rgb_to_lab,
    smooth_frequencies,
    soft_encode,
)
from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.context_encoder import painter
from ssl_lessons.methods.rotation import gentle
from ssl_lessons.views import Policy, denormalize


@torch.no_grad()
def lab(x: Tensor) -> Tensor:
    """CIE Lab [N, 3, S, S] of normalised views, in full precision also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return rgb_to_lab(denormalize(x.float()))


def recolour(images: data.ImageSet, object_hue: Tensor, chroma: float = 25.0) -> data.ImageSet:
    """Pictures of the embedded world painted anew in Lab, so that their lightness says nothing about any hue.

    L comes from the mean of the channels, squeezed into 40..75, where every hue of that chroma can be shown; the object
    gets object_hue (radians, [N], an angle in the ab plane), the background its own factor background_hue.  Raises
    InputError for other images than those of `data.shapes` with objects.
    """
    if "object_hue" not in images.factors or object_hue.shape != images.labels.shape:
        raise InputError("recolour takes images of data.shapes with objects, and one hue per image")
    table = {name: factor.values for name, factor in images.factors.items()}
    empty = data.render(table, images.size, objects=False)
    drawn = (images.images != empty).any(dim=1)  # [N, S, S]: where the object is
    gray = images.images.float().mean(dim=1, keepdim=True) / 255
    light = 40 + 0.35 * rgb_to_lab(gray.expand(-1, 3, -1, -1))[:, 0]
    hue = torch.where(drawn, object_hue[:, None, None], table["background_hue"][:, None, None])
    painted = lab_to_rgb(torch.stack([light, chroma * hue.cos(), chroma * hue.sin()], dim=1))
    return replace(images, images=(255 * painted.clamp(0, 1)).round().to(torch.uint8))


class LabChannels(nn.Module):
    """An encoder that sees the lightness only, or the colour only: normalised RGB [N, 3, S, S] -> h [N, dim].

    channels: "L" (three times the same) or "ab" (a, b and an empty channel), scaled to about [-2, 2].
    """

    def __init__(self, encoder: nn.Module, channels: str):
        super().__init__()
        if channels not in ("L", "ab"):
            raise InputError(f"channels must be 'L' or 'ab', got {channels!r}")
        self.encoder, self.channels, self.dim = encoder, channels, encoder.dim
        self.name = "lab"
        self.options = {
            "channels": channels,
            "encoder": getattr(encoder, "name", ""),
            **getattr(encoder, "options", {}),
        }

    def forward(self, x: Tensor) -> Tensor:
        L, a, b = lab(x).unbind(1)
        seen = [(L - 50) / 25] * 3 if self.channels == "L" else [a / 25, b / 25, torch.zeros_like(a)]
        return self.encoder(torch.stack(seen, dim=1).contiguous(memory_format=torch.channels_last))


class Colorization(Method):
    """From the lightness L to the colours: for every cell of a map, which of Q bins of the ab plane?

        loss = - mean over cells of w(nearest bin) sum_q Z_q log p_q        (eq. 2 and 3)

    Z: the cell's colour spread over its five nearest bins.  w: weights that make rare colours count (eq. 4); they are
    computed from the training images before the first step.  The encoder never sees a or b, also when it is probed.

    size: side of the views the method is built for; the map has a quarter of it.  grid: side of a bin (paper: 10).
    rebalance: False gives all colours the same weight.
    """

    def __init__(self, encoder: nn.Module, size: int = 32, grid: int = 10, rebalance: bool = True):
        super().__init__()
        self.encoder = LabChannels(encoder, "L")
        self.side, self.rebalance = size // 4, rebalance
        bins = ab_bins(grid)
        self.painter = painter(encoder.dim, len(bins), self.side, width=64)
        self.register_buffer("bins", bins)
        self.register_buffer("weights", torch.ones(len(bins)))
        self.refresh_every = 2**60 if rebalance else 0  # once, before the first step

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def refresh(self, extract) -> None:
        colours = extract(_Colours(self.side)).view(-1, self.side**2, 2)[:4096].flatten(0, 1)
        counts = sum(
            one_hot(nearest_bins(c, self.bins)[:, 0], len(self.bins)).sum(dim=0) for c in colours.split(2**15)
        )
        p = smooth_frequencies(counts.double() / counts.sum(), self.bins.double().cpu())
        self.weights.copy_(rebalancing(p))

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        logits = self.logits(views[0]).movedim(1, -1)  # [N, side, side, Q]
        near, share = soft_encode(_cells(views[0], self.side).movedim(1, -1), self.bins)
        cost = -(share * logits.log_softmax(dim=-1).gather(-1, near)).sum(dim=-1)
        return (self.weights[near[..., 0]] * cost).mean()

    def logits(self, x: Tensor) -> Tensor:
        """Scores [N, Q, side, side] of the bins for views x [N, 3, S, S]."""
        return self.painter(self.encoder(x)).float()

    @torch.no_grad()
    def paint(self, x: Tensor, temperature: float = 0.38) -> Tensor:
        """The lightness of views x with painted colours: sRGB in [0, 1], [N, 3, S, S]."""
        ab = annealed_mean(self.logits(x).movedim(1, -1), self.bins, temperature).movedim(-1, 1)
        ab = interpolate(ab, x.shape[2:], mode="bilinear")
        return lab_to_rgb(torch.cat([lab(x)[:, :1], ab], dim=1)).clamp(0, 1)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def chance_loss(self, batch_size: int) -> float | None:
        return None if self.rebalance else math.log(len(self.bins))


def _cells(x: Tensor, side: int) -> Tensor:
    """Mean colours (a, b) of side x side cells: normalised [N, 3, S, S] -> [N, 2, side, side]."""
    return avg_pool2d(lab(x)[:, 1:], x.shape[-1] // side)


class _Colours(nn.Module):
    """The cells' colours as features [N, 2 side^2], so that the loop can extract them from all training images."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return _cells(x, self.side).movedim(1, -1).flatten(1)
