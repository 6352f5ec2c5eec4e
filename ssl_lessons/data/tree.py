"""What lies below a folder: pictures, archives of pictures, lists of labels, and what is left out and why."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ssl_lessons.errors import InputError

# Raster formats as Pillow calls them.  HEIF and JXL are there for those who have registered a plugin for them.
FORMATS = {
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI",
    "TGA", "TIFF", "WEBP",
}  # fmt: skip
# Endings of pictures that Pillow cannot open, or not everywhere: left out, and counted.
UNREADABLE = frozenset(
    ".heic .heif .hif .avif .webp .jp2 .jxl .jxr .wdp .raw .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .dng .orf .rw2 .raf "
    ".pef .srw .x3f .svg .svgz .exr .hdr .dcm .fits .fit .psb .xcf .bpg .flif".split()
)
PACKED = frozenset(".zip .gz .tgz .bz2 .tbz2 .xz .txz .zst .7z .rar".split())
METADATA = ("metadata.csv", "metadata.jsonl")
LINKED = "linked to a picture that is already there"


class Entry(NamedTuple):
    """Where the bytes of one picture lie.

    name: relative to the folder that was read, forward slashes, one spelling (NFC) on every system; the absolute path
    for a picture of another folder.  path: the file, or the archive that holds it at `offset` in `length` bytes
    (None: the whole file).  bytes, mtime_ns: size and time of the file at `path`.
    """

    name: str
    path: str
    offset: int = 0
    length: int | None = None
    bytes: int = 0
    mtime_ns: int = 0


@dataclass
class Tree:
    """The outcome of `walk`.

    entries: the pictures, sorted by name.  identities: (device, inode) of each.  archives: the .tar files.
    metadata: relative names of files called metadata.csv or metadata.jsonl.  left_out: (reason, name) of each
    picture that is not among the entries.
    """

    entries: list[Entry] = field(default_factory=list)
    identities: list[tuple[int, int]] = field(default_factory=list)
    archives: list[Entry] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def readable_endings() -> frozenset[str]:
    """The endings (".jpg") of the raster formats that the installed Pillow opens."""
    found = Image.registered_extensions()  # of all plugins
    return frozenset(e for e, kind in found.items() if kind in FORMATS and kind in Image.OPEN)


def hidden(name: str) -> bool:
    """Whether a file or folder is no part of a data set: .ipynb_checkpoints, ._photo.jpg, thumbnails of a NAS."""
    return name.startswith((".", "$")) or name in ("__MACOSX", "@eaDir", "#recycle")


def walk(root: Path) -> Tree:
    """Everything below `root`; links are followed, but no folder and no file is taken twice.

    Of a file and the links to it the file is kept; links are looked at last, folders and files in the order of
    their names, so the outcome does not depend on the system.
    Raises InputError for a folder that cannot be read.
    """
    walker = _Walker()
    try:
        walker.descend(str(root), "")
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from error
    return walker.finish()


class _Walker:
    def __init__(self):
        self.tree = Tree()
        self.readable = readable_endings()
        self.found: list[tuple[str, str, os.stat_result]] = []  # name, path, status of a picture
        self.links: list[
            tuple[str, str, os.stat_result]
        ] = []  # the same, reached by a link or under several names
        self.folders: set[tuple[int, int]] = set()
        self.linked_folders: list[tuple[str, str]] = []

    def descend(self, path: str, prefix: str) -> None:
        """The folder at `path`, whose relative name with a slash is `prefix`, then the folders linked from it."""
        pending = [(prefix, path)]
        while pending:
            prefix, path = pending.pop()
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in self.folders:
                self.tree.left_out.append(("linked to a folder that is already there", prefix[:-1]))
            else:
                self.folders.add((status.st_dev, status.st_ino))
                pending += sorted(self.scan(path, prefix), reverse=True)
            if not pending and self.linked_folders:
                self.linked_folders.sort(reverse=True)
                pending.append(self.linked_folders.pop())

    def scan(self, path: str, prefix: str) -> list[tuple[str, str]]:
        """Notes the files of one folder.  Returns (prefix, path) of its real sub-folders."""
        below = []
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                ending = "." + name.rpartition(".")[2].lower()
                if hidden(name):
                    continue
                if ending in self.readable and entry.is_file():  # nearly all of them: the short way
                    # Windows knows links and inodes only this way
                    status = os.stat(entry.path) if os.name == "nt" else entry.stat()
                    several = status.st_nlink > 1 or entry.is_symlink()
                    (self.links if several else self.found).append(
                        (
                            prefix + name,
                            entry.path,
                            status.st_size,
                            status.st_mtime_ns,
                            (status.st_dev, status.st_ino),
                        )
                    )
                elif not entry.is_dir():
                    self.other(entry, prefix + name, ending)
                elif entry.is_symlink():
                    self.linked_folders.append((f"{prefix}{name}/", entry.path))
                else:
                    below.append((f"{prefix}{name}/", entry.path))
        return below

    def other(self, entry: os.DirEntry, name: str, ending: str) -> None:
        """A file that is no picture which can be read."""
        if ending in self.readable or ending == ".tar":
            if entry.is_file():
                status = entry.stat()
                self.tree.archives.append(
                    Entry(name, entry.path, bytes=status.st_size, mtime_ns=status.st_mtime_ns)
                )
            elif entry.is_symlink():
                self.tree.left_out.append(("linked to a file that is not there", name))
        elif ending in UNREADABLE:
            self.tree.left_out.append((f"{ending}, which cannot be read here", name))
        elif ending in PACKED:
            self.tree.left_out.append((f"{ending}, to be unpacked first", name))
        elif "." not in entry.name and not entry.name.isupper():  # LICENSE and README are no pictures
            self.tree.left_out.append(("without an ending, so not read here", name))
        elif entry.name in METADATA:
            self.tree.metadata.append(name)

    def finish(self) -> Tree:
        tree, found = self.tree, self.found
        if self.links:
            known = {picture[4] for picture in found}
            # files under several names before symbolic links, then by name
            for link in sorted(self.links, key=lambda link: (os.path.islink(link[1]), link[0])):
                if link[4] in known:
                    tree.left_out.append((LINKED, link[0]))
                else:
                    known.add(link[4])
                    found.append(link)
        names = _spelled([picture[0] for picture in found])
        # in the order of the parts of the names: "a/x" before "a-b/x"
        order = sorted(range(len(found)), key=[name.replace("/", "\0") for name in names].__getitem__)
        for i in order:
            _, path, size, mtime_ns, identity = found[i]
            tree.entries.append(Entry(names[i], path, 0, None, size, mtime_ns))
            tree.identities.append(identity)
        tree.archives.sort()
        tree.metadata.sort()
        tree.left_out.sort(key=lambda pair: pair[1])
        return tree


def _spelled(names: list[str]) -> list[str]:
    """The names in NFC: the same on Linux and on a Mac.  Names that would become the same stay as they are."""
    if all(map(str.isascii, names)):
        return names
    spelled = [unicodedata.normalize("NFC", name) for name in names]
    count = Counter(spelled)
    return [new if count[new] == 1 else old for old, new in zip(names, spelled, strict=True)]
