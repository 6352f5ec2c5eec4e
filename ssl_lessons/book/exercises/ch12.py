"""Chapter 12: what survives two views, the averaging matrix, the error at hidden nodes, and colours of subtrees."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise


def check_survives(fn) -> Check:
    """fn(share, views) -> the chance that a bond is whole in all views, each without `share` of the nodes."""
    return SURVIVES.check(fn)


def check_averaging(fn) -> Check:
    """fn(edges [2, E], n) -> [n, n]: the matrix of one step of a GCN, each node with itself."""
    return AVERAGING.check(fn)


def check_hidden_error(fn) -> Check:
    """fn(guess [N, F], x [N, F], hidden [N], gamma) -> the scaled cosine error of the hidden nodes."""
    return HIDDEN.check(fn)


def check_colours(fn) -> Check:
    """fn(edges [2, E], n, rounds) -> how many colours the nodes have after so many rounds of Weisfeiler-Lehman."""
    return COLOURS.check(fn)


SURVIVES = Exercise(
    sample=lambda g: [(0.2, 1), (0.2, 2), (0.5, 2), (0.35, 3)],
    reference=lambda share, views: (1 - share) ** (2 * views),
    mistakes=(
        ("a bond needs both of its atoms: this counts one end of it", lambda s, v: (1 - s) ** v),
        ("this is one view: the bond must be whole in all of them", lambda s, v: (1 - s) ** 2),
        (
            "this is the chance that it is broken somewhere: take it from 1",
            lambda s, v: 1 - (1 - s) ** (2 * v),
        ),
        ("this is the chance that all of its ends are gone", lambda s, v: s ** (2 * v)),
        ("chances of independent events are multiplied, not added", lambda s, v: 1 - 2 * v * s),
        ("one lost end breaks a bond: both need not be lost", lambda s, v: (1 - s**2) ** v),
    ),
    praise="at a share of one half, one bond in sixteen is left for both views to agree on",
)


def _random_edges(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, chance in ((4, 0.6), (7, 0.4), (9, 0.3)):
        edges = (torch.rand(n, n, generator=g) < chance).triu(1).nonzero().T
        cases.append((edges, n))
    return cases


def _adjacency(edges: Tensor, n: int, both: bool = True) -> Tensor:
    a = torch.zeros(n, n, dtype=torch.float64)
    a[edges[0], edges[1]] = 1
    return a + a.T if both else a


def _normal(a: Tensor, degree: Tensor) -> Tensor:
    scale = degree.clamp_min(1e-12).rsqrt()
    return scale[:, None] * a * scale


def _averaging(edges: Tensor, n: int) -> Tensor:
    a = _adjacency(edges, n) + torch.eye(n, dtype=torch.float64)
    return _normal(a, a.sum(dim=1))


def _without_loops(edges: Tensor, n: int) -> Tensor:
    a = _adjacency(edges, n)
    return torch.where(a > 0, _normal(a, a.sum(dim=1)), 0.0)


def _loops_late(edges: Tensor, n: int) -> Tensor:
    return _without_loops(edges, n) + torch.eye(n, dtype=torch.float64)


def _by_rows(edges: Tensor, n: int) -> Tensor:
    a = _adjacency(edges, n) + torch.eye(n, dtype=torch.float64)
    return a / a.sum(dim=1, keepdim=True)


def _one_way(edges: Tensor, n: int) -> Tensor:
    a = _adjacency(edges, n, both=False) + torch.eye(n, dtype=torch.float64)
    return _normal(a, a.sum(dim=1))


AVERAGING = Exercise(
    sample=_random_edges,
    reference=_averaging,
    mistakes=(
        ("a node is its own neighbour, too: add the identity to A first", _without_loops),
        ("the identity belongs into A before the degrees are counted", _loops_late),
        ("these are means over neighbours: divide by the roots of both degrees instead", _by_rows),
        ("every edge is listed once and goes both ways", _one_way),
        (
            "this is A with loops: divide by the roots of both degrees",
            lambda e, n: _adjacency(e, n) + torch.eye(n, dtype=torch.float64),
        ),
    ),
    praise="symmetric, and its largest eigenvalue is 1: many steps forget all but the degrees",
)


def _cosines(guess: Tensor, x: Tensor) -> Tensor:
    return (guess * x).sum(dim=1) / (guess.norm(dim=1) * x.norm(dim=1))


def _nodes(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, width, gamma in ((6, 3, 2.0), (8, 5, 1.0), (9, 4, 3.0)):
        guess, x = (torch.randn(n, width, generator=g, dtype=torch.float64) for _ in range(2))
        hidden = torch.zeros(n, dtype=torch.bool)
        hidden[torch.randperm(n, generator=g)[: n // 2]] = True
        cases.append((guess, x, hidden, gamma))
    return cases


HIDDEN = Exercise(
    sample=_nodes,
    reference=lambda guess, x, hidden, gamma: (1 - _cosines(guess, x)[hidden]).pow(gamma).mean(),
    mistakes=(
        (
            "nodes that were seen count as well: average over the hidden ones alone",
            lambda z, x, h, g: (1 - _cosines(z, x)).pow(g).mean(),
        ),
        ("these are the nodes that were seen", lambda z, x, h, g: (1 - _cosines(z, x)[~h]).pow(g).mean()),
        (
            "the power is of 1 - cos, not of the cosine",
            lambda z, x, h, g: (1 - _cosines(z, x)[h].pow(g)).mean(),
        ),
        (
            "raise each node's error to gamma, then average",
            lambda z, x, h, g: (1 - _cosines(z, x)[h]).mean().pow(g),
        ),
        ("gamma is missing", lambda z, x, h, g: (1 - _cosines(z, x)[h]).mean()),
        ("a sum: return the mean over hidden nodes", lambda z, x, h, g: (1 - _cosines(z, x)[h]).pow(g).sum()),
        (
            "divide by both lengths: the cosine does not see how long a vector is",
            lambda z, x, h, g: (1 - (z * x).sum(1)[h]).pow(g).mean(),
        ),
    ),
)


def _colours(edges: Tensor, n: int, rounds: int, kind: type = tuple) -> int:
    colour, around = [0] * n, [[] for _ in range(n)]
    for a, b in edges.T.tolist():
        around[a].append(b)
        around[b].append(a)
    for _ in range(rounds):
        seen = [(colour[i], tuple(sorted(kind(colour[j] for j in around[i])))) for i in range(n)]
        names = {name: k for k, name in enumerate(sorted(set(seen)))}
        colour = [names[name] for name in seen]
    return len(set(colour))


def _one_way_colours(edges: Tensor, n: int, rounds: int) -> int:
    colour = [0] * n
    for _ in range(rounds):
        seen = [
            (colour[i], tuple(sorted(colour[b] for a, b in edges.T.tolist() if a == i))) for i in range(n)
        ]
        names = {name: k for k, name in enumerate(sorted(set(seen)))}
        colour = [names[name] for name in seen]
    return len(set(colour))


def _path(n: int) -> Tensor:
    return torch.stack([torch.arange(n - 1), torch.arange(1, n)])


def _ring(n: int, start: int = 0) -> Tensor:
    return torch.stack([torch.arange(n), (torch.arange(n) + 1) % n]) + start


_STAR = torch.tensor([[0, 0, 0, 3], [1, 2, 3, 4]])
_TWIGS = torch.tensor([[0, 1, 1, 2, 4, 4], [1, 2, 3, 4, 5, 6]])  # here sums of numbers fall together, lists do not


def _summed_colours(edges: Tensor, n: int, rounds: int) -> int:
    colour = [1] * n
    for _ in range(rounds):
        around = [sum(colour[a + b - i] for a, b in edges.T.tolist() if i in (a, b)) for i in range(n)]
        colour = [own + other for own, other in zip(colour, around, strict=True)]
    return len(set(colour))


COLOURS = Exercise(
    sample=lambda g: [
        (_path(5), 5, 1), (_path(5), 5, 2), (_path(6), 6, 0), (_STAR, 5, 1), (_STAR, 5, 2), (_path(7), 7, 3),
        (_ring(6), 6, 3), (torch.cat([_ring(3), _ring(3, 3)], dim=1), 6, 3), (_TWIGS, 7, 2),
    ],
    reference=_colours,
    mistakes=(
        (
            "how many neighbours have a colour counts, too: keep the list with repetitions, not the set",
            lambda e, n, r: _colours(e, n, r, kind=set),
        ),
        ("one round too many: before the first, all nodes have one colour", lambda e, n, r: _colours(e, n, r + 1)),
        ("keep the own colour and the list of the others: sums of numbers may fall together", _summed_colours),
        ("one round too few", lambda e, n, r: _colours(e, n, max(r - 1, 0))),
        (
            "every edge is listed once and goes both ways",
            _one_way_colours,
        ),
    ),
    praise="a ring of six and two rings of three keep one colour each: no GIN with equal nodes tells them apart",
)  # fmt: skip
