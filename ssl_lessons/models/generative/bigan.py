"""Adversarial games: GAN, BiGAN / ALI, and the search for the code behind a picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-mean log D(real) - mean log(1 - D(fake)) for logits [N] and [M], D = sigmoid (Goodfellow et al. 2014, eq. 1).

    2 log 2 when the critic cannot tell them apart.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, saturating: bool = False) -> Tensor:
    """-mean log D(fake) for logits [N]; saturating=True: mean log(1 - D(fake)), the generator's side of eq. 1.

    Both have the same fixed points; only the first has a gradient when the critic is sure (Goodfellow et al. 2014,
    section 3).
    """
    return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()


def bigan_critic_loss(encoded: Tensor, generated: Tensor) -> Tensor:
    """The critic of pairs: `encoded` are logits of (x, E(x)), `generated` of (G(z), z).

    (Donahue et al. 2017, section 3.)
    """
    return critic_loss(encoded, generated)


def bigan_player_loss(encoded: Tensor, generated: Tensor) -> Tensor:
    """Encoder and generator together: each wants its pairs taken for the other's (non-saturating form).

    -mean log D(G(z), z) - mean log(1 - D(x, E(x))): the critic's loss with the labels exchanged.
    """
    return critic_loss(generated, encoded)


def gradient_penalty(logits: Tensor, inputs: Tensor) -> Tensor:
    """R1: mean squared norm of the critic's gradient at real inputs [N, ...] (Mescheder et al. 2018, eq. 9, without
    the factor gamma / 2).  Differentiable again.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1).mean()


class PairCritic(nn.Module):
    """The logit [N] that a pair of a vector x [N, X] and a code z [N, Z] came from the encoder."""

    def __init__(self, x_dim: int, z_dim: int, hidden: int = 128):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(x_dim + z_dim, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
        )
        self.last = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.last(self.body(torch.cat([x, z], dim=1))).squeeze(1)


def invert(
    generator: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, steps: int = 200, lr: float = 0.05
) -> tuple[Tensor, Tensor]:
    """GAN inversion: codes z [N, Z] that lower ||G(z) - x||^2, found by Adam from `start` [N, Z].

    Returns the codes and the squared error per example [N] at the end.  The generator does not change.  Raises
    InputError when start and x have different lengths.
    """
    if len(start) != len(x):
        raise InputError(f"one start per target is needed, got {len(start)} for {len(x)}")
    z = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    for _ in range(steps):
        error = (generator(z) - x).square().flatten(1).sum(dim=1)
        (z.grad,) = torch.autograd.grad(error.sum(), z)
        optimizer.step()
    with torch.no_grad():
        error = (generator(z) - x).square().flatten(1).sum(dim=1)
    return z.detach(), error
