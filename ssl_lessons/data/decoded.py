"""Many pictures decoded at a time, on all cores, and why some cannot be."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssl_lessons.data import decoding
from ssl_lessons.data.tree import Entry
from ssl_lessons.progress import progress as progress_bar

BLOCK = 32, 2**22  # pictures, and bytes of them, that one thread decodes at a time
OF_FILE = (
    None,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
)  # None: a decoder's


class Fault(NamedTuple):
    """Why a picture cannot be read.  lasting: it is the file's own fault, so that trying again would not help."""

    reason: str
    lasting: bool


class Known(Exception):
    """A picture that could not be read earlier; the message is the reason."""


@contextmanager
def opened(entry: Entry) -> Iterator[Image.Image]:
    """A picture opened by Pillow, not yet decoded.  Raises what opening it raises."""
    if entry.length is None:
        with Image.open(entry.path) as image:
            yield image
        return
    with open(entry.path, "rb") as archive:
        archive.seek(entry.offset)
        content = archive.read(entry.length)
    with Image.open(io.BytesIO(content)) as image:
        yield image


def decode(entry: Entry, size: int) -> np.ndarray:
    """uint8 [3, size, size] of one picture.  Whatever opening or decoding it raises is passed on."""
    with opened(entry) as image:
        return decoding.central_square(image, size)


def decode_all(
    count: int,
    size: int,
    picture: Callable[[int], np.ndarray],
    sink: Callable[[np.ndarray], object],
    *,
    progress: bool = False,
) -> dict[int, Fault]:
    """Gives the pictures 0 ... count - 1 to `sink` in order, in blocks uint8 [n, 3, size, size] without the unreadable.

    picture: index -> uint8 [3, size, size], or an exception for an unreadable one.  progress: a bar on stderr when it
    takes more than a second.  Returns index -> fault of the unreadable, in order.

    Threads do it, as Pillow's decoders release the interpreter's lock: they were as fast as processes from 96 px to
    3,000 px, and cost no start.
    """
    step = max(1, min(BLOCK[0], BLOCK[1] // (3 * size * size)))

    def block(start: int) -> tuple[int, np.ndarray, dict[int, Fault]]:
        chosen = range(start, min(start + step, count))
        out, faults = np.empty((len(chosen), 3, size, size), dtype=np.uint8), {}
        for i in chosen:
            try:
                out[i - start - len(faults)] = picture(i)
            except Exception as error:  # noqa: BLE001 - a damaged file can make a decoder raise nearly anything
                faults[i] = _fault(error)
        return len(chosen), out[: len(chosen) - len(faults)], faults

    faults = {}
    shown = {"total": count, "desc": "decoding: ", "unit": " pictures", "delay": 1, "disable": not progress}
    with quiet(), progress_bar(file=sys.stderr, **shown) as bar:
        for done, pixels, failed in _in_order(block, range(0, count, step)):
            sink(pixels)
            faults |= failed
            bar.update(done)
    return faults


def count_reasons(entries: Sequence[Entry], reasons: dict[int, str]) -> dict[str, tuple[int, str]]:
    """reason -> (how many, name of the first), from index -> reason in ascending order."""
    counted: dict[str, tuple[int, str]] = {}
    for i, reason in reasons.items():
        count, first = counted.get(reason, (0, entries[i].name))
        counted[reason] = count + 1, first
    return counted


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings about odd but readable files."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fault(error: Exception) -> Fault:
    if isinstance(error, Known):
        return Fault(str(error), True)
    lasting = getattr(error, "errno", None) in OF_FILE and not isinstance(error, MemoryError)
    return Fault(decoding.reason(error), lasting)


def _in_order(work: Callable, items: Sequence) -> Iterator:
    """work(item) for every item, on all cores, with few results in memory at a time."""
    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        pending = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
