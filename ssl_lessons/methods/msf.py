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


# Details that matter
# - UMBCvision/MSF, train_msf.py: the batch enters the bank before the search, so a target is its own first
#   neighbour. Here: batch and queue are searched together, the push comes after the loss.
# - Neighbours and bank: the code's defaults are 5 of 128,000, its README trains with 10 of 128,000,
#   run_msf.sh with 5 of 1,024,000. Here: 5 of 2,048 and the batch.
# - Views: with --weak_strong (README) the target sees a crop and a flip only, the student the jitter as well.
#   Here: both views are jittered.
# - Teacher: its parameters move, by 0.99; its images are shuffled over the GPUs, against a hint by BatchNorm.
#   Here: 0.97, BatchNorm's running statistics are copied, one device without shuffle.
# - README: SGD 0.05 with cosine, one rate for all, decay 1e-4 on everything. Here: 0.2, the predictor at 4
#   times that, decay 5e-4 but not on biases and norms.
