"""Rotation prediction, RotNet (Gidaris et al. 2018, https://arxiv.org/abs/1803.07728)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.methods.base import Method
from ssl_lessons.views import Policy
from ssl_lessons.views.pretext import four_rotations


def gentle(policy: Policy, **changes) -> tuple[Policy]:
    """One view for a task that is itself the challenge: a crop of at least half the image, a flip, true colours."""
    plain = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0, "crop_scale": (0.5, 1.0)}
    return (policy.replace(**plain | changes),)


class Rotation(Method):
    """By how many quarter turns was this image turned?  All four copies of every image are in the batch.

    loss = - 1/4 sum over k of log p(k | image turned k times)        (eq. 3)
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, 4)

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return gentle(policy)

    def predict(self, x: Tensor) -> Tensor:
        """Logits [N, 4] over the number of counter-clockwise quarter turns of x [N, 3, S, S]."""
        return self.classifier(self.encoder(x)).float()

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        turned, turns = four_rotations(views[0])
        return cross_entropy(self.predict(turned), turns)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(4)
