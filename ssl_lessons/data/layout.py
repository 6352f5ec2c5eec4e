"""Which pictures of a folder belong to which split and class, read off its files alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_lessons.data.image_set import UNLABELLED
from ssl_lessons.data.reading import Reading, few, shown
from ssl_lessons.data.tree import Entry
from ssl_lessons.errors import InputError

__all__ = ["Entry", "Found", "LABELS", "Layout", "understand"]

LABELS = ("folders", "splits", "none")


class Found(UserWarning):
    """What was found in a folder of pictures."""


@dataclass(frozen=True)
class Layout:
    """A folder of pictures, understood.

    root: the folder inside which everything lies.  name: what it is called.
    classes: their names, in label order; empty without labels.
    entries: all pictures that are used.  labels: int64 [N], the class of each, -1 for none.
    rows: "train", "test" and, where there are pictures for it alone, "unlabeled" -> places in `entries`, int64.
    left_out: reason -> (how many pictures, name of the first).
    sentence: all that in one line.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    entries: list[Entry]
    labels: np.ndarray
    rows: dict[str, np.ndarray]
    left_out: dict[str, tuple[int, str]]
    sentence: str


def understand(root: str | Path, labels: str | None = None, unlabeled: str | Path | None = None) -> Layout:
    """What the folder (or .tar archive) `root` holds; data/README.md lists the layouts.

    labels: None to decide by the files; "folders" takes the sub-folders for classes, "splits" for splits, "none"
    gives no labels.  unlabeled: another folder, all of whose pictures are unlabelled.
    Raises InputError when there is no picture, when two readings are possible, or `labels` fits none.
    """
    if labels not in (None, *LABELS):
        raise InputError(f"labels must be one of {', '.join(LABELS)}, got {labels!r}")
    reading = Reading(Path(root).expanduser(), labels)
    reading.read()
    if unlabeled is not None:
        reading.add_unlabeled(Path(unlabeled).expanduser())
    used = np.unique(np.concatenate([np.array(rows, dtype=np.int64) for rows in reading.rows.values()]))
    left_out: dict[str, tuple[int, str]] = {}
    for reason, name in reading.left_out:
        count, first = left_out.get(reason, (0, name))
        left_out[reason] = (count + 1, first)
    numbers = reading.numbers(used.tolist())
    rows = {split: np.searchsorted(used, rows) for split, rows in reading.rows.items()}
    name = shown(Path(os.path.abspath(reading.root)).name.removesuffix(".tar"))
    told = [
        _what(reading, rows),
        *reading.notes,
        *_missing(reading, numbers, rows),
        *_left(left_out),
    ]
    return Layout(
        reading.root,
        name,
        reading.classes,
        [reading.entries[i] for i in used],
        numbers,
        rows,
        left_out,
        f"{name}: {'; '.join(told)}",
    )


def _what(reading: Reading, rows: dict[str, np.ndarray]) -> str:
    classes = reading.classes
    kinds = f"{len(classes)} classes ({few(map(shown, classes))})" if classes else "pictures without labels"
    sizes = f"{len(rows['train']):,} train and {len(rows['test']):,} test pictures"
    how = "in predefined splits" if reading.predefined else "split by name"
    extra = f", and {len(rows['unlabeled']):,} unlabelled ones" if "unlabeled" in rows else ""
    return f"{kinds}, {sizes} {how}{extra}"


def _missing(reading: Reading, labels: np.ndarray, rows: dict[str, np.ndarray]) -> list[str]:
    """What somebody who wants to train and measure on this will miss."""
    told, classes = [], reading.classes
    have = {split: set(labels[rows[split]].tolist()) - {UNLABELLED} for split in ("train", "test")}
    if not classes:
        told.append("a probe needs labels: one folder per class")
    elif have["train"] and not have["test"] and len(rows["test"]):
        train = reading.root / reading.folders.get("train", "")
        told.append(
            "the test pictures have no labels and are not used for training; a probe needs labelled ones: "
            f"give {train}, which is then split by name"
        )
    elif have["test"] and not have["train"]:
        told.append("the train pictures have no labels, and a probe needs some")
    elif unseen := [classes[c] for c in sorted(have["test"] - have["train"])]:
        if reading.predefined:
            told.append(f"train has no picture of these classes of test: {few(unseen)}")
    if classes and (lost := reading.lost_classes()):
        told.append(f"no class, as none of its pictures can be read here: {few(lost)}")
    return told


def _left(left_out: dict[str, tuple[int, str]]) -> list[str]:
    if not left_out:
        return []
    most = sorted(left_out.items(), key=lambda item: -item[1][0])
    reasons = ", ".join(f"{count:,} {reason} (first {shown(first)})" for reason, (count, first) in most)
    return [f"{sum(count for count, _ in left_out.values()):,} left out: {reasons}"]
