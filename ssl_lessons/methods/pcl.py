"""PCL, Prototypical Contrastive Learning (Li et al. 2021, https://arxiv.org/abs/2005.04966)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.losses.clustering import kmeans, protonce, prototype_concentration
from ssl_lessons.methods.base import Method, momentum_copy, momentum_update
from ssl_lessons.models import projection_head


class PCL(Method):
    """InfoNCE against a momentum encoder, plus InfoNCE against the centroids of several k-means clusterings.

    clusters, levels: the clusterings have clusters, 2 clusters, 4 clusters, ... groups (paper: 25,000 to 100,000).
    refresh_every: steps between two clusterings (paper: one epoch); until the second call the loss is InfoNCE alone
    (paper: 20 epochs).  momentum: of the momentum encoder (paper: .999).  The negatives are the batch's other keys
    (paper: a queue of 16,384).
    """

    needs_index = True

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        clusters: int = 32,
        levels: int = 3,
        temperature: float = 0.2,
        momentum: float = 0.99,
        refresh_every: int = 50,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim)
        self.teacher = momentum_copy(nn.Sequential(self.encoder, self.projector))
        self.temperature, self.momentum, self.refresh_every = temperature, momentum, refresh_every
        self.counts = [clusters * 2**level for level in range(levels)]
        self.register_buffer("refreshes", torch.zeros((), dtype=torch.long))
        self.register_buffer("pseudo_labels", torch.zeros(levels, n_images, dtype=torch.long))
        self.register_buffer("centroids", torch.zeros(sum(self.counts), out_dim))
        self.register_buffer("concentrations", torch.ones(sum(self.counts)))

    @torch.no_grad()
    def refresh(self, extract: Callable[[nn.Module], Tensor]) -> None:
        """The E-step: cluster the momentum features of all images."""
        self.refreshes += 1
        if self.refreshes == 1:  # the features of an untrained network are not worth a cluster
            return
        features = normalize(extract(self.teacher), dim=1)
        centroids, concentrations = self.centroids.split(self.counts), self.concentrations.split(self.counts)
        for level, k in enumerate(self.counts):
            labels, means = kmeans(features, k)
            means = normalize(means, dim=1)
            self.pseudo_labels[level] = labels
            phi = prototype_concentration(features, means, labels, self.temperature, clip=0.1)
            centroids[level].copy_(means)
            concentrations[level].copy_(phi)

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        """The M-step."""
        if len(views) != 2:
            raise InputError(f"PCL compares two views of every image, got {len(views)}")
        query = self.embed(views[0])
        with torch.no_grad():
            key = self.teacher(views[1])
        clusterings = self.clusterings(index) if self.refreshes > 1 else ([], [], [])
        return protonce(query, key, *clusterings, self.temperature)

    def clusterings(self, index: Tensor) -> tuple:
        """Prototypes, the labels of these images and concentrations, each a list with one entry per level."""
        split = (self.centroids.split(self.counts), list(self.pseudo_labels[:, index]))
        return (*split, self.concentrations.split(self.counts))

    def after_step(self, progress: float) -> None:
        momentum_update(nn.Sequential(self.encoder, self.projector), self.teacher, self.momentum)

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(nn.Sequential(self.encoder, self.projector), self.teacher)]

    def assign(self, x: Tensor) -> Tensor | None:
        """Probabilities of the coarsest prototypes; None before the first clustering."""
        if self.refreshes < 2:
            return None
        k = self.counts[0]
        return (normalize(self.embed(x), dim=1) @ self.centroids[:k].T / self.concentrations[:k]).softmax(
            dim=1
        )

    def chance_loss(self, batch_size: int) -> float:
        """Of both terms, once there are prototypes."""
        prototypes = sum(map(math.log, self.counts)) / len(self.counts) if self.refreshes > 1 else 0.0
        return math.log(batch_size) + prototypes


# Details that matter
# - salesforce/PCL, main_pcl.py: k-means with 5 restarts of 20 iterations, another seed per level. Here: one
#   start of at most 20, one seed for all levels.
# - Concentrations are clipped to their 10th and 90th percentile before they are scaled to the mean 0.2, 'for
#   stability', and lonely clusters get the largest. Here: the same.
# - The E-step sees centre crops through the momentum encoder in eval mode; features and centroids have unit
#   length. Here: the same, with whole images.
# - pcl/builder.py: 16,384 sampled prototypes are negatives, none of them a positive of the batch. Here: all
#   prototypes.
# - Head: PCL v1 has one linear layer, v2 (--mlp --aug-plus --cos: 61.5 -> 67.6 %, README) two without
#   BatchNorm. Here: two with BatchNorm, strong views and a cosine schedule.
