"""How much can be hidden?  A picture, what is left of it, fills without a network, and a network's reconstruction."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Generator, Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.models import patchify, unpatchify
from ssl_lessons.views import denormalize
from ssl_lessons.views.masks import block_mask, random_mask

DRAWN = {"random": random_mask, "blocks": block_mask}


def hidden_pixels(mask: Tensor, patch: int) -> Tensor:
    """A mask over patches, bool [N, T], as a mask over pixels, bool [N, 1, S, S]."""
    rows = mask[:, :, None].expand(-1, -1, 3 * patch * patch)
    return unpatchify(rows.float(), patch)[:, :1].bool()


def smooth_fill(x: Tensor, hidden: Tensor, rounds: int = 150) -> Tensor:
    """Hidden pixels from visible ones without learning: each becomes the mean of its four neighbours.

    x: [N, 3, S, S]; hidden: bool [N, 1, S, S].  Starting from the mean of the visible pixels, the averaging is repeated
    `rounds` times; it converges to the smoothest surface through the visible pixels (Laplace's equation).
    """
    known = (~hidden).to(x.dtype)
    if not bool(known.sum(dim=(2, 3)).all()):
        raise InputError("every picture needs at least one visible pixel")
    mean = (x * known).sum(dim=(2, 3), keepdim=True) / known.sum(dim=(2, 3), keepdim=True)
    filled = torch.where(hidden, mean, x)
    for _ in range(rounds):
        edge = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        average = edge[:, :, :-2, 1:-1] + edge[:, :, 2:, 1:-1] + edge[:, :, 1:-1, :-2] + edge[:, :, 1:-1, 2:]
        filled = torch.where(hidden, average / 4, x)
    return filled


def colours_around(x: Tensor, mask: Tensor, patch: int) -> Tensor:
    """Seven numbers of every place, [N, T, 7]: 1, the mean visible colour, and the mean visible colour of its rim.

    x: [N, 3, S, S]; mask: bool [N, T], True = hidden.  The rim are the pixels one step outside the patch; where none of
    them is visible, the mean visible colour stands in.
    """
    n, tokens = mask.shape
    known = (~hidden_pixels(mask, patch)).to(x.dtype).flatten(1)  # [N, S^2]
    place = hidden_pixels(torch.eye(tokens, dtype=torch.bool), patch).to(x.dtype)  # [T, 1, S, S]
    ring = (F.max_pool2d(place, 3, stride=1, padding=1) - place).flatten(1)  # [T, S^2]
    seen = x.flatten(2) * known[:, None]  # [N, 3, S^2]
    mean = (seen.sum(2) / known.sum(1, keepdim=True))[:, None].expand(n, tokens, 3)
    count = (known @ ring.T)[:, :, None]  # [N, T, 1]
    rim = torch.where(count > 0, (seen @ ring.T).mT / count.clamp(min=1), mean)
    return torch.cat([torch.ones_like(count), mean, rim], dim=2)


def fit_linear_fill(x: Tensor, mask: Tensor, patch: int) -> Tensor:
    """Weights [T, 7, 3 patch^2] of `linear_fill`, by least squares on pictures x [N, 3, S, S] hidden by mask [N, T].

    One linear map for each place, from its seven colours to its pixels, fitted on the pictures that hide the place.
    Raises InputError where a place is hidden in fewer than 7 pictures.
    """
    if int(mask.sum(0).min()) < 7:
        raise InputError("every place must be hidden in at least 7 pictures; take more pictures")
    about, target = colours_around(x, mask, patch), patchify(x, patch)
    fits = [torch.linalg.lstsq(about[m, t], target[m, t], driver="gelsd") for t, m in enumerate(mask.T)]
    return torch.stack([fit.solution for fit in fits])


def linear_fill(weights: Tensor, x: Tensor, mask: Tensor, patch: int) -> Tensor:
    """Patches [N, T, 3 patch^2] that the maps [T, 7, 3 patch^2] of `fit_linear_fill` paint from visible colours."""
    return torch.einsum("ntk,tkp->ntp", colours_around(x, mask, patch), weights)


def keep_visible(x: Tensor, patches: Tensor, hidden: Tensor, patch: int) -> Tensor:
    """The picture [N, 3, S, S] with its hidden pixels taken from predicted patches [N, T, 3 patch^2]."""
    return torch.where(hidden, unpatchify(patches, patch), x)


def error(y: Tensor, x: Tensor, hidden: Tensor) -> float:
    """Mean squared error over the hidden pixels."""
    return float((y - x).square().mean(dim=1, keepdim=True)[hidden].mean())


class Masking:
    """The widget over pictures x [N, 3, S, S] (normalised).

    paint(x, mask) gives predicted patches [N, T, 3 patch^2], as `reconstruct` of MAE and SimMIM does.
    linear: weights of `fit_linear_fill`; with them, the linear fill is shown too.
    """

    def __init__(
        self,
        pictures: Tensor,
        patch: int,
        paint: Callable[[Tensor, Tensor], Tensor],
        seed: int = 0,
        linear: Tensor | None = None,
    ):
        self.pictures, self.patch, self.paint, self.seed = pictures, patch, paint, seed
        self.linear = linear
        self.n_tokens = patchify(pictures[:1], patch).shape[1]

    def controls(self) -> dict[str, Slider | Choice]:
        """How many patches are hidden, in which shape, and which picture."""
        return {
            "hidden": Slider(1, self.n_tokens - 1, round(0.75 * self.n_tokens), "hidden patches"),
            "shape": Choice(tuple(DRAWN), "random", "mask"),
            "picture": Slider(0, len(self.pictures) - 1, 0, "picture"),
        }

    def fills(self, hidden: int, shape: str, picture: int) -> tuple[dict[str, Tensor], Tensor]:
        """The versions of one picture by name, each [1, 3, S, S], and its hidden pixels [1, 1, S, S].

        The masks of one shape are nested: one more hidden patch leaves the others where they are.
        """
        if not 1 <= hidden < self.n_tokens:
            raise InputError(f"between 1 and {self.n_tokens - 1} patches can be hidden, not {hidden}")
        x = self.pictures[picture : picture + 1]
        generator = Generator().manual_seed(self.seed)
        mask = DRAWN[shape](1, self.n_tokens, hidden / self.n_tokens, generator=generator)
        pixels = hidden_pixels(mask, self.patch)
        with torch.no_grad():
            painted = keep_visible(x, self.paint(x, mask), pixels, self.patch)
        versions = {
            "picture": x, "visible": torch.where(pixels, 0.0, x), "smooth fill": smooth_fill(x, pixels)
        }  # fmt: skip
        if self.linear is not None:
            filled = linear_fill(self.linear, x, mask, self.patch)
            versions["linear fill"] = keep_visible(x, filled, pixels, self.patch)
        return versions | {"network": painted}, pixels

    def render(self, hidden: int, shape: str, picture: int) -> Figure:
        versions, pixels = self.fills(hidden, shape, picture)
        fig, axes = plots.new_figure(6.4, 1.95 if len(versions) == 4 else 1.7, 1, len(versions))
        for ax, (name, y) in zip(axes, versions.items(), strict=True):
            ax.imshow(denormalize(y)[0].permute(1, 2, 0).numpy())
            ax.axis("off")
            filled = name not in ("picture", "visible")
            ax.set_title(
                f"{name}\nMSE {error(y, versions['picture'], pixels):.2f}" if filled else f"{name}\n"
            )
        return fig

    def describe(self, hidden: int, shape: str, picture: int) -> str:
        versions, pixels = self.fills(hidden, shape, picture)
        found = {k: error(v, versions["picture"], pixels) for k, v in list(versions.items())[2:]}
        errors = ", ".join(f"{value:.2f} for the {name}" for name, value in found.items())
        return (
            f"Picture {picture} with {hidden} of {self.n_tokens} patches hidden ({shape}): mean squared error on the "
            f"hidden pixels {errors}; the {min(found, key=found.get)} is closest."
        )
