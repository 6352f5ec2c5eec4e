"""Around autoregressive models of pixels: a table of counts, grey levels, one read-out for all, NEPA.

Pictures are int64 [N, H, W] with values 0..levels-1 in raster order, as in `autoregressive`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.autoregressive import GPT, NADE, Block

NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1))  # (rows, columns): left, up, upper left, upper right


class CountTable(nn.Module):
    """How often did each value follow these four neighbours, at this place?  The baseline without a network.

    p(v | place, context) = (count(place, context, v) + m q(v | context)) / (count(place, context) + m), where the
    context are the pixels NEIGHBOURS (outside the picture: 0), m is `smoothing`, the pictures' worth of trust in q, and
    q are the same counts over all places, themselves smoothed by one observation of each value.
    int64 [N, H, W] -> log p [N, levels, H, W].  Raises InputError for pictures that are not such and m not above 0.
    """

    def __init__(self, images: Tensor, levels: int = 2, smoothing: float = 1.0):
        super().__init__()
        if images.ndim != 3 or not len(images) or int(images.min()) < 0 or int(images.max()) >= levels:
            raise InputError(f"a count table needs pictures [N, H, W] with values 0..{levels - 1}")
        if not smoothing > 0:
            raise InputError(f"the smoothing must be above 0, not {smoothing}")
        self.levels = levels
        places, contexts = images[0].numel(), levels ** len(NEIGHBOURS)
        counts = torch.zeros(places, contexts, levels)
        index = self._place(images), self.context(images).flatten(), images.flatten()
        counts.index_put_(index, torch.ones(images.numel()), accumulate=True)
        anywhere = counts.sum(dim=0) + 1
        anywhere = smoothing * anywhere / anywhere.sum(dim=1, keepdim=True)
        p = (counts + anywhere) / (counts.sum(dim=2, keepdim=True) + smoothing)
        self.register_buffer("log_p", p.log())

    @staticmethod
    def _place(images: Tensor) -> Tensor:
        return torch.arange(images[0].numel()).repeat(len(images))

    def context(self, images: Tensor) -> Tensor:
        """The four neighbours as one number, [N, H, W]."""
        padded, number = F.pad(images, (1, 1, 1, 0)), torch.zeros_like(images)
        height, width = images.shape[1:]
        for up, left in NEIGHBOURS:
            seen = padded[:, 1 + up : 1 + up + height, 1 + left : 1 + left + width]
            number = number * self.levels + seen
        return number

    def forward(self, images: Tensor) -> Tensor:
        rows = self.log_p[self._place(images), self.context(images).flatten()]
        return rows.view(*images.shape, self.levels).movedim(3, 1)


class NADEPictures(NADE):
    """NADE in raster order, as a model of pictures: int64 [N, H, W] -> logits [N, 2, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).view(len(x), 2, *x.shape[1:])


def quarters(h: Tensor) -> Tensor:
    """The mean of features [N, C, H, W] over each quarter of the picture: [N, 4 C]."""
    return F.adaptive_avg_pool2d(h, 2).flatten(1)


@torch.no_grad()
def read_out(model: nn.Module, x: Tensor, layer: int = -1) -> Tensor:
    """One way to read every model of pictures [N, H, W]: a layer's features of all pixels, by quarters, [N, 4 C].

    NADE has one layer, the states h_1 .. h_D; GPT has the activations before the first and after every block.
    """
    if isinstance(model, NADE):
        h = model.states(x.flatten(1))[:, :-1]
    else:
        h = model.hidden(x)[layer]
    return quarters(h.mT.unflatten(2, x.shape[1:]) if isinstance(model, GPT | NADE) else h)


def grey(images: Tensor, side: int) -> Tensor:
    """uint8 [N, 3, H, W] -> mean grey values [N, side, side] in 0..255; H and W are multiples of `side`."""
    return F.adaptive_avg_pool2d(images.float().mean(dim=1, keepdim=True), side)[:, 0]


def palette(values: Tensor, levels: int) -> Tensor:
    """The levels - 1 edges that cut grey values into equally frequent levels (of at most a million of them)."""
    values = values.flatten()
    some = values[:: max(1, len(values) // 1_000_000)]
    return some.quantile(torch.arange(1, levels) / levels)


def nepa_loss(predicted: Tensor, embedded: Tensor, stop_gradient: bool = True) -> Tensor:
    """Next-embedding prediction (Xu et al. 2025, "Next-embedding prediction makes strong vision learners").

    -mean_t cos(h_t, sg(e_t+1)): predicted h [N, T, D], what a causal network says after patches 1..t; embedded e [N, T,
    D], the embeddings of the patches.
    """
    target = embedded[:, 1:].detach() if stop_gradient else embedded[:, 1:]
    return -F.cosine_similarity(predicted[:, :-1], target, dim=2).mean()


class NEPA(nn.Module):
    """A causal transformer over the embeddings of patches, trained by `nepa_loss`.

    images: float [N, C, S, S] -> loss.  Targets are the patch embeddings without positions.  The paper's network has
    rotary positions, LayerScale and other stabilisers that this miniature lacks.
    """

    def __init__(self, channels: int, side: int, patch: int, dim: int = 64, depth: int = 4, heads: int = 4):
        super().__init__()
        if side % patch:
            raise InputError(f"a picture of {side} pixels has no whole number of patches of {patch}")
        self.grid, self.stop_gradient = side // patch, True
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(self.grid**2, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def embedded(self, images: Tensor) -> Tensor:
        """e_1 .. e_T, [N, T, D]."""
        return self.embed(images).flatten(2).mT

    def hidden(self, images: Tensor) -> list[Tensor]:
        """Activations [N, T, D] before the first block and after every block; row t has seen patches 1..t."""
        found = [self.embedded(images) + self.positions]
        later = torch.ones(self.grid**2, self.grid**2, dtype=torch.bool, device=images.device).triu(1)
        for block in self.blocks:
            found.append(block(found[-1], found[-1], later))
        return found

    def forward(self, images: Tensor) -> Tensor:
        predicted = self.norm(self.hidden(images)[-1])
        return nepa_loss(predicted, self.embedded(images), self.stop_gradient)

    @torch.no_grad()
    def read_out(self, images: Tensor, layer: int = -1) -> Tensor:
        """A layer by quarters of the picture, [N, 4 D]."""
        return quarters(self.hidden(images)[layer].mT.unflatten(2, (self.grid, self.grid)))


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int, warm: int = 100):
    """The learning-rate schedule of long runs: linear over `warm` steps, then a cosine down to a hundredth."""

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
