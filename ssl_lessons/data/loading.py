"""Any data set by name, or a folder of images."""

from pathlib import Path

from ssl_lessons.data.image_set import ImageSet
from ssl_lessons.data.world import shapes
from ssl_lessons.errors import InputError

NAMES = ("shapes", "digits", "stl10", "cifar10")


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
