"""Rotation prediction, RotNet (Gidaris et al. 2018, https://arxiv.org/abs/1803.07728)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ssl_lessons.methods.pretext_task import PretextTask
from ssl_lessons.views.pretext import four_rotations


class Rotation(PretextTask):
    """By how many quarter turns was this image turned?  All four copies of every image are in the batch.

    loss = - 1/4 sum over k of log p(k | image turned k times)        (eq. 3)
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, 4)

    def predict(self, x: Tensor) -> Tensor:
        """Logits [N, 4] over the number of counter-clockwise quarter turns of x [N, 3, S, S]."""
        return self.classifier(self.encoder(x)).float()

    def quiz(self, x: Tensor) -> tuple[Tensor, Tensor]:
        turned, turns = four_rotations(x)
        return self.predict(turned), turns

    def chance_loss(self, batch_size: int) -> float:
        return math.log(4)


# Details that matter
# - gidariss/FeatureLearningRotNet, dataloader.py: crop and flip first, then the turn by swapping axes: no
#   interpolation, no blank corners. Here: the same; the finished view is turned.
# - CIFAR-10 there: random crops of 32 px from 40, with a border of zeros. Here: crops of half to all of the
#   area, enlarged, no border.
# - CIFAR-10 there: 128 images x 4, SGD 0.1 with Nesterov, divided by 5 at epochs 60, 120 and 160. Here: 64 x
#   4, AdamW 3e-3, cosine.
# - The last layers learn the task: on ImageNet the paper's conv4 gives 50.0, conv5 43.8 (issue 10 there), and
#   on CIFAR-10 the code probes block 2. Here: probes read the encoder's last layer.
