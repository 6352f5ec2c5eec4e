"""Exemplar-CNN (Dosovitskiy et al. 2014, https://arxiv.org/abs/1406.6909)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.views import Policy


class Exemplar(Method):
    """Every training image is a class of its own; its augmented copies are the examples.

        loss = - log softmax(W h)_i    for a copy of image i        (eq. 1, with the loss of section 2.2)

    The paper cuts one seed patch per class out of an image (`pretext.seed_patches`); here the image is the seed.

    n_images: number of classes.  rotation: largest turn of a copy in degrees (paper: 20).
    """

    needs_index = True

    def __init__(self, encoder: nn.Module, n_images: int, rotation: float = 20.0):
        super().__init__()
        if n_images < 2:
            raise InputError(f"surrogate classes need at least two images, got {n_images}")
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, n_images)
        self.rotation = rotation

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy.replace(rotation=self.rotation),)

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        return cross_entropy(self.classifier(self.encoder(views[0])).float(), index)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(self.classifier.out_features)


# Details that matter
# - More classes help up to about 8,000, then near-copies with different labels hurt (paper, figure 3). Here:
#   as many classes as images: 8,192 in the quick recipe.
# - About 100 copies of each seed suffice (figure 4), drawn beforehand. Here: a new copy at every visit, 25 in
#   the quick recipe's 25 epochs.
# - Leaving out rotation or scaling costs little, leaving out translation, colour or contrast more (figure 5).
#   Here: crop and colour come from the policy (25 to 100 %, jitter 0.8), the rotation from the paper.
# - The paper (appendix B): SGD with momentum 0.9, rate 0.01, dropout in the fully connected layer. Here:
#   AdamW 3e-3, no dropout, BatchNorm in the encoder; the classifier stands right on the features.
