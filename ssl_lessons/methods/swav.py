"""SwAV (Caron et al. 2020, https://arxiv.org/abs/2006.09882)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.losses.clustering import swav
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class SwAV(Method):
    """Views predict each other's balanced assignment to learned prototypes, instead of comparing features.

    prototypes: how many (paper: 3,000 for 1,000 classes).  temperature: of the prediction (paper: .1).  epsilon,
    iterations: of Sinkhorn-Knopp (paper: .05 and 3; a large epsilon blurs the codes of a young network).  n_small:
    extra views of half the side that only predict (paper: 6).
    sinkhorn=False takes the plain softmax as the assignment: nothing is balanced.  frozen_steps: the prototypes rest
    that long (paper: one epoch).  queue_length: earlier images per large view that join the balancing, once the queue
    is full (paper: 3,840 for batches of 256; needless when the batch has several images per prototype).
    """

    def __init__(
        self,
        encoder: nn.Module,
        prototypes: int = 64,
        temperature: float = 0.2,
        epsilon: float = 0.03,
        iterations: int = 3,
        n_small: int = 0,
        sinkhorn: bool = True,
        frozen_steps: int = 0,
        queue_length: int = 0,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim)
        self.prototypes = nn.Linear(out_dim, prototypes, bias=False)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations if sinkhorn else 0
        self.n_small, self.frozen_steps, self.queue_length = n_small, frozen_steps, queue_length
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("queue", torch.zeros(2, queue_length, out_dim))
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))
        self._normalize_prototypes()

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        small = policy.replace(size=policy.size // 2, crop_scale=(0.1, 0.4))
        return (policy, policy) + (small,) * self.n_small

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2 + self.n_small:
            raise InputError(f"SwAV was built for {2 + self.n_small} views of every image, got {len(views)}")
        z = list(self.embed(torch.cat(views[:2])).chunk(2))
        if self.n_small:  # another size, so another pass
            z += self.embed(torch.cat(views[2:])).chunk(self.n_small)
        loss = swav(
            [self.scores(v) for v in z], self.temperature, self.epsilon, self.iterations, queue=self._queue(z)
        )
        return loss

    def embed(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def scores(self, z: Tensor) -> Tensor:
        """Cosine similarities [N, K] of embeddings z with the prototypes (unit length after every step)."""
        weight = self.prototypes.weight
        frozen = self.training and self.frozen_steps > 0 and int(self.steps) < self.frozen_steps
        return normalize(z, dim=1) @ (weight.detach() if frozen else weight).T

    def assign(self, x: Tensor) -> Tensor:
        return (self.scores(self.embed(x)) / self.temperature).softmax(dim=1)

    @torch.no_grad()
    def _queue(self, z: list[Tensor]) -> list[Tensor] | None:
        """The scores of the queued embeddings, if the queue is full; then the new ones take the place of the oldest."""
        if not self.queue_length:
            return None
        full = int(self.queued) >= self.queue_length
        scores = [self.scores(q) for q in self.queue] if full else None
        if self.training:
            new = torch.stack([v.detach() for v in z[:2]]).to(self.queue)
            self.queue.copy_(torch.cat([new, self.queue], dim=1)[:, : self.queue_length])
            self.queued += new.shape[1]
        return scores

    def after_step(self, progress: float) -> None:
        self.steps += 1
        self._normalize_prototypes()

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        self.prototypes.weight.copy_(normalize(self.prototypes.weight, dim=1))

    def chance_loss(self, batch_size: int) -> float:
        return math.log(self.prototypes.out_features)


# Details that matter
# - facebookresearch/swav, README: a loss stuck at log K has collapsed; epsilon 0.03 instead of 0.05, frozen
#   prototypes, or no BatchNorm in the head help. Here: epsilon 0.03, BatchNorm kept.
# - main_swav.py drops the prototypes' gradient for the first 313 steps (batch 4,096) or 5,005 (256). Here:
#   frozen_steps = 0 by default. Either has them at unit length in every forward pass.
# - Queue: from epoch 15 on, once it is full; too early it disturbs (README). Here: as soon as it is full, 15
#   steps for 3,840 at 256; off by default.
# - Small crops: 96 px from 5 to 14 % of the area, large ones 224 px from 14 %. Here: half the side from 10 to
#   40 %, large ones from 25 % in quick, so the ranges overlap.
# - src/resnet50.py: the head's BatchNorm sees all crops at once. Here: large and small ones apart. LARC 0.6
#   at 256 and decay 1e-6 there, SGD 0.2 and 5e-4 here.
