"""What the pictures of a folder are and what decoding them takes here, measured on a sample of them."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ssl_lessons.data import decoding
from ssl_lessons.data.cache import cache_folder, worth_keeping
from ssl_lessons.data.decoded import cores, count_reasons, decode, opened, quiet
from ssl_lessons.data.layout import Entry
from ssl_lessons.data.stored import available_memory
from ssl_lessons.errors import InputError

LONG_ENOUGH = 0.2  # seconds to measure for


def estimate(entries: Sequence[Entry], size: int, sample: int = 64) -> dict:
    """Decodes `sample` of the pictures, evenly spaced, at `size`, and says what all of them would take.

    Returns numbers, words and dicts of them, fit for JSON.  pictures; bytes: of their files; sampled; width, height:
    {"min", "median", "max"} in pixels; modes, formats: Pillow's names -> count; unreadable: reason -> {"count",
    "first"} in the sample; seconds_per_picture: on one thread; seconds: of all pictures on all `cores`, scaled from
    the sample; memory_bytes: of all pictures as uint8 at `size`, in memory or in the cache folder; and what is
    available of either, None where nothing says so.  kept: whether decoded pictures stay in the cache
    folder.  width ... seconds are None when none of the sample is readable.

    Raises InputError when there is no picture.
    """
    if not entries or sample < 1 or size < 1:
        raise InputError(
            f"an estimate needs pictures, a sample and a size: got {len(entries)}, {sample} and {size}"
        )
    chosen = [entries[i] for i in np.linspace(0, len(entries) - 1, min(sample, len(entries))).astype(int)]
    with quiet():
        looks, reasons, seconds = _one_by_one(chosen, size)
        readable = [entry for i, entry in enumerate(chosen) if i not in reasons]
        together = _together(readable, size) if readable else None
    widths, heights, modes, formats = zip(*looks, strict=True) if looks else ((),) * 4
    return {
        "pictures": len(entries),
        "bytes": sum(e.bytes if e.length is None else e.length for e in entries),
        "sampled": len(chosen),
        "width": _spread(widths),
        "height": _spread(heights),
        "modes": dict(Counter(modes).most_common()),
        "formats": dict(Counter(formats).most_common()),
        "unreadable": {
            reason: {"count": n, "first": first}
            for reason, (n, first) in count_reasons(chosen, reasons).items()
        },
        "size": size,
        "seconds_per_picture": seconds / len(readable) if readable else None,
        "seconds": together * len(entries) if readable else None,
        "kept": worth_keeping(entries),
        "cores": cores(),
        "memory_bytes": len(entries) * 3 * size * size,
        "available_memory_bytes": available_memory(),
        "available_cache_bytes": _free_disk(cache_folder()),
    }


def _one_by_one(entries: Sequence[Entry], size: int) -> tuple[list, dict[int, str], float]:
    """(width, height, mode, format) of the readable, index -> reason of the others, seconds for the readable."""
    looks, reasons, seconds = [], {}, 0.0
    for i, entry in enumerate(entries):
        start = time.perf_counter()
        try:
            with opened(entry) as image:
                look = *image.size, image.mode, image.format or "unknown"  # before decoding changes them
                decoding.central_square(image, size)
        except Exception as error:  # noqa: BLE001 - a damaged file can make a decoder raise nearly anything
            reasons[i] = decoding.reason(error)
            continue
        looks.append(look)
        seconds += time.perf_counter() - start
    return looks, reasons, seconds


def _together(entries: Sequence[Entry], size: int) -> float:
    """Seconds per picture with all cores at work, which share the disk and what holds the interpreter's lock."""
    rounds, start = 0, time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        while rounds == 0 or time.perf_counter() - start < LONG_ENOUGH:
            list(pool.map(lambda entry: decode(entry, size), entries))
            rounds += 1
    return (time.perf_counter() - start) / (rounds * len(entries))


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _free_disk(folder: Path) -> int | None:
    """Bytes free where `folder` is or will be."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    try:
        return shutil.disk_usage(there).free if there is not None else None
    except OSError:
        return None
