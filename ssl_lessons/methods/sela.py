"""SeLa (Asano, Rupprecht & Vedaldi 2020, https://arxiv.org/abs/1911.05371)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_lessons.losses.clustering import deepcluster, sela_labels
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class SeLa(Method):
    """Self-labelling: the labels that fit the model best *among those that use every cluster equally often*.

    No k-means and no fresh classifier: network and labels lower the same cross-entropy in turn.

    clusters: per head (paper: 3,000); heads: classifiers, each with its own labels (paper: 10).  refresh_every: steps
    between two labellings (paper: about 80 labellings in a run).  sharpness: lambda of the transport (paper: 25).
    """

    needs_index = True

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        clusters: int = 64,
        heads: int = 4,
        refresh_every: int = 25,
        sharpness: float = 25.0,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim)
        self.classifiers = nn.ModuleList(nn.Linear(out_dim, clusters) for _ in range(heads))
        self.refresh_every, self.sharpness = refresh_every, sharpness
        self.register_buffer("pseudo_labels", torch.zeros(heads, n_images, dtype=torch.long))

    @torch.no_grad()
    def refresh(self, extract: Callable[[nn.Module], Tensor]) -> None:
        z = extract(nn.Sequential(self.encoder, self.projector)).to(self.pseudo_labels.device)
        for head, labels in zip(self.classifiers, self.pseudo_labels, strict=True):
            labels.copy_(sela_labels(head(z).log_softmax(dim=1), self.sharpness))

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        z = self.embed(torch.cat(views))
        targets = self.pseudo_labels[:, index].repeat(1, len(views))
        losses = [deepcluster(head(z), y) for head, y in zip(self.classifiers, targets, strict=True)]
        return torch.stack(losses).mean()

    def assign(self, x: Tensor) -> Tensor:
        """Probabilities of the first head."""
        return self.classifiers[0](self.embed(x)).softmax(dim=1)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(self.classifiers[0].out_features)


# Details that matter
# - yukimasano/self-label, main.py: labellings crowd at the start, at times proportional to k^2, the first
#   before any step. Here: every 25 steps, the first before any step as well.
# - There labels come from augmented views, with BatchNorm in training mode. Here: from whole images, in eval
#   mode.
# - sinkhornknopp.py: float64, until the scaling changes by less than 0.1 in all. Here: 80 iterations in
#   float32, on logarithms.
# - There the heads are linear maps of the network's last layer, 4096 or 2048 wide. Here: of a projector's
#   output, 128 wide, with BatchNorm in its hidden layer.
# - There one view per image, SGD 0.05, decay 1e-5. Here: two views with the same label, AdamW 4e-3.
