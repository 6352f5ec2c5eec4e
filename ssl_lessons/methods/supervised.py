"""The supervised baseline: the same encoder, trained from scratch on the labels at hand."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.methods.base import Method


class Supervised(Method):
    """Cross-entropy on one augmented view per image, with a linear classifier on the encoder."""

    needs_labels = True

    def __init__(self, encoder: nn.Module, n_classes: int):
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, n_classes)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        return cross_entropy(self.classifier(self.encoder(views[0])).float(), labels)
