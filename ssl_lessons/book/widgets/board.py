"""The board of chapter 19: who should be near, who is, the divergence between them, and the method that it gives."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons import losses
from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError

OTHER, CLASS, NEAREST, KERNEL = "the other view", "the same class", "2 nearest pixels", "a Gaussian on pixels"
COSINE, GAUSS, STUDENT, CLUSTERS = "softmax of cosines", "Gaussian", "Student-t", "shared cluster"
# (p, q) -> what figure 1 of Alshammari et al. (2025) has there; a name in brackets is its word for an empty place.
NAMES = {
    (OTHER, COSINE): "SimCLR",
    (OTHER, GAUSS): "SimCLR without unit length",
    (OTHER, STUDENT): "t-SimCLR",
    (OTHER, CLUSTERS): "InfoNCE clustering",
    (CLASS, COSINE): "SupCon",
    (CLASS, GAUSS): "SupCon without unit length",
    (CLASS, STUDENT): "no one has named this (the table: t-SupCon)",
    (CLASS, CLUSTERS): "no one has named this (the table: supervised clustering)",
    (NEAREST, COSINE): "SimCLR with neighbours as positives",
    (NEAREST, GAUSS): "no one has named this (the table: SNE with uniform affinities)",
    (NEAREST, STUDENT): "no one has named this (the table: t-SNE with uniform affinities)",
    (NEAREST, CLUSTERS): "DCD clustering",
    (KERNEL, COSINE): "X-Sample, pixels for captions",
    (KERNEL, GAUSS): "SNE",
    (KERNEL, STUDENT): "t-SNE, row by row",
    (KERNEL, CLUSTERS): "k-means, with the arguments the other way round",
}


class Board:
    """`render(p, q, alpha)` shows both matrices over the same few views, with the loss and its name.

    images: uint8 [N, 3, H, W], N // 2 pictures in two views, view i + N / 2 being the other one of i.  z: [N, D], their
    embeddings.  labels: [N].  temperature: of the cosines and the clusters.
    """

    def __init__(self, images: Tensor, z: Tensor, labels: Tensor, temperature: float = 0.2):
        if not len(images) == len(z) == len(labels) or len(z) % 2:
            raise InputError("images, z and labels need one row per view, and every picture two views.")
        self.images, self.z, self.labels, self.temperature = images, z.detach().double(), labels, temperature
        self.controls = {
            "p": Choice((OTHER, CLASS, NEAREST, KERNEL), OTHER, "should be near", live=True),
            "q": Choice((COSINE, GAUSS, STUDENT, CLUSTERS), COSINE, "is near", live=True),
            "alpha": Slider(0.0, 0.9, 0.0, "share of p for everybody", step=0.05, live=True),
        }

    def wanted(self, p: str, alpha: float = 0.0) -> Tensor:
        """p(j|i) [N, N]."""
        n, x = len(self.z), self.images.flatten(1).double()
        distance = torch.cdist(x, x).square().fill_diagonal_(math.inf)
        weights = {
            OTHER: lambda: torch.eye(n).roll(n // 2, dims=1),
            CLASS: lambda: self.labels[:, None] == self.labels,
            NEAREST: lambda: torch.zeros(n, n).scatter(1, distance.topk(2, largest=False).indices, 1.0),
            # A width at which the nearest picture counts, and others do too.
            KERNEL: lambda: (-distance / distance.amin(dim=1, keepdim=True)).exp(),
        }
        return losses.debias(losses.neighbor_probs(weights[p]().double()), alpha)

    def learned(self, q: str) -> Tensor:
        """log q(j|i) [N, N]."""
        unit = normalize(self.z, dim=1)
        if q == COSINE:
            return losses.neighbor_log_probs(unit @ unit.T / self.temperature)
        if q == CLUSTERS:
            means = torch.stack([unit[self.labels == c].mean(dim=0) for c in self.labels.unique()])
            share = (unit @ normalize(means, dim=1).T / self.temperature).softmax(dim=1)  # [N, C]
            return losses.neighbor_log_probs((share @ (share / share.sum(dim=0)).T).log())
        z = self.z / self.z.std()
        distance = torch.cdist(z, z).square()
        return losses.neighbor_log_probs(-distance / 2 if q == GAUSS else -torch.log1p(distance))

    def loss(self, p: str, q: str, alpha: float = 0.0) -> float:
        return float(losses.i_con(self.wanted(p, alpha), self.learned(q)))

    def name(self, p: str, q: str, alpha: float = 0.0) -> str:
        return NAMES[p, q] + (" + debiasing" if alpha else "")

    def render(self, p: str, q: str, alpha: float) -> Figure:
        fig, axes = plots.new_figure(5.6, 3.1, 1, 2)
        matrices = (self.wanted(p, alpha), self.learned(q).exp())
        shared = f", {alpha:.0%} for all" if alpha else ""
        for ax, matrix, title in zip(axes, matrices, (f"p: {p}{shared}", f"q: {q}"), strict=True):
            ax.imshow(matrix.numpy(), vmin=0, vmax=1, cmap="Blues")
            ax.set_title(title)
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel("view i, column: view j")
        name = self.name(p, q, alpha).replace(" (the table", "\n(the table")  # too long for one line
        fig.suptitle(f"{name}: {self.loss(p, q, alpha):.2f} nats")
        return fig

    def describe(self, p: str, q: str, alpha: float) -> str:
        """The picture of `render` in words."""
        wanted, learned = self.wanted(p, alpha), self.learned(q).exp()
        return (
            f"Two matrices of {len(self.z)} views. Left who should be near: {p}, share for everybody {alpha:.2f}, "
            f"largest entry {wanted.max():.2f}. Right who is near: {q}, largest entry {learned.max():.2f}. "
            f"Divergence {self.loss(p, q, alpha):.2f} nats. Method: {self.name(p, q, alpha)}."
        )
