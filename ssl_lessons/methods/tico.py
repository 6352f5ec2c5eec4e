"""TiCo (Zhu et al. 2022, https://arxiv.org/abs/2206.10698)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.second_moment import tico, tico_covariance
from ssl_lessons.methods.base import Method, cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.models import projection_head


class TiCo(Method):
    """The student's view looks like the teacher's other view, and avoids the directions used by earlier images.

    What was used is remembered in one matrix, a moving average of second moments: a memory of all images that costs
    no more for many.  rho: weight of avoiding them.  beta: share of the old matrix in the new one.  momentum: of the
    teacher, at the start; it rises to 1 along half a cosine.  hidden_dim, out_dim: the projector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        rho: float = 8.0,
        beta: float = 0.9,
        momentum: float = 0.97,
        hidden_dim: int = 512,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim)
        self.teacher = momentum_copy(nn.Sequential(encoder, self.projector))
        self.register_buffer("covariance", torch.zeros(out_dim, out_dim))
        self.rho, self.beta, self.momentum = rho, beta, momentum

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"TiCo compares two views of every image, got {len(views)}")
        z1 = self.embed(views[0])
        with torch.no_grad():
            z2 = self.teacher(views[1])
        covariance = tico_covariance(self.covariance.clone(), z1, self.beta)
        if self.training:
            self.covariance.copy_(covariance.detach())
        return tico(z1, z2, covariance, self.rho)

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, cosine_momentum(self.momentum, progress))

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher[0]), (self.projector, self.teacher[1])]


# Details that matter
# - We follow sayannag/TiCo-pytorch (TiCo/main.py): second moments of the student's view, not centred, the batch at hand
#   included and differentiated; rho 8, which that code calls the paper's, and not its default 20.
# - lightly detaches the matrix; stable-pretraining centres it, takes both views and has no teacher.
# - The matrix starts at zero, there and here, so the loss rises over the first 1 / (1 - beta) steps or so.
# - The teacher's momentum rises from 0.99 there, from 0.97 here: a minute has few steps.
