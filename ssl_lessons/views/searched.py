"""Who chooses the distortions: two numbers (RandAugment), a draw from a space of policies, or a change to one."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.views.augment import apply
from ssl_lessons.views.policy import COLOR_STEPS, Policy, draw

OPERATIONS = ("crop", "flip", *COLOR_STEPS, "grayscale", "blur", "solarize", "turn")
# field: (low, high) of the space that a search draws from; the smallest crop, whose largest is the whole picture
SPACE = {
    "crop": (0.1, 1.0), "flip_p": (0.0, 0.5), "brightness": (0.0, 0.8), "contrast": (0.0, 0.8),
    "saturation": (0.0, 0.8), "hue": (0.0, 0.5), "grayscale_p": (0.0, 0.5), "blur_p": (0.0, 1.0),
    "solarize_p": (0.0, 0.3), "rotation": (0.0, 45.0),
}  # fmt: skip


def everything(size: int, magnitude: float) -> Policy:
    """Every operation on every picture, as strong as `magnitude` (0: not at all, 1: the most) says."""
    if not 0 < magnitude <= 1:
        raise InputError(f"magnitude must be above 0 and at most 1, not {magnitude!r}")
    m = magnitude
    return Policy(
        size, crop_scale=(1 - 0.9 * m, 1.0), flip_p=1.0, jitter_p=1.0, brightness=0.8 * m, contrast=0.8 * m,
        saturation=0.8 * m, hue=0.5 * m, grayscale_p=1.0, blur_p=1.0, blur_sigma=(0.1, 0.1 + 1.9 * m), solarize_p=1.0,
        solarize_threshold=1 - 0.75 * m, rotation=45 * m,
    )  # fmt: skip


def chosen_only(drawn: dict[str, Tensor], chosen: Tensor, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """What was drawn for a view, with every operation undone that its picture did not choose.

    chosen: bool [N, len(OPERATIONS)]; image_size: height and width of the pictures, the box of a view without a crop.
    """
    on = dict(zip(OPERATIONS, chosen.unbind(1), strict=True))
    whole = torch.tensor([0.0, 0.0, *map(float, image_size)])
    kept = drawn | {"boxes": torch.where(on["crop"][:, None], drawn["boxes"], whole)}
    for name in COLOR_STEPS:
        kept[name] = torch.where(on[name], drawn[name], 0.0 if name == "hue" else 1.0)
    kept["angle"] = torch.where(on["turn"], drawn["angle"], 0.0)
    kept["blur"] = torch.where(on["blur"], drawn["blur"], 0.0)
    return kept | {name: drawn[name] & on[name] for name in ("flip", "grayscale", "solarize")}


def rand_augment(images: Tensor, number: int, magnitude: float, size: int, generator: Generator) -> Tensor:
    """RandAugment (Cubuk et al. 2020, section 3): for every picture `number` operations by lot, all of one magnitude.

    The paper draws with replacement from 14 operations and applies them as drawn; here without replacement, from the
    ten of OPERATIONS, in the order of `views.apply`.  images as in `views.augment`; float32 [N, 3, size, size] comes
    back.  generator: on the CPU.  Raises InputError for a number of operations or a magnitude out of range.
    """
    if not 1 <= number <= len(OPERATIONS):
        raise InputError(f"number must be 1 to {len(OPERATIONS)} operations, not {number!r}")
    policy, n, side = everything(size, magnitude), len(images), tuple(images.shape[2:])
    drawn = draw(policy, n, side, generator)
    ranks = torch.rand(n, len(OPERATIONS), generator=generator).argsort(dim=1).argsort(dim=1)
    return apply(images, policy, chosen_only(drawn, ranks < number, side))


def as_policy(numbers: dict[str, float], size: int) -> Policy:
    """The policy of a point in SPACE."""
    fields = {name: value for name, value in numbers.items() if name != "crop"}
    return Policy(size, crop_scale=(numbers["crop"], 1.0), **fields)


def random_numbers(generator: Generator) -> dict[str, float]:
    """A point of SPACE, all numbers uniform."""
    u = torch.rand(len(SPACE), generator=generator).tolist()
    return {name: low + (high - low) * v for (name, (low, high)), v in zip(SPACE.items(), u, strict=True)}


def perturbed(numbers: dict[str, float], generator: Generator) -> dict[str, float]:
    """Explore, as population based training does: each number times 0.8 or 1.2, or drawn anew (one in five)."""
    fresh = random_numbers(generator)
    u = torch.rand(len(SPACE), 2, generator=generator).tolist()
    moved = {}
    for (name, (low, high)), (new, up) in zip(SPACE.items(), u, strict=True):
        moved[name] = (
            fresh[name] if new < 0.2 else min(max(numbers[name] * (1.2 if up < 0.5 else 0.8), low), high)
        )
    return moved
