"""Spoiling graphs: what is dropped, added, hidden or cut out of them.  All chance comes from a (CPU) generator.

The four spoilings of whole graphs are those of GraphCL (You et al. 2020, table 1), each with a share of what there is;
`drop_edges` and `mask_columns` are those of GRACE (Zhu et al. 2020), with a probability for each edge and column, and
`edge_chances` and `column_chances` make these adaptive (GCA, Zhu et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs.graph import Graphs


def drop_nodes(graphs: Graphs, generator: torch.Generator, share: float = 0.2) -> Graphs:
    """Without `share` of the nodes of each graph, and without their edges; at least one node stays."""
    return graphs.keep(~_chosen(graphs.owner, graphs.count, share, generator))


def perturb_edges(graphs: Graphs, generator: torch.Generator, share: float = 0.2) -> Graphs:
    """`share` of the edges of each graph removed, and as many put between random nodes of the same graph.

    Some of the new edges may fall on old ones or join a node to itself, and are left out.
    """
    owner = graphs.owner[graphs.edges[0]]
    gone = _chosen(owner, graphs.count, share, generator, leave_one=False)
    sizes = graphs.sizes()
    first = (sizes.cumsum(0) - sizes)[owner[gone]]
    span = sizes[owner[gone]]
    ends = (_rand(2, len(span), generator=generator, like=span) * span).long() + first
    return graphs.replace(edges=_once(torch.cat([graphs.edges[:, ~gone], ends], dim=1), len(graphs.x)))


def mask_nodes(graphs: Graphs, generator: torch.Generator, share: float = 0.2) -> Graphs:
    """What stands at `share` of the nodes of each graph is hidden: zeros.  The wiring stays."""
    hidden = _chosen(graphs.owner, graphs.count, share, generator)
    return graphs.replace(x=graphs.x.masked_fill(hidden[:, None], 0))


def subgraph(graphs: Graphs, generator: torch.Generator, share: float = 0.2) -> Graphs:
    """A connected piece of each graph, without `share` of its nodes: it grows from a random node to random neighbours.

    Each edge gets a random length; the piece is what is nearest to the first node.  Where a graph falls into parts that
    are not connected, the others are cut off first.
    """
    n, device = len(graphs.x), graphs.x.device
    order = _rand(n, generator=generator, like=graphs.x)
    best = torch.full((graphs.count,), -1.0, device=device).scatter_reduce(0, graphs.owner, order, "amax")
    distance = torch.where(order == best[graphs.owner], 0.0, math.inf)
    length = -_rand(graphs.edges.shape[1], generator=generator, like=graphs.x).clamp_min(1e-9).log()
    source, target = graphs.both_ways()
    length = torch.cat([length, length])
    while True:  # Bellman and Ford: at most as many rounds as the longest path has edges
        nearer = distance.scatter_reduce(0, target, distance[source] + length, "amin")
        if torch.equal(nearer, distance):
            break
        distance = nearer
    distance = torch.where(distance.isinf(), 1e6 * (1 + order), distance)  # out of reach: last, at random
    return graphs.keep(
        _rank(graphs.owner, distance, graphs.count) < _left(graphs.sizes(), share)[graphs.owner]
    )


SPOILINGS: dict[str, Callable[[Graphs, torch.Generator, float], Graphs]] = {
    "drop nodes": drop_nodes, "perturb edges": perturb_edges, "mask nodes": mask_nodes, "subgraph": subgraph,
}  # fmt: skip


def drop_edges(graphs: Graphs, generator: torch.Generator, chance: float | Tensor = 0.3) -> Graphs:
    """Each edge dropped with its `chance`, one number or float [E]."""
    drawn = _rand(graphs.edges.shape[1], generator=generator, like=graphs.x)
    return graphs.replace(edges=graphs.edges[:, drawn >= chance])


def mask_columns(graphs: Graphs, generator: torch.Generator, chance: float | Tensor = 0.3) -> Graphs:
    """Each column of x hidden, at all nodes at once, with its `chance`, one number or float [F]."""
    drawn = _rand(graphs.x.shape[1], generator=generator, like=graphs.x)
    return graphs.replace(x=graphs.x * (drawn >= chance))


def edge_chances(graphs: Graphs, mean: float = 0.3, most: float = 0.7) -> Tensor:
    """How likely each edge is dropped, float [E]: the less central its ends, the likelier (GCA, Zhu et al. 2021).

    s_e = log of the mean degree of its two ends,   p_e = min(mean (s_max - s_e) / (s_max - s_mean), most)

    Raises InputError unless 0 <= mean <= most <= 1.
    """
    ends = graphs.degrees()[graphs.edges].to(graphs.x.dtype)
    return _adaptive(ends.mean(dim=0).log(), mean, most)


def column_chances(graphs: Graphs, mean: float = 0.3, most: float = 0.7) -> Tensor:
    """How likely each column is hidden, float [F]: the less it is used by nodes of high degree, the likelier.

    w_f = sum over nodes of |x_if| degree_i,   s_f = log(w_f + 1), as in the authors' code,   p_f as in `edge_chances`
    """
    weight = graphs.x.abs().T @ graphs.degrees().to(graphs.x.dtype)
    return _adaptive((weight + 1).log(), mean, most)


def _adaptive(score: Tensor, mean: float, most: float) -> Tensor:
    if not 0 <= mean <= most <= 1:
        raise InputError(f"chances need 0 <= mean <= most <= 1, not mean = {mean}, most = {most}")
    spread = (score.max() - score.mean()).clamp_min(1e-9)
    return ((score.max() - score) / spread * mean).clamp(max=most)


def _rand(*shape: int, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(*shape, generator=generator).to(like.device)


def _left(sizes: Tensor, share: float) -> Tensor:
    """How many of `sizes` stay without `share` of them: at least one of each."""
    if not 0 <= share < 1:
        raise InputError(f"the share to spoil must lie from 0 to below 1, not {share}")
    return sizes - (share * sizes).round().long().minimum((sizes - 1).clamp_min(0))


def _rank(owner: Tensor, score: Tensor, count: int) -> Tensor:
    """The place of each row among those of its owner, by rising score, from 0."""
    order = torch.argsort(score, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    sizes = owner.bincount(minlength=count)
    start = (sizes.cumsum(0) - sizes)[owner[order]]
    return torch.empty_like(owner).index_put((order,), torch.arange(len(owner), device=owner.device) - start)


def _chosen(owner: Tensor, count: int, share: float, generator, leave_one: bool = True) -> Tensor:
    """bool: `share` of the rows of each owner, at random."""
    sizes = owner.bincount(minlength=count)
    left = _left(sizes, share) if leave_one else sizes - (share * sizes).round().long()
    score = torch.rand(len(owner), generator=generator).to(owner.device)
    return _rank(owner, score, count) >= left[owner]


def _once(edges: Tensor, nodes: int) -> Tensor:
    """Each edge once, and no loops."""
    low, high = edges.min(dim=0).values, edges.max(dim=0).values
    key = (low * nodes + high)[low < high].unique()
    return torch.stack([key // nodes, key % nodes])
