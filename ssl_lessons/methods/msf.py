"""MSF, mean shift (Koohpayegani et al. 2021, https://arxiv.org/abs/2105.07269)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import msf
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.methods.moco import Queue


class MSF(BYOL):
    """BYOL whose student predicts the nearest neighbours of its target as well: the teacher's views of other images.

    The targets of the last steps wait in a queue.  k: neighbours, the target included.  queue_size: at least one
    batch.  The paper: k = 5, 128,000 targets, momentum 0.99 throughout, one direction; the rest as in `BYOL`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        k: int = 5,
        queue_size: int = 2048,
        momentum: float = 0.97,
        rising: bool = False,
        hidden_dim: int = 512,
        out_dim: int = 128,
        predictor_lr: float = 4.0,
    ):
        super().__init__(encoder, hidden_dim, out_dim, momentum, rising, predictor_lr=predictor_lr)
        self.k = k
        self.queue = Queue(queue_size, out_dim)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"MSF compares two views of every image, got {len(views)}")
        with torch.no_grad():
            target = normalize(self.teacher(views[1]).float(), dim=1)
        loss = self.distance(self.predictor(self.embed(views[0])), target)
        if self.training:
            self.queue.push(target)
        return loss

    def distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        return msf(prediction, target, self.queue.rows, self.k)
