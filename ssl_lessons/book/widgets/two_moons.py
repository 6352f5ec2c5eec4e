"""Two moons and a handful of labels: what a rule makes of the points that have none."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.training import fit

POINTS, NOISE, STEPS = 500, 0.12, 200


class Moons(NamedTuple):
    """x [500, 2] without labels, few [n, 2] with their labels y [n]; x_test [500, 2], y_test [500]."""

    x: Tensor
    few: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


# The loss of one step: (model, moons, generator, share of the run that is done) -> scalar.
Rule = Callable[[nn.Module, Moons, torch.Generator, float], Tensor]


@cache
def moons(each: int = 3, seed: int = 0) -> Moons:
    """The points of a seed, standardised, with `each` labels in either moon.

    Raises InputError for a number of labels below 1 or above 50.
    """
    from sklearn.datasets import make_moons

    if not 1 <= each <= 50:
        raise InputError(f"label 1 to 50 points of each moon, not {each}")
    x, y = make_moons(2 * POINTS, noise=NOISE, random_state=seed)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    few = torch.cat([(y[:POINTS] == c).nonzero()[:each, 0] for c in (0, 1)])
    return Moons(x[:POINTS], x[few], y[few], x[POINTS:], y[POINTS:])


def network(seed: int) -> nn.Module:
    """Two hidden layers of 64: x [N, 2] -> logits [N, 2]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)]
    return nn.Sequential(*layers)


def learn(rule: Rule, each: int = 3, seed: int = 0, steps: int = STEPS) -> nn.Module:
    """The network that a rule makes of `each` labels in either moon and 500 points."""
    world, model, done = moons(each, seed), network(seed), 0

    def loss(generator: torch.Generator) -> Tensor:
        nonlocal done
        done += 1
        return rule(model, world, generator, done / steps)

    fit(model, loss, steps, lr=1e-2, seed=seed)
    return model


@torch.no_grad()
def accuracy(model: nn.Module, world: Moons) -> float:
    return float((model(world.x_test).argmax(dim=1) == world.y_test).float().mean())


class Board:
    """Choose a rule, how many labels, and a seed; see the boundary.  rules: name -> Rule."""

    def __init__(self, rules: Mapping[str, Rule]):
        self.rules = dict(rules)
        names = tuple(self.rules)
        self.controls = {
            "rule": Choice(names, names[0], "rule"),
            "each": Slider(1, 10, 3, "labels in each moon", step=1),
            "seed": Slider(0, 3, 0, "seed", step=1),
        }
        self.learned = cache(self._learned)

    def _learned(self, rule: str, each: int, seed: int) -> nn.Module:
        return learn(self.rules[rule], each, seed)

    def _told(self, rule: str, each: float, seed: float) -> tuple[nn.Module, Moons, float]:
        if rule not in self.rules:
            raise InputError(f"no rule {rule!r}; choose from {', '.join(self.rules)}")
        model, world = self.learned(rule, int(each), int(seed)), moons(int(each), int(seed))
        return model, world, accuracy(model, world)

    def render(self, rule: str, each: float, seed: float) -> Figure:
        model, world, score = self._told(rule, each, seed)
        fig, ax = plots.new_figure(4.6, 3.4)
        axis = torch.linspace(-2.4, 2.4, 80)
        grid = torch.cartesian_prod(axis, axis)
        with torch.no_grad():
            p = model(grid).softmax(dim=1)[:, 1].view(80, 80).T
        ax.contourf(axis, axis, p, levels=[0, 0.05, 0.5, 0.95, 1], cmap="PuOr", alpha=0.45)
        ax.contour(axis, axis, p, levels=[0.5], colors=plots.GRAY)
        ax.plot(*world.x.T, ".", color=plots.GRAY, markersize=3, label="no label")
        for c, mark in ((0, "o"), (1, "s")):
            ax.plot(*world.few[world.y == c].T, mark, color=plots.COLORS[1 - c], markersize=9, markeredgecolor="black",
                    label=f"label {c}")  # fmt: skip
        ax.set(title=f"{rule}, {2 * int(each)} labels: {score:.0%} right", xlabel="$x_1$", ylabel="$x_2$")
        ax.legend(loc="lower right", fontsize=8)
        return fig

    def describe(self, rule: str, each: float, seed: float) -> str:
        """The picture of `render` in words."""
        model, world, score = self._told(rule, each, seed)
        with torch.no_grad():
            sure = float((model(world.x).softmax(dim=1).amax(dim=1) > 0.95).float().mean())
        return (
            f"Two moons of {POINTS} points, {2 * int(each)} with a label, seed {int(seed)}. Rule: {rule}. It gets "
            f"{score:.1%} of new points right and is more than 95 % sure of {sure:.0%} of the points."
        )
