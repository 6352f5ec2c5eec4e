"""A diffusion model at every noise level: what goes in, what it guesses, and how much a layer knows there."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.diffusion import Schedule, add_noise, predict_x0


@torch.no_grad()
def look(images: Tensor, t: int, model: nn.Module, s: Schedule) -> tuple[Tensor, Tensor]:
    """Images x_0 [N, C, S, S] under the noise of step t, and the model's guess of x_0 from that."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    steps = torch.full((len(images),), t)
    noisy = add_noise(images, steps, noise, s)
    return noisy, predict_x0(noisy, steps, model(noisy, steps), s)


def controls(times: Sequence[int], layers: Sequence[str], place: int = 1) -> dict[str, Slider | Choice]:
    """The widget's inputs: which of the noise levels `times`, and which of the `layers` is read."""
    return {
        "place": Slider(0, len(times) - 1, place, "noise level", step=1, live=True),
        "layer": Choice(tuple(layers), layers[len(layers) // 2], "layer", live=True),
    }


def render(
    place: int,
    layer: str,
    images: Tensor,
    model: nn.Module,
    s: Schedule,
    times: Sequence[int],
    layers: Sequence[str],
    scores: Tensor,
    display,
) -> Figure:
    """Top: clean, noisy and guessed images at step times[place].  Bottom: the map of scores, this cell framed.

    scores [len(layers), len(times)]: how well something can be read there, from 0 = chance to 1 = perfectly.
    display: images -> values in [0, 1].
    """
    row = _row(layer, layers, scores)
    noisy, guess = look(images, times[place], model, s)
    fig, axes = plots.new_figure(4.8, 4.4, 4, 1, height_ratios=(1, 1, 1, 3.2))
    for ax, batch, name in zip(axes, (images, noisy, guess), ("clean", "goes in", "guess"), strict=False):
        strip = display(batch).clamp(0, 1).expand(-1, 3, -1, -1)
        ax.imshow(torch.cat(list(strip), dim=2).permute(1, 2, 0).numpy())
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    chart = axes[3]
    image = chart.imshow(100 * scores.numpy(), aspect="auto", cmap="viridis")
    fig.colorbar(image, ax=chart, label="score (0 = chance, 100 = perfect)")
    chart.add_patch(
        Rectangle((place - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=plots.COLORS[1], linewidth=2.5)
    )
    chart.set_xticks(range(len(times)), [str(t + 1) for t in times])
    chart.set_yticks(range(len(layers)), layers)
    chart.set(xlabel="noise level (diffusion step)", title=f"{layer}: score {100 * scores[row, place]:.1f}")
    return fig


def describe(
    place: int,
    layer: str,
    images: Tensor,
    model: nn.Module,
    s: Schedule,
    times: Sequence[int],
    layers: Sequence[str],
    scores: Tensor,
    display,
) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    row = _row(layer, layers, scores)
    best = divmod(int(scores.argmax()), len(times))
    return (
        f"At diffusion step {times[place] + 1} of {len(s.beta)}, where {100 * s.alpha_bar[times[place]]:.0f} percent "
        f"of the variance is picture, the layer {layer!r} scores {100 * scores[row, place]:.1f}; the best cell "
        f"of the map is {layers[best[0]]!r} at step {times[best[1]] + 1} with {100 * scores.max():.1f} of 100."
    )


def _row(layer: str, layers: Sequence[str], scores: Tensor) -> int:
    if layer not in layers:
        raise InputError(f"there is no layer {layer!r}; there are {', '.join(layers)}")
    if len(scores) != len(layers):
        raise InputError(f"scores need one row per layer, got {len(scores)} for {len(layers)}")
    return list(layers).index(layer)
