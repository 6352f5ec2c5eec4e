"""Planning with the cross-entropy method, and walking to a goal of which only a picture is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.agents import world
from ssl_lessons.modalities.agents.encoders import Critic

NEAR = 0.1  # a goal counts as reached within this distance
COSTS = ("nearest", "last")


@dataclass(frozen=True)
class Trips:
    """M trips: positions [M, moves + 1, 2], reached bool [M], and the share that reached the goal."""

    positions: Tensor
    reached: Tensor
    success: float


def cem(
    imagine: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    goal: Tensor,
    generator: torch.Generator,
    *,
    horizon: int = 6,
    repeat: int = 2,
    samples: int = 128,
    elite: int = 16,
    rounds: int = 4,
    cost: str = "nearest",
) -> Tensor:
    """The cross-entropy method: draw plans, keep the best, draw around them.  Returns actions [M, horizon * repeat, 2].

    imagine(z [..., D], actions [..., T, 2]) -> [..., T, D].  start, goal: [M, D], M plans at once.  Every action is
    held for `repeat` moves.  cost: squared distance to the goal at the "last" moment, or at the "nearest" of all.
    """
    if cost not in COSTS or not 1 < elite < samples:
        raise InputError(f"costs: {', '.join(COSTS)}; and 1 < elite < samples")
    mean, std = torch.zeros(2, len(start), 1, horizon, 2)
    std += 1
    here = start[:, None].expand(-1, samples, *start.shape[1:])
    for _ in range(rounds):
        plans = mean + std * torch.randn(len(start), samples, horizon, 2, generator=generator)
        plans = plans.clamp(-1, 1)
        way = imagine(here, plans.repeat_interleave(repeat, dim=2))  # [M, samples, T, D]
        away = (way - goal[:, None, None]).square().sum(dim=-1)
        away = away[..., -1] if cost == "last" else away.amin(dim=-1)
        best = away.topk(elite, dim=1, largest=False).indices[..., None, None].expand(-1, -1, horizon, 2)
        chosen = plans.gather(1, best)
        mean, std = chosen.mean(dim=1, keepdim=True), chosen.std(dim=1, keepdim=True) + 1e-3
    return mean[:, 0].repeat_interleave(repeat, dim=1)


@torch.no_grad()
def travel(
    encode: Callable | None, imagine: Callable[[Tensor, Tensor], Tensor], start: Tensor, goal: Tensor, *,
    moves: int = 28, replan: int = 4, seed: int = 0, noise: float = 0.02, **options,
) -> Trips:  # fmt: skip
    """M trips from start to goal [M, 2]: look, plan, do the first `replan` moves, look again.

    encode: pictures uint8 [M, 3, S, S] -> [M, D]; the goal is known by its picture alone.  None: the planner is told
    the positions instead (with `true_moves`, what the planner can do at best).  Who comes within NEAR of the goal has
    reached it and stays.
    """
    generator = torch.Generator().manual_seed(seed)
    look = (lambda at: at) if encode is None else (lambda at: encode(world.draw(at, generator, noise)))
    wanted, at, path = look(goal), start, [start]
    reached = (at - goal).norm(dim=1) < NEAR
    while len(path) <= moves:
        plan = cem(imagine, look(at), wanted, generator, **options)
        for action in plan[:, :replan].unbind(dim=1):
            at = torch.where(reached[:, None], at, world.move(at, action))
            reached = reached | ((at - goal).norm(dim=1) < NEAR)
            path.append(at)
    return Trips(torch.stack(path, dim=1)[:, : moves + 1], reached, float(reached.float().mean()))


@torch.no_grad()
def chase(
    critic: Critic | None, start: Tensor, goal: Tensor, *, moves: int = 28, seed: int = 0, noise: float = 0.02
) -> Trips:
    """M trips of somebody who never plans: of 16 directions always the one with the highest score; None: any."""
    g = torch.Generator().manual_seed(seed)
    angle = torch.arange(16) * (2 * torch.pi / 16)
    compass = torch.stack([angle.cos(), angle.sin()], dim=1)
    wanted = None if critic is None else critic.goal(world.draw(goal, g, noise))
    at, path, reached = start, [start], (start - goal).norm(dim=1) < NEAR
    for _ in range(moves):
        if critic is None:
            chosen = torch.randint(16, (len(at),), generator=g)
        else:
            looked = critic.eye(world.draw(at, g, noise))[:, None].expand(-1, 16, -1)
            phi = critic.act(looked, compass.expand(len(at), -1, -1))
            chosen = (phi * wanted[:, None]).sum(dim=2).argmax(dim=1)
        at = torch.where(reached[:, None], at, world.move(at, compass[chosen]))
        reached = reached | ((at - goal).norm(dim=1) < NEAR)
        path.append(at)
    return Trips(torch.stack(path, dim=1), reached, float(reached.float().mean()))


def true_moves(positions: Tensor, actions: Tensor) -> Tensor:
    """What really happens, for `cem`: positions [..., 2], actions [..., T, 2] -> [..., T, 2]."""
    way = []
    for action in actions.unbind(dim=-2):
        positions = world.move(positions, action)
        way.append(positions)
    return torch.stack(way, dim=-2)


def across(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n starts in the left room and n goals in the right one, at least 0.1 from the wall: two tensors [n, 2]."""
    g = torch.Generator().manual_seed(seed + 515)
    start, goal = world.anywhere(n, g), world.anywhere(n, g)
    start[:, 0] = 0.05 + 0.35 * start[:, 0]
    goal[:, 0] = 0.6 + 0.35 * goal[:, 0]
    return start, goal


def planner(task: nn.Module) -> tuple[Callable, Callable]:
    """What `travel` needs of a trained world model: (encode, imagine), on the model's device."""
    device = next(task.parameters()).device
    return (
        lambda frames: task.encoder(frames.to(device)).cpu(),
        lambda z, actions: task.dynamics.roll(z.to(device), actions.to(device)).cpu(),
    )
