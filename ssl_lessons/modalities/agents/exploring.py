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

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.agents import world
from ssl_lessons.modalities.agents.encoders import Dynamics, Eye
from ssl_lessons.modalities.agents.lattice import COMPASS, Lattice, lattice

BONUSES = ("none", "count", "latent error", "pixel error", "random features")


@dataclass(frozen=True)
class Journey:
    """One life: places int [T + 1], covered [T + 1] (share seen so far), watching (share of time at the screen)."""

    places: Tensor
    covered: Tensor
    watching: float


class Surprise(nn.Module):
    """How wrong was the guess of the next picture, in a space that is learned, fixed, or the pixels themselves?

    "latent error" is BYOL-Explore (Guo et al. 2022) for fully seen worlds: a predictor says what a slow copy of the
    encoder will make of the next picture; the error, squared distance of unit vectors, is loss and bonus.  The copy's
    vectors are standardised by a running mean and deviation first: else what all pictures share decides.
    """

    def __init__(self, kind: str, dim: int = 16, momentum: float = 0.98, lr: float = 2e-3):
        super().__init__()
        self.kind, self.momentum = kind, momentum
        self.eye = Eye(dim)
        self.target = copy.deepcopy(self.eye).requires_grad_(False)
        wide = 3 * world.SIDE**2 if kind == "pixel error" else dim
        self.norm = nn.BatchNorm1d(dim, affine=False)
        self.dynamics, self.out = Dynamics(dim, actions=len(COMPASS)), nn.Linear(dim, wide)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr)

    def forward(self, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """The bonus [N] of pictures now and then, uint8 [N, 3, S, S], and what was done between, int [N]."""
        guess = self.out(self.dynamics(self.eye(now), F.one_hot(action, len(COMPASS)).float()))
        if self.kind == "pixel error":
            return (guess - then.flatten(1).float() / 255).square().mean(dim=1)
        with torch.no_grad():
            target = self.norm(self.target(then))
        return 2 - 2 * F.cosine_similarity(guess, target, dim=1)

    def learn(self, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """One step of Adam; the bonuses [N] from before it."""
        self.norm.train()
        bonus = self(now, action, then)
        self.norm.eval()
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
    """Q [P, 4]: value iteration where arriving at a place pays bonus [P] and moves are known."""
    value = torch.zeros_like(bonus)
    for _ in range(sweeps):
        value = (bonus + discount * value)[places.after].amax(dim=1)
    return (bonus + discount * value)[places.after]


class Agent:
    """What one agent remembers: how often it was where, its last arrival at each place, and what surprises it now."""

    def __init__(self, bonus: str, places: Lattice, seed: int):
        if bonus not in BONUSES:
            raise InputError(f"bonuses: {', '.join(BONUSES)}; not {bonus!r}")
        torch.manual_seed(seed)
        self.kind = bonus
        self.surprise = None if bonus in ("none", "count") else Surprise(bonus)
        self.visits = torch.zeros(len(places))
        shape = (len(places), 3, world.SIDE, world.SIDE)
        self.before, self.arrived = (torch.zeros(shape, dtype=torch.uint8) for _ in range(2))
        self.action = torch.zeros(len(places), dtype=torch.long)

    def remember(self, now: Tensor, action: int, place: int, then: Tensor) -> None:
        self.visits[place] += 1
        self.before[place], self.action[place], self.arrived[place] = now, action, then

    def bonus(self, hope: float = 1.0) -> Tensor:
        """[P]: what arriving pays; a place never seen is hoped to pay `hope` times the most that a seen one pays."""
        if self.kind == "count":
            return self.visits.clamp_min(1).rsqrt()
        known = self.visits > 0
        with torch.no_grad():
            found = self.surprise(self.before[known], self.action[known], self.arrived[known])
        return torch.full_like(self.visits, hope * float(found.max())).masked_scatter(known, found)


def live(
    bonus: str, *, tv: bool = False, steps: int = 800, seed: int = 0, side: int = 16, chance: float = 0.1,
    every: int = 4, batch: int = 32, hope: float = 1.0,
) -> Journey:  # fmt: skip
    """One life of `steps` moves from the lower left corner.

    bonus: "none" (a random walk), "count" (1 / sqrt of how often one was there), "latent error" (BYOL-Explore), "pixel
    error", or "random features" (the latent error for a target that never learns).  chance: how often a random move
    replaces the best one.  every: moves between two looks at the bonuses.  hope: what a place
    never seen is expected to pay, as a share of the most surprising one that was seen.
    """
    places, g = lattice(side), torch.Generator().manual_seed(seed)
    agent, at, moves = Agent(bonus, places, seed), len(places) - side, len(COMPASS)
    way, q, recent = [at], torch.zeros(len(places), moves), []
    now = seen(places, torch.tensor([at]), tv, g)[0]
    for step in range(steps):
        action = int((q[at] + 1e-6 * torch.rand(moves, generator=g)).argmax())
        if torch.rand(1, generator=g) < chance:
            action = int(torch.randint(moves, (1,), generator=g))
        at = int(places.after[at, action])
        then = seen(places, torch.tensor([at]), tv, g)[0]
        agent.remember(now, action, at, then)
        recent.append((now, action, then))
        if agent.surprise is not None:
            rows = torch.randint(len(recent), (batch,), generator=g).tolist()
            x, a, y = zip(*(recent[r] for r in rows), strict=True)
            agent.surprise.learn(torch.stack(x), torch.tensor(a), torch.stack(y))
        if bonus != "none" and step % every == 0:
            q = values(places, agent.bonus(hope))
        now = then
        way.append(at)
    return _journey(way, places)


def _journey(way: list[int], places: Lattice) -> Journey:
    known, covered = set(), []
    for place in way:
        known.add(place)
        covered.append(len(known) / len(places))
    path = torch.tensor(way)
    return Journey(path, torch.tensor(covered), float(near_tv(places.positions[path]).float().mean()))
