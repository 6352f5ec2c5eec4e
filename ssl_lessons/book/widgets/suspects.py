"""Which cells of a table does a trained network suspect of being replaced, by how they were filled?"""

from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.modalities.tables import encoders, objectives, views, world
from ssl_lessons.training import fit

CONTROLS = {
    "rate": Slider(0.05, 0.9, 0.3, "share of the cells replaced", step=0.05, live=True),
    "fill": Choice(views.FILLS, "marginal", "filled with", live=True),
    "kind": Choice(world.DRAWN, "tied", "table", live=True),
}
SHOWN, ROWS, STEPS = 12, 3000, 600


@cache
def table(kind: str) -> tuple[world.Table, world.Table]:
    return world.split(kind, seed=0, rows=ROWS, test_rows=500)


@cache
def detective(kind: str, fill: str) -> objectives.Vime:
    """A mask predictor, trained on that table with that fill and 30 % replaced."""
    train, _ = table(kind)
    torch.manual_seed(0)
    task = objectives.Vime(encoders.RowNet(train.x.shape[1]), train.x, values=False, fill=fill)
    fit(task, task, STEPS, lr=3e-3)
    return task


def case(rate: float, fill: str, kind: str) -> tuple[Tensor, Tensor]:
    """(mask, suspicion) of 500 test rows."""
    train, test = table(kind)
    corrupted, mask = views.corrupt(
        test.x, train.x, round(float(rate), 3), torch.Generator().manual_seed(1), fill
    )
    return mask, detective(kind, fill).suspicion(corrupted)


def detection(rate: float, fill: str, kind: str) -> float:
    """Area under the ROC curve: the chance that a replaced cell is suspected more than one that is not."""
    from sklearn.metrics import roc_auc_score

    mask, suspicion = case(rate, fill, kind)
    return float(roc_auc_score(mask.flatten(), suspicion.flatten()))


def render(rate: float, fill: str, kind: str) -> Figure:
    """Twelve rows: what was replaced, and how much each cell is suspected; the title tells of 500 rows."""
    mask, suspicion = case(rate, fill, kind)
    fig, axes = plots.new_figure(6.4, 2.6, columns=2)
    for ax, picture, name in (
        (axes[0], mask.float(), f"replaced ({mask.float().mean():.0%})"),
        (axes[1], suspicion, f"suspected: {detection(rate, fill, kind):.2f} of 1, a coin 0.5"),
    ):
        ax.imshow(picture[:SHOWN], aspect="auto", cmap="viridis", vmin=0, vmax=1)
        ax.set(title=name, xlabel="column", ylabel="row")
    return fig


def describe(rate: float, fill: str, kind: str) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    mask, suspicion = case(rate, fill, kind)
    return (
        f"Twelve rows of the {kind} table, {mask.float().mean():.0%} of the cells replaced (fill: {fill}), beside "
        f"what a trained network suspects. Over 500 rows its mean suspicion is {suspicion[mask].mean():.2f} for "
        f"replaced cells and {suspicion[~mask].mean():.2f} for the others; it ranks "
        f"{detection(rate, fill, kind):.0%} of such pairs right."
    )
