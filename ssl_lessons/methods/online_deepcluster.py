"""Online Deep Clustering, ODC (Zhan et al. 2020, https://arxiv.org/abs/2006.10645)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.losses.clustering import deepcluster, kmeans
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class OnlineDeepCluster(Method):
    """DeepCluster without the stop: features, labels and centroids live in memories and move a little every step.

    clusters: how many (paper: 10,000).  momentum: share of the new feature in the memory (paper: 0.5).
    refresh_every: steps between two updates of the centroids (paper: 10).  smallest: a cluster with fewer images is
    dissolved into its neighbours, and the largest is split in two (paper: 20 of 1.3 million images); at most half of
    what a cluster has on average, or few images would leave none that is large enough.
    """

    needs_index = True

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        clusters: int = 64,
        momentum: float = 0.5,
        refresh_every: int = 10,
        smallest: int = 20,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(
            projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim),
            nn.BatchNorm1d(out_dim, affine=False),  # k-means sees centred features
        )
        self.classifier = nn.Linear(out_dim, clusters)
        self.momentum, self.refresh_every = momentum, refresh_every
        self.smallest = min(smallest, n_images // (2 * clusters))
        self.register_buffer("memory", torch.zeros(n_images, out_dim))
        self.register_buffer("pseudo_labels", torch.zeros(n_images, dtype=torch.long))
        self.register_buffer("centroids", torch.zeros(clusters, out_dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def refresh(self, extract: Callable[[nn.Module], Tensor]) -> None:
        """First, fill the memories by k-means; later, only move the centroids, without extracting anything."""
        if not self.filled:
            features = extract(nn.Sequential(self.encoder, self.projector)).to(self.memory)
            # The BatchNorm has no statistics yet: do what it will do in the first step.
            features = (features - features.mean(dim=0)) / features.std(dim=0).clamp_min(1e-6)
            self.memory.copy_(normalize(features, dim=1))
            labels, _ = kmeans(self.memory, len(self.centroids))
            self.pseudo_labels.copy_(labels)
            self.filled.fill_(True)
        self._dissolve_small_clusters()
        self._move_centroids()

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        z = self.embed(torch.cat(views))
        targets = self.pseudo_labels[index].repeat(len(views))
        loss = deepcluster(
            self.classifier(z), targets, self._sizes().sqrt()
        )  # weights 1 / sqrt(size), section 3.2
        if self.training:
            self._remember(torch.stack(z.detach().chunk(len(views))).mean(dim=0), index)
        return loss

    @torch.no_grad()
    def _remember(self, z: Tensor, index: Tensor) -> None:
        mixed = self.momentum * normalize(z.to(self.memory), dim=1) + (1 - self.momentum) * self.memory[index]
        self.memory[index] = normalize(mixed, dim=1)
        self.pseudo_labels[index] = torch.cdist(self.memory[index], self.centroids).argmin(dim=1)

    def _sizes(self) -> Tensor:
        return torch.bincount(self.pseudo_labels, minlength=len(self.centroids)).float()

    def _move_centroids(self) -> None:
        sums = torch.zeros_like(self.centroids).index_add_(0, self.pseudo_labels, self.memory)
        self.centroids.copy_(sums / self._sizes().clamp_min(1)[:, None])

    def _dissolve_small_clusters(self) -> None:
        self._move_centroids()
        for small in (self._sizes() < self.smallest).nonzero()[:, 0].tolist():
            members = (self.pseudo_labels == small).nonzero()[:, 0]
            distance = torch.cdist(self.memory[members], self.centroids)
            distance[:, self._sizes() < self.smallest] = math.inf
            self.pseudo_labels[members] = distance.argmin(dim=1)
            largest = (self.pseudo_labels == self._sizes().argmax()).nonzero()[:, 0]
            half, _ = kmeans(self.memory[largest], 2)
            self.pseudo_labels[largest[half == 1]] = small
            self._move_centroids()

    def assign(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed(x)).softmax(dim=1)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(self.classifier.out_features)


# Details that matter
# - OpenSelfSup (open-mmlab), odc_memory.py: an image joins the centroid of largest inner product; centroids
#   are means of unit rows, so tight clusters attract. Here: the smallest distance.
# - hooks/odc_hook.py: centroids move every 10 steps, small clusters are dissolved and the weights renewed
#   after every step. Here: centroids and small clusters every 10 steps, weights every step.
# - Neck (models/necks.py): 512-256, BatchNorm without affine, dropout, and a ReLU at the end. Here: no
#   dropout, no last ReLU, but BatchNorm without affine on the output.
# - Memory: one view per image writes its row there. Here: two views train, and the mean of their embeddings
#   is written.
# - configs/selfsup/odc/r50_v1.py: SGD 0.06 with momentum 0.9, but none for the classifier, whose labels keep
#   changing; decay 1e-5. Here: AdamW 4e-3 for all.
