"""Chapter 20: spread, rank of the centred cloud, clusters in use, directions that survive the augmentation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .core import Check, Exercise


def check_spread(fn) -> Check:
    """fn(z [N, D]) -> 1 minus the squared length of the mean unit row: 0 = a point, 1 = the rows cancel out."""
    return SPREAD.check(fn)


def check_effective_rank(fn) -> Check:
    """fn(z [N, D]) -> exp(entropy) of the singular values of the centred z over their sum."""
    return EFFECTIVE_RANK.check(fn)


def check_clusters_in_use(fn) -> Check:
    """fn(p [N, K]) -> exp(entropy of the mean assignment): from 1 (one cluster) to K (all alike)."""
    return CLUSTERS.check(fn)


def check_surviving_directions(fn) -> Check:
    """fn(x [N, D], noise [N, D], push) -> how many directions of a linear encoder grow: a whole number."""
    return SURVIVORS.check(fn)


def _clouds(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, shift in [(20, 3, 0.5), (7, 12, 0.0), (40, 5, 3.0)]:
        scale = torch.linspace(1, 0.2, d).double()
        cases.append((torch.randn(n, d, generator=g).double() * scale + shift,))
    return cases


def _unit(z: Tensor, dim: int = 1) -> Tensor:
    return normalize(z, dim=dim)


def _spread(z: Tensor) -> Tensor:
    return 1 - _unit(z).mean(dim=0).square().sum()


SPREAD = Exercise(
    sample=_clouds,
    reference=_spread,
    mistakes=(
        (
            "the rows are not normalised: divide each by its length first, or the answer depends on the scale of z",
            lambda z: 1 - z.mean(dim=0).square().sum(),
        ),
        (
            "normalised over the batch axis: each row (dim=1) must get length 1, not each column",
            lambda z: 1 - _unit(z, 0).mean(dim=0).square().sum(),
        ),
        ("the length of the mean is not squared", lambda z: 1 - _unit(z).mean(dim=0).norm()),
        (
            "that is the squared length of the mean: subtract it from 1",
            lambda z: _unit(z).mean(dim=0).square().sum(),
        ),
        (
            "the squared entries of the mean are averaged over the dimensions: their sum is its squared length",
            lambda z: 1 - _unit(z).mean(dim=0).square().mean(),
        ),
        (
            "the mean is taken over the dimensions: the mean embedding is the mean over the rows (dim=0)",
            lambda z: 1 - _unit(z).mean(dim=1).square().sum(),
        ),
        (
            "the mean was normalised after averaging: its length is what you want to know",
            lambda z: 1 - _unit(_unit(z).mean(dim=0), 0).square().sum(),
        ),
    ),
)


def _entropy_rank(values: Tensor) -> Tensor:
    p = values / values.sum()
    return torch.exp(-torch.special.xlogy(p, p).sum())


def _centred(z: Tensor) -> Tensor:
    return torch.linalg.svdvals(z - z.mean(dim=0))


EFFECTIVE_RANK = Exercise(
    sample=_clouds,
    reference=lambda z: _entropy_rank(_centred(z)),
    mistakes=(
        (
            "the cloud is not centred: subtract the mean row, or the common mean counts as a direction",
            lambda z: _entropy_rank(torch.linalg.svdvals(z)),
        ),
        (
            "each row's own mean was subtracted: centre over the samples (dim=0)",
            lambda z: _entropy_rank(torch.linalg.svdvals(z - z.mean(dim=1, keepdim=True))),
        ),
        (
            "the shares are those of the variances: RankMe takes the singular values themselves, not their squares",
            lambda z: _entropy_rank(_centred(z).square()),
        ),
        ("that is the entropy: take its exponential", lambda z: _entropy_rank(_centred(z)).log()),
        (
            "the entropy is in bits: use the natural logarithm",
            lambda z: torch.exp(_entropy_rank(_centred(z)).log() / math.log(2)),
        ),
        ("the sign of the entropy is wrong", lambda z: 1 / _entropy_rank(_centred(z))),
        (
            "the shares are relative to the largest singular value: divide by the sum, so that they add up to 1",
            lambda z: torch.exp(-torch.special.xlogy(_centred(z) / _centred(z)[0], _centred(z) / _centred(z)[0]).sum()),
        ),
    ),
)  # fmt: skip


def _assignments(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, k, sharp in [(30, 4, 3.0), (10, 8, 1.0), (12, 3, 8.0)]:
        logits = sharp * torch.randn(n, k, generator=g).double() + torch.linspace(1, 0, k).double()
        cases.append((logits.softmax(dim=1),))
    return cases


def _perplexity(p: Tensor) -> Tensor:
    return torch.exp(-torch.special.xlogy(p, p).sum(dim=-1))


CLUSTERS = Exercise(
    sample=_assignments,
    reference=lambda p: _perplexity(p.mean(dim=0)),
    mistakes=(
        (
            "the entropy of each image, averaged: that says how unsure the assignments are. "
            "Average the assignments first",
            lambda p: _perplexity(p).mean(),
        ),
        (
            "the entropies of the images are averaged before the exponential: average the assignments first",
            lambda p: torch.exp(_perplexity(p).log().mean()),
        ),
        ("that is the entropy: take its exponential", lambda p: _perplexity(p.mean(dim=0)).log()),
        (
            "the mean runs over the clusters: average over the images (dim=0)",
            lambda p: _perplexity(p.mean(dim=1)),
        ),
        (
            "the assignments are summed, not averaged: the shares must add up to 1",
            lambda p: _perplexity(p.sum(dim=0)),
        ),
        (
            "clusters that are some image's favourite are counted: a cluster with one image counts as much as one "
            "with a thousand",
            lambda p: torch.tensor(float(len(p.argmax(dim=1).unique()))),
        ),
        ("the sign of the entropy is wrong", lambda p: 1 / _perplexity(p.mean(dim=0))),
    ),
)


def _shaken(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, push in [(200, 6, 1.0), (300, 8, 0.3), (150, 5, 2.0), (100, 4, 0.01)]:
        x = torch.randn(n, d, generator=g).double() * torch.linspace(2, 0.3, d).double() + 1.5
        shake = 0.6 * torch.randn(n, d, generator=g).double() * torch.linspace(0.5, 1.6, d).double()
        rotation = torch.linalg.qr(torch.randn(d, d, generator=g).double())[0]
        cases.append((x @ rotation, shake @ rotation, push))
    return cases


def _covariance(x: Tensor) -> Tensor:
    return torch.cov(x.T, correction=0)


def _positive(matrix: Tensor) -> Tensor:
    return (torch.linalg.eigvalsh(matrix) > 0).sum()


def _second_moment(x: Tensor) -> Tensor:
    return x.T @ x / len(x)


SURVIVORS = Exercise(
    sample=_shaken,
    reference=lambda x, noise, push: _positive(push * _covariance(x) - _second_moment(noise)),
    mistakes=(
        (
            "the push is missing: it weighs the covariance of the data",
            lambda x, noise, push: _positive(_covariance(x) - _second_moment(noise)),
        ),
        (
            "the push weighs the noise here: it belongs to the covariance of the data",
            lambda x, noise, push: _positive(_covariance(x) - push * _second_moment(noise)),
        ),
        (
            "the data are not centred: their mean is no spread",
            lambda x, noise, push: _positive(push * _second_moment(x) - _second_moment(noise)),
        ),
        (
            "the sign is wrong: these are the directions that die",
            lambda x, noise, push: _positive(_second_moment(noise) - push * _covariance(x)),
        ),
        (
            "the axes are compared one by one: the directions that matter are eigenvectors, so take eigenvalues of the "
            "difference of the two matrices",
            lambda x, noise, push: (push * _covariance(x).diag() > _second_moment(noise).diag()).sum(),
        ),
        (
            "the eigenvalues of the two matrices are compared in order: subtract the matrices first",
            lambda x, noise, push: (
                push * torch.linalg.eigvalsh(_covariance(x)) > torch.linalg.eigvalsh(_second_moment(noise))
            ).sum(),
        ),
        (
            "all directions are counted: only positive eigenvalues grow",
            lambda x, noise, push: torch.tensor(float(x.shape[1])),
        ),
    ),
)
