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
from ssl_lessons.modalities.agents.prototypes import Prototypes

BONUSES = ("none", "count", "pixel error", "random features", "latent error", "pixel progress", "prototypes")


@dataclass(frozen=True)
class Journey:
    """One life: places int [T + 1], covered [T + 1] (share seen so far), near bool [T + 1] (where the screen is)."""

    places: Tensor
    covered: Tensor
    near: Tensor

    def watching(self, last: int = 300) -> float:
        """The share of the last so many moves spent where the screen is seen."""
        return float(self.near[-last:].float().mean())


class Surprise(nn.Module):
    """How wrong was the guess of the next picture, in a space that is learned, fixed, or the pixels themselves?

    "pixel error": the mean squared error of the next picture.  "latent error": BYOL-Explore (Guo et al. 2022) for a
    world that one picture shows whole: a predictor says what a slow copy of the encoder will make of the next picture;
    the error, squared distance of unit vectors, is loss and bonus.  The copy's vectors are standardised by a running
    mean and deviation first: else what all pictures share decides.  "random features": the same for a copy that stays
    as it was drawn (Burda et al. 2018).  "pixel progress": by how much the pixel error of a slow copy of everything is
    larger than today's, never below 0: what nobody can learn pays nothing.  (Learning Progress Monitoring,
    https://arxiv.org/abs/2509.25438, rewards the same difference, with a second network for the earlier error.)
    """

    def __init__(self, kind: str, dim: int = 16, momentum: float = 0.98, lr: float = 2e-3):
        super().__init__()
        self.kind, self.momentum = kind, momentum
        self.pixels = kind.startswith("pixel")
        wide = 3 * world.SIDE**2 if self.pixels else dim
        dynamics = Dynamics(dim, actions=len(COMPASS))
        out = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, wide))
        self.guess = nn.ModuleDict({"eye": Eye(dim), "dynamics": dynamics, "out": out})
        self.slow = copy.deepcopy(self.guess).requires_grad_(False)
        self.norm = nn.BatchNorm1d(dim, affine=False)
        self.optimizer = torch.optim.Adam(self.guess.parameters(), lr)

    def error(self, guess: nn.ModuleDict, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """[N]: how wrong `guess` is about the next picture."""
        one_hot = F.one_hot(action, len(COMPASS)).float()
        said = guess["out"](guess["dynamics"](guess["eye"](now), one_hot))
        if self.pixels:
            change = (then.float() / 255 - world.empty()).flatten(1)  # the rooms need no guess
            return (said - change).square().mean(dim=1)
        with torch.no_grad():
            target = self.norm(self.slow["eye"](then))
        return 2 - 2 * F.cosine_similarity(said, target, dim=1)

    @torch.no_grad()
    def forward(self, now: Tensor, action: Tensor, then: Tensor) -> Tensor:
        """The bonus [N] of pictures now and then, uint8 [N, 3, S, S], and what was done between, int [N]."""
        self.norm.eval()
        error = self.error(self.guess, now, action, then)
        if self.kind != "pixel progress":
            return error
        return (self.error(self.slow, now, action, then) - error).clamp_min(0)

    def learn(self, now: Tensor, action: Tensor, then: Tensor) -> None:
        """One step of Adam on the mean error."""
        self.norm.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.error(self.guess, now, action, then).mean().backward()
        self.optimizer.step()
        if self.kind == "random features":
            return
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.guess.parameters(), strict=True):
                slow.lerp_(fast, 1 - self.momentum)


def seen(places: Lattice, at: Tensor, tv: bool, generator: torch.Generator) -> Tensor:
    """Pictures uint8 [N, 3, S, S] of the places `at` int [N]; the screen, at the top right of the picture, shows
    noise while the agent is in the top left corner (`near_tv`)."""
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
        self.surprise = None
        if bonus not in ("none", "count"):
            self.surprise = Prototypes() if bonus == "prototypes" else Surprise(bonus)
        self.visits, self.peak = torch.zeros(2, len(places))
        shape = (len(places), 3, world.SIDE, world.SIDE)
        self.before, self.arrived = (torch.zeros(shape, dtype=torch.uint8) for _ in range(2))
        self.action = torch.zeros(len(places), dtype=torch.long)

    def remember(self, now: Tensor, action: int, place: int, then: Tensor) -> None:
        """One arrival, before anything is learned from it."""
        self.visits[place] += 1
        self.before[place], self.action[place], self.arrived[place] = now, action, then
        here = torch.tensor([place])
        self.peak[here] = torch.maximum(self.peak[here], self.paid(here))

    def paid(self, places: Tensor) -> Tensor:
        """[K]: what the last arrival at each of these places [K] pays by what is known now."""
        if self.surprise is None:
            return self.visits[places].rsqrt()
        return self.surprise(self.before[places], self.action[places], self.arrived[places])

    def bonus(self) -> Tensor:
        """[P]: what arriving pays; a place never seen is hoped to pay the median of what the seen paid at best."""
        known = self.visits.nonzero()[:, 0]
        paid = self.paid(known)
        self.peak[known] = torch.maximum(self.peak[known], paid)
        return self.peak[known].median().expand(len(self.visits)).scatter(0, known, paid)


def live(
    bonus: str, *, tv: bool = False, steps: int = 800, seed: int = 0, side: int = 16, chance: float = 0.1,
    every: int = 4, batch: int = 32,
) -> Journey:  # fmt: skip
    """One life of `steps` moves from the lower left corner.

    bonus: "none" (a random walk), "count" (1 / sqrt of how often one was there), "prototypes" (Proto-RL), or a kind of
    `Surprise`.  chance: how often a random move replaces the best one.  every: moves between two looks at the bonuses.
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
            q = values(places, agent.bonus())
        now = then
        way.append(at)
    return _journey(way, places)


def _journey(way: list[int], places: Lattice) -> Journey:
    known, covered = set(), []
    for place in way:
        known.add(place)
        covered.append(len(known) / len(places))
    path = torch.tensor(way)
    return Journey(path, torch.tensor(covered), near_tv(places.positions[path]))
