"""The two rooms as a lattice of places with exact answers: who is whose neighbour, how far, how often visited later.

The lattice has side x side places, the middles of equal squares; a step goes to a neighbour on the left, right,
above or below.  A step against an edge or the wall stays.  It obeys `world.move`, with steps of one square.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.agents import world

COMPASS = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])  # left, right, up, down


@dataclass(frozen=True)
class Lattice:
    """positions [P, 2]; after [P, 4]: the place after each action of COMPASS; steps [P, P]: the shortest way."""

    positions: Tensor
    after: Tensor
    steps: Tensor

    def __len__(self) -> int:
        return len(self.positions)


def lattice(side: int = 12) -> Lattice:
    """The lattice of side x side places.  Raises InputError unless side is even (for the wall) and at least 4."""
    if side < 4 or side % 2:
        raise InputError(f"side must be an even number of places, 4 or more, not {side}")
    rows, columns = torch.meshgrid(*2 * [(torch.arange(side) + 0.5) / side], indexing="ij")
    positions = torch.stack([columns.flatten(), rows.flatten()], dim=1)
    there = world.move(positions[:, None].expand(-1, 4, -1), COMPASS, step=1 / side)
    x, y = (there * side).long().unbind(dim=-1)
    after = y * side + x
    ends = (torch.arange(side**2).repeat_interleave(4).numpy(), after.flatten().numpy())
    links = csr_matrix(([1.0] * len(ends[0]), ends))
    steps = torch.from_numpy(shortest_path(links, directed=False, unweighted=True)).float()
    return Lattice(positions, after, steps)


def transitions(places: Lattice) -> Tensor:
    """P[s, s']: the probability of s' after s if all four moves are equally likely, [P, P] in float64."""
    chance = torch.zeros(2 * [len(places)], dtype=torch.float64)
    return chance.scatter_add_(1, places.after, torch.full(places.after.shape, 0.25, dtype=torch.float64))


def occupancy(chance: Tensor, discount: float) -> Tensor:
    """Where a walk is after k = 1, 2, ... steps, k geometric: (1 - g) sum_k g^(k-1) P^k = (1 - g) (I - g P)^-1 P."""
    if not 0 <= discount < 1:
        raise InputError(f"the discount must lie in [0, 1), not {discount}")
    eye = torch.eye(len(chance), dtype=chance.dtype)
    return (1 - discount) * torch.linalg.solve(eye - discount * chance, chance)


def laplacian_maps(places: Lattice, count: int = 8) -> tuple[Tensor, Tensor]:
    """The `count` smoothest functions on the lattice but the constant one: eigenvalues [count] and columns [P, count].

    Eigenvectors of the random walk's Laplacian I - D^-1 W on the graph of neighbours, ascending, of length 1 (Machado
    et al. 2017; also known as proto-value functions), from the symmetric I - D^-1/2 W D^-1/2.
    """
    if not 0 < count < len(places):
        raise InputError(f"count must lie between 1 and {len(places) - 1}, not {count}")
    linked = (places.steps == 1).double()
    scale = linked.sum(1).rsqrt()
    values, vectors = torch.linalg.eigh(torch.eye(len(places)).double() - scale[:, None] * linked * scale)
    smooth = scale[:, None] * vectors[:, 1 : count + 1]
    return values[1 : count + 1], smooth / smooth.norm(dim=0)


def to_the_top(places: Lattice, height: Tensor, start: int) -> list[int]:
    """The places of somebody who climbs `height` [P] from `start` step by step until no neighbour is higher."""
    way = [start]
    while True:
        best = int(places.after[way[-1]][height[places.after[way[-1]]].argmax()])
        if height[best] <= height[way[-1]]:
            return way
        way.append(best)
