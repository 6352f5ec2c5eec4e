"""Discrete codes: vector quantisation with a straight-through gradient, and the pieces of VQGAN and dVAE."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """The index of the nearest row of codebook [K, D] for every vector of z [..., D]: long [...].

    (van den Oord et al. 2017, eq. 1.)
    """
    if z.shape[-1] != codebook.shape[-1]:
        raise InputError(
            f"vectors of length {z.shape[-1]} need codes of that length, not {codebook.shape[-1]}"
        )
    # |z|^2 is the same for every code and does not change which one is nearest
    scores = codebook.square().sum(dim=1) - 2 * z @ codebook.T
    return scores.argmin(dim=-1)


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """`quantized` forwards; backwards the gradient goes to z as if nothing had happened (van den Oord et al. 2017,
    section 3.2).  Same shapes.
    """
    return z + (quantized - z).detach()


def codebook_loss(z: Tensor, quantized: Tensor) -> Tensor:
    """mean (sg[z] - e)^2: pulls the chosen codes to the encoder's vectors (van den Oord et al. 2017, eq. 3, second
    term; the mean over entries, as in the published code, in place of the squared norm).
    """
    return (z.detach() - quantized).square().mean()


def commitment_loss(z: Tensor, quantized: Tensor) -> Tensor:
    """mean (z - sg[e])^2: keeps the encoder near the codes it chose (eq. 3, third term, without beta)."""
    return (z - quantized.detach()).square().mean()


def perplexity(indices: Tensor, codes: int) -> float:
    """exp(entropy) of how often each of `codes` codes is used in indices (any shape): from 1 to `codes`."""
    p = torch.bincount(indices.flatten(), minlength=codes).double() / indices.numel()
    return float(torch.special.entr(p).sum().exp())


class VectorQuantizer(nn.Module):
    """K codes of length D; z [N, D, H, W] -> (quantised z with a straight-through gradient, loss, indices [N, H, W]).

    loss = codebook loss + beta * commitment loss (van den Oord et al. 2017, eq. 3; paper: beta = 0.25).
    """

    def __init__(self, codes: int, dim: int, beta: float = 0.25):
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(codes, dim) / math.sqrt(dim))
        self.beta = beta

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        indices = nearest_code(z.movedim(1, -1), self.codebook)
        quantized = self.look_up(indices)
        loss = codebook_loss(z, quantized) + self.beta * commitment_loss(z, quantized)
        return straight_through(z, quantized), loss, indices

    def look_up(self, indices: Tensor) -> Tensor:
        """Indices [N, H, W] -> code vectors [N, D, H, W]."""
        return self.codebook[indices].movedim(-1, 1)

    @torch.no_grad()
    def restart_unused(self, z: Tensor, generator: torch.Generator | None = None) -> int:
        """Move every code that no vector of z [N, D, H, W] chose onto a random one of them; returns how many.

        The random restarts of Dhariwal et al. 2020 (Jukebox, section 3.1).
        """
        vectors = z.movedim(1, -1).flatten(0, -2)
        used = torch.bincount(nearest_code(vectors, self.codebook), minlength=len(self.codebook))
        unused = (used == 0).nonzero().flatten()
        chosen = torch.randint(len(vectors), (len(unused),), generator=generator)
        self.codebook[unused] = vectors[chosen]
        return len(unused)


def uniform_kl(logits: Tensor) -> Tensor:
    """KL(q || uniform) in nats of categorical logits [..., K]: [...]; log K minus the entropy.

    The price of a code in the discrete VAE (Ramesh et al. 2021, section 2.1).
    """
    q = logits.softmax(dim=-1)
    return math.log(logits.shape[-1]) - torch.special.entr(q).sum(dim=-1)


class PatchCritic(nn.Module):
    """A critic that judges every neighbourhood: images [N, 3, S, S] -> logits [N, 1, S/4, S/4] (Isola et al. 2017)."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def hinge_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2 for logits of any shape, as in VQGAN's code."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, delta: float = 1e-6
) -> Tensor:
    """lambda = |grad of reconstruction| / (|grad of adversarial| + delta) at the decoder's last weights.

    (Esser et al. 2021, eq. 7.)  Both losses pull equally hard on the last layer; a scalar without gradient.
    """
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + delta)).clamp(max=1e4).detach()
