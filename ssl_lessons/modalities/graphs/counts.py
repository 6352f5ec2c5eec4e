"""What needs no training: the floors that a learned representation of nodes or graphs has to beat."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs.encoders import pool, smooth
from ssl_lessons.modalities.graphs.graph import Graphs


def smoothed(graphs: Graphs, times: int = 2) -> Tensor:
    """x after `times` steps of averaging over neighbours, [N, F]: a GCN without weights (SGC, Wu et al. 2019)."""
    h = graphs.x
    for _ in range(times):
        h = smooth(graphs, h)
    return h


def principal(x: Tensor, dim: int = 16) -> Tensor:
    """The `dim` directions in which the rows of x [N, F] differ most, [N, dim]: PCA of all nodes (scikit-learn)."""
    from sklearn.decomposition import PCA

    return torch.from_numpy(PCA(dim, svd_solver="full").fit_transform(x.cpu().numpy()))


def spectral(graphs: Graphs, dim: int = 16) -> Tensor:
    """Laplacian eigenmaps of the edges alone, [N, dim] (scikit-learn; Belkin and Niyogi 2003)."""
    from sklearn.manifold import SpectralEmbedding

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # somebody without friends: the graph is not connected
        found = SpectralEmbedding(dim, affinity="precomputed", random_state=0).fit_transform(
            adjacency(graphs)
        )
    return torch.from_numpy(found).float()


def adjacency(graphs: Graphs) -> np.ndarray:
    """The matrix A, float64 [N, N]: 1 where there is an edge."""
    a, (source, target) = np.zeros((len(graphs.x), len(graphs.x))), graphs.both_ways()
    a[target.cpu().numpy(), source.cpu().numpy()] = 1
    return a


def spread_labels(graphs: Graphs, labels: Tensor, known: Tensor, alpha: float = 0.9) -> Tensor:
    """Labels of all nodes [N] from those of the nodes at `known`, along the edges (scikit-learn's label spreading)."""
    from sklearn.semi_supervised import LabelSpreading

    matrix, given = adjacency(graphs), np.full(len(labels), -1)
    given[known.numpy()] = labels[known].numpy()
    model = LabelSpreading(kernel=lambda a, b: matrix, alpha=alpha, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # somebody without friends hears nothing
        model.fit(np.arange(len(labels))[:, None], given)
    return torch.from_numpy(model.transduction_).long()


def composition(graphs: Graphs) -> Tensor:
    """How many nodes of each kind: the sum of x over each graph, [M, F]."""
    return pool(graphs, graphs.x)


def degree_counts(graphs: Graphs, most: int = 9) -> Tensor:
    """How many nodes have 0, 1 .. `most` edges (or more), [M, most + 1]."""
    return pool(graphs, torch.eye(most + 1)[graphs.degrees().clamp(max=most)])


def subtree_counts(train: Graphs, test: Graphs, depth: int = 1, least: int = 5) -> tuple[Tensor, Tensor]:
    """Weisfeiler-Lehman counts of both (Shervashidze et al. 2011): how often does each subtree pattern occur?

    A pattern of depth 0 is the kind of a node (the largest entry of x); of depth d + 1, its pattern of depth d and
    those of its neighbours.  Columns are the patterns of all depths that occur in at least `least` graphs of `train`:
    [M, patterns] of train and of test.  Raises InputError for a negative depth.
    """
    if depth < 0:
        raise InputError(f"the depth of a subtree is 0 or more, not {depth}")
    seen = [_patterns(graphs, depth) for graphs in (train, test)]
    frequent = Counter(pattern for one in seen[0] for pattern in one)
    columns = {p: k for k, p in enumerate(p for p, n in frequent.items() if n >= least)}
    found = [torch.zeros(len(one), len(columns)) for one in seen]
    for table, one in zip(found, seen, strict=True):
        for m, counts in enumerate(one):
            for pattern, n in counts.items():
                if pattern in columns:
                    table[m, columns[pattern]] = n
    return found[0], found[1]


def _patterns(graphs: Graphs, depth: int) -> list[Counter]:
    """For each graph, how often each pattern occurs; a pattern is a nested tuple, the same in all graphs."""
    names, around = graphs.x.argmax(dim=1).tolist(), [[] for _ in range(len(graphs.x))]
    for a, b in graphs.edges.T.tolist():
        around[a].append(b)
        around[b].append(a)
    owner, found = graphs.owner.tolist(), [Counter() for _ in range(len(graphs))]
    for level in range(depth + 1):
        if level:
            names = [
                (names[i], tuple(sorted((names[j] for j in around[i]), key=repr))) for i in range(len(names))
            ]
        for m, name in zip(owner, names, strict=True):
            found[m][name] += 1
    return found
