"""Two small encoders of graphs in plain torch: GCN for nodes, GIN for whole graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.modalities.graphs.graph import Graphs


def smooth(graph: Graphs, h: Tensor) -> Tensor:
    """One step of a GCN without weights: D^-1/2 (A + I) D^-1/2 h, [N, D] -> [N, D] (Kipf and Welling 2017, eq. 2)."""
    scale = (graph.degrees() + 1).to(h.dtype).rsqrt()[:, None]
    return (add_up(graph, h * scale) + h * scale) * scale


def add_up(graph: Graphs, h: Tensor) -> Tensor:
    """A h: at each node the sum of h over its neighbours, [N, D] -> [N, D]; A is never more than its list of edges."""
    source, target = graph.both_ways()
    return torch.zeros_like(h).index_add(0, target, h[source])


class GCN(nn.Module):
    """Graphs -> [N, dim]: `layers` times multiply, average over neighbours, PReLU (Kipf and Welling 2017)."""

    def __init__(self, features: int, dim: int = 64, layers: int = 2):
        super().__init__()
        widths = [features] + [dim] * layers
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.bends = nn.ModuleList(nn.PReLU() for _ in range(layers))
        self.dim = dim

    def forward(self, graph: Graphs) -> Tensor:
        h = graph.x
        for linear, bend in zip(self.linears, self.bends, strict=True):
            h = bend(smooth(graph, linear(h)))
        return h


class GIN(nn.Module):
    """Graphs -> [M, layers * dim]: three times sum the neighbours and bend, then the sum over each graph's nodes.

    nodes(graphs) -> [N, layers * dim], the layers side by side, without x itself (Xu et al. 2019, eq. 4.1 and 4.2;
    epsilon is 0).
    """

    def __init__(self, features: int, dim: int = 32, layers: int = 3):
        super().__init__()
        widths = [features] + [dim] * layers
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(a, dim), nn.ReLU(), nn.Linear(dim, b), nn.ReLU())
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dim = dim * layers

    def nodes(self, graphs: Graphs) -> Tensor:
        h, seen = graphs.x, []
        for step in self.steps:
            h = step(h + add_up(graphs, h))
            seen.append(h)
        return torch.cat(seen, dim=1)

    def forward(self, graphs: Graphs) -> Tensor:
        return pool(graphs, self.nodes(graphs))


def pool(graphs: Graphs, h: Tensor) -> Tensor:
    """Sums over the nodes of each graph: [N, D] -> [M, D]."""
    return torch.zeros(len(graphs), h.shape[1], dtype=h.dtype, device=h.device).index_add(0, graphs.owner, h)
