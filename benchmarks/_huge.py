"""JPEG files of 50 megapixels, decoded whole and at a fraction of their size: part huge of throughput.py."""

import io
import statistics
import time

import numpy as np
from PIL import Image

from ssl_lessons.data.decoding import central_square

HIGH, WIDE = 5804, 8708  # pixels: 50.5 million
SIZES = 96, 224
GRAIN = {"camera by day": 3, "camera by night": 8}  # standard deviation of the sensor's noise, in grey levels


def camera(high: int, wide: int, grain: float) -> np.ndarray:
    """uint8 [high, wide, 3] as from a camera: slow waves, squares with sharp edges, the sensor's noise."""
    y, x = np.ogrid[:high, :wide]
    grey = np.random.default_rng(0).normal(108, grain, (high, wide)).astype(np.float32)
    grey += 50 * ((x // 700 + y // 700) % 2).astype(np.float32)
    rows = 60 * np.cos(y / 130).astype(np.float32)
    planes = (grey + rows * np.sin(x / (90 + 40 * c)).astype(np.float32) for c in range(3))
    return np.stack([np.clip(plane, 0, 255).astype(np.uint8) for plane in planes], axis=-1)


def noise(high: int, wide: int) -> np.ndarray:
    """uint8 [high, wide, 3], every value alone: nearly all of the time goes into the code words, at any fraction."""
    return np.random.default_rng(0).integers(0, 256, (high, wide, 3), dtype=np.uint8)


def decode(body: bytes, size: int, whole: bool) -> tuple[np.ndarray, float]:
    """`central_square` of a file and the processor seconds it took; whole: as for a format that knows no draft."""
    start = time.process_time()
    with Image.open(io.BytesIO(body)) as image:
        if whole:
            image.draft = lambda mode, size: None
        square = central_square(image, size)
    return square, time.process_time() - start


def compare(body: bytes, size: int, turns: int) -> dict:
    """Both ways in turns: their times and by how many grey levels their pictures differ."""
    seconds = {"whole": [], "drafted": []}
    for _ in range(turns):
        pair = []
        for way, spent in seconds.items():
            square, took = decode(body, size, way == "whole")
            pair.append(square.astype(int))
            spent.append(took)
    ratios = [w / d for w, d in zip(*seconds.values(), strict=True)]
    difference = np.abs(pair[0] - pair[1])
    return {f"seconds_{way}": statistics.median(spent) for way, spent in seconds.items()} | {
        "times_faster": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "turns": turns,
        "mean_difference": float(difference.mean()), "largest_difference": int(difference.max()),
        "p99_difference": float(np.quantile(difference, 0.99)),
    }  # fmt: skip


def huge(turns: int, high: int = HIGH, wide: int = WIDE) -> list[dict]:
    """One row per picture, how its colours are stored (4:2:0 as telephones do, 4:4:4 whole) and size.

    The more bytes a file has, the less is won: its code words are all read, at any fraction.
    """
    pictures = [(name, "4:2:0", camera(high, wide, grain)) for name, grain in GRAIN.items()]
    pictures += [("camera by day", "4:4:4", pictures[0][2]), ("noise", "4:2:0", noise(high, wide))]
    rows = []
    for name, subsampling, pixels in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=subsampling)
        body = file.getvalue()
        for size in SIZES:
            row = {
                "part": "huge",
                "setup": f"{size} px",
                "contestant": f"{name}, {subsampling}",
                "pixels": size,
            }
            row |= {"megapixels": high * wide / 1e6, "jpeg_gb": len(body) / 1e9}
            rows.append(row | compare(body, size, turns))
    return rows
