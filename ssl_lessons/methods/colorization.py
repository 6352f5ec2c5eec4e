"""Colourisation as classification (Zhang et al. 2016, https://arxiv.org/abs/1603.08511)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot

from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.context_encoder import painter
from ssl_lessons.methods.pretext_task import gentle
from ssl_lessons.models import LabChannels, lab_of_views
from ssl_lessons.views import Policy
from ssl_lessons.views.color import (
    ab_bins,
    annealed_mean,
    lab_to_rgb,
    nearest_bins,
    rebalancing,
    smooth_frequencies,
    soft_encode,
)


def lab_cells(x: Tensor, side: int) -> Tensor:
    """Mean (L, a, b) of side x side cells: normalised views [N, 3, S, S] -> [N, 3, side, side].

    Raises InputError for views that do not fall into so many cells of whole pixels.
    """
    pixels = x.shape[-1] // side
    if not pixels or x.shape[-1] // pixels != side:
        raise InputError(
            f"the colours of {side} x {side} cells are asked for, and views of {x.shape[-1]} px do not fall into them; "
            f"take a multiple of {side} (--size {4 * side})"
        )
    return avg_pool2d(lab_of_views(x), pixels)


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
        colours = extract(_Colours(self)).view(-1, self.side**2, 2)[:4096].flatten(0, 1)
        counts = sum(
            one_hot(nearest_bins(c, self.bins)[:, 0], len(self.bins)).sum(dim=0) for c in colours.split(2**15)
        )
        p = smooth_frequencies(counts.double() / counts.sum(), self.bins.double().cpu())
        self.weights.copy_(rebalancing(p))

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        logits = self.logits(views[0]).movedim(1, -1)  # [N, side, side, Q]
        near, share = soft_encode(self.cells(views[0]).movedim(1, -1), self.bins)
        cost = -(share * logits.log_softmax(dim=-1).gather(-1, near)).sum(dim=-1)
        return (self.weights[near[..., 0]] * cost).mean()

    def cells(self, x: Tensor) -> Tensor:
        """The colours to be told, mean (a, b) of side x side cells: normalised [N, 3, S, S] -> [N, 2, side, side]."""
        return lab_cells(x, self.side)[:, 1:]

    def logits(self, x: Tensor) -> Tensor:
        """Scores [N, Q, side, side] of the bins for views x [N, 3, S, S]."""
        return self.painter(self.encoder(x)).float()

    @torch.no_grad()
    def paint(self, x: Tensor, temperature: float = 0.38) -> Tensor:
        """The lightness of views x with painted colours: sRGB in [0, 1], [N, 3, S, S]."""
        ab = annealed_mean(self.logits(x).movedim(1, -1), self.bins, temperature).movedim(-1, 1)
        ab = interpolate(ab, x.shape[2:], mode="bilinear")
        return lab_to_rgb(torch.cat([lab_of_views(x)[:, :1], ab], dim=1)).clamp(0, 1)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def chance_loss(self, batch_size: int) -> float | None:
        return None if self.rebalance else math.log(len(self.bins))


class _Colours(nn.Module):
    """The cells' colours as features [N, 2 side^2], so that the loop can extract them from all training images."""

    def __init__(self, method: Colorization):
        super().__init__()
        self.cells = (
            method.cells
        )  # a bound method, so that the weights of `method` do not become parts of this module

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x).movedim(1, -1).flatten(1)


# Details that matter
# - The paper spreads a colour over 5 bins, richzhang/colorization, caffe_traininglayers.py over 10. Here: 5.
#   That code has 313 bins, from a file. Here: 261, counted on an even grid of screen colours.
# - NonGrayMaskLayer takes images out of the loss in which no |a| or |b| exceeds 5. Here: gray images count.
# - colorization_train_val_v2.prototxt takes the colour of every 4th pixel, not their mean (a layer commented
#   out). Here: the average.
# - ClassRebalanceMultLayer weighs the gradient and leaves the printed loss unweighted; its uniform part
#   covers the bins that occur. Here: the loss itself is weighted, and the uniform part covers all bins.
# - The published network stays a map up to the classifier (dilated convolutions). Here: the 8 x 8 colours are
#   painted from one pooled vector of 256 numbers, which is what a probe reads.
