"""The steps from the files of a folder to splits and classes."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_lessons.data import listed
from ssl_lessons.data.image_set import UNLABELLED
from ssl_lessons.data.splits import held_out, split_of, splits_of
from ssl_lessons.data.tree import Entry, Tree, readable_endings, walk
from ssl_lessons.errors import InputError


class _Part(NamedTuple):
    """The pictures of one split folder, or of the whole folder where it holds no splits."""

    split: str  # "" without splits
    rows: list[int]
    names: list[str]  # below the part and whatever wraps its class folders
    wrapper: str  # name of the innermost folder that holds them all
    folders: list[str]  # first components of `names`
    loose: int

    @property
    def classed(self) -> bool:
        """Whether the sub-folders are classes."""
        return len(self.folders) > 1 and self.split != "unlabeled"


class Reading:
    """The steps from files to a Layout; each fills in what the next needs."""

    def __init__(self, path: Path, labels: str | None):
        self.path, self.choice = path, labels
        self.root, tree, self.written = open_root(path)
        self.entries, self.identities = tree.entries, tree.identities
        self.left_out, self.notes = tree.left_out, []
        self.archives = self.written is not None
        if self.archives and labels == "folders":
            raise InputError(
                f"{path}: archives hold no class folders; leave labels='folders' away, or unpack them"
            )
        scopes = self.read_metadata(tree.metadata) if labels in (None, "splits") else []
        if not self.archives:
            self.unwrap(scopes)
        self.label: list[str | None] = [None] * len(self.entries)
        self.classes: tuple[str, ...] = ()
        self.rows: dict[str, list[int]] = {}
        self.dropped: set[int] = set()  # rows that are left out
        self.folders: dict[str, str] = {}  # split -> name of its folder
        self.predefined = False  # whether folders decide the splits

    def read_metadata(self, files: list[str]) -> list[str]:
        """Takes the labels from metadata files.  Returns the folders for which these speak."""
        written, useless = listed.metadata(self.root, files)
        self.notes += [f"{name} has no labels and is not used" for name in useless]
        if not written:
            return []
        self.written = written
        scopes = [name.rpartition("/")[0] for name in files if name not in useless]
        starts = tuple(f"{scope}/" if scope else "" for scope in scopes)
        known = {entry.name for entry in self.entries} | {name for _, name in self.left_out}
        missing = [name for name in written if name not in known]
        self.left_out += [("named in the metadata and not there", name) for name in missing]
        keep = []
        for i, entry in enumerate(self.entries):
            if entry.name in written or not entry.name.startswith(starts):
                keep.append(i)
            else:
                self.left_out.append(("not named in the metadata", entry.name))
        if not keep:
            raise InputError(
                f"none of the pictures that {self.root / files[0]} names is there; correct file_name"
            )
        self.entries = [self.entries[i] for i in keep]
        self.identities = [self.identities[i] for i in keep]
        return scopes

    def unwrap(self, scopes: list[str]) -> None:
        """Moves the root into folders that only wrap the rest."""
        folders = {entry.name.rpartition("/")[0] for entry in self.entries}.union(scopes)
        inner = common(folders)
        # a class whose pictures cannot be read is one of several folders all the same
        aside = {name.rpartition("/")[0] for _, name in self.left_out}
        outer = common(folders | {f for f in aside if not f"{inner}/".startswith(f"{f}/" if f else "")})
        if not outer:
            return
        self.root, start = self.root / outer, len(outer) + 1
        self.entries = [entry._replace(name=entry.name[start:]) for entry in self.entries]
        self.left_out = [(reason, name.removeprefix(f"{outer}/")) for reason, name in self.left_out]
        if self.written is not None:
            self.written = {name.removeprefix(f"{outer}/"): label for name, label in self.written.items()}

    def read(self) -> None:
        names = self.split_first()
        below: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            below.setdefault(name.partition("/")[0] if "/" in name else "", []).append(i)
        loose = below.pop("", [])
        kinds = splits_of(below)
        splits = [top for top in below if kinds[top]] if self.choice != "folders" else []
        others = [top for top in below if not kinds[top]]
        if self.choice == "splits":
            if not splits:
                raise InputError(
                    f"{self.root} holds no folder called train, val, test or unlabeled: "
                    "leave labels='splits' (--labels splits) away"
                )
            for i in loose + [i for top in others for i in below[top]]:
                self.leave_out(i, "in no split")
        elif splits and (others or loose):
            if self.choice is None:
                self.refuse_splits(splits, others, loose)
            splits = []
        if len({kinds[top] for top in splits}) > 1:
            self.folders = {kinds[top]: top for top in splits}
            parts = [self.part(kinds[top], below[top], names, len(top) + 1) for top in splits]
        elif splits:  # train alone, or test: to be split by name
            parts = [self.part("train", below[top], names, len(top) + 1) for top in splits]
        else:
            parts = [_Part("", list(range(len(names))), names, "", sorted(below), len(loose))]
        if self.choice != "none":
            self.label_parts(parts)
        self.divide(parts)

    def split_first(self) -> list[str]:
        """The names; for class/split/picture with the split in front."""
        names = [entry.name for entry in self.entries]
        if self.choice == "folders" or self.archives or self.written is not None:
            return names
        if not all(name.count("/") > 1 for name in names):
            return names
        parts = [name.split("/", 2) for name in names]
        kinds = splits_of({p[1] for p in parts})
        if (
            None in kinds.values()
            or len(set(kinds.values())) < 2
            or any(map(split_of, {p[0] for p in parts}))
        ):
            return names
        return [f"{split}/{top}/{rest}" for top, split, rest in parts]

    def refuse_splits(self, splits: list[str], others: list[str], loose: list[int]) -> None:
        rest = others + ([f"{len(loose):,} loose pictures"] if loose else [])
        raise InputError(
            f"{self.root} can be read as splits ({few(splits)}; left out: {few(rest)}) or as classes "
            f"({few(sorted(splits + others), 4)}{'; left out: the loose pictures' if loose else ''}): choose with "
            "labels='splits' or labels='folders', or 'none' for no labels at all (--labels on the command line)"
        )

    def part(self, split: str, rows: list[int], names: list[str], start: int) -> _Part:
        below = [names[i][start:] for i in rows]
        wrapper = "" if self.archives else common({name.rpartition("/")[0] for name in below})
        if wrapper:
            below = [name[len(wrapper) + 1 :] for name in below]
        folders = sorted({name.partition("/")[0] for name in below if "/" in name})
        return _Part(
            split, rows, below, wrapper.rpartition("/")[2], folders, sum("/" not in n for n in below)
        )

    def label_parts(self, parts: list[_Part]) -> None:
        if self.written is not None:
            self.label = [self.written.get(entry.name) for entry in self.entries]
            return
        classed = [part for part in parts if part.classed]
        if self.choice == "folders" and not classed:
            found = len(parts[0].folders) or int(self.root != self.path)
            raise InputError(
                f"{self.path} must hold at least two sub-folders with pictures, one per class; found {found}"
            )
        for part in classed:
            if part.loose and self.choice is None:
                where = f"{part.split} of {self.root}" if part.split else str(self.root)
                raise InputError(
                    f"{where} holds {part.loose:,} loose pictures beside the folders {few(part.folders)}: it can be "
                    f"read as classes without the loose ones (labels={'splits' if part.split else 'folders'!r}) or as "
                    "pictures without labels (labels='none'); choose with labels (--labels on the command line)"
                )
        classes = {folder: _class_name(folder) for part in classed for folder in part.folders}
        for part in parts:
            if part.classed:
                for i, name in zip(part.rows, part.names, strict=True):
                    folder, slash, _ = name.partition("/")
                    if slash:
                        self.label[i] = classes[folder]
                    else:
                        self.leave_out(i, "beside the class folders")
            elif not part.folders and part.split != "unlabeled" and part.wrapper in classes:
                for i in part.rows:  # all of one class
                    self.label[i] = classes[part.wrapper]

    def leave_out(self, row: int, reason: str) -> None:
        self.dropped.add(row)
        self.left_out.append((reason, self.entries[row].name))

    def divide(self, parts: list[_Part]) -> None:
        """Fills `rows`: predefined splits where there are any, else by name."""
        rows = {split: [] for split in ("train", "val", "test", "unlabeled")}
        names = []  # of train
        for part in parts:
            kept = [(i, n) for i, n in zip(part.rows, part.names, strict=True) if i not in self.dropped]
            rows[part.split or "train"] += [i for i, _ in kept]
            names += [n for _, n in kept if part.split in ("", "train")]
        if rows["val"]:
            self.place_val(rows)
        self.classes = self.class_names()
        if not rows["test"] and rows["train"]:
            test = held_out(names, self.numbers(rows["train"]))
            rows["test"] = [i for i, t in zip(rows["train"], test, strict=True) if t]
            rows["train"] = [i for i, t in zip(rows["train"], test, strict=True) if not t]
        else:
            self.predefined = True
        self.rows = {split: sorted(rows[split]) for split in ("train", "test", "unlabeled")}
        if not self.rows["unlabeled"]:
            del self.rows["unlabeled"]

    def place_val(self, rows: dict[str, list[int]]) -> None:
        """val is the test split where there is no better one, and left out otherwise."""
        labelled = {split: any(self.label[i] is not None for i in rows[split]) for split in rows}
        if not rows["test"] or (labelled["val"] and not labelled["test"]):
            for i in rows["test"]:
                self.leave_out(i, "in a test split without labels")
            rows["test"] = rows["val"]
            self.notes.append("val is taken for test")
        else:
            for i in rows["val"]:
                self.leave_out(i, "in val, as there is a test split")

    def numbers(self, rows: list[int]) -> np.ndarray:
        """The labels of `rows`, int64: places in `classes`, -1 for none."""
        place = {name: i for i, name in enumerate(self.classes)}
        return np.array([place.get(self.label[i], UNLABELLED) for i in rows], dtype=np.int64)

    def class_names(self) -> tuple[str, ...]:
        found = {name for i, name in enumerate(self.label) if name is not None and i not in self.dropped}
        if self.written is not None and all(name.removeprefix("-").isdecimal() for name in found):
            return tuple(sorted(found, key=int))
        return tuple(sorted(found))

    def lost_classes(self) -> list[str]:
        """Folders where a class would be, with no picture that can be read."""
        depth = 2 if self.folders else 1
        parts = [name.split("/") for reason, name in self.left_out if reason.endswith("read here")]
        folders = {"/".join(p[:depth]) + "/" for p in parts if len(p) > depth and self.written is None}
        starts = (
            {"/".join(entry.name.split("/", depth)[:depth]) + "/" for entry in self.entries}
            if folders
            else set()
        )
        folders = sorted({unicodedata.normalize("NFC", folder) for folder in folders} - starts)
        return sorted({shown(folder.split("/")[-2]) for folder in folders})

    def add_unlabeled(self, path: Path) -> None:
        """All pictures of another folder without labels; test pictures among them are left out."""
        _, tree, _ = open_root(path)
        self.left_out += tree.left_out
        place = {identity: i for i, identity in enumerate(self.identities)}
        test, rows = set(self.rows["test"]), set(self.rows.get("unlabeled", []))
        for entry, identity in zip(tree.entries, tree.identities, strict=True):
            i = place.get(identity)
            if i in test:
                self.left_out.append(("also a test picture", entry.name))
            elif i is not None:
                rows.add(i)
            else:
                rows.add(len(self.entries))
                inside = f"/{entry.name.partition('.tar/')[2]}" if entry.length is not None else ""
                self.entries.append(
                    entry._replace(name=Path(os.path.abspath(entry.path)).as_posix() + inside)
                )
                self.label.append(None)
        self.rows["unlabeled"] = sorted(rows)
        self.notes.append(f"the unlabelled ones are those of {path}")


def open_root(path: Path) -> tuple[Path, Tree, dict[str, str | None] | None]:
    """(the folder, what it holds by names below it, labels of the pictures inside archives).

    Raises InputError when there is no such folder, or no picture in it.
    """
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".tar"):
        what = "is not a folder; unpack it first" if path.exists() else "does not exist; check the path"
        raise InputError(f"{path} {what}")
    root, tree, written = path, Tree(), None
    if path.is_dir():
        tree = walk(path)
    else:
        status = path.stat()
        tree.archives = [Entry(path.name, str(path), bytes=status.st_size, mtime_ns=status.st_mtime_ns)]
    if tree.entries:
        tree.left_out += [("an archive beside pictures", archive.name) for archive in tree.archives]
    elif tree.archives:
        outer = common({archive.name.rpartition("/")[0] for archive in tree.archives})
        start = len(outer) + 1 if outer else 0
        inside, written = listed.archives([a._replace(name=a.name[start:]) for a in tree.archives])
        inside.left_out += tree.left_out
        root, tree = root / outer, inside
    if not tree.entries:
        endings = ", ".join(sorted(readable_endings()))
        raise InputError(f"{path} holds no picture that can be read here ({endings}){counted(tree.left_out)}")
    return root, tree, written


def common(folders: set[str]) -> str:
    """The innermost folder that holds all `folders` ("" for none)."""
    parts = [folder.split("/") for folder in folders]
    low, high = min(parts), max(parts)
    same = next((i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), None)
    return "/".join(low[: min(len(low), len(high)) if same is None else same])


def counted(left_out: list[tuple[str, str]]) -> str:
    if not left_out:
        return ""
    counts = Counter(reason for reason, _ in left_out)
    return (
        f"; {len(left_out):,} left out ({', '.join(f'{n:,} {reason}' for reason, n in counts.most_common())})"
    )


def few(names, most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _class_name(folder: str) -> str:
    return shown(unicodedata.normalize("NFC", folder))


def shown(name: str) -> str:
    """A name that can be printed and stored, whatever its bytes are."""
    return os.fsencode(name).decode(errors="replace")
