"""Images with their labels and factors: the embedded world, digits, STL-10, CIFAR-10, any folder."""

from pathlib import Path

from ssl_lessons.data.image_set import SPLITS, Factor, ImageSet, label_subset
from ssl_lessons.data.world import captions, recolour, render, sample_factors, shapes, video
from ssl_lessons.errors import InputError

NAMES = ("shapes", "digits", "stl10", "cifar10")
_REAL = ("cifar10", "digits", "folder", "stl10")


def __getattr__(name: str):
    """The readers of real images bring in torchvision, which takes seconds to import: only when one is used."""
    if name in _REAL:
        from ssl_lessons.data import real

        return getattr(real, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    name: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    mirror: str | None = None,
    download: bool = False,
) -> ImageSet:
    """Any data set of the course by name ("shapes", "digits", "stl10", "cifar10"), or a folder of images.

    size: resize to this many pixels (default: 32 for the embedded world, else the data set's own).  n: a random
    subset of this many images.  data_dir, mirror, download: where STL-10 and CIFAR-10 lie and come from.
    Raises InputError for a name that is neither a data set nor a folder.
    """
    if name == "shapes":
        return shapes(split, size or 32, n, seed)
    from ssl_lessons.data import real

    if name == "digits":
        return real.digits(split, size, n, seed)
    if name in ("stl10", "cifar10"):
        reader = real.stl10 if name == "stl10" else real.cifar10
        return reader(split, size, n, seed, data_dir=data_dir, mirror=mirror, download=download)
    if Path(name).is_dir():
        return real.folder(name, split, size, n, seed)
    raise InputError(f"{str(name)!r} is neither a data set ({', '.join(NAMES)}) nor a folder of images")


__all__ = ["NAMES", "SPLITS", "Factor", "ImageSet", "captions", "label_subset", "load", "recolour", "render",
           "sample_factors", "shapes", "video", *_REAL]  # fmt: skip
