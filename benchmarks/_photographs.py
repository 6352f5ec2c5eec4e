"""Tiny ImageNet as benchmarks/photographs.py uses it: 50,000 photographs, 20 of the 200 classes with labels.

Everything is decided by names, so that the same files give the same splits everywhere:
- of every class its first 250 pictures, in the order of the numbers in their names;
- with labels: 20 of the classes that have 250 pictures, at even distances in the order of their names (every tenth of
  the 200; WordNet's order keeps relatives together, so that neighbours would be twenty animals);
- of the pictures of such a class, shuffled with seed 0, 110 are for training on labels, 40 are held out (for choices),
  100 are the test;
- without labels: all pictures but those held out, those of the test, and exact copies of either.
"""

import hashlib
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssl_lessons.data import ImageSet
from ssl_lessons.data.cache import pictures
from ssl_lessons.data.image_set import UNLABELLED
from ssl_lessons.data.layout import Layout, understand
from ssl_lessons.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """How many pictures per class are used, how many classes have labels, and how their pictures are divided."""

    per_class: int = 250
    labelled: int = 20
    train: int = 110
    held_out: int = 40
    test: int = 100


PROTOCOL = Protocol()


@dataclass(frozen=True)
class Photographs:
    """The four sets: images uint8 [N, 3, size, size]; labels 0..19, in `unlabeled` -1."""

    unlabeled: ImageSet
    train: ImageSet
    held_out: ImageSet
    test: ImageSet

    @property
    def fingerprint(self) -> str:
        """Sizes and a checksum of every 50th picture of each set: the same for the same pictures."""
        sets = (self.unlabeled, self.train, self.held_out, self.test)
        crc = 0
        for part in sets:
            crc = zlib.crc32(part.images[torch.arange(0, len(part), 50)].numpy().tobytes(), crc)
        return f"{' + '.join(str(len(part)) for part in sets)}, {sets[0].size} px, crc {crc:08x}"


def read(folder: str | Path, size: int, protocol: Protocol = PROTOCOL) -> Photographs:
    """The photographs in `folder`, resized to `size` pixels.

    folder: `tiny-imagenet-200` as its archive unpacks, of which `train` is read, or a folder of class folders.
    Raises InputError when there are fewer classes than need labels, or pictures that cannot be read.
    """
    folder = Path(folder).expanduser()
    folder = folder / "train" if (folder / "train").is_dir() else folder
    layout = understand(folder)
    rows, number = _chosen(layout, protocol)
    parts = _divided(layout, number, protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images, readable, reasons = pictures(layout.entries, size, str(layout.root), rows)
    if not readable.all():
        count, first = next(iter(reasons.values()))
        raise InputError(f"{count} pictures in {folder} cannot be read (first {first}): unpack it again")
    everything = ImageSet(images, torch.from_numpy(number), layout.classes, "tiny-imagenet", "train")
    sets = {name: _labelled(everything, places) for name, places in parts.items()}
    left_out = np.concatenate([parts["held_out"], parts["test"]])
    return Photographs(_unlabeled(everything, left_out), **sets)


def _chosen(layout: Layout, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Places in `layout.entries` of the first pictures of every class, and the class of each: int64 [N] both."""
    if len(layout.classes) < protocol.labelled:
        raise InputError(
            f"{layout.root} has {len(layout.classes)} class folders, {protocol.labelled} are needed: give the folder "
            "tiny-imagenet-200, or one that holds its class folders"
        )
    rows = []
    for number in range(len(layout.classes)):
        members = np.flatnonzero(layout.labels == number).tolist()
        rows += sorted(members, key=lambda i: _order(layout.entries[i].name))[: protocol.per_class]
    rows = np.array(rows, dtype=np.int64)
    return rows, layout.labels[rows].astype(np.int64)


def _order(name: str) -> tuple:
    """Sorts n01443537_9.JPEG before n01443537_10.JPEG."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def _divided(layout: Layout, number: np.ndarray, protocol: Protocol) -> dict[str, np.ndarray]:
    """Places of the pictures of each labelled split, of pictures with the classes `number` [N]."""
    counts = np.bincount(number, minlength=len(layout.classes))
    full = np.flatnonzero(counts >= protocol.per_class)
    if len(full) < protocol.labelled:
        raise InputError(
            f"{layout.root} has {len(full)} classes with {protocol.per_class} pictures, {protocol.labelled} are needed"
        )
    classes = full[np.arange(protocol.labelled) * len(full) // protocol.labelled]
    generator = torch.Generator().manual_seed(0)
    sizes = {"train": protocol.train, "held_out": protocol.held_out, "test": protocol.test}
    parts = {name: [] for name in sizes}
    for c in classes:
        members = np.flatnonzero(number == c)
        shuffled = members[torch.randperm(len(members), generator=generator).numpy()]
        ends = np.cumsum(list(sizes.values()))
        for name, part in zip(sizes, np.split(shuffled[: ends[-1]], ends[:-1]), strict=True):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def _labelled(everything: ImageSet, places: np.ndarray) -> ImageSet:
    """The pictures at `places`, their classes numbered from 0."""
    chosen = everything[torch.from_numpy(places)]
    numbers, labels = chosen.labels.unique(return_inverse=True)
    names = tuple(everything.classes[i] for i in numbers.tolist())
    return ImageSet(chosen.images, labels, names, everything.name, "train")


def _unlabeled(everything: ImageSet, left_out: np.ndarray) -> ImageSet:
    """All pictures but those at `left_out` and exact copies of them, without labels."""
    digests = [hashlib.md5(image.numpy().tobytes(), usedforsecurity=False).digest()
               for batch in everything.images.split(1000) for image in batch]  # fmt: skip
    seen = {digests[i] for i in left_out}
    kept = torch.tensor([i for i, digest in enumerate(digests) if digest not in seen])
    chosen = everything[kept]
    return ImageSet(chosen.images, torch.full((len(kept),), UNLABELLED), (), everything.name, "unlabeled")
