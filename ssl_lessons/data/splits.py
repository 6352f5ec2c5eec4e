"""Splits by the names of folders or pictures, and random subsets."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from ssl_lessons.data.image_set import SPLITS
from ssl_lessons.errors import InputError

TEST_SHARE = 0.2  # of pictures that are in no predefined split

# A split's name in any common spelling: "train", "Training", "train_set", "imgs_train", "test images", "val2017".
_FILL = r"(?:images?|imgs?|pictures?|pics|photos?|data|sets?|splits?|files?|folder)*"
_SPLITS = {
    "train": "train|training|trn",
    "val": "val|valid|validation|dev|development",
    "test": "test|tests|testing|tst|eval|evaluation|holdout|heldout",
    "unlabeled": "unlabell?ed|unsup|unsupervised|extra|nolabels?|unannotated",
}


_WORDS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")


def split_of(name: str) -> str | None:
    """ "train", "val", "test" or "unlabeled" where a folder or archive is called like that, else None."""
    if name.lower().endswith(".tar"):
        return split_in(name[:-4])
    letters = re.sub(r"[\W\d_]+", "", name.lower())
    return next(
        (s for s, words in _SPLITS.items() if re.fullmatch(f"{_FILL}(?:{words}){_FILL}", letters)), None
    )


def split_in(name: str) -> str | None:
    """The split that a word of the name means (seg_train, ILSVRC2012_img_val, testA), None for none and for several."""
    found = {split_of(word) for word in _WORDS.findall(name)} - {None}
    return found.pop() if len(found) == 1 else None


def splits_of(names: Iterable[str]) -> dict[str, str | None]:
    """The split of each of the folders that lie side by side: by their whole names, else by a word of each, where
    names that are alike but for that word make a train and a test (or val) split (not: steam_train, crash_test).
    """
    names = list(names)
    whole = {name: split_of(name) for name in names}
    if any(whole.values()):
        return whole
    groups: dict[str, dict[str, str]] = {}  # what is left of a name -> name -> split
    for name in names:
        if split := split_in(name):
            rest = _WORDS.sub(lambda word: "" if split_of(word[0]) else word[0], name)
            groups.setdefault(rest, {})[name] = split
    found = next((g for g in groups.values() if "train" in g.values() and {"test", "val"} & set(g.values())), {})
    return whole | found


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
