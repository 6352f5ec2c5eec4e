"""Pictures decoded once: the first start of a folder fills a file in the cache folder, later ones map it.

    images, readable, reasons = pictures(entries, size, root, rows)

entries: all pictures of the root, whatever split they are in.  rows: those wanted now.  What was decoded for one split
or subset is there for every other.  There is one file for each root and size.  A picture in it counts while its name,
bytes and time of change are those of the file on disk, so that new and changed ones alone are decoded again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
from torch import Tensor

from ssl_lessons.data.decoded import Fault, Known, count_reasons, decode, decode_all
from ssl_lessons.data.layout import Entry
from ssl_lessons.data.stored import Catalogue, StoredPictures, available_memory, finish, read
from ssl_lessons.errors import InputError

DECODER = 2  # raise it whenever `decoding.central_square` makes other pixels of the same file
SMALL, SMALL_BYTES = 1000, 2**26  # pictures, bytes of their files: decoded in a second or two, so not kept
SHARE = 0.8  # of the available memory that pictures may take
STALE = 3600  # seconds after which an unfinished file that nobody writes to is taken for a leftover


def pictures(
    entries: Sequence[Entry],
    size: int,
    root: str,
    rows: Sequence[int] | None = None,
    *,
    cache: bool = True,
    progress: bool = True,
) -> tuple[Tensor | StoredPictures, np.ndarray, dict[str, tuple[int, str]]]:
    """Central squares of the pictures `rows` of `entries`, by default of all.

    Returns the readable ones in order, uint8 [M, 3, size, size], in memory or on disk (see `stored.held`); which those
    are, bool [len(rows)]; and for the others reason -> (how many, name of the first).

    A request for fewer than 1,000 pictures of together less than 64 MiB is decoded into memory and not kept.  Other
    ones go to a file in `cache_folder()`, together with all other pictures of the root when at least half are asked
    for.  cache=False: everything into memory.  progress: a bar on stderr when it takes more than a second.

    Raises InputError when the pictures fit neither into the cache folder nor into memory.
    """
    rows = np.arange(len(entries)) if rows is None else np.asarray(rows, dtype=np.int64)
    wanted = [entries[i] for i in rows]
    if not cache:
        return _in_memory(wanted, size, progress, _Cached())
    path = _file(root, size)
    cached = _Cached.load(path, size)
    places = cached.find(wanted)
    if len(wanted) and (places >= 0).all():
        return cached.serve(wanted, places)
    if not worth_keeping(wanted):
        return _in_memory(wanted, size, False, cached)
    del cached  # Windows replaces no file that is mapped
    try:
        cached = _store(path, entries, rows, size, progress)
        places = cached.find(wanted, again=False)
        if (places < 0).any():
            raise OSError(errno.EBUSY, "another process writes there")
    except OSError as error:
        _refuse_or_warn(error, len(wanted), size, root, path.parent)
        return _in_memory(wanted, size, progress, _Cached())
    return cached.serve(wanted, places)


def worth_keeping(entries: Sequence[Entry]) -> bool:
    """Whether decoding these pictures takes long enough to keep the outcome."""
    return len(entries) >= SMALL or sum(e.bytes if e.length is None else e.length for e in entries) >= SMALL_BYTES


def cache_folder() -> Path:
    """Where decoded pictures are kept: $SSL_LESSONS_CACHE, else `ssl_lessons` in the user's folder for caches."""
    if chosen := os.environ.get("SSL_LESSONS_CACHE"):
        return Path(chosen).expanduser()
    system = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return Path(system or os.path.expanduser("~/.cache")) / "ssl_lessons"


def cache_bytes() -> int:
    """What the files in `cache_folder()` take on disk."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(cache_folder()) if entry.is_file())
    except OSError:
        return 0


# --- what is there already ------------------------------------------------------------------------------


class _Cached(NamedTuple):
    """The pictures of a cache file and their catalogue; neither where there is no file that can be used."""

    pictures: StoredPictures | None = None
    catalogue: Catalogue | None = None

    @classmethod
    def load(cls, path: Path, size: int) -> _Cached:
        found = read(path, size)
        return cls(*found) if found is not None and found[1].decoder == _decoder() else cls()

    def find(self, entries: Sequence[Entry], again: bool = True) -> np.ndarray:
        """int64 [N]: the place of each entry in the catalogue, -1 where it is not there as it is now.

        again: those that could not be read may be tried again.
        """
        if self.catalogue is None:
            return np.full(len(entries), -1)
        known = self.catalogue
        keys = ((entry.name, *_signature(entry)) for entry in entries)
        places = np.array([known.position.get(key, -1) for key in keys], dtype=np.int64)
        if again and (known.rows < 0).any():
            for i in np.flatnonzero((places >= 0) & (known.rows[places] < 0)):
                if known.changed[places[i]] != _changed(entries[i]):
                    places[i] = -1
        return places

    def serve(self, entries: Sequence[Entry], places: np.ndarray):
        """What `pictures` returns, for entries that are all in the catalogue."""
        rows = self.catalogue.rows[places]
        reasons = {i: self._reason(places[i]) for i in np.flatnonzero(rows < 0).tolist()}
        return self.pictures.select(rows[rows >= 0]), rows >= 0, count_reasons(entries, reasons)

    def pixels(self, place: int) -> np.ndarray:
        """uint8 [3, S, S] of one picture; raises Known where it cannot be read."""
        row = self.catalogue.rows[place]
        if row < 0:
            raise Known(self._reason(place))
        return self.pictures[int(row)].numpy()

    def _reason(self, place: int) -> str:
        return self.catalogue.reasons[self.catalogue.why[place]]


def _signature(entry: Entry) -> tuple[int, int, int, int]:
    """Bytes and time of the file, and which part of it (length -1: the whole)."""
    return entry.bytes, entry.mtime_ns, entry.offset, -1 if entry.length is None else entry.length


def _changed(entry: Entry) -> int:
    """When the state of a file changed, its permissions included; -1 where there is no such file."""
    try:
        return os.stat(entry.path).st_ctime_ns
    except OSError:
        return -1


def _in_memory(entries: Sequence[Entry], size: int, progress: bool, cached: _Cached):
    """What `pictures` returns, taken from the cache file or decoded, into memory."""
    need, available = len(entries) * 3 * size * size, available_memory()
    if available is not None and need > SHARE * available:
        raise InputError(
            f"{len(entries):,} pictures of {size} px take {need / 2**30:.1f} GiB of memory and "
            f"{available / 2**30:.1f} GiB are available: leave out --no-cache (cache=True), which reads them from "
            "disk, or take fewer or smaller ones"
        )
    images, count, places = np.empty((len(entries), 3, size, size), dtype=np.uint8), 0, cached.find(entries)

    def fill(pixels: np.ndarray) -> None:
        nonlocal count
        images[count : count + len(pixels)] = pixels
        count += len(pixels)

    faults = decode_all(len(entries), size, _reader(entries, size, cached, places), fill, progress=progress)
    reasons = count_reasons(entries, {i: fault.reason for i, fault in faults.items()})
    return torch.from_numpy(images[:count]), _readable(len(entries), faults), reasons


def _reader(entries: Sequence[Entry], size: int, cached: _Cached, places: np.ndarray):
    """index -> pixels: copied from the cache file where they are there, else decoded."""
    return lambda i: cached.pixels(places[i]) if places[i] >= 0 else decode(entries[i], size)


def _readable(count: int, faults: dict[int, Fault]) -> np.ndarray:
    readable = np.ones(count, dtype=bool)
    readable[list(faults)] = False
    return readable


# --- the cache file -------------------------------------------------------------------------------------


def _decoder() -> str:
    return f"{DECODER}, Pillow {PIL.__version__}"


def _file(root: str, size: int) -> Path:
    """The cache file of a root: its name for people, a hash of its place so that two of one name are two."""
    place = os.path.realpath(root)
    name = re.sub(r"[^\w.-]+", "_", os.path.basename(place))[:40]
    return cache_folder() / f"{name}-{size}px-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}.pictures"


def _store(path: Path, entries: Sequence[Entry], rows: np.ndarray, size: int, progress: bool) -> _Cached:
    """Brings the cache file up to what `rows` of the entries need.  Raises OSError when it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path) as alone:
        cached = _Cached.load(path, size)  # again: another process may have written it meanwhile
        places = cached.find(entries)
        if (places[rows] >= 0).all():
            return cached
        keep = places >= 0
        keep[rows] = True
        if 2 * len(rows) >= len(entries):
            keep[:] = True
        _remove_leftovers(path, alone)
        chosen = np.flatnonzero(keep)
        part = _write(path, [entries[i] for i in chosen], cached, places[chosen], size, progress)
        del cached
        os.replace(part, path)  # a killed run leaves nothing that looks whole
    cached = _Cached.load(path, size)
    if cached.pictures is None:
        raise OSError(errno.EIO, "what was written cannot be read back")
    return cached


def _write(path: Path, entries: Sequence[Entry], cached: _Cached, places, size: int, progress: bool) -> str:
    """Writes a whole new file beside `path`, and returns its name."""
    need = len(entries) * (3 * size * size + 200)  # with the catalogue
    if need > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if progress:
        new = int((places < 0).sum())
        print(f"decoding {new:,} pictures once, into {path} ({need / 2**30:.2f} GiB)", file=sys.stderr)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f"{path.stem}.", suffix=".part", delete=False
    ) as file:
        try:
            reader = _reader(entries, size, cached, places)
            faults = decode_all(len(entries), size, reader, file.write, progress=progress)
            finish(file, len(entries) - len(faults), size, _catalogue(entries, faults))
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise
    return file.name


def _catalogue(entries: Sequence[Entry], faults: dict[int, Fault]) -> Catalogue:
    reasons = sorted({fault.reason for fault in faults.values()})
    readable = _readable(len(entries), faults)
    why, changed = np.full(len(entries), -1), np.zeros(len(entries), dtype=np.int64)
    for i, fault in faults.items():
        why[i] = reasons.index(fault.reason)
        changed[i] = (
            _changed(entries[i]) if fault.lasting else -2
        )  # no file says that: tried again at every start
    return Catalogue(
        names=[entry.name for entry in entries],
        signatures=np.array([_signature(entry) for entry in entries], dtype=np.int64).reshape(-1, 4),
        rows=np.where(readable, readable.cumsum() - 1, -1),
        why=why,
        changed=changed,
        reasons=reasons,
        decoder=_decoder(),
    )


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Lets one process at a time write a cache file; False where the system or the file system has no locks.

    Without locks two processes may do the same work; each writes a file of its own, and the later one stays.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with open(path.with_suffix(".lock"), "w") as lock:
        alone = True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that decodes into {path} ...", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            alone = False
        yield alone


def _remove_leftovers(path: Path, alone: bool) -> None:
    """Unfinished files of processes that were killed: this file's own, and those nobody writes to any more."""
    for part in path.parent.glob("*.part"):
        try:
            own = alone and part.name.startswith(f"{path.stem}.")
            if own or time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:  # gone already, or another user's
            pass


def _refuse_or_warn(error: OSError, count: int, size: int, root: str, folder: Path) -> None:
    """The cache folder cannot be used: InputError where memory does not suffice either, else a warning."""
    need, available = count * 3 * size * size / 2**30, available_memory()
    why = f"the decoded pictures of {root} cannot be kept in {folder} ({error.strerror or error})"
    if available is not None and need > SHARE * available / 2**30:
        raise InputError(
            f"{why}, and memory (--no-cache) does not suffice: {need:.2f} GiB are needed and "
            f"{available / 2**30:.2f} GiB are available. Free {need:.2f} GiB on disk, or set the environment variable "
            "SSL_LESSONS_CACHE to a folder with that much space"
        ) from error
    warnings.warn(
        f"{why}: they are decoded into memory, again at every start. Set the environment variable SSL_LESSONS_CACHE "
        f"to a folder with {need:.2f} GiB of space, or say --no-cache (cache=False)",
        stacklevel=4,
    )
