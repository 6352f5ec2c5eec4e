"""Labels that are written down: Hugging Face's metadata files, and the .cls members of WebDataset's archives."""

from __future__ import annotations

import csv
import json
import os
import posixpath
import tarfile
import unicodedata
import warnings
from pathlib import Path

from ssl_lessons.data.tree import UNREADABLE, Entry, Tree, hidden, readable_endings
from ssl_lessons.errors import InputError


def metadata(root: Path, names: list[str]) -> tuple[dict[str, str | None], list[str]]:
    """(label of each picture named in the metadata files, None where it has none; files that are of no use).

    names: the files, metadata.csv or metadata.jsonl, relative to `root`.  A row names a picture by `file_name`,
    relative to its metadata file, and its class by `label`, text or a number; other columns are ignored.  A file
    without these two columns is of no use.  (https://huggingface.co/docs/datasets/image_dataset#imagefolder)
    Raises InputError for a file that cannot be read.
    """
    labels, useless = {}, []
    for name in names:
        path = root / name
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                if path.suffix == ".csv":
                    rows = list(csv.DictReader(file))
                else:
                    rows = [json.loads(line) for line in file if line.strip()]
        except (OSError, ValueError, csv.Error) as error:  # ValueError: no UTF-8, no JSON
            raise InputError(f"cannot read {path}: {error}; correct it, or move it elsewhere") from error
        if not all(isinstance(row, dict) for row in rows):
            raise InputError(f"every line of {path} must be a JSON object with file_name and label")
        if not any(row.get("label") not in (None, "") for row in rows):
            useless.append(name)
            continue
        for row in rows:
            if not isinstance(row.get("file_name"), str):
                raise InputError(f"{path} has labels, but a row without file_name; correct it")
            file = posixpath.join(posixpath.dirname(name), row["file_name"].replace("\\", "/"))
            labels[unicodedata.normalize("NFC", posixpath.normpath(file))] = _text(row.get("label"), path)
    return labels, useless


def _text(label, path: Path) -> str | None:
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, (str, int, type(None))):
        raise InputError(f"a label in {path} is neither text nor a whole number: {label!r}")
    return None if label in (None, "") else str(label)


def archives(found: list[Entry]) -> tuple[Tree, dict[str, str | None]]:
    """(the pictures inside the archives, the label of each, None where it has none).

    In an archive, KEY.cls holds the class of the picture KEY.jpg (.png, ...), a whole number.  A picture is named
    ARCHIVE/MEMBER.  (https://github.com/webdataset/webdataset)
    Raises InputError for an archive that is compressed or damaged, or a .cls that is no whole number.
    """
    tree, labels, readable = Tree(), {}, readable_endings()
    for archive in found:
        pictures, classes, end = [], {}, 0
        try:
            with tarfile.open(archive.path, "r:") as tar, open(archive.path, "rb") as file:
                for member in tar:
                    folder, name = posixpath.split(member.name)
                    ending = "." + name.rpartition(".")[2].lower()
                    key = posixpath.join(folder, name.partition(".")[0])
                    tar.members = []  # which it would collect
                    if not member.isreg() or hidden(name):
                        continue
                    if ending == ".cls":
                        file.seek(member.offset_data)
                        classes[key] = _number(file.read(min(member.size, 32)), archive.path, member.name)
                    elif ending in readable:
                        pictures.append((key, member.name, member.offset_data, member.size))
                    elif ending in UNREADABLE:
                        reason = f"{ending}, which cannot be read here"
                        tree.left_out.append((reason, f"{archive.name}/{member.name}"))
                    end = member.offset_data + member.size
                if archive.bytes < (-(-end // tarfile.BLOCKSIZE) + 1) * tarfile.BLOCKSIZE:
                    warnings.warn(f"{archive.path} has no end mark: it may be cut off", stacklevel=2)
        except tarfile.ReadError as error:
            raise InputError(
                f"cannot read {archive.path} ({error}): the file is damaged, or compressed; archives must be plain "
                ".tar files: unpack it, or decompress it (gunzip, xz -d, ...)"
            ) from error
        except OSError as error:
            raise InputError(f"cannot read {archive.path}: {os.strerror(error.errno or 0)}") from error
        for key, name, offset, length in pictures:
            name = unicodedata.normalize("NFC", f"{archive.name}/{name}")
            tree.entries.append(Entry(name, archive.path, offset, length, archive.bytes, archive.mtime_ns))
            labels[name] = classes.get(key)
    # no two members are the same file, so a number for each is identity enough
    tree.identities = [(-1, i) for i in range(len(tree.entries))]
    return tree, labels


def _number(content: bytes, path: str, member: str) -> str:
    try:
        return str(int(content))
    except ValueError:
        raise InputError(
            f"{member} in {path} must hold the class as one whole number, got {content!r}"
        ) from None
