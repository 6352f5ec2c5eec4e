"""What may happen to an image (`Policy`) and what does (`draw`): the random half of `augment`, all of it on the CPU."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

MEAN, STD = (0.5,) * 3, (0.25,) * 3
COLOR_STEPS = ("brightness", "contrast", "saturation", "hue")  # `order` holds indices into this


@dataclass(frozen=True)
class Policy:
    """What `augment` may do to an image, and how strongly.

    size: side of the square view, in pixels. crop_scale: the crop's share of the image area; crop_ratio:
    its width / height; crop_p, flip_p, jitter_p, grayscale_p, blur_p, solarize_p: probability of each step,
    per image. rotation: largest angle in degrees. brightness, contrast, saturation: b draws a factor from
    [max(0, 1-b), 1+b]; hue: h draws a turn of the colour circle from [-h, h], h <= 0.5. blur_sigma: range
    of the Gaussian's standard deviation, in pixels of the view. solarize_threshold: values in [0, 1] at or
    above it are inverted. mean, std: per-channel normalization. A field out of range raises InputError
    naming it.
    """

    size: int
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_p: float = 1.0
    flip_p: float = 0.5
    rotation: float = 0.0
    jitter_p: float = 0.8
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale_p: float = 0.0
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_p: float = 0.0
    solarize_threshold: float = 0.5
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def __post_init__(self):
        def check(name, good, rule):
            value = getattr(self, name)
            try:
                ok = good(value)
            except (TypeError, ValueError, IndexError):
                ok = False
            if not ok:
                raise InputError(f"Policy.{name} must be {rule}, not {value!r}.")

        def ordered(low, high):
            return lambda v: len(v) == 2 and low < v[0] <= v[1] <= high

        check("size", lambda v: int(v) == v and v >= 1, "a whole number of pixels, at least 1")
        check("crop_scale", ordered(0, 1), "two shares of the area, 0 < low <= high <= 1")
        check("crop_ratio", ordered(0, 1e6), "two ratios width / height, 0 < low <= high")
        check("blur_sigma", ordered(0, 1e6), "two widths in pixels, 0 < low <= high")
        for name in ("crop", "flip", "jitter", "grayscale", "blur", "solarize"):
            check(name + "_p", lambda v: 0 <= v <= 1, "a probability, 0 to 1")
        check("solarize_threshold", lambda v: 0 <= v <= 1, "between 0 and 1")
        for name in ("brightness", "contrast", "saturation"):
            check(name, lambda v: 0 <= v < math.inf, "a number, 0 or more")
        check("hue", lambda v: 0 <= v <= 0.5, "between 0 and 0.5 turns")
        check("rotation", lambda v: 0 <= v <= 180, "between 0 and 180 degrees")
        check("mean", lambda v: len(v) == 3 and all(map(math.isfinite, v)), "three numbers, one per channel")
        check("std", lambda v: len(v) == 3 and all(0 < s < math.inf for s in v), "three numbers above 0")

    def replace(self, **changes) -> "Policy":
        """A copy with some fields changed, e.g. `policy.replace(grayscale_p=0)`."""
        unknown = set(changes) - {field.name for field in dataclasses.fields(self)}
        if unknown:
            raise InputError(f"Policy has no field {min(unknown)!r}.")
        return dataclasses.replace(self, **changes)

    def scaled(self, strength: float) -> "Policy":
        """A copy with the four jitter ranges multiplied by `strength` (hue: up to its limit, 0.5)."""
        if not 0 <= strength < math.inf:
            raise InputError(f"strength must be a number, 0 or more, not {strength!r}.")
        jitter = {name: getattr(self, name) * strength for name in COLOR_STEPS}
        return self.replace(**jitter | {"hue": min(jitter["hue"], 0.5)})

    @classmethod
    def none(cls, size: int) -> "Policy":
        """Resize and normalize only: the same result as `normalize(images, size)`."""
        return cls(size, crop_p=0, flip_p=0, jitter_p=0)

    @classmethod
    def simclr(cls, size: int, strength: float = 1.0) -> "Policy":
        """SimCLR (Chen et al. 2020, appendix A). Their CIFAR-10 recipe is strength 0.5 and blur_p 0."""
        jitter = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
        return cls(size, **jitter, grayscale_p=0.2, blur_p=0.5).scaled(strength)

    @classmethod
    def byol(cls, size: int) -> tuple["Policy", "Policy"]:
        """BYOL's two asymmetric policies T and T' (Grill et al. 2020, table 6)."""
        first = cls(size, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, grayscale_p=0.2, blur_p=1.0)
        return first, first.replace(blur_p=0.1, solarize_p=0.2)

    @classmethod
    def multi_crop(
        cls,
        size: int,
        small_size: int,
        n_small: int = 6,
        large_scale: tuple[float, float] = (0.14, 1.0),
        small_scale: tuple[float, float] = (0.05, 0.14),
    ) -> tuple["Policy", ...]:
        """Two large views, then n_small small ones, with SimCLR's colours (SwAV, Caron et al. 2020)."""
        if n_small < 0:
            raise InputError(f"n_small must be 0 or more, not {n_small}.")
        large = cls.simclr(size).replace(crop_scale=large_scale)
        return (large, large) + (large.replace(size=small_size, crop_scale=small_scale),) * n_small


def draw(policy: Policy, n: int, image_size: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
    """Random parameters for n images of image_size (height, width), on the CPU, one row per image.

    boxes [n, 4] (top, left, height, width in pixels), flip [n], angle [n] (degrees), brightness, contrast,
    saturation [n] (factors), hue [n] (turns), order [n, 4] (see COLOR_STEPS), grayscale [n], blur [n]
    (sigma in pixels, 0 = none), solarize [n]. The same random numbers are used up whatever the policy, so
    two policies that differ in one field can be compared under one seed.
    """
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise InputError("generator must be a CPU torch.Generator, e.g. torch.Generator().manual_seed(0).")
    u = torch.rand(n, 38, generator=generator)  # the first 22 columns for the crop

    def between(column, low, high):
        return low + (high - low) * u[:, column]

    jitter = u[:, 22] < policy.jitter_p

    def factor(column, strength):
        return torch.where(jitter, between(column, max(0.0, 1 - strength), 1 + strength), 1.0)

    return {
        "boxes": _draw_boxes(policy, *image_size, u[:, :22], u[:, 36] < policy.crop_p),
        "flip": u[:, 23] < policy.flip_p,
        "angle": between(24, -policy.rotation, policy.rotation),
        "brightness": factor(25, policy.brightness),
        "contrast": factor(26, policy.contrast),
        "saturation": factor(27, policy.saturation),
        "hue": torch.where(jitter, between(28, -policy.hue, policy.hue), 0.0),
        "order": u[:, 29:33].argsort(dim=1),
        "grayscale": u[:, 33] < policy.grayscale_p,
        "blur": torch.where(u[:, 34] < policy.blur_p, between(35, *policy.blur_sigma), 0.0),
        "solarize": u[:, 37] < policy.solarize_p,
    }


def places(parameters: dict[str, Tensor], side: int) -> Tensor:
    """Where side x side places of every view lie in its picture: [n, side, side, 2], (y, x) in pixels of the picture.

    parameters: of the view, from `draw`.  Place [i, j] is the middle of cell (i, j) of a grid over the view, as the
    features of a map are; a mirrored view counts its columns from the right.  Pixel k of the picture spans [k, k + 1].
    Raises InputError for views that were turned: their places lie on no such grid.
    """
    if side < 1:
        raise InputError(f"side must be at least 1, not {side!r}")
    if parameters["angle"].any():
        raise InputError("places of turned views are not supported; use a policy with rotation=0")
    top, left, height, width = parameters["boxes"].float()[:, :, None].unbind(1)
    steps = (torch.arange(side) + 0.5) / side
    y = top + height * steps  # [n, side]
    x = left + width * torch.where(parameters["flip"][:, None], 1 - steps, steps)
    return torch.stack(torch.broadcast_tensors(y[:, :, None], x[:, None, :]), dim=-1)


def _draw_boxes(policy, height, width, u, cropped):
    """torchvision's RandomResizedCrop: the first of ten random boxes that fits, else a central one."""
    low, high = policy.crop_scale
    area = (low + (high - low) * u[:, :10]) * height * width
    low, high = map(math.log, policy.crop_ratio)
    ratio = torch.exp(low + (high - low) * u[:, 10:20])
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w >= 1) & (h >= 1) & (w <= width) & (h <= height)
    first = fits.float().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    narrowest, widest = policy.crop_ratio
    fallback_h = float(min(height, max(1, round(width / narrowest))))
    fallback_w = float(min(width, max(1, round(height * widest))))
    h = torch.where(found, h.gather(1, first)[:, 0], fallback_h)
    w = torch.where(found, w.gather(1, first)[:, 0], fallback_w)
    top = torch.where(found, (u[:, 20] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (u[:, 21] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    whole = torch.tensor([0.0, 0.0, height, width])
    return torch.where(cropped[:, None], torch.stack([top, left, h, w], dim=1), whole)
