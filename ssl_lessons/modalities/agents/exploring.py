"""Who goes where nobody asked to go: an agent whose only reward is a bonus, and a screen that shows noise.

The agent lives on the lattice.  What it sees are pictures; where it stands is known to its table of values, so that all
that differs between two agents is the bonus.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.agents import world
from ssl_lessons.modalities.agents.encoders import Dynamics, Eye
from ssl_lessons.modalities.agents.lattice import COMPASS, Lattice, lattice

BONUSES = ("none", "count", "latent error", "pixel error", "random features")


@dataclass(frozen=True)
class Journey:
    """One life: places int [T + 1], covered [T + 1] (share of places seen so far), watching (share of time at the TV)."""

    places: Tensor
    covered: Tensor
    watching: float


class Surprise(nn.Module):
    """How wrong was the guess of the next picture, in a space that is learned, fixed, or the pixels themselves?

    "latent error" is BYOL-Explore (Guo et al. 2022, eq. 1-2) for fully seen worlds: a predictor says what a slow copy of
    the encoder will make of the next picture; the error, squared distance of unit vectors, is loss and bonus.
    """

    def __init__(self, kind: str, dim: int = 16, momentum: float = 0.98, lr: float = 2e-3):
        super().__init__()
        self.kind, self.momentum = kind, momentum
        self.eye = Eye(dim)
        self.target = copy.deepcopy(self.eye).requires_grad_(False)
        wide = 3 * world.SIDE**2 if kind == "pixel error" else dim
        self.dynamics, self.out = Dynamics(dim, actions=len(COMPASS)), nn.Linear(dim, wide)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr)

    def forward(self, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """The bonus [N] of pictures now and then, uint8 [N, 3, S, S], and what was done between, int [N]."""
        guess = self.out(self.dynamics(self.eye(now), F.one_hot(action, len(COMPASS)).float()))
        if self.kind == "pixel error":
            return (guess - then.flatten(1).float() / 255).square().mean(dim=1)
        with torch.no_grad():
            target = self.target(then)
        return 2 - 2 * F.cosine_similarity(guess, target, dim=1)

    def learn(self, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """One step of Adam; the bonuses [N] from before it."""
        bonus = self(now, action, then)
        self.optimizer.zero_grad(set_to_none=True)
        bonus.mean().backward()
        self.optimizer.step()
        if self.kind == "latent error":
            with torch.no_grad():
                for slow, fast in zip(self.target.parameters(), self.eye.parameters(), strict=True):
                    slow.lerp_(fast, 1 - self.momentum)
        return bonus.detach()


def seen(places: Lattice, at: Tensor, tv: bool, generator: torch.Generator) -> Tensor:
    """Pictures uint8 [N, 3, S, S] of the places `at` int [N]; the screen shows noise while the agent is near it."""
    where = places.positions[at]
    return world.draw(where, generator, tv=near_tv(where) if tv else None)


def near_tv(positions: Tensor) -> Tensor:
    """bool [...]: the upper left corner, a quarter of the side wide, is where one sees the screen."""
    return (positions < 0.25).all(dim=-1)


def values(places: Lattice, bonus: Tensor, discount: float = 0.9, sweeps: int = 50) -> Tensor:
    """Q [P, 5]: value iteration for the bonus [P, 5] of each move, whose ends are known."""
    q = torch.zeros_like(bonus)
    for _ in range(sweeps):
        q = bonus + discount * q.amax(dim=1)[places.after]
    return q


class Agent:
    """What one agent remembers: the last time of every move it tried, how often, and what its surprise is now."""

    def __init__(self, bonus: str, places: Lattice, seed: int):
        if bonus not in BONUSES:
            raise InputError(f"bonuses: {', '.join(BONUSES)}; not {bonus!r}")
        torch.manual_seed(seed)
        self.kind, self.places = bonus, places
        self.surprise = None if bonus in ("none", "count") else Surprise(bonus)
        self.tried = torch.zeros(len(places), len(COMPASS))
        shape = (len(places), len(COMPASS), 3, world.SIDE, world.SIDE)
        self.now, self.then = (torch.zeros(shape, dtype=torch.uint8) for _ in range(2))

    def remember(self, place: int, action: int, now: Tensor, then: Tensor) -> None:
        self.tried[place, action] += 1
        self.now[place, action], self.then[place, action] = now, then

    def bonus(self) -> Tensor:
        """[P, 5], 0 for what was never tried: nobody knows a surprise before it happens."""
        if self.kind == "count":
            return torch.where(self.tried > 0, self.tried.clamp_min(1).rsqrt(), 0.0)
        table, (place, action) = torch.zeros_like(self.tried), self.tried.nonzero(as_tuple=True)
        with torch.no_grad():
            table[place, action] = self.surprise(self.now[place, action], action, self.then[place, action])
        return table


def live(
    bonus: str, *, tv: bool = False, steps: int = 1000, seed: int = 0, side: int = 12, chance: float = 0.15,
    every: int = 10, batch: int = 32,
) -> Journey:  # fmt: skip
    """One life of `steps` moves from the lower left corner.

    bonus: "none" (a random walk), "count" (1 / sqrt of how often this move was made), "latent error" (BYOL-Explore),
    "pixel error" or "random features" (the same error for a target that never learns).  chance: how often a random move
    replaces the best one.  every: moves between two looks at the bonuses and new values.
    """
    places, g = lattice(side), torch.Generator().manual_seed(seed)
    agent, at = Agent(bonus, places, seed), len(places) - side
    way, q, recent = [at], torch.zeros(len(places), len(COMPASS)), []
    now = seen(places, torch.tensor([at]), tv, g)[0]
    for step in range(steps):
        ties = q[at] + 1e-6 * torch.rand(len(COMPASS), generator=g)
        action = int(ties.argmax())
        if bonus == "none" or torch.rand(1, generator=g) < chance:
            action = int(torch.randint(len(COMPASS), (1,), generator=g))
        after = int(places.after[at, action])
        then = seen(places, torch.tensor([after]), tv, g)[0]
        agent.remember(at, action, now, then)
        recent.append((now, action, then))
        if agent.surprise is not None:
            rows = torch.randint(len(recent), (batch,), generator=g).tolist()
            x, a, y = zip(*(recent[r] for r in rows), strict=True)
            agent.surprise.learn(torch.stack(x), torch.tensor(a), torch.stack(y))
        if bonus != "none" and step % every == 0:
            q = values(places, agent.bonus())
        at, now = after, then
        way.append(at)
    return _journey(way, places)


def _journey(way: list[int], places: Lattice) -> Journey:
    known, covered = set(), []
    for place in way:
        known.add(place)
        covered.append(len(known) / len(places))
    path = torch.tensor(way)
    return Journey(path, torch.tensor(covered), float(near_tv(places.positions[path]).float().mean()))
