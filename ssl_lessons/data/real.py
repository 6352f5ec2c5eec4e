"""Real photographs and digits: scikit-learn's digits, STL-10, CIFAR-10.

Every loader returns an ImageSet; sources, licences and known flaws are in data/README.md.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from ssl_lessons.data.download import checksum, downloads, fetch, unpack
from ssl_lessons.data.image_set import UNLABELLED, ImageSet
from ssl_lessons.data.splits import check, subset
from ssl_lessons.errors import InputError

BATCH = 1024  # images resized or transposed at a time: bounds the float copies
DIGITS_TEST = 500
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def digits(split: str = "train", size: int | None = None, n: int | None = None, seed: int = 0) -> ImageSet:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, repeated over three channels.

    1,297 train and 500 test images, stratified, the same for every seed; "unlabeled" is the train split
    with labels of -1.  size: side in pixels (default 8).  n: size of a random subset drawn with `seed`.
    Raises InputError for an unknown split, or an impossible size or n.
    """
    check(split, size, n)
    from sklearn.datasets import load_digits  # scikit-learn is slow to import, and only needed here

    pixels, labels = load_digits(return_X_y=True)
    test = subset(labels, DIGITS_TEST, seed=0)
    chosen = test if split == "test" else np.setdiff1d(np.arange(len(labels)), test)
    images = np.round(pixels[chosen] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    images = np.repeat(images, 3, axis=1)
    return _image_set(images, labels[chosen], tuple("0123456789"), "digits", split, size, n, seed)


def stl10(
    split: str = "train",
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    data_dir=None,
    mirror: str | None = None,
    download: bool = False,
) -> ImageSet:
    """STL-10 (Coates, Ng and Lee, AISTATS 2011), 96x96: 100,000 unlabeled, 5,000 train, 8,000 test images.

    The ten predefined folds of 1,000 are in the train split's `folds` (not when `n` draws a subset).
    size: side in pixels (default 96).  n: size of a random subset drawn with `seed`.
    data_dir: where `stl10_binary` is or goes; default the environment variable SSL_LESSONS_DATA, else
    data/cache of the clone (see `download.downloads`).
    The whole unlabeled split takes 2.8 GB of memory while it is read, whatever `n` is.
    download: get the 2.6 GB archive when it is absent; mirror: a base URL to get it from.
    Raises InputError when the data are absent and not to be downloaded, or cannot be obtained.
    """
    check(split, size, n)
    root = _obtain(_STL10, "STL-10", "2.6 GB, and 3.1 GB more once unpacked", data_dir, mirror, download)
    data = _STL10(root, split=split)
    folds = ()
    if split == "train" and n is None:
        listed = root / data.base_folder / data.folds_list_file
        if not listed.exists():
            raise InputError(f"{listed} is missing; delete {listed.parent} and run again with --download")
        lines = listed.read_text().splitlines()
        folds = tuple(torch.tensor([int(i) for i in line.split()]) for line in lines if line.strip())
    classes = tuple(getattr(data, "classes", STL10_CLASSES))
    return _image_set(data.data, data.labels, classes, "stl10", split, size, n, seed, folds)


def cifar10(
    split: str = "train",
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    data_dir=None,
    mirror: str | None = None,
    download: bool = False,
) -> ImageSet:
    """CIFAR-10 (Krizhevsky, 2009), 32x32: 50,000 train and 10,000 test images.

    "unlabeled" is the train split with labels of -1.  The options are those of `stl10` (default size 32,
    archive of 170 MB).  Raises InputError when the data are absent or cannot be obtained.
    """
    check(split, size, n)
    root = _obtain(_CIFAR10, "CIFAR-10", "170 MB, and 190 MB more once unpacked", data_dir, mirror, download)
    data = _CIFAR10(root, train=split != "test")
    images = data.data.transpose(0, 3, 1, 2)
    return _image_set(images, np.asarray(data.targets), tuple(data.classes), "cifar10", split, size, n, seed)


# --- archives -------------------------------------------------------------------------------------------


class _STL10(datasets.STL10):
    def _check_integrity(self) -> bool:
        return _intact(self, Path(self.root))


class _CIFAR10(datasets.CIFAR10):
    def _check_integrity(self) -> bool:
        return _intact(self, Path(self.root))


_seen_intact: set[Path] = set()


def _intact(dataset, root: Path) -> bool:
    """Whether the unpacked files have their published checksums.

    Looked at once per process: hashing STL-10's 3 GB takes seconds, and each split would do it again.
    """
    base = (root / dataset.base_folder).resolve()
    if base not in _seen_intact:
        listed = [tuple(entry) for entry in dataset.train_list + dataset.test_list]
        if hasattr(dataset, "meta"):
            listed.append((dataset.meta["filename"], dataset.meta["md5"]))
        if not all((base / name).is_file() and checksum(base / name) == md5 for name, md5 in listed):
            return False
        _seen_intact.add(base)
    return base.exists()


def _obtain(dataset, title: str, space: str, data_dir, mirror: str | None, download: bool) -> Path:
    """The folder under which torchvision will find `dataset`, unpacked and verified."""
    root = downloads(data_dir)
    if _intact(dataset, root):
        return root
    archive, target = root / dataset.filename, root / dataset.base_folder
    # An archive put there by hand will do.
    if not download and not (archive.is_file() and checksum(archive) == dataset.tgz_md5):
        state = "is damaged" if target.exists() else "is not there"
        raise InputError(
            f"{title} was looked for in {target} and {state}: run again with --download (download=True in "
            f"Python) to get it ({space}), with --mirror URL to take it from another server, or put "
            f"{dataset.filename} in {root} by hand"
        )
    fetch(dataset.url, archive, dataset.tgz_md5, mirror=mirror)
    # Unpacked beside its place and then renamed, so that an interrupted run leaves no half-full folder.
    unpacking = root / f"{dataset.base_folder}.unpacking"
    try:
        shutil.rmtree(unpacking, ignore_errors=True)
        unpack(archive, unpacking)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unpacking / dataset.base_folder, target)
        shutil.rmtree(unpacking)
    except OSError as error:
        shutil.rmtree(unpacking, ignore_errors=True)
        raise InputError(
            f"cannot unpack {archive}: {error.strerror or error}; {title} needs {space}: free some space "
            "or choose another folder with --data-dir"
        ) from error
    if not _intact(dataset, root):
        raise InputError(f"the files in {target} are damaged; delete it and run the same command again")
    return root


# --- arrays ---------------------------------------------------------------------------------------------


def _image_set(images, labels, classes, name, split, size, n, seed, folds=()) -> ImageSet:
    """The wanted images at the wanted size.  images: uint8 [N, 3, H, W], square, strided anyhow."""
    labels = np.asarray(labels).astype(np.int64)
    if split == "unlabeled":
        labels = np.full(len(images), UNLABELLED)
    if n is not None:
        chosen = subset(labels, n, seed)
        images, labels = images[chosen], labels[chosen]
    images = _contiguous(images) if size in (None, images.shape[-1]) else _resize(images, size)
    return ImageSet(images, torch.from_numpy(labels), classes, name, split, folds=folds)


def _resize(images: np.ndarray, size: int) -> Tensor:
    """Antialiased bilinear, rounded.  uint8 [N, 3, H, W] -> uint8 [N, 3, size, size]."""
    out = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
    for i in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.ascontiguousarray(images[i : i + BATCH])).float()
        batch = torch.nn.functional.interpolate(batch, (size, size), mode="bilinear", antialias=True)
        out[i : i + BATCH] = batch.round_().clamp_(0, 255).to(torch.uint8)
    return out


def _contiguous(images: np.ndarray) -> Tensor:
    """Row-major images, without a second copy where the planes were stored column-major.

    torchvision hands STL-10 over as a transposed view of the file.  A copy of the unlabeled split would
    need another 2.8 GB, so each batch is transposed where it lies (the planes are square).
    """
    stored = images.transpose(0, 1, 3, 2)
    if stored.flags.c_contiguous and not images.flags.c_contiguous:
        for i in range(0, len(images), BATCH):
            stored[i : i + BATCH] = images[i : i + BATCH].copy()
        images = stored
    return torch.from_numpy(np.ascontiguousarray(images))
