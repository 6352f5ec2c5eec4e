"""Any data set by name, or a folder of pictures."""

from pathlib import Path

from ssl_lessons.data.image_set import ImageSet
from ssl_lessons.data.names import NAMES, check_known
from ssl_lessons.data.world import shapes
from ssl_lessons.errors import InputError


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
    labels: str | None = None,
    unlabeled: str | Path | None = None,
    cache: bool = True,
) -> ImageSet:
    """Any data set of the course by name ("shapes", "digits", "stl10", "cifar10"), or a folder of pictures.

    size: resize to this many pixels (default: 32 for the embedded world, else the data set's own).  n: a random
    subset of this many images.  data_dir, mirror, download: where STL-10 and CIFAR-10 lie and come from.
    labels, unlabeled, cache: for a folder, or a .tar archive, as in `folder`.
    Raises InputError for a name that is neither a data set nor a folder, or for an option it does not have.
    """
    check_known(name)
    if name in NAMES and not (labels is None and unlabeled is None):
        raise InputError(
            f"labels and unlabeled (--labels, --unlabeled) are for folders of pictures, not for {name}"
        )
    if name == "shapes":
        return shapes(split, size or 32, n, seed)
    if name in NAMES:
        from ssl_lessons.data import real

        if name == "digits":
            return real.digits(split, size, n, seed)
        reader = real.stl10 if name == "stl10" else real.cifar10
        return reader(split, size, n, seed, data_dir=data_dir, mirror=mirror, download=download)
    from ssl_lessons.data.folders import folder

    return folder(name, split, size, n, seed, labels, unlabeled, cache)
