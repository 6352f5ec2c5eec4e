"""Two views of one molecule, spoiled in two ways, and what GraphCL learned from such pairs in the record."""

from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.chapter import recorded
from ssl_lessons.book.widgets.core import Choice
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs import views, world
from ssl_lessons.modalities.graphs.graph import Graphs

CONTROLS = {
    "first": Choice(tuple(views.SPOILINGS), "subgraph", "first view", live=True),
    "second": Choice(tuple(views.SPOILINGS), "mask nodes", "second view", live=True),
}
SHARE, MARKS = 0.5, "os^D"
NAMES = ("A", "B", "C", "D")


@cache
def molecule(seed: int = 4) -> tuple[Graphs, Tensor]:
    """One small molecule whose fifth column is the number of the node, and places [n, 2] to draw the nodes at."""
    graph = world.molecules(1, seed, sizes=(16, 16))
    numbers = torch.arange(len(graph.x)).float()[:, None] + 1
    return graph.replace(x=torch.cat([graph.x, numbers], dim=1)), torch.from_numpy(places(graph))


def places(graphs: Graphs) -> np.ndarray:
    """Where to draw the nodes, [N, 2]: the plane in which distances are most like the numbers of steps between them."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import shortest_path

    source, target = (side.numpy() for side in graphs.both_ways())
    n = len(graphs.x)
    steps = shortest_path(coo_matrix((np.ones(len(source)), (source, target)), (n, n)), unweighted=True)
    steps = np.minimum(steps, n) ** 2
    centred = -(steps - steps.mean(0) - steps.mean(1)[:, None] + steps.mean()) / 2
    values, vectors = np.linalg.eigh(centred)
    return _apart(vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0)))


def _apart(where: np.ndarray, least: float = 0.55, rounds: int = 200) -> np.ndarray:
    """The same places, moved until no two are closer than `least`."""
    where = where + 0.05 * np.random.default_rng(0).standard_normal(where.shape)
    for _ in range(rounds):
        gap = where[:, None] - where
        length = np.sqrt((gap**2).sum(-1)) + 1e-9
        push = np.clip(least - length, 0, None) / length * (length > 1e-6)
        where = where + 0.25 * (push[..., None] * gap).sum(1)
    return where


def view(name: str, seed: int) -> Graphs:
    """The molecule, spoiled as `name` says."""
    return views.SPOILINGS[name](molecule()[0], torch.Generator().manual_seed(seed), SHARE)


def numbers(spoiled: Graphs) -> Tensor:
    """Which node of the molecule each node of a view is, int [N]; hidden nodes have kept their places."""
    whole = len(molecule()[0].x)
    return torch.arange(whole) if len(spoiled.x) == whole else spoiled.x[:, 4].long() - 1


def cell(first: str, second: str) -> dict[str, float] | None:
    """Mean accuracies over seeds of this pair, by factor, from the record; None where it has none."""
    try:
        rows = recorded("graphs")[0]
    except InputError:  # no such file
        return None
    arms = {f"{first} + {second}", f"{second} + {first}"}
    found = [r["factors"] for r in rows if r["part"] == "graphs" and r["arm"] in arms]
    return {k: sum(f[k] for f in found) / len(found) for k in found[0]} if found else None


def draw(ax, spoiled: Graphs, title: str) -> None:
    """A view: atoms as marks of four kinds, hidden ones empty, bonds as lines; what is gone is faint."""
    whole, where = molecule()
    for a, b in whole.edges.T.tolist():
        ax.plot(*where[[a, b]].T, color=plots.GRAY, alpha=0.2, linewidth=1, zorder=0)
    own = numbers(spoiled)
    for a, b in own[spoiled.edges].T.tolist():
        ax.plot(*where[[a, b]].T, color=plots.GRAY, linewidth=1.6, zorder=1)
    hidden = spoiled.x[:, :4].sum(dim=1) == 0
    for k, mark in enumerate(MARKS):
        at = where[own[(spoiled.x[:, :4].argmax(dim=1) == k) & ~hidden]]
        ax.scatter(*at.T, marker=mark, s=70, color=plots.COLORS[k], zorder=2, label=NAMES[k])
    ax.scatter(*where[own[hidden]].T, s=70, facecolor="white", edgecolor=plots.GRAY, zorder=2)
    ax.set(title=title, aspect="equal")
    ax.set_axis_off()


def render(first: str, second: str) -> Figure:
    """Both views of a molecule; the title says what the record measured for the pair."""
    fig, axes = plots.new_figure(6.4, 3.4, columns=2)
    for ax, name, seed in zip(axes, (first, second), (1, 2), strict=True):
        draw(ax, view(name, seed), name)
    fig.suptitle(_measured(first, second))
    return fig


def _measured(first: str, second: str) -> str:
    found = cell(first, second)
    if found is None:
        return "No run of this pair is recorded yet"
    return f"Recorded: rule {found['rule']:.0%}, shape {found['shape']:.0%} (chance 33%)"


def describe(first: str, second: str) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    whole = molecule()[0]
    old = {tuple(e) for e in whole.edges.T.tolist()}
    words = []
    for name, seed in ((first, 1), (second, 2)):
        spoiled = view(name, seed)
        bonds = {tuple(sorted(e)) for e in numbers(spoiled)[spoiled.edges].T.tolist()}
        hidden = int((spoiled.x[:, :4].sum(dim=1) == 0).sum())
        words.append(
            f"{name}: {len(spoiled.x)} of {len(whole.x)} atoms, {hidden} of them hidden; {len(bonds & old)} of "
            f"{len(old)} bonds are left and {len(bonds - old)} are new"
        )
    return f"Two views of one molecule. {'. '.join(words)}. {_measured(first, second)}."


def brief(first: str, second: str) -> str:
    """`describe` in few words."""
    whole = molecule()[0]
    atoms = " and ".join(str(len(view(name, seed).x)) for name, seed in ((first, 1), (second, 2)))
    return f"{first} and {second} leave {atoms} of {len(whole.x)} atoms. {_measured(first, second)}."
