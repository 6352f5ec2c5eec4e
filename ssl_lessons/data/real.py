"""Real photographs and digits: scikit-learn's digits, STL-10, CIFAR-10, any folder of images.

Every loader returns an ImageSet; sources, licences and known flaws are in data/README.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.folder import IMG_EXTENSIONS, is_image_file, make_dataset
from torchvision.datasets.utils import check_integrity, extract_archive

from ssl_lessons.data.decoding import central_square
from ssl_lessons.data.download import fetch
from ssl_lessons.data.image_set import SPLITS, UNLABELLED, ImageSet
from ssl_lessons.errors import InputError

BATCH = 1024  # images resized or transposed at a time: bounds the float copies
TEST_SHARE = 0.2  # of a folder's images
DIGITS_TEST = 500
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def digits(split: str = "train", size: int | None = None, n: int | None = None, seed: int = 0) -> ImageSet:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, repeated over three channels.

    1,297 train and 500 test images, stratified, the same for every seed; "unlabeled" is the train split
    with labels of -1.  size: side in pixels (default 8).  n: size of a random subset drawn with `seed`.
    Raises InputError for an unknown split, or an impossible size or n.
    """
    _check(split, size, n)
    from sklearn.datasets import load_digits  # scikit-learn is slow to import, and only needed here

    pixels, labels = load_digits(return_X_y=True)
    test = _subset(labels, DIGITS_TEST, seed=0)
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
    data/cache.  The whole unlabeled split takes 2.8 GB of memory while it is read, whatever `n` is.
    download: get the 2.6 GB archive when it is absent; mirror: a base URL to get it from.
    Raises InputError when the data are absent and not to be downloaded, or cannot be obtained.
    """
    _check(split, size, n)
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
    _check(split, size, n)
    root = _obtain(_CIFAR10, "CIFAR-10", "170 MB, and 190 MB more once unpacked", data_dir, mirror, download)
    data = _CIFAR10(root, train=split != "test")
    images = data.data.transpose(0, 3, 1, 2)
    return _image_set(images, np.asarray(data.targets), tuple(data.classes), "cifar10", split, size, n, seed)


def folder(
    path, split: str = "train", size: int | None = None, n: int | None = None, seed: int = 0
) -> ImageSet:
    """Any folder of images with one sub-folder per class, centre-cropped to squares of `size` (default 64).

    The split is decided by each file's name alone (class folder included): about 80 % train and 20 % test,
    at least one of each in a class of two or more.  Adding, removing or moving images leaves the others
    where they were.  "unlabeled" is the train split with labels of -1.
    n: size of a random subset drawn with `seed`, in proportion to the classes when they are known.
    A folder that only wraps the class folders is looked through; hidden files and folders are ignored.
    Unreadable images are skipped with one warning (so there may be fewer than `n`); transparency is dropped.
    Raises InputError when there is no such folder, fewer than two classes, or no readable image.
    """
    _check(split, size, n)
    size = 64 if size is None else size
    root, classes, files = _class_folders(Path(path).expanduser())
    files = [
        (f, c) for (f, c), test in zip(files, _in_test(root, files), strict=True) if test == (split == "test")
    ]
    if not files:
        raise InputError(f"the {split} split of {root} is empty: at least one class needs two images or more")
    labels = np.array([UNLABELLED if split == "unlabeled" else c for _, c in files], dtype=np.int64)
    if n is not None:
        chosen = _subset(labels, n, seed)
        files, labels = [files[i] for i in chosen], labels[chosen]

    images = np.empty((len(files), 3, size, size), dtype=np.uint8)

    readable = np.ones(len(files), dtype=bool)

    def decode(start: int) -> None:
        for i in range(start, min(start + 64, len(files))):
            try:
                images[i] = _decode(files[i][0], size)
            except Exception:  # noqa: BLE001 - a damaged file can make a decoder raise nearly anything
                readable[i] = False

    with ThreadPoolExecutor(2) as pool:  # the decoders release the interpreter lock
        list(pool.map(decode, range(0, len(files), 64)))
    if not readable.all():
        first = files[int(np.argmin(readable))][0]
        if not readable.any():
            raise InputError(
                f"none of the {len(files)} images of the {split} split in {root} can be read (first: "
                f"{first}); check the files, or give another folder"
            )
        count = int((~readable).sum())
        warnings.warn(
            f"skipped {count} unreadable of {len(files)} images in {root}, first {first}", stacklevel=2
        )
        images, labels = images[readable], labels[readable]
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), classes, root.name, split)


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
        if not all(check_integrity(base / name, md5) for name, md5 in listed):
            return False
        _seen_intact.add(base)
    return base.exists()


def _obtain(dataset, title: str, space: str, data_dir, mirror: str | None, download: bool) -> Path:
    """The folder under which torchvision will find `dataset`, unpacked and verified."""
    root = Path(data_dir or os.environ.get("SSL_LESSONS_DATA") or Path("data", "cache")).expanduser()
    if _intact(dataset, root):
        return root
    archive, target = root / dataset.filename, root / dataset.base_folder
    if not download and not check_integrity(archive, dataset.tgz_md5):  # one put there by hand will do
        state = "is damaged" if target.exists() else "is not there"
        raise InputError(
            f"{title} was looked for in {target} and {state}: run again with --download (download=True in "
            f"Python) to get it ({space}), with --mirror URL to take it from another server, or put "
            f"{dataset.filename} in {root} by hand"
        )
    fetch(dataset.url, archive, dataset.tgz_md5, mirror=mirror)
    # Unpacked beside its place and then renamed, so that an interrupted run leaves no half-full folder.
    unpacking = root / f"{dataset.base_folder}.unpacking"
    print(f"unpacking {archive} ...", file=sys.stderr)
    try:
        shutil.rmtree(unpacking, ignore_errors=True)
        extract_archive(str(archive), str(unpacking))
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


# --- folders --------------------------------------------------------------------------------------------


def _class_folders(path: Path) -> tuple[Path, tuple[str, ...], list[tuple[str, int]]]:
    """(the folder that holds the class folders, class names, [(file, class index)] sorted by name)."""
    if not path.is_dir():
        what = "is not a folder; unpack it first" if path.exists() else "does not exist; check the path"
        raise InputError(f"{path} {what}")
    try:
        names = _subfolders(path)
        if len(names) == 1 and _subfolders(path / names[0]) and not any(map(is_image_file, os.listdir(path))):
            path = path / names[0]
            names = _subfolders(path)
        splits = [name for name in names if name.lower() in ("train", "val", "valid", "validation", "test")]
        if splits and splits == names and _subfolders(path / names[0]):
            best = "train" if "train" in names else names[0]
            raise InputError(f"{path} holds splits ({', '.join(names)}), not classes; give {path / best}")
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from error
    files = []
    if names:  # make_dataset takes no empty list of classes
        indices = {name: i for i, name in enumerate(names)}
        files = make_dataset(str(path), indices, IMG_EXTENSIONS, allow_empty=True)
        files = [(f, c) for f, c in files if not _hidden(_relative(f, path))]
    used = sorted({c for _, c in files})
    if len(used) < 2:
        raise InputError(
            f"{path} must hold at least two sub-folders with images ({', '.join(IMG_EXTENSIONS)}), one per "
            f"class; found {len(used)}"
        )
    new = {c: i for i, c in enumerate(used)}
    return path, tuple(names[c] for c in used), [(f, new[c]) for f, c in files]


def _subfolders(path: Path) -> list[str]:
    return sorted(e.name for e in path.iterdir() if e.is_dir() and not _hidden(e.name))


def _relative(file: str, root: Path) -> str:
    """The name of a file below `root`, with forward slashes on every system."""
    return os.path.relpath(file, root).replace(os.sep, "/")


def _hidden(name: str) -> bool:
    # .ipynb_checkpoints and ._photo.jpg are no classes and no images, nor is what macOS adds to a zip file
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _in_test(root: Path, files: list[tuple[str, int]]) -> list[bool]:
    """Which files are in the test split: a number in [0, 1) from each name, against TEST_SHARE."""
    draws = np.array([_draw(_relative(f, root)) for f, _ in files])
    labels = np.array([c for _, c in files])
    test = draws < TEST_SHARE
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        if test[members].all():  # includes the class of one image, which belongs in train
            test[members[draws[members].argmax()]] = False
        elif len(members) > 1 and not test[members].any():
            test[members[draws[members].argmin()]] = True
    return test.tolist()


def _draw(name: str) -> float:
    # MD5 because Python's own hash() of a string differs from run to run.
    return int.from_bytes(hashlib.md5(name.encode(), usedforsecurity=False).digest()[:6], "big") / 2**48


def _decode(file: str, size: int) -> np.ndarray:
    with Image.open(file) as image:
        return central_square(image, size)


# --- arrays ---------------------------------------------------------------------------------------------


def _check(split: str, size: int | None, n: int | None) -> None:
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    for name, value in (("size", size), ("n", n)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def _subset(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n sorted indices drawn with `seed`, each class in proportion (to within one image).

    Every image gets a place in its class's own random order, as a share of the class; the lowest n win.
    """
    if n > len(labels):
        raise InputError(f"n={n:,} images were asked for and this split has {len(labels):,}; ask for fewer")
    random = np.random.RandomState(seed % 2**32)  # the one NumPy stream that no release may change
    places = np.empty(len(labels))
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        order = random.permutation(len(members)) + random.uniform(size=len(members))
        places[members] = order / len(members)
    return np.sort(np.argsort(places, kind="stable")[:n])


def _image_set(images, labels, classes, name, split, size, n, seed, folds=()) -> ImageSet:
    """The wanted images at the wanted size.  images: uint8 [N, 3, H, W], square, strided anyhow."""
    labels = np.asarray(labels).astype(np.int64)
    if split == "unlabeled":
        labels = np.full(len(images), UNLABELLED)
    if n is not None:
        chosen = _subset(labels, n, seed)
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
