"""What Sinkhorn-Knopp does to a score matrix: assignments before and after, and how evenly the clusters are used."""

from collections.abc import Mapping

import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.losses.clustering import sinkhorn_knopp


def perplexity(p: Tensor) -> Tensor:
    """exp(entropy) of distributions along the last dimension: how many options share the mass, from 1 to K."""
    return torch.special.entr(p).sum(dim=-1).exp()


def balance(assignment: Tensor) -> dict[str, float]:
    """Two numbers that pull against each other, of soft assignments [N, K] with rows of sum 1.

    used: how many clusters the whole batch is spread over (perplexity of the mean row, at most K).
    undecided: over how many clusters one image is spread (mean perplexity of a row, at least 1).
    largest: the share of the batch that the most popular cluster gets.
    """
    mean = assignment.mean(dim=0)
    return {
        "used": float(perplexity(mean)),
        "undecided": float(perplexity(assignment).mean()),
        "largest": float(mean.max()),
    }


def controls(
    names: tuple[str, ...], epsilon: float = 0.05, iterations: int = 3
) -> dict[str, Slider | Choice]:
    """The widget's inputs: epsilon from 0.01 to 1, 0 to 10 iterations, and which of the score matrices `names`."""
    return {
        "epsilon": Slider(0.01, 1.0, epsilon, "epsilon", log=True, live=True),
        "iterations": Slider(0, 10, iterations, "iterations", step=1, live=True),
        "scores": Choice(names, names[0], "scores", live=True),
    }


def render(epsilon: float, iterations: int, scores: str, batch: Mapping[str, Tensor]) -> Figure:
    """Left: the assignment of every image (row) to every prototype (column).  Right: what each prototype gets.

    batch: name -> score matrix [N, K].  Rows are sorted by their favourite prototype before any balancing, so that the
    picture stays in place while the sliders move.
    """
    matrix = _chosen(scores, batch)
    q = sinkhorn_knopp(matrix, epsilon, iterations)
    n, k = q.shape
    numbers = balance(q)
    fig, (left, right) = plots.new_figure(7.6, 3.1, 1, 2, width_ratios=(1.3, 1))
    order = matrix.argmax(dim=1).argsort(stable=True)
    shade = PowerNorm(0.5, vmin=0, vmax=1)  # a share of 1 / K must still be told from none
    image = left.imshow(q[order].numpy(), aspect="auto", cmap="viridis", norm=shade, interpolation="nearest")
    fig.colorbar(image, ax=left, label="assignment (sums to 1 per image)")
    left.set(
        xlabel="prototype",
        ylabel="image",
        title=f"One image on {numbers['undecided']:.1f} prototypes",
    )
    right.bar(range(k), (100 * q.mean(dim=0)).tolist(), color=plots.COLORS[0])
    right.axhline(100 / k, color=plots.GRAY, linestyle=":")
    right.set(
        xlabel="prototype",
        ylabel="share of batch (%)",
        ylim=(0, max(300 / k, 105 * numbers["largest"])),
        title=f"{numbers['used']:.1f} of {k} prototypes in use",
    )
    return fig


def describe(epsilon: float, iterations: int, scores: str, batch: Mapping[str, Tensor]) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    q = sinkhorn_knopp(_chosen(scores, batch), epsilon, iterations)
    n, k = q.shape
    numbers = balance(q)
    return (
        f"Scores {scores!r}, {n} images and {k} prototypes, epsilon {epsilon:.3g}, {iterations} iterations: the batch "
        f"uses {numbers['used']:.1f} prototypes, the most popular one gets {100 * numbers['largest']:.1f} percent of "
        f"it, and one image is spread over {numbers['undecided']:.1f} prototypes on average."
    )


def brief(epsilon: float, iterations: int, scores: str, batch: Mapping[str, Tensor]) -> str:
    """`describe` in few words."""
    q = sinkhorn_knopp(_chosen(scores, batch), epsilon, iterations)
    numbers = balance(q)
    return (
        f"the batch uses {numbers['used']:.1f} of {q.shape[1]} prototypes; the most popular one gets "
        f"{100 * numbers['largest']:.1f} percent."
    )


def _chosen(scores: str, batch: Mapping[str, Tensor]) -> Tensor:
    if scores not in batch:
        raise InputError(f"There are no scores {scores!r}; there are {', '.join(batch)}.")
    return batch[scores].detach().cpu().double()
