"""Turn the ingredient that prevents collapse down, and watch spectrum, scatter and verdict of a small network."""

from functools import lru_cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.diagnostics import CollapseReport, diagnose, singular_values
from ssl_lessons.errors import InputError

POINTS, OUT = 240, 8
SIGNAL = (4.0, 1.5, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3)  # how far the points spread along each axis
SHAKE = 0.8  # how far a view shakes them, along every axis: weak signals drown first
STEPS, LR = 200, 0.01


class Outcome(NamedTuple):
    """A trained toy: embeddings z [N, OUT] of its points, their quarter [N], the history and the diagnosis."""

    z: Tensor
    quarter: Tensor
    history: list[dict]
    report: CollapseReport


def points(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [POINTS, 8], and the quarter [POINTS] (0 to 3) of each: the signs of its two strongest coordinates."""
    x = torch.tensor(SIGNAL) * torch.randn(POINTS, len(SIGNAL), generator=generator)
    return x, 2 * (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def view(x: Tensor, generator: torch.Generator) -> Tensor:
    """A random view of x: the points, shaken."""
    return x + SHAKE * torch.randn(x.shape, generator=generator)


def negatives_loss(z1: Tensor, z2: Tensor, amount: float) -> Tensor:
    """Alignment, plus `amount` of the push that a contrastive loss adds: log mean exp of all similarities."""
    u1, u2 = normalize(z1, dim=1), normalize(z2, dim=1)
    pull = (u1 - u2).square().sum(dim=1).mean()
    push = (2 * (u1 @ u2.T)).exp().mean().log()
    return pull + amount * push


def vicreg_loss(z1: Tensor, z2: Tensor, variance: float, covariance: float) -> Tensor:
    """VICReg with weights 25, 25 `variance` and `covariance`."""
    loss = 25 * (z1 - z2).square().mean()
    for z in (z1, z2):
        z = z - z.mean(dim=0)
        loss = loss + 12.5 * variance * relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()
        c = z.T @ z / (len(z) - 1)
        loss = loss + covariance * (c - c.diag().diag()).square().sum() / z.shape[1]
    return loss


LOSSES = {
    "negatives": negatives_loss,
    "variance term": lambda z1, z2, amount: vicreg_loss(z1, z2, amount, 1.0),
    "covariance term": lambda z1, z2, amount: vicreg_loss(z1, z2, 1.0, amount),
}


@lru_cache(maxsize=64)
def train(ingredient: str, amount: float, seed: int = 0) -> Outcome:
    """Train the toy with `amount` (0 = none, 1 = all) of one ingredient, the others in place.

    Raises InputError for an unknown ingredient or an amount outside 0..1.
    """
    if ingredient not in LOSSES:
        raise InputError(f"There is no ingredient {ingredient!r}; there are {', '.join(LOSSES)}.")
    if not 0 <= amount <= 1:
        raise InputError(f"The amount must lie between 0 and 1, not {amount!r}.")
    generator = torch.Generator().manual_seed(seed)
    x, quarter = points(generator)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(len(SIGNAL), 64), nn.ReLU(), nn.Linear(64, OUT))
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    history = []
    for step in range(1, STEPS + 1):
        loss = LOSSES[ingredient](net(view(x, generator)), net(view(x, generator)), amount)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({"step": step, "loss": loss.item()})
        if step % 10 == 0:
            with torch.no_grad():
                history[-1]["spread_z"] = float(1 - normalize(net(x), dim=1).mean(dim=0).square().sum())
    with torch.no_grad():
        z = net(x)
    return Outcome(z, quarter, history, diagnose(z, history=history))


def controls(ingredient: str = "negatives") -> dict[str, Slider | Choice]:
    """The widget's inputs: which ingredient, and how much of it is left."""
    return {
        "ingredient": Choice(tuple(LOSSES), ingredient, "ingredient"),
        "amount": Slider(0.003, 1.0, 1.0, "how much of it is left", log=True),
    }


def render(ingredient: str, amount: float) -> Figure:
    """Three panels: the spectrum of z, its first two principal directions, the spread during training."""
    found = train(ingredient, round(float(amount), 4))
    fig, (left, middle, right) = plots.new_figure(8.4, 2.8, 1, 3)
    unit = normalize(found.z, dim=1)  # what `diagnose` counts: rows of length 1, centred
    values = singular_values(unit)
    left.plot(range(1, len(values) + 1), (values / values[0]).clamp_min(1e-4), "o-", color=plots.COLORS[0])
    left.set(yscale="log", ylim=(5e-5, 2), xlabel="direction", ylabel="singular value / largest",
             title=f"Effective rank {found.report.evidence['effective_rank']:.1f} of {OUT}")  # fmt: skip
    _, _, directions = torch.linalg.svd(unit - unit.mean(dim=0), full_matrices=False)
    flat = unit @ directions[:2].T
    for g, mark in enumerate("osD^"):
        mine = flat[found.quarter == g]
        middle.plot(mine[:, 0], mine[:, 1], mark, markersize=3, color=plots.COLORS[g])
    middle.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xlabel="first direction of z", ylabel="second direction",
               title=found.report.verdict.capitalize())  # fmt: skip
    rows = [row for row in found.history if "spread_z" in row]
    right.plot([r["step"] for r in rows], [max(r["spread_z"], 1e-6) for r in rows], color=plots.COLORS[1])
    right.set(yscale="log", ylim=(1e-6, 2), xlabel="step", ylabel="spread of z (log)",
              title=f"Spread at the end: {found.report.evidence['spread']:.2g}")  # fmt: skip
    return fig


def describe(ingredient: str, amount: float) -> str:
    """The picture of `render` in words."""
    report = train(ingredient, round(float(amount), 4)).report
    return (
        f"With {amount:.0%} of the {ingredient} left: {report.verdict}; the spread of the embeddings ends at "
        f"{report.evidence['spread']:.2g} of 1, over an effective {report.evidence['effective_rank']:.1f} of "
        f"{OUT} directions."
    )
