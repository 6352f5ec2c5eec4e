"""Proto-RL (Yarats et al. 2021, https://arxiv.org/abs/2102.11271): prototypes of what was seen, and a bonus for being
far from what they remember."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.losses.clustering import sinkhorn_knopp
from ssl_lessons.modalities.agents.encoders import Eye

TEMPERATURE = 0.1


def swapped(
    predicted: Tensor, target: Tensor, prototypes: Tensor, temperature: float = TEMPERATURE
) -> Tensor:
    """Say of a picture in which balanced share the next one falls: SwAV's loss along time, one way.

        loss = -mean_i sum_k q_ik log p_ik,  p = softmax(C u / temperature),  q = sinkhorn_knopp(C v, temperature)

    As in the authors' code (github.com/denisyarats/proto, proto.py).  predicted u and target v [N, D], prototypes C
    [K, D]; all rows count as unit length.  No gradient goes through q.  Returns a scalar in nats.
    """
    u, v, c = (F.normalize(x, dim=1) for x in (predicted, target, prototypes))
    with torch.no_grad():
        q = sinkhorn_knopp(v @ c.T, temperature)
    return F.cross_entropy(u @ c.T / temperature, q)


def remote(z: Tensor, remembered: Tensor, k: int = 3) -> Tensor:
    """[N]: the distance of each row of z [N, D] to the k-th nearest of remembered [M, D]; unit rows; 0 if M = 0.

    It grows with the k-nearest-neighbour estimate of the entropy of what is remembered.  With fewer than
    k memories the farthest of them counts.
    """
    if not len(remembered):
        return z.new_zeros(len(z))
    apart = torch.cdist(F.normalize(z, dim=1), remembered)
    return apart.topk(min(k, len(remembered)), dim=1, largest=False).values[:, -1]


class Prototypes(nn.Module):
    """What `exploring.Agent` asks: a bonus for a picture, and one step of learning.

    An eye, a slow copy of it, a predictor and K prototypes.  After every step each prototype picks one picture of the
    batch, the likelier the more similar, and the picks replace the oldest of those remembered.  The authors'
    config.yaml: K = 512, 2,048 remembered, a slow copy that takes 0.05 of the eye's weights, k = 3, Adam at 1e-4.  lr:
    so low that what is remembered still lies where the eye puts it now; at 2e-3 it does not, and known places look far.
    """

    def __init__(
        self, dim: int = 16, count: int = 32, remembered: int = 512, momentum: float = 0.95, lr: float = 2e-4
    ):
        super().__init__()
        self.eye = Eye(dim)
        self.slow = copy.deepcopy(self.eye).requires_grad_(False)
        self.predictor = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
        self.prototypes = nn.Parameter(torch.randn(count, dim))
        self.remembered, self.momentum = remembered, momentum
        self.register_buffer("queue", torch.zeros(0, dim))
        self.optimizer = torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr)

    @torch.no_grad()
    def forward(self, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """The bonus [N] of the pictures `then`, uint8 [N, 3, S, S]; what was before does not matter."""
        return remote(self.eye(then), self.queue)

    def learn(self, now: Tensor, action: Tensor, then: Tensor) -> None:
        """One step of Adam; the slow copy follows; the prototypes pick."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            target = self.slow(then)
        swapped(self.predictor(self.eye(now)), target, self.prototypes).backward()
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.eye.parameters(), strict=True):
                slow.lerp_(fast, 1 - self.momentum)
            z = F.normalize(self.eye(then), dim=1)
            likely = (F.normalize(self.prototypes, dim=1) @ z.T).softmax(dim=1)
            picked = z[torch.multinomial(likely, 1)[:, 0]]
            self.queue = torch.cat([self.queue, picked])[-self.remembered :]
