"""A folder of your own films: moving pictures, or sub-folders of frames, as one tensor of clips."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from ssl_lessons.data.decoding import central_square, reason
from ssl_lessons.errors import InputError

MOVING = (".gif", ".png", ".apng", ".webp")  # files that may hold several frames
STILL = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")  # frames in a folder


def clips(path: str | Path, frames: int = 8, size: int = 24, step: int = 1) -> tuple[Tensor, list[str]]:
    """Clips uint8 [N, frames, 3, size, size] of a folder of films, and the name of each clip's film.

    A film is a moving picture (GIF, APNG, WebP) in the folder, or a sub-folder of pictures, which are its frames in the
    order of the numbers in their names.  Every film is cut into as many successive clips as it has room for, of every
    `step`-th frame, each frame cropped to its central square.  Films that are too short or cannot be read are left out
    with one warning.
    Raises InputError when there is no such folder, no film that is long enough, or for numbers below 1.
    """
    root = Path(path)
    if min(frames, size, step) < 1:
        raise InputError(f"frames, size and step are 1 or more, not {frames}, {size} and {step}")
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: give the folder that holds the films")
    parts, names, left_out = [], [], []
    for film in sorted(root.iterdir(), key=_order):
        if film.name.startswith(".") or not (film.is_dir() or film.suffix.lower() in MOVING):
            continue
        try:
            seen = _frames(film, size)[::step]
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            left_out.append(f"{film.name} ({reason(error)})")
            continue
        whole = len(seen) // frames
        if not whole:
            left_out.append(f"{film.name} ({len(seen)} frames)")
            continue
        parts.append(seen[: whole * frames].reshape(whole, frames, 3, size, size))
        names += [film.name] * whole
    if not parts:
        why = f": left out {', '.join(left_out[:3])}" if left_out else ""
        raise InputError(
            f"{root} holds no film of {frames} frames at a step of {step}{why}; put GIF, APNG or WebP files there, or "
            "a sub-folder of pictures for each film"
        )
    if left_out:
        warnings.warn(f"{len(left_out)} films left out: {', '.join(left_out[:3])}", stacklevel=2)
    return torch.from_numpy(np.concatenate(parts)), names


def _frames(film: Path, size: int) -> np.ndarray:
    """All frames of one film, uint8 [T, 3, size, size]."""
    if film.is_dir():
        files = sorted((f for f in film.iterdir() if f.suffix.lower() in STILL), key=_order)
        pictures = []
        for file in files:
            with Image.open(file) as image:
                pictures.append(central_square(image, size))
    else:
        with Image.open(film) as moving:
            pictures = [central_square(image.copy(), size) for image in ImageSequence.Iterator(moving)]
    return np.stack(pictures) if pictures else np.zeros((0, 3, size, size), np.uint8)


def _order(path: Path) -> list:
    """Names sort by their numbers: frame 2 comes before frame 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
