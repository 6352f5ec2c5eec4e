"""One graph or many in one box: rows of nodes, pairs of edges, and whose node is whose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssl_lessons.errors import InputError


@dataclass(frozen=True)
class Graphs:
    """M graphs side by side, with N nodes and E edges in all and no edge between two graphs.

    x: float [N, F], what stands at each node.  edges: int [2, E], every edge once (it has no direction), no loops.
    owner: int [N], the graph 0..M-1 of each node, in ascending order.  factors: name -> integers, [N] of the nodes or
    [M] of the graphs.
    """

    x: Tensor
    edges: Tensor
    owner: Tensor
    factors: dict[str, Tensor]
    count: int

    def __len__(self) -> int:
        return self.count

    def to(self, device) -> Graphs:
        factors = {name: values.to(device) for name, values in self.factors.items()}
        return Graphs(self.x.to(device), self.edges.to(device), self.owner.to(device), factors, self.count)

    def replace(self, **changes) -> Graphs:
        return replace(self, **changes)

    def sizes(self) -> Tensor:
        """Nodes of each graph, int [M]."""
        return self.owner.bincount(minlength=self.count)

    def degrees(self) -> Tensor:
        """Edges at each node, int [N]."""
        return self.edges.flatten().bincount(minlength=len(self.x))

    def both_ways(self) -> tuple[Tensor, Tensor]:
        """Every edge in both directions: from [2 E], to [2 E]."""
        return torch.cat([self.edges[0], self.edges[1]]), torch.cat([self.edges[1], self.edges[0]])

    def pick(self, rows: Tensor) -> Graphs:
        """The graphs at `rows`, whole numbers without repetition, in ascending order; factors [M] with them.

        Raises InputError for a row that is named twice.
        """
        if len(rows.unique()) < len(rows):
            raise InputError("a graph can be picked once only: give rows without repetition")
        wanted = torch.zeros(self.count, dtype=torch.bool, device=self.x.device)
        wanted[rows.to(self.x.device)] = True
        kept = self.keep(wanted[self.owner])
        number = wanted.cumsum(0) - 1
        factors = {k: v[wanted] if len(v) == self.count else v for k, v in self.factors.items()}
        return kept.replace(owner=number[kept.owner], factors=factors, count=len(rows))

    def keep(self, nodes: Tensor) -> Graphs:
        """The nodes where bool [N] `nodes` is true, and the edges among them; graphs and factors stay as they are."""
        number = nodes.cumsum(0) - 1
        edges = number[self.edges[:, nodes[self.edges].all(dim=0)]]
        return self.replace(x=self.x[nodes], edges=edges, owner=self.owner[nodes])
