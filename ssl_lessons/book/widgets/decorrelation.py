"""VICReg with a linear encoder from six inputs to the plane: what each of its three terms does to the cloud."""

from functools import lru_cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Slider
from ssl_lessons.losses.correlation import vicreg

IMAGES, SHOWN, STEPS, EVERY = 128, 60, 300, 6
NOISE = (0.3, 0.5)  # how far the views stray from the two signals they share


class Flow(NamedTuple):
    """Gradient descent on a linear encoder, [2, 6], for two views of 128 images.

    content [N]: the first shared signal.  end [2, N, 2]: the embeddings.  steps [T]; wide, narrow [T]: standard
    deviation along the longest and the shortest axis of the cloud; shared [T]: mean correlation of the views.
    """

    content: Tensor
    end: Tensor
    steps: list[int]
    wide: list[float]
    narrow: list[float]
    shared: list[float]


def two_views(seed: int = 0) -> tuple[Tensor, Tensor]:
    """The shared signals [N, 2] and the views [2, N, 6]: both signals with some noise, four private nuisances of
    a larger variance, all six mixed by a rotation.
    """
    g = torch.Generator().manual_seed(seed)
    signals = torch.randn(IMAGES, 2, generator=g, dtype=torch.float64)
    views = signals + torch.tensor(NOISE) * torch.randn(2, IMAGES, 2, generator=g, dtype=torch.float64)
    nuisance = 1.5 * torch.randn(2, IMAGES, 4, generator=g, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))
    return signals, torch.cat([views, nuisance], dim=2) @ rotation


def _agreement(z: Tensor) -> float:
    """Mean correlation of each dimension with itself in the other view; views [2, N, 2]."""
    centred = z - z.mean(dim=1, keepdim=True)
    lengths = centred.norm(dim=1).prod(dim=0).clamp_min(1e-12)
    return float(((centred[0] * centred[1]).sum(dim=0) / lengths).mean())


@lru_cache(maxsize=64)
def flow(invariance: float, variance: float, covariance: float) -> Flow:
    """The cloud while STEPS steps lead the encoder down the gradient of VICReg with these weights."""
    signals, views = two_views()
    w = 0.2 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    history = []
    # Shorter steps for larger weights: a strong weight must not make the descent unstable.
    rate = 0.12 / max(invariance, variance, 2 * covariance, 1.0)
    for step in range(STEPS + 1):
        z = views @ w.requires_grad_()
        if step % EVERY == 0:
            axes = torch.linalg.eigvalsh(torch.cov(z.detach().flatten(0, 1).T)).clamp_min(0).sqrt()
            history.append((step, float(axes[1]), float(axes[0]), _agreement(z.detach())))
        (gradient,) = torch.autograd.grad(vicreg(*z, invariance, variance, covariance), w)
        w = (w - rate * gradient).detach()
    return Flow(signals[:, 0], z.detach(), *map(list, zip(*history, strict=True)))


def verdict(found: Flow) -> str:
    """The end of the flow in a few words."""
    if found.wide[-1] < 0.1:
        return "collapsed to a point"
    if found.narrow[-1] < 0.2 * found.wide[-1]:
        return "collapsed to a line"
    return "spread out, views agree" if found.shared[-1] > 0.75 else "spread out, views disagree"


def controls() -> dict[str, Slider]:
    """The three weights of VICReg, from 0 to 25."""
    return {
        "invariance": Slider(0.0, 25.0, 25.0, "invariance weight", step=1.0),
        "variance": Slider(0.0, 25.0, 25.0, "variance weight", step=1.0),
        "covariance": Slider(0.0, 25.0, 10.0, "covariance weight", step=1.0),
    }


def render(invariance: float, variance: float, covariance: float) -> Figure:
    """Left: the embeddings, partners joined, coloured by content; right: the axes of the cloud on the way."""
    found = flow(float(invariance), float(variance), float(covariance))
    fig, (left, right) = plots.new_figure(6.4, 3.1, 1, 2)
    z = found.end[:, :SHOWN]
    for a, b in zip(*z, strict=True):
        left.plot(*torch.stack([a, b]).T.numpy(), "-", color="#cccccc", linewidth=0.8, zorder=1)
    for view, marker in zip(z, "o^", strict=True):
        left.scatter(*view.T.numpy(), c=found.content[:SHOWN].numpy(), marker=marker, s=12, zorder=2)
    left.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xlabel="dimension 1", ylabel="dimension 2",
             title=verdict(found).capitalize())  # fmt: skip
    right.plot(found.steps, found.wide, color=plots.COLORS[0], label="std, longest axis")
    right.plot(found.steps, found.narrow, "--", color=plots.COLORS[0], label="std, shortest axis")
    right.plot(found.steps, found.shared, ":", color=plots.COLORS[1], label="views' correlation")
    right.set(ylim=(-0.3, 2.3), xlabel="step", ylabel="units of z; correlation", title="The way there")
    right.legend(loc="upper right", ncols=1)
    return fig


def describe(invariance: float, variance: float, covariance: float) -> str:
    """The picture of `render` in words."""
    found = flow(float(invariance), float(variance), float(covariance))
    return (
        f"Weights {invariance:.3g} (invariance), {variance:.3g} (variance), {covariance:.3g} (covariance): the cloud "
        f"is {verdict(found)}; its deviation is {found.wide[-1]:.2f} along the longest and {found.narrow[-1]:.2f} "
        f"along the shortest axis, the views correlate by {found.shared[-1]:.2f}."
    )
