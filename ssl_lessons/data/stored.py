"""Decoded pictures in one file on disk, read a batch at a time, and what that file knows about them.

The file: the pixels of every readable picture, uint8 [rows, 3, size, size]; a catalogue of all pictures (an .npz
archive of arrays); a trailer that says how long both are.  The trailer comes last: a file that ends too early has none.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.errors import InputError

IN_MEMORY = 2**30  # bytes of pictures that are held in memory at most
AT_ONCE = 2**25  # bytes read in one go
KEPT = 2**26  # bytes read before the pages read so far are given back
ARRAYS = ("signatures", "rows", "why", "changed")
_TRAILER = struct.Struct("<qqq8s")  # pictures, pixels of a side, bytes of the catalogue, mark
_MARK = b"pictures"


class StoredPictures:
    """Pictures in a mapped file that are read where the package asks for them: uint8 [N, 3, S, S].

    pixels: uint8 [rows, 3, S, S], an array mapped from a file.  rows: int64 [N], which of them these pictures are, in
    what order; all of them by default.

    Every way of indexing that a tensor has along its first dimension gives a uint8 tensor in memory: `[3]`, `[2:9]`,
    `[[5, 0]]`, a tensor of integers or of truth values, and also `[:]`, which reads everything.  `select` leaves a
    large choice on disk.  The memory in use stays bounded: pages are given back after every 64 MiB that were read.
    Safe to use from several threads.
    """

    dtype = torch.uint8
    ndim = 4
    device = torch.device("cpu")

    def __init__(self, pixels: np.ndarray, rows: np.ndarray | None = None):
        self.pixels = pixels
        self._rows = np.arange(len(pixels)) if rows is None else np.asarray(rows, dtype=np.int64)
        self._read_since = 0
        self._lock = threading.Lock()

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self._rows), *self.pixels.shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    def numel(self) -> int:
        """Number of bytes, as one channel of one pixel takes one."""
        return math.prod(self.shape)

    def __getitem__(self, index) -> Tensor:
        """The chosen pictures in memory.  Raises InputError for an index into more than the first dimension."""
        rows = self._chosen(index)
        return self._read(np.atleast_1d(rows).reshape(-1)).view(*np.shape(rows), *self.shape[1:])

    def select(self, index) -> Tensor | StoredPictures:
        """The chosen pictures, in memory where they fit (see `held`), else as a choice from the same file."""
        return held(StoredPictures(self.pixels, self._chosen(index)))

    def split(self, batch_size: int) -> Iterator[Tensor]:
        """One batch after the other, as tensors in memory; the last may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def to(self, device) -> Tensor | StoredPictures:
        """These pictures on `device`: a tensor, read in parts; on the CPU they stay on disk, as they are."""
        if torch.device(device).type == "cpu":
            return self
        out = torch.empty(self.shape, dtype=self.dtype, device=device)
        step = self._per_read
        for start in range(0, len(self), step):
            out[start : start + step] = self[start : start + step].to(device)
        return out

    def __repr__(self) -> str:
        return f"StoredPictures({list(self.shape)}, {self.numel() / 2**30:.2f} GiB on disk)"

    def _chosen(self, index) -> np.ndarray:
        if isinstance(index, tuple):
            raise InputError(
                "pictures on disk are chosen along the first dimension alone: images[i], not images[i, j]"
            )
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        elif isinstance(index, list) and not index:
            index = slice(0)
        return self._rows[index]

    @property
    def _per_read(self) -> int:
        return max(1, AT_ONCE // math.prod(self.shape[1:]))

    def _read(self, rows: np.ndarray) -> Tensor:
        """The rows of the file, read in the order of the file, in the order asked for."""
        out = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        order, step = np.argsort(rows, kind="stable"), self._per_read
        for start in range(0, len(rows), step):
            part = order[start : start + step]
            out[part] = self.pixels[rows[part]]
            self._give_back(len(part) * math.prod(self.shape[1:]))
        return torch.from_numpy(out)

    def _give_back(self, read: int) -> None:
        """After `KEPT` bytes, let the operating system have the pages that were read: they are in the file anyway."""
        with self._lock:
            self._read_since += read
            if self._read_since < KEPT:
                return
            self._read_since = 0
        mapped = getattr(self.pixels, "_mmap", None)
        if mapped is not None and hasattr(
            mmap, "MADV_DONTNEED"
        ):  # where it is not, the system pages out by itself
            mapped.madvise(mmap.MADV_DONTNEED)


def held(stored: StoredPictures) -> Tensor | StoredPictures:
    """The pictures in memory if they take at most 1 GiB and a quarter of what is available, else as they are."""
    available = available_memory()
    limit = IN_MEMORY if available is None else min(IN_MEMORY, available // 4)
    return stored[:] if stored.numel() <= limit else stored


def available_memory() -> int | None:
    """Bytes this process may still take without paging, container limits included; None where nothing says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            import psutil
        except ImportError:
            return None
        return psutil.virtual_memory().available
    return min([free, *_left_in_container()])


def _left_in_container() -> list[int]:
    """What the control group (version 2) of this process leaves; its file pages can be given up and do not count."""
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        pages = (group / "memory.stat").read_text().split()
        return [limit - used + int(pages[pages.index("inactive_file") + 1])]
    except (OSError, ValueError):  # no such group, or "max": no limit
        return []


# --- the file -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Catalogue:
    """What a file of pictures knows about the files they were decoded from, one entry for each.

    names: their names.  signatures: int64 [N, 4], bytes and time of the file, offset and length of the part of it.
    rows: int64 [N], where the pixels are, -1 for a file that could not be read.  why: int64 [N], which of the `reasons`
    it has, -1 for a readable one.  changed: int64 [N], when its state had changed, 0 for a readable one.  decoder: the
    version of what decoded them.
    """

    names: list[str]
    signatures: np.ndarray
    rows: np.ndarray
    why: np.ndarray
    changed: np.ndarray
    reasons: list[str]
    decoder: str

    @cached_property
    def position(self) -> dict[tuple, int]:
        """(name, *signature) -> place in the catalogue."""
        return {key: i for i, key in enumerate(zip(self.names, *self.signatures.T.tolist(), strict=True))}


def read(path: Path, size: int) -> tuple[StoredPictures, Catalogue] | None:
    """The pictures of a file and their catalogue; None where the file is absent, not whole or of another size."""
    try:
        with open(path, "rb") as file:
            file.seek(-_TRAILER.size, os.SEEK_END)
            count, side, length, mark = _TRAILER.unpack(file.read())
            pixels = count * 3 * side * side
            if mark != _MARK or side != size or file.tell() != pixels + length + _TRAILER.size:
                return None
            file.seek(pixels)
            with np.load(io.BytesIO(file.read(length)), allow_pickle=False) as arrays:
                catalogue = _unpack(arrays)
        mapped = np.memmap(path, dtype=np.uint8, mode="r")  # with the catalogue: nothing cannot be mapped
    except (OSError, ValueError, KeyError, struct.error):
        return None
    return StoredPictures(mapped[:pixels].reshape(count, 3, size, size)), catalogue


def finish(file: BinaryIO, count: int, size: int, catalogue: Catalogue) -> None:
    """Completes a file into which the pixels of `count` pictures were written."""
    archive = io.BytesIO()
    np.savez(archive, **_pack(catalogue))
    file.write(archive.getbuffer())
    file.write(_TRAILER.pack(count, size, archive.tell(), _MARK))
    file.flush()
    os.fsync(file.fileno())


def _pack(catalogue: Catalogue) -> dict[str, np.ndarray]:
    words = {"names": catalogue.names, "reasons": catalogue.reasons, "decoder": [catalogue.decoder]}
    text = json.dumps(words).encode()  # in ASCII, also names that are not UTF-8
    arrays = {name: getattr(catalogue, name) for name in ARRAYS}
    return arrays | {"words": np.frombuffer(text, dtype=np.uint8)}


def _unpack(arrays) -> Catalogue:
    words = json.loads(arrays["words"].tobytes())
    (decoder,) = words["decoder"]
    rest = {name: arrays[name] for name in ARRAYS}
    return Catalogue(words["names"], reasons=words["reasons"], decoder=decoder, **rest)
