"""The supervised baseline: the same encoder, trained from scratch on the labels at hand."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.methods.base import Method
from ssl_lessons.views import Policy


class Supervised(Method):
    """Cross-entropy on one augmented view per image, with a linear classifier on the encoder."""

    needs_labels = True

    def __init__(self, encoder: nn.Module, n_classes: int):
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, n_classes)

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,)

    def embed(self, x: Tensor) -> Tensor:
        return self.classifier(self.encoder(x))

    def chance_loss(self, batch_size: int) -> float:
        return math.log(self.classifier.out_features)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return cross_entropy(self.classifier(self.encoder(views[0])).float(), labels)


# Details that matter
# - google-research/simclr, data.py: colour distortion is for pretraining only; HobbitLong/SupContrast,
#   main_ce.py: crops and flips. Here: the recipe's whole policy, in quick jitter 0.8 and hue 0.4.
# - main_ce.py: one view, plain cross-entropy, a linear map on the features, no projector. Here: the same.
# - main_ce.py: SGD 0.2 at 256, 500 epochs on CIFAR-10. Here: AdamW 4e-3, 25 epochs in quick, as for SimCLR;
#   nothing tuned for it.
