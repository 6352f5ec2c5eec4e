"""What to train on graphs: a module brings encoder, heads and graphs, and returns the loss of a fresh view.

A task is called with a generator: `training.fit(task, task, steps)`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs import views
from ssl_lessons.modalities.graphs.encoders import GCN, GIN, pool, smooth
from ssl_lessons.modalities.graphs.graph import Graphs

EDGES, COLUMNS = (0.2, 0.4), (0.3, 0.4)  # what GRACE and BGRL drop in the first and in the second view


@torch.no_grad()
def features(encoder: nn.Module, graphs: Graphs) -> Tensor:
    """Frozen features, on the CPU: [N, D] of a GCN's nodes, [M, D] of a GIN's graphs."""
    encoder.eval()
    device = next(encoder.parameters()).device
    return encoder(graphs.to(device)).cpu()


class Task(nn.Module):
    """A task on graphs; the parameters are those of the encoder and the heads, the graphs are no part of it."""

    def __init__(self, encoder: nn.Module, graphs: Graphs):
        super().__init__()
        self.encoder, self.own = encoder, [graphs]  # in a list: data are no buffers

    @property
    def graphs(self) -> Graphs:
        """All graphs, on the encoder's device."""
        self.own[0] = self.own[0].to(next(self.encoder.parameters()).device)
        return self.own[0]


class Infomax(Task):
    """DGI (Velickovic et al. 2019): nodes of the true graph against nodes that stand where others stood.

    The corruption shuffles the rows of x and leaves the edges where they are.  (For one graph the authors' encoder has
    one layer of 512; here it is the GCN of all tasks.)
    """

    def __init__(self, encoder: GCN, graphs: Graphs):
        super().__init__(encoder, graphs)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(encoder.dim, encoder.dim)))

    def forward(self, generator: torch.Generator) -> Tensor:
        order = torch.randperm(len(self.graphs.x), generator=generator).to(self.graphs.x.device)
        corrupted = self.graphs.replace(x=self.graphs.x[order])
        return losses.dgi(self.encoder(self.graphs), self.encoder(corrupted), self.weight)


class TwoViews(Task):
    """What GRACE, GCA and BGRL share: two views of one graph by dropped edges and hidden columns.

    adaptive: the chances follow centrality (GCA) around the same means.
    """

    def __init__(self, encoder: GCN, graphs: Graphs, adaptive: bool = False, edges=EDGES, columns=COLUMNS):
        super().__init__(encoder, graphs)
        self.chances = [
            (views.edge_chances(graphs, e), views.column_chances(graphs, c)) if adaptive else (e, c)
            for e, c in zip(edges, columns, strict=True)
        ]

    def two(self, generator: torch.Generator) -> list[Graphs]:
        device = self.graphs.x.device
        on = [[p.to(device) if isinstance(p, Tensor) else p for p in pair] for pair in self.chances]
        return [views.mask_columns(views.drop_edges(self.graphs, generator, e), generator, c) for e, c in on]


class NodeContrast(TwoViews):
    """GRACE (Zhu et al. 2020) and GCA (Zhu et al. 2021): a node finds itself among all nodes of both views.

    The loss of both is NT-Xent, node by node (GRACE, eq. 1 and 2): the other nodes of its own view are negatives,
    too.
    """

    def __init__(self, encoder: GCN, graphs: Graphs, temperature: float = 0.5, **options):
        super().__init__(encoder, graphs, **options)
        self.temperature = temperature
        self.projector = nn.Sequential(nn.Linear(encoder.dim, 64), nn.ELU(), nn.Linear(64, 64))

    def forward(self, generator: torch.Generator) -> Tensor:
        z1, z2 = (self.projector(self.encoder(view)) for view in self.two(generator))
        return losses.nt_xent(z1, z2, self.temperature)


class Bootstrap(TwoViews):
    """BGRL (Thakoor et al. 2022): predict what a slowly following copy says of the same node, without negatives.

    The authors' encoder normalises batches, and their momentum rises to 1; here it is the GCN of all tasks, and fixed.
    """

    def __init__(self, encoder: GCN, graphs: Graphs, momentum: float = 0.99, **options):
        super().__init__(encoder, graphs, **options)
        self.momentum = momentum
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.predictor = nn.Sequential(nn.Linear(encoder.dim, 64), nn.PReLU(), nn.Linear(64, encoder.dim))

    def forward(self, generator: torch.Generator) -> Tensor:
        pair = self.two(generator)
        with torch.no_grad():
            target = [self.teacher(view) for view in pair]
        guess = [self.predictor(self.encoder(view)) for view in pair]
        return (losses.byol(guess[0], target[1]) + losses.byol(guess[1], target[0])) / 2

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """The teacher's moving average: `training.fit(..., after=task.follow)`."""
        for slow, fast in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)


class Restore(Task):
    """GraphMAE (Hou et al. 2022): say what stood at hidden nodes, from their surroundings.

    A learned token stands at half of the nodes; the decoder is one more graph layer.  remask: the code of hidden nodes
    is set to zero before decoding, so that the decoder has to look at the neighbours.  gamma: of the scaled cosine
    error; None is the mean squared error.  (The paper's encoder attends to neighbours; here it is the same GCN.)
    """

    def __init__(self, encoder: GCN, graphs: Graphs, ratio: float = 0.5, remask: bool = True,
                 gamma: float | None = 2.0):  # fmt: skip
        super().__init__(encoder, graphs)
        if not 0 < ratio < 1:
            raise InputError(f"the share of hidden nodes must lie between 0 and 1, not {ratio}")
        self.ratio, self.remask, self.gamma = ratio, remask, gamma
        width = graphs.x.shape[1]
        self.token = nn.Parameter(torch.zeros(width))
        self.code, self.out = nn.Linear(encoder.dim, encoder.dim, bias=False), nn.Linear(encoder.dim, width)

    def forward(self, generator: torch.Generator) -> Tensor:
        graphs = self.graphs
        hidden = (torch.rand(len(graphs.x), generator=generator) < self.ratio).to(graphs.x.device)
        seen = torch.where(hidden[:, None], self.token, graphs.x)
        code = self.code(self.encoder(graphs.replace(x=seen)))
        if self.remask:
            code = code.masked_fill(hidden[:, None], 0)
        guess = self.out(smooth(graphs, code))[hidden]
        if self.gamma is None:
            return F.mse_loss(guess, graphs.x[hidden])
        return losses.scaled_cosine(guess, graphs.x[hidden], self.gamma)


class ManyGraphs(Task):
    """A task on batches of whole graphs."""

    def __init__(self, encoder: GIN, graphs: Graphs, batch: int = 64):
        super().__init__(encoder, graphs)
        if not 2 <= batch <= len(graphs):
            raise InputError(f"a batch must hold 2 to {len(graphs)} graphs, not {batch}")
        self.batch = batch

    def draw(self, generator: torch.Generator) -> Graphs:
        return self.graphs.pick(torch.randperm(len(self.graphs), generator=generator)[: self.batch])


class GraphContrast(ManyGraphs):
    """GraphCL (You et al. 2020): a graph spoiled in two ways finds itself among others.

    first, second: names of `views.SPOILINGS`; share: how much of each graph is spoiled.  The loss is NT-Xent; the
    authors' leaves out the graph's own view, and the partner in the denominator.
    """

    def __init__(self, encoder: GIN, graphs: Graphs, first: str = "subgraph", second: str = "drop nodes",
                 share: float = 0.5, temperature: float = 0.2, batch: int = 64):  # fmt: skip
        super().__init__(encoder, graphs, batch)
        if not {first, second} <= set(views.SPOILINGS):
            raise InputError(f"unknown spoiling; known are: {', '.join(views.SPOILINGS)}")
        self.spoilings = [views.SPOILINGS[first], views.SPOILINGS[second]]
        self.share, self.temperature = share, temperature
        self.projector = nn.Sequential(nn.Linear(encoder.dim, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, generator: torch.Generator) -> Tensor:
        graphs = self.draw(generator)
        z1, z2 = (
            self.projector(self.encoder(spoil(graphs, generator, self.share))) for spoil in self.spoilings
        )
        return losses.nt_xent(z1, z2, self.temperature)


class PartWhole(ManyGraphs):
    """InfoGraph (Sun et al. 2020): is this node, with what surrounds it, from this graph?  No spoiling."""

    def __init__(self, encoder: GIN, graphs: Graphs, batch: int = 64):
        super().__init__(encoder, graphs, batch)
        self.part, self.whole = (
            nn.Sequential(nn.Linear(encoder.dim, 64), nn.ReLU(), nn.Linear(64, 32)) for _ in range(2)
        )

    def forward(self, generator: torch.Generator) -> Tensor:
        graphs = self.draw(generator)
        nodes = self.encoder.nodes(graphs)
        return losses.infograph(self.part(nodes), self.whole(pool(graphs, nodes)), graphs.owner)


def tasks(encoder: Callable[[], GCN], graphs: Graphs) -> dict[str, Callable[[], Task]]:
    """name -> a fresh task with a fresh encoder: the arms of one graph and its nodes."""
    return {
        "DGI": lambda: Infomax(encoder(), graphs),
        "GRACE": lambda: NodeContrast(encoder(), graphs),
        "GCA": lambda: NodeContrast(encoder(), graphs, adaptive=True),
        "BGRL": lambda: Bootstrap(encoder(), graphs),
        "GraphMAE": lambda: Restore(encoder(), graphs),
        "GraphMAE without masking again": lambda: Restore(encoder(), graphs, remask=False),
        "GraphMAE with squared error": lambda: Restore(encoder(), graphs, gamma=None),
    }
