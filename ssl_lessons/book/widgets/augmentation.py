"""Augmentation strength, operation by operation, on pictures: chapter 25's widget."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Slider
from ssl_lessons.errors import InputError
from ssl_lessons.views import Policy, augment, denormalize


def photographs(size: int = 128) -> Tensor:
    """scikit-learn's two photographs (a temple, a flower), centre square, float [2, 3, size, size] in [0, 1]."""
    from sklearn.datasets import load_sample_images

    squares = []
    for picture in load_sample_images().images:
        picture = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        side = min(picture.shape[1:])
        top, left = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
        square = picture[None, :, top : top + side, left : left + side]
        squares.append(torch.nn.functional.interpolate(square, (size, size), mode="bilinear", antialias=True))
    return torch.cat(squares).clamp(0, 1)


class Augmentations:
    """`render(crop=..., brightness=..., ...)` shows each picture and `views` random views of it.

    Every control is the strength of one operation, 0 = off: the largest share of the area a crop may cut away,
    the jitter ranges (hue in turns), the probabilities of grayscale and solarize, the largest blur in pixels.
    """

    controls = {
        "crop": Slider(0.0, 0.92, 0.8, "crop away up to", step=0.04),
        "brightness": Slider(0.0, 1.0, 0.4, "brightness", step=0.05),
        "contrast": Slider(0.0, 1.0, 0.4, "contrast", step=0.05),
        "saturation": Slider(0.0, 1.0, 0.4, "saturation", step=0.05),
        "hue": Slider(0.0, 0.5, 0.1, "hue (turns)", step=0.02),
        "grayscale": Slider(0.0, 1.0, 0.1, "grayscale probability", step=0.05),
        "blur": Slider(0.0, 3.0, 0.0, "blur up to (pixels)", step=0.1),
        "solarize": Slider(0.0, 1.0, 0.0, "solarize probability", step=0.05),
    }

    def __init__(self, images: Tensor, views: int = 6, size: int = 96, seed: int = 0):
        if views < 1:
            raise InputError(f"show at least one view, got {views}")
        self.images, self.views, self.size, self.seed = images, views, size, seed

    def policy(
        self,
        crop=0.0,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
        grayscale=0.0,
        blur=0.0,
        solarize=0.0,
    ) -> Policy:
        return Policy(
            self.size, crop_scale=(1 - crop, 1.0), crop_p=float(crop > 0), jitter_p=1.0, brightness=brightness,
            contrast=contrast, saturation=saturation, hue=hue, grayscale_p=grayscale, blur_p=float(blur > 0),
            blur_sigma=(0.1, max(0.1, blur)), solarize_p=solarize,
        )  # fmt: skip

    def render(self, **strengths: float) -> Figure:
        policy = self.policy(**strengths)
        generator = torch.Generator().manual_seed(self.seed)
        rows = []
        for image in self.images:
            copies = image.expand(self.views, -1, -1, -1)
            original = augment(image[None], Policy.none(self.size), generator)
            rows += [denormalize(original), denormalize(augment(copies, policy, generator))]
        titles = ["original", *(f"view {i + 1}" for i in range(self.views))]
        blank = [""] * (len(self.images) - 1) * (self.views + 1)
        return plots.image_grid(torch.cat(rows), columns=self.views + 1, titles=titles + blank)

    def alt(self, **strengths: float) -> str:
        on = [f"{name} {value:.2g}" for name, value in strengths.items() if value]
        what = ", ".join(on) or "nothing"
        return f"{len(self.images)} pictures and {self.views} random views of each, with {what} on."
