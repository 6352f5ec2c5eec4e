"""DeepCluster (Caron et al. 2018, https://arxiv.org/abs/1807.05520)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from ssl_lessons.losses.clustering import deepcluster, kmeans
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class DeepCluster(Method):
    """Cluster the features, predict the clusters from augmented views with a fresh classifier, and begin again.

    clusters: how many (paper: 10,000 for 1,000 classes).  refresh_every: steps between two clusterings (paper: one
    epoch).  pca_dim: the features are whitened to so many dimensions and normalised before k-means (paper: 256; 0 takes
    them as they are).  balance=False lets every image weigh the same, so that a large cluster dominates the loss.
    """

    needs_index = True

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        clusters: int = 64,
        refresh_every: int = 50,
        pca_dim: int = 64,
        balance: bool = True,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim)
        self.classifier = nn.Linear(out_dim, clusters)
        self.refresh_every, self.pca_dim, self.balance = refresh_every, pca_dim, balance
        self.register_buffer("pseudo_labels", torch.zeros(n_images, dtype=torch.long))
        self.register_buffer("sizes", torch.ones(clusters))

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (
            policy,
            policy,
        )  # two views share a label: twice the images per step, as the other methods have

    @torch.no_grad()
    def refresh(self, extract: Callable[[nn.Module], Tensor]) -> None:
        features = extract(nn.Sequential(self.encoder, self.projector))
        if self.pca_dim:
            features = whiten(features, self.pca_dim)
        labels, _ = kmeans(features, self.classifier.out_features)
        self.pseudo_labels.copy_(labels)
        self.sizes.copy_(torch.bincount(labels, minlength=len(self.sizes)))
        # Cluster 7 of today has nothing to do with cluster 7 of yesterday: the classifier starts afresh.
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, views: list[Tensor], labels: Tensor | None, index: Tensor) -> Tensor:
        logits = self.classifier(self.embed(torch.cat(views)))
        targets = self.pseudo_labels[index].repeat(len(views))
        return deepcluster(logits, targets, self.sizes if self.balance else None)

    def assign(self, x: Tensor) -> Tensor:
        """One-hot: these clusters are hard.  (How sure the classifier is says little, it has just begun afresh.)"""
        return one_hot(self.classifier(self.embed(x)).argmax(dim=1), self.classifier.out_features).float()

    def chance_loss(self, batch_size: int) -> float:
        return math.log(self.classifier.out_features)


def whiten(features: Tensor, dim: int) -> Tensor:
    """features [N, D] in at most `dim` principal directions, each of variance 1, then rows of length 1."""
    x = features.double() - features.double().mean(dim=0)
    variance, directions = torch.linalg.eigh(x.T @ x / len(x))  # ascending
    kept = variance > 1e-6 * variance[-1]  # rounding errors must not be blown up
    scale = variance[kept].rsqrt()[-dim:]
    return normalize(x @ directions[:, kept][:, -dim:] * scale, dim=1).float()


# Details that matter
# - facebookresearch/deepcluster, clustering.py, seeds k-means anew at every epoch, on purpose, so that its
#   start does not repeat. Here: `kmeans` has seed 0 every time; only the features differ.
# - main.py gives each new classifier an optimiser of its own, SGD without momentum. Here: it is drawn anew in
#   place, and the optimiser's averages of the old one's gradients live on.
# - main.py takes the head's last ReLU off for clustering and puts it back for the classifier. Here: the head
#   ends linear for both. Both cluster images that are not augmented, in evaluation mode.
# - util.py's UnifLabelSampler draws equally many images of every cluster, small ones repeatedly. Here: every
#   image comes once per epoch and its loss weighs 1 / (size of its cluster).
# - main.sh shows the network the edges of gray images (--sobel). Here: it sees colour, jittered in the views
#   but not when clusters are made.
