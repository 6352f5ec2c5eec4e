"""One small type for every data set of the course."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.errors import InputError

SPLITS = ("unlabeled", "train", "test")
UNLABELLED = -1
KINDS = ("categorical", "continuous", "circular")


class Factor(NamedTuple):
    """One generating factor of a set of images.

    values: [N], int64 for a categorical factor, float32 otherwise (radians when circular).
    kind: "categorical", "continuous" or "circular".
    """

    values: Tensor
    kind: str


@dataclass(frozen=True)
class ImageSet:
    """Images of one split, with whatever is known about them.

    images: uint8 [N, 3, H, W], in memory, or on disk as StoredPictures.  labels: int64 [N], -1 where there is none.
    classes: the class names, in label order.  name: the data set.  split: one of SPLITS.
    factors: the generating factors by name (empty for real photographs).
    folds: predefined index sets into this split (STL-10 has ten of 1,000), else empty.

    Raises InputError when shapes, types or lengths do not fit together.
    """

    images: Tensor | StoredPictures
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    split: str
    factors: dict[str, Factor] = field(default_factory=dict)
    folds: tuple[Tensor, ...] = ()

    def __post_init__(self):
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise InputError(
                f"images must be uint8 [N, 3, H, W], got {self.images.dtype} {list(self.images.shape)}"
            )
        if self.split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if self.labels.shape != (len(self.images),) or self.labels.dtype != torch.int64:
            got = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise InputError(f"{len(self.images)} images need int64 labels [{len(self.images)}], got {got}")
        for name, factor in self.factors.items():
            if factor.kind not in KINDS or factor.values.shape != self.labels.shape:
                raise InputError(f"factor {name!r} must be one of {KINDS} with one value per image")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> ImageSet:
        """The images at a slice or an index tensor, as a set of the same kind (without folds).

        Of images on disk, a large choice stays there.
        """
        factors = {k: Factor(f.values[index], f.kind) for k, f in self.factors.items()}
        images = self.images.select(index) if isinstance(self.images, StoredPictures) else self.images[index]
        return replace(self, images=images, labels=self.labels[index], factors=factors, folds=())

    @property
    def size(self) -> int:
        """Height of the images in pixels."""
        return self.images.shape[-2]


def label_subset(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Indices of a stratified draw: exactly `per_class` examples of every class, in shuffled order.

    labels: int64 [N]; entries of -1 are never drawn.  Returns int64 [per_class * classes].
    Raises InputError when a class has fewer than `per_class` examples.
    """
    if per_class < 1:
        raise InputError(f"draw at least one label per class, got {per_class}")
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for c in labels[labels >= 0].unique().tolist():
        members = (labels == c).nonzero().flatten()
        if len(members) < per_class:
            raise InputError(
                f"class {c} has {len(members)} labelled images, {per_class} per class were asked for"
            )
        chosen.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    if not chosen:
        raise InputError("this split has no labels to draw from; use the train split")
    chosen = torch.cat(chosen)
    return chosen[torch.randperm(len(chosen), generator=generator)]
