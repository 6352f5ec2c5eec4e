"""Restoring damaged images; the context encoder (Pathak et al. 2016, https://arxiv.org/abs/1604.07379)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, interpolate, mse_loss

from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.pretext_task import gentle
from ssl_lessons.views import LUMINANCE, Policy
from ssl_lessons.views.masks import random_mask


def painter(dim: int, channels: int, side: int, width: int = 32) -> nn.Sequential:
    """Features [N, dim] -> maps [N, channels, side, side]: 4 x 4 cells from a linear map, doubled until they fit.

    side: 4, 8, 16, ...
    """
    doublings = round(math.log2(side / 4)) if side >= 4 else 0
    if side != 4 * 2**doublings:
        raise InputError(f"the painter doubles 4 x 4 cells: the side must be 4, 8, 16, ..., not {side}")
    layers: list[nn.Module] = [nn.Linear(dim, 16 * width), nn.Unflatten(1, (width, 4, 4)), nn.ReLU()]
    for _ in range(doublings):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width // 2, 3, padding=1), nn.ReLU()]
        width //= 2
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))


# ---- damages: views x [N, 3, S, S] -> the damaged views, and which pixels count, bool [N, 1, S, S] ----


def _all(x: Tensor) -> Tensor:
    return torch.ones_like(x[:, :1], dtype=torch.bool)


def undamaged(x: Tensor) -> tuple[Tensor, Tensor]:
    """The plain autoencoder: nothing is missing."""
    return x, _all(x)


def noisy(x: Tensor, sigma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Gaussian noise of deviation sigma (in units of the normalised pixels): denoising."""
    return x + sigma * torch.randn_like(x), _all(x)


def shrunken(x: Tensor, factor: int = 4) -> tuple[Tensor, Tensor]:
    """Every factor x factor square replaced by its mean: super-resolution."""
    return interpolate(avg_pool2d(x, factor), scale_factor=factor), _all(x)


def gray(x: Tensor) -> tuple[Tensor, Tensor]:
    """All channels replaced by the luminance: colourisation by regression."""
    weights = torch.tensor(LUMINANCE, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True).expand_as(x) / weights.sum(), _all(x)


def with_hole(x: Tensor, share: float = 0.5) -> tuple[Tensor, Tensor]:
    """A square of `share` of the side set to 0 in the middle: inpainting."""
    side = round(share * x.shape[-1])
    start = (x.shape[-1] - side) // 2
    hidden = torch.zeros_like(x[:, :1], dtype=torch.bool)
    hidden[:, :, start : start + side, start : start + side] = True
    return x.masked_fill(hidden, 0), hidden


def scattered(x: Tensor, ratio: float = 0.75, grid: int = 4) -> tuple[Tensor, Tensor]:
    """A random `ratio` of grid x grid squares set to 0: masked generation."""
    hidden = random_mask(len(x), grid * grid, ratio).to(x.device).view(-1, 1, grid, grid)
    cell = x.shape[-1] // grid
    hidden = hidden.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)
    return x.masked_fill(hidden, 0), hidden


DAMAGES = {
    "nothing": undamaged,
    "noise": noisy,
    "shrunken": shrunken,
    "gray": gray,
    "hole": with_hole,
    "scattered": scattered,
}


class Restore(Method):
    """Give back the view from a damaged copy: the mean squared error over the pixels that count.

        loss = mean over counted pixels of |x - painter(encoder(damage(x)))|^2

    damage: a name of DAMAGES.  size: side of the views the method is built for.
    """

    def __init__(self, encoder: nn.Module, damage: str, size: int = 32):
        super().__init__()
        if damage not in DAMAGES:
            raise InputError(f"unknown damage {damage!r}; choose from {', '.join(DAMAGES)}")
        self.encoder, self.damage = encoder, damage
        self.painter = painter(encoder.dim, 3, size)

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def paint(self, damaged: Tensor) -> Tensor:
        """The restored views [N, 3, S, S]."""
        return self.painter(self.encoder(damaged)).float()

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        damaged, counted = DAMAGES[self.damage](views[0])
        error = (self.paint(damaged) - views[0]).square()
        return error[counted.expand_as(error)].mean()

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class _Reverse(torch.autograd.Function):
    """The identity whose gradient is multiplied by -factor: what minimises below it maximises above it."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.factor * gradient, None


class ContextEncoder(Method):
    """The middle of the image is taken out (set to 0, the mean colour) and painted again from the features.

        loss = |hole - painted|^2                                                                       (eq. 1)
             + the critic's cross-entropy on real and painted holes, whose gradient reaches the painter with the
               opposite sign, times `adversarial`                                                       (eq. 2, 3)

    One optimiser thus plays both sides of the game.  The paper weighs the two terms .999 to .001, and pixels next to
    the hole's rim ten times as much (left out here).

    size: side of the views the method is built for.  hole: side of the hole over the view's.  adversarial: weight of
    the critic's gradient; 0 leaves the critic out.
    """

    def __init__(self, encoder: nn.Module, size: int = 32, hole: float = 0.5, adversarial: float = 0.0):
        super().__init__()
        if not 0 < hole < 1 or adversarial < 0:
            raise InputError(
                "the hole is a share of the side between 0 and 1, the adversary's weight 0 or more"
            )
        self.encoder = encoder
        self.side, self.adversarial = round(hole * size), adversarial
        self.painter = painter(encoder.dim, 3, self.side)
        if adversarial:
            self.critic = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 3, 2, 1), nn.LeakyReLU(0.2),
                nn.Flatten(), nn.Linear(2 * self.side**2, 1),
            )  # fmt: skip

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The view with its middle at 0, and the middle [N, 3, side, side]."""
        start = (x.shape[-1] - self.side) // 2
        inside = slice(start, start + self.side)
        return with_hole(x, self.side / x.shape[-1])[0], x[:, :, inside, inside]

    def paint(self, context: Tensor) -> Tensor:
        """The painted middle [N, 3, side, side] of views without it."""
        return self.painter(self.encoder(context)).float()

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        context, hole = self.cut(views[0])
        painted = self.paint(context)
        loss = mse_loss(painted, hole)
        if self.adversarial:
            scores = self.critic(torch.cat([hole, _Reverse.apply(painted, self.adversarial)])).float()
            real = torch.cat([torch.ones_like(scores[: len(hole)]), torch.zeros_like(scores[len(hole) :])])
            loss = loss + binary_cross_entropy_with_logits(scores, real)
        return loss

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)


# Details that matter
# - pathak22/context-encoder, train.lua, wants "real" said of painted holes: a gradient that stays large when
#   the critic wins. Here: the critic's own gradient reversed, which fades as it gets sure.
# - train.lua gives the painter ten times the critic's rate (2e-3 and 2e-4) when 0 < wtl2 < 1. Here: one
#   optimiser and one rate for both, and no critic at all unless asked for.
# - train.lua shows the critic the hole alone (conditionAdv = 0): it judges likeness, not fit. Here: the same.
# - train.lua fills the hole with a fixed mean colour (117, 104, 123 of 255). Here: 0 after normalisation,
#   which is mid-gray whatever the data.
# - train.lua ends the painter with tanh, pixels lying in -1..1. Here: it ends linear, pixels lying in -2..2.
