"""Splits by the names of folders or pictures, and random subsets."""

from __future__ import annotations

import hashlib
import re
import unicodedata

import numpy as np

from ssl_lessons.data.image_set import SPLITS
from ssl_lessons.errors import InputError

TEST_SHARE = 0.2  # of pictures that are in no predefined split

# A split's name in any common spelling: "train", "Training", "train_set", "imgs_train", "test images", "val2017".
_FILL = r"(?:images?|imgs?|pictures?|pics|photos?|data|sets?|splits?|files?|folder)*"
_SPLITS = {
    "train": "train|training",
    "val": "val|valid|validation|dev|development",
    "test": "test|tests|testing|eval|evaluation|holdout|heldout",
    "unlabeled": "unlabell?ed|unsup|unsupervised|extra|nolabels?|unannotated",
}


def split_of(name: str) -> str | None:
    """ "train", "val", "test" or "unlabeled" where a folder or archive is called like that, else None."""
    name = name.lower()
    if name.endswith(".tar"):  # imagenet-train-0001.tar: any word of it
        found = {split_of(word) for word in re.split(r"[\W\d_]+", name[:-4])} - {None}
        return found.pop() if len(found) == 1 else None
    letters = re.sub(r"[\W\d_]+", "", name)
    return next(
        (s for s, words in _SPLITS.items() if re.fullmatch(f"{_FILL}(?:{words}){_FILL}", letters)), None
    )


def held_out(names: list[str], labels: np.ndarray) -> np.ndarray:
    """bool [N], the test pictures: a number in [0, 1) from each name, against TEST_SHARE.

    At least one picture of each class of two or more is on either side.
    """
    draws = np.array([_draw(name) for name in names])
    test = draws < TEST_SHARE
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        if test[members].all():  # includes the class of one picture, which belongs in train
            test[members[draws[members].argmax()]] = False
        elif len(members) > 1 and not test[members].any():
            test[members[draws[members].argmin()]] = True
    return test


def _draw(name: str) -> float:
    # MD5 because Python's own hash() of a string differs from run to run; NFC because a Mac may spell otherwise.
    name = unicodedata.normalize("NFC", name).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.md5(name, usedforsecurity=False).digest()[:6], "big") / 2**48


def check(split: str, size: int | None, n: int | None) -> None:
    """Raises InputError for an unknown split, or a size or number of images that is no whole number from 1."""
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    for name, value in (("size", size), ("n", n)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def subset(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
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
