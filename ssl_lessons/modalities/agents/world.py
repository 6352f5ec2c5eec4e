"""Two rooms, a wall with one door, a dot that moves, a camera above: where it is and how far it has to go is known.

The world is the unit square, x to the right and y downwards.  The wall is the line x = 1/2; the door is the part of it
between `DOOR[0]` and `DOOR[1]`.  A coordinate whose move would cross the edge or the wall stays as it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

WALL, DOOR = 0.5, (0.35, 0.65)
SIDE, RADIUS = 16, 0.06  # pixels of a picture; size of the dot, as a share of the side
STEP = 0.12  # the longest move, in either coordinate
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Walks:
    """N walks of T moves: frames uint8 [N, T + 1, 3, S, S], actions [N, T, 2] in [-1, 1], positions [N, T + 1, 2]."""

    frames: Tensor
    actions: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return len(self.frames)


def move(positions: Tensor, actions: Tensor, step: float = STEP) -> Tensor:
    """Where the dot is after one move: positions [..., 2] and actions [..., 2] (cut to [-1, 1]) -> [..., 2]."""
    there = positions + step * actions.clamp(-1, 1)
    inside = (there > 0) & (there < 1)
    there = torch.where(inside, there, positions)
    x, y = positions.unbind(-1)
    share = (WALL - x) / torch.where(there[..., 0] == x, 1.0, there[..., 0] - x)
    crossing = y + share * (there[..., 1] - y)
    through = (crossing > DOOR[0]) & (crossing < DOOR[1])
    blocked = ((x < WALL) != (there[..., 0] < WALL)) & ~through
    return torch.stack([torch.where(blocked, x, there[..., 0]), there[..., 1]], dim=-1)


def room(positions: Tensor) -> Tensor:
    """0 left, 1 right: [..., 2] -> integers [...]."""
    return (positions[..., 0] > WALL).long()


def distance(a: Tensor, b: Tensor) -> Tensor:
    """The length of the shortest path: straight in one room, else through the best point of the door.

    a, b: positions that broadcast, [..., 2] -> [...].  The straight line crosses x = 1/2 at some height; the sum of two
    lengths is convex in the height of the crossing, so the best one is that height cut to the door.
    """
    a, b = torch.broadcast_tensors(a, b)
    apart = b[..., 0] - a[..., 0]
    share = (WALL - a[..., 0]) / torch.where(apart == 0, 1.0, apart)
    height = (a[..., 1] + share * (b[..., 1] - a[..., 1])).clamp(*DOOR)
    door = torch.stack([torch.full_like(height, WALL), height], dim=-1)
    around = (a - door).norm(dim=-1) + (door - b).norm(dim=-1)
    return torch.where(room(a) == room(b), (a - b).norm(dim=-1), around)


def empty() -> Tensor:
    """The rooms without a dot, float [3, S, S] in [0, 1]: a floor nearly black, a blue wall."""
    grid = (torch.arange(SIDE) + 0.5) / SIDE
    wall = ((grid - WALL).abs() < 1 / SIDE) & ~((grid > DOOR[0]) & (grid < DOOR[1]))[:, None]
    return 0.1 + wall * torch.tensor([0.1, 0.3, 0.7])[:, None, None]


def draw(
    positions: Tensor, generator: torch.Generator, noise: float = 0.02, tv: Tensor | None = None
) -> Tensor:
    """Pictures of the rooms: positions [..., 2] -> uint8 [..., 3, S, S].

    The dot is orange.  noise: standard deviation of the camera's.  tv: bool [...], in which pictures a
    screen of 6 x 6 pixels in the upper right corner shows fresh random colours.
    """
    grid = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = ((grid - positions[..., k, None]) / RADIUS for k in (0, 1))
    dot = (-(x[..., None, :].square() + y[..., :, None].square()) / 2).exp()[..., None, :, :]
    picture = empty() * (1 - dot) + dot * torch.tensor([1.0, 0.6, 0.1])[:, None, None]
    if tv is not None:
        screen = picture[..., :6, -6:]
        screen[tv] = torch.rand(screen[tv].shape, generator=generator)
    grain = torch.randn(picture.shape, generator=generator).mul_(noise).add_(picture)
    return grain.mul_(255).round_().clamp_(0, 255).byte()


def anywhere(n: int, generator: torch.Generator) -> Tensor:
    """n positions, uniform."""
    return 0.03 + 0.94 * torch.rand(n, 2, generator=generator)


def walks(
    split: str, n: int, seed: int = 0, *, moves: int = 24, keep: float = 0.8, noise: float = 0.02
) -> Walks:
    """n walks of somebody without a goal; the same arguments give the same walks, and the splits never share one.

    Every walk begins anywhere.  keep: how much of an action stays in the next, the rest is fresh: 0 a random walk,
    near 1 long straight lines.
    """
    if split not in SPLITS or n < 1 or moves < 2 or not 0 <= keep < 1:
        raise InputError(f"splits: {', '.join(SPLITS)}; needs n >= 1, moves >= 2 and 0 <= keep < 1")
    g = torch.Generator().manual_seed(2 * seed + SPLITS.index(split) + 4211)
    at, push = anywhere(n, g), torch.randn(n, 2, generator=g)
    positions, actions = [at], []
    for _ in range(moves):
        actions.append(push.clamp(-1, 1))
        at = move(at, push)
        positions.append(at)
        push = keep * push + math.sqrt(1 - keep**2) * torch.randn(n, 2, generator=g)
    where = torch.stack(positions, dim=1)
    return Walks(draw(where, g, noise), torch.stack(actions, dim=1), where)


def neighbours(
    n: int, generator: torch.Generator, gap: tuple[float, float] = (0.16, 0.3)
) -> tuple[Tensor, Tensor]:
    """Pairs of places equally far apart by ruler: n with the wall between them, n in one room.  Two tensors [n, 2, 2].

    Both lie away from the door (above or below it) on a level; `gap` is the range of their distance.  The second pair
    of each row is the first one moved sideways into a room.
    """
    u = torch.rand(4, n, generator=generator)
    width = gap[0] + (gap[1] - gap[0]) * u[0]
    height = torch.where(u[1] < 0.5, 0.05 + 0.2 * u[2], 0.75 + 0.2 * u[2])
    left = WALL - width * (0.3 + 0.4 * u[3])
    across = torch.stack([torch.stack([left, left + width], 1), height[:, None].expand(-1, 2)], dim=2)
    aside = torch.where(u[1] * 2 % 1 < 0.5, -left + 0.08, WALL + 0.08 - left)
    inside = across.clone()
    inside[..., 0] += aside[:, None]
    return across, inside
