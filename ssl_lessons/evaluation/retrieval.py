"""Search by similarity: given a picture, do those of its kind come first?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.checks import checked_features, checked_labels, checked_split


def mean_average_precision(
    features: Tensor, labels: Tensor, gallery: Tensor | None = None, gallery_labels: Tensor | None = None
) -> float:
    """Mean over the queries of the average precision of their ranking by cosine (Manning et al. 2008, section 8.4).

    A query's average precision is the mean, over the relevant pictures (those with its label), of the precision among
    all pictures down to that one.  features [N, D], labels [N]: the queries.  gallery [M, D], gallery_labels [M]: what
    is searched; left out, every query searches all the others.  Ties are broken by position.  A query without any
    relevant picture is left out of the mean.
    Raises InputError for features or labels that cannot be used, and where no query has a relevant picture.
    """
    return float(_over_rankings(features, labels, gallery, gallery_labels, _average_precision).mean())


def recall_at_k(
    features: Tensor, labels: Tensor, k: int = 1, gallery: Tensor | None = None, gallery_labels: Tensor | None = None
) -> float:
    """Share of the queries with at least one picture of their label among the k most similar (Musgrave et al. 2020,
    section 2.3: the usual score of metric learning, which forgives everything behind the first hit).

    Arguments and errors as in `mean_average_precision`; k from 1 to the size of what is searched.
    """
    size = len(features) - 1 if gallery is None else len(gallery)
    if not 1 <= k <= size:
        raise InputError(f"k must be from 1 to {size}, the number of pictures that are searched, not {k}")
    hits = _over_rankings(features, labels, gallery, gallery_labels, lambda right: right[:, :k].any(dim=1))
    return float(hits.float().mean())


def _average_precision(right: Tensor) -> Tensor:
    """right bool [N, M], best match first -> [N]."""
    precision = right.cumsum(dim=1) / torch.arange(1, right.shape[1] + 1, device=right.device)
    return (precision * right).sum(dim=1) / right.sum(dim=1)


def _over_rankings(features, labels, gallery, gallery_labels, score) -> Tensor:
    """score(right) of all queries that have a relevant picture; right: bool [n, M], in the order of similarity."""
    if (gallery is None) != (gallery_labels is None):
        raise InputError("give gallery and gallery_labels together, or neither")
    own = gallery is None
    if own:
        features = checked_features(features)
        labels = gallery_labels = checked_labels(labels, features)
        gallery = features
    else:
        features, labels, gallery, gallery_labels = checked_split(features, labels, gallery, gallery_labels)
    features, gallery = normalize(features, dim=1), normalize(gallery, dim=1)
    scores = []
    for start in range(0, len(features), 1024):
        rows = slice(start, start + 1024)
        similarity = features[rows] @ gallery.T
        order = similarity.argsort(dim=1, descending=True, stable=True)
        if own:  # a query does not find itself
            itself = torch.arange(start, start + len(order), device=order.device)[:, None]
            order = order[order != itself].view(len(order), -1)
        right = gallery_labels[order] == labels[rows, None]
        scores.append(score(right[right.any(dim=1)]))
    found = torch.cat(scores)
    if not len(found):
        raise InputError("no query has a picture of its label to find: are these the right labels?")
    return found
