"""Instance discrimination with a memory bank (Wu et al. 2018, https://arxiv.org/abs/1805.01978)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.losses.instance import instdisc
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class MemoryBank(nn.Module):
    """One unit-length row per training image: `rows` [n_images, dim], random directions at first."""

    def __init__(self, n_images: int, dim: int):
        super().__init__()
        self.register_buffer("rows", normalize(torch.randn(n_images, dim), dim=1))

    @torch.no_grad()
    def update(self, index: Tensor, z: Tensor, momentum: float) -> None:
        """m_i <- momentum m_i + (1 - momentum) z_i, back to unit length."""
        z = normalize(z.to(self.rows.dtype), dim=1)
        self.rows[index] = normalize(momentum * self.rows[index] + (1 - momentum) * z, dim=1)


class InstDisc(Method):
    """Every image is a class of its own; the weights of its class are the embedding it had last time.

    One view per image and step.  The paper estimates the softmax over 1.28 million images by NCE with 4,096
    negatives; over a few thousand it is cheap, and computed in full here.

    temperature: the paper's is 0.07.  proximal: weight of |z_i - m_i|^2, which slows the changes between two visits
    of an image (eq. 10); the paper uses 30 beside the NCE loss.  bank_momentum: share of the old row in the new one
    (paper: 0, the authors' code: 0.5).
    """

    needs_index = True

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        temperature: float = 0.1,
        proximal: float = 0.0,
        bank_momentum: float = 0.5,
        layers: int = 1,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, encoder.dim, out_dim, layers)
        self.bank = MemoryBank(n_images, out_dim)
        self.temperature, self.proximal, self.bank_momentum = temperature, proximal, bank_momentum

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,)

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        if len(views) != 1:
            raise InputError(f"InstDisc takes one view of every image, got {len(views)}")
        z = self.embed(views[0])
        self.newest = (index, z.detach())
        return instdisc(z, self.bank.rows, index, self.temperature, self.proximal)

    def after_step(self, progress: float) -> None:
        self.bank.update(*self.newest, self.bank_momentum)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(len(self.bank.rows))


# Details that matter
# - zhirongw/lemniscate.pytorch, lib/NCEAverage.py, writes the bank after the loss has read it, in the
#   backward pass, with that pass's embeddings. Here: the same, after the optimiser's step.
# - main.py has temperature 0.07 (ImageNet), cifar.py 0.1; README: 0.07 to 0.1 works well. Here: 0.1.
# - lib/NCECriterion.py has no proximal term, though the paper has. Here: proximal=0, as in the code; the full
#   softmax is there as well (--nce-k 0, lib/LinearAverage.py).
# - main.py: SGD 0.03, decay 1e-4, cifar.py: 0.1 and 5e-4; 200 epochs, so many renewals of every row. Here:
#   0.06 and 5e-4 with warm-up and cosine; the quick recipe renews a row 25 times.
