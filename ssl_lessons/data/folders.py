"""A folder of pictures, as a set of images."""

from __future__ import annotations

import gc
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ssl_lessons.data.cache import pictures
from ssl_lessons.data.image_set import UNLABELLED, ImageSet
from ssl_lessons.data.layout import Found, Layout, understand
from ssl_lessons.data.reading import shown
from ssl_lessons.data.splits import check, subset
from ssl_lessons.errors import InputError

SIZE = 64  # pixels, unless asked otherwise

_told: set[tuple] = set()


def folder(
    path: str | Path,
    split: str = "train",
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    labels: str | None = None,
    unlabeled: str | Path | None = None,
    cache: bool = True,
) -> ImageSet:
    """Any folder of pictures, or .tar archive of them, centre-cropped to squares of `size` (default 64).

    Sub-folders are classes, or predefined splits (train, val, test, unlabeled) with or without classes; a folder
    without such sub-folders is a set without labels: classes () and labels -1.  Hugging Face's metadata files and
    WebDataset's archives are understood, too (data/README.md lists all layouts).  What was found is said in one
    warning, `Found`, once per process.
    Without predefined splits about 80 % are train and 20 % test, by each file's name alone: adding, removing or
    moving pictures leaves the others where they were.  "unlabeled" is the split of that name, else train, without
    labels.
    labels: "folders", "splits" or "none" where the files could be read in two ways.  unlabeled: another folder, all
    of whose pictures go into the unlabeled split.
    n: size of a random subset drawn with `seed`, in proportion to the classes when they are known.
    cache: keep decoded pictures on disk, where there are many (`data.cache`).
    Pictures that cannot be read are skipped with one warning that counts them by reason: there may be fewer than `n`.
    Raises InputError when there is no such folder, no picture that can be read, or more than one way to read it.
    """
    check(split, size, n)
    with _no_collector():
        layout = understand(path, labels, unlabeled)
    _tell(layout, (str(path), labels, str(unlabeled)))
    rows = layout.rows.get(split, layout.rows["train"])  # not every folder has an unlabeled split of its own
    if not len(rows):
        why = {"test": "at least one class needs two pictures or more"}.get(
            split, "there is no folder for it"
        )
        raise InputError(f"the {split} split of {layout.root} is empty: {why}")
    numbers = np.full(len(rows), UNLABELLED) if split == "unlabeled" else layout.labels[rows]
    if n is not None:
        chosen = subset(numbers, n, seed)
        rows, numbers = rows[chosen], numbers[chosen]

    with warnings.catch_warnings():  # Pillow's advice about pictures of over 89 million pixels, each time
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        images, readable, reasons = pictures(
            layout.entries, size or SIZE, str(layout.root), rows, cache=cache
        )
    if reasons:
        counted = ", ".join(
            f"{k:,} {reason} (first {shown(first)})" for reason, (k, first) in reasons.items()
        )
        if not readable.any():
            raise InputError(
                f"none of the {len(rows):,} pictures of the {split} split in {layout.root} can be read: {counted}; "
                "check the files, or give another folder"
            )
        skipped = int((~readable).sum())
        warnings.warn(
            f"skipped {skipped:,} of {len(rows):,} pictures in {layout.root}: {counted}", stacklevel=2
        )
    return ImageSet(images, torch.from_numpy(numbers[readable]), layout.classes, layout.name, split)


@contextmanager
def _no_collector():
    """Without Python's search for cycles, which would look at hundreds of thousands of new names again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _tell(layout: Layout, asked: tuple) -> None:
    """Says what was found, once: a run reads several splits of the same folder."""
    if (*asked, layout.sentence) not in _told:
        _told.add((*asked, layout.sentence))
        warnings.warn(layout.sentence, Found, stacklevel=3)
