"""DIET: the datum's index is its target (Ibrahim et al. 2024, https://arxiv.org/abs/2406.10743)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.views import Policy


class DIET(Method):
    """The simplest baseline: classify every augmented image as itself, with one linear map on the features.

        loss = cross-entropy of W f(T(x_n)) with target n

    One view per image, no projector, no pairs, no teacher.  n_images: number of classes.  label_smoothing: share of
    the target that is spread evenly over all images, from 0 to below 1.
    """

    needs_index = True

    def __init__(self, encoder: nn.Module, n_images: int, label_smoothing: float = 0.8):
        super().__init__()
        if n_images < 2:
            raise InputError(f"DIET needs at least two images to tell apart, got {n_images}")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must be from 0 to below 1, got {label_smoothing!r}")
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, n_images, bias=False)
        self.label_smoothing = label_smoothing

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,)

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        if len(views) != 1:
            raise InputError(f"DIET takes one view of every image, got {len(views)}")
        logits = self.classifier(self.encoder(views[0])).float()
        return cross_entropy(logits, index, label_smoothing=self.label_smoothing)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def chance_loss(self, batch_size: int) -> float | None:
        """Nothing is told apart; with smoothing even a solved task is not far below, so that it says nothing."""
        return None if self.label_smoothing else math.log(self.classifier.out_features)


# Details that matter
# - Exemplar-CNN (2014) with whole images, one linear map without bias, strong augmentation and label smoothing 0.8, as
#   public reproductions have it: what changed in ten years is the recipe.
# - An image is seen once per epoch, so a class has as many examples as there are epochs: it needs many.
# - W grows with the data set: 8,192 images x 256 features are 2 million weights, more than the encoder has here.
