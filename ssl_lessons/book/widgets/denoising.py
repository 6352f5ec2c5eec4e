"""What a plain and a denoising autoencoder make of noise: one slider for the noise that goes in."""

from collections.abc import Callable, Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.autoencoders import add_gaussian, mask_patches

KINDS = ("Gaussian", "hidden patches")
HIGH = 3.0  # the largest noise level


def corrupt(images: Tensor, kind: str, level: float, seed: int = 0) -> Tensor:
    """Images [N, C, S, S] with Gaussian noise of that deviation, or with a share level / HIGH of their patches hidden.

    Raises InputError for another kind.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "Gaussian":
        return add_gaussian(images, level, generator)
    if kind == "hidden patches":
        return mask_patches(images, level / HIGH, images.shape[-1] // 4, generator)
    raise InputError(f"there is no corruption {kind!r}; there are {', '.join(KINDS)}")


def errors(images: Tensor, level: float, kind: str, models: Mapping[str, Callable]) -> dict[str, float]:
    """Root mean squared distance from the clean images: of the input ("nothing done") and of each model's output."""
    noisy = corrupt(images, kind, level)
    outputs = {"nothing done": noisy} | {name: model(noisy) for name, model in models.items()}
    return {name: float((out - images).square().mean().sqrt()) for name, out in outputs.items()}


def controls(level: float = 1.0, high: float = HIGH) -> dict[str, Slider | Choice]:
    """The widget's inputs: the noise level from 0 to `high`, in the units of the images, and the kind of noise.

    Raises InputError unless 0 < high <= HIGH: a level of HIGH hides all patches.
    """
    if not 0 < high <= HIGH:
        raise InputError(f"the slider must end above 0 and at most at {HIGH:g}, not at {high:g}")
    return {
        "level": Slider(0.0, high, level, "noise level", step=high / 30, live=True),
        "kind": Choice(KINDS, KINDS[0], "noise", live=True),
    }


def render(
    level: float, kind: str, images: Tensor, models: Mapping[str, Callable], display: Callable
) -> Figure:
    """Rows: clean, corrupted, and the output of each model; below, the error of each as a bar.

    images: [N, C, S, S], few.  models: name -> function from images to images.  display: images -> values in [0, 1].
    """
    noisy = corrupt(images, kind, level)
    rows = {"clean": images, "what goes in": noisy} | {name: model(noisy) for name, model in models.items()}
    numbers = errors(images, level, kind, models)
    fig, axes = plots.new_figure(
        4.6, 0.75 * len(rows) + 1.5, len(rows) + 1, 1, height_ratios=[1] * len(rows) + [1.5]
    )
    for ax, (name, batch) in zip(axes[:-1], rows.items(), strict=True):
        strip = display(batch).clamp(0, 1).expand(-1, 3, -1, -1)
        ax.imshow(torch.cat(list(strip), dim=2).permute(1, 2, 0).numpy(), aspect="equal")
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name.replace(" ", "\n", 1), rotation=0, ha="right", va="center", fontsize=8)
    bars = axes[-1]
    bars.barh(range(len(numbers)), list(numbers.values()), color=plots.COLORS[: len(numbers)])
    bars.set_yticks(range(len(numbers)), list(numbers))
    bars.invert_yaxis()
    bars.set(xlim=(0, max(1.2, 1.05 * max(numbers.values()))), xlabel="RMS distance from the clean image")
    best = min(numbers, key=numbers.get)
    bars.set_title(f"Closest to the clean image: {best}")
    return fig


def describe(
    level: float, kind: str, images: Tensor, models: Mapping[str, Callable], display: Callable
) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    numbers = errors(images, level, kind, models)
    listed = ", ".join(f"{name} {value:.2f}" for name, value in numbers.items())
    return f"Noise {kind!r} at level {level:.2f}; distance from the clean images: {listed}."
