"""Checkpoints that survive a kill at any moment: written atomically, verified before use, one kept in reserve.
And the log beside them, which tells a person what happened when."""

from __future__ import annotations

import datetime
import hashlib
import io
import os
import warnings
from pathlib import Path

import torch

from ssl_lessons.errors import InputError
from ssl_lessons.storage import write_atomically

CURRENT, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
LOG = "log.txt"
_DIGEST = 32  # bytes of SHA-256 that follow the torch file


def save(state: dict, folder: Path) -> None:
    """Write `folder/checkpoint.pt`, keeping the one before it as `checkpoint.previous.pt`."""

    def write(temporary: Path) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        temporary.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
        if (folder / CURRENT).exists():
            os.replace(folder / CURRENT, folder / PREVIOUS)

    write_atomically(folder / CURRENT, write)


def _read(path: Path) -> dict:
    raw = path.read_bytes()
    content, digest = raw[:-_DIGEST], raw[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:  # torch.load alone would not notice a flipped bit
        raise ValueError("its checksum does not match")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def load(folder: Path) -> dict | None:
    """The newest checkpoint of `folder` that is whole, or None when there is none at all.

    A truncated or damaged file is named in a warning, set aside as *.damaged (so that it never takes the reserve's
    place) and the previous one is used; when every file is damaged, InputError says so.  A file that the system does
    not hand out is left where it is, with InputError: a run must not begin anew because a network drive is away.
    """
    found = [p for p in (folder / CURRENT, folder / PREVIOUS) if p.exists()]
    for path in found:
        try:
            return _read(path)
        except OSError as error:  # the disk, not the file: it may be whole
            raise InputError(f"{path} cannot be read now: {error.strerror}; nothing is lost, try again") from None
        except Exception as error:  # noqa: BLE001 - a damaged file can make the reader raise nearly anything
            aside = path.with_name(path.name + ".damaged")
            os.replace(path, aside)
            warnings.warn(
                f"{path} is truncated or damaged ({error}); it is not used, see {aside.name}", stacklevel=2
            )
    if found:
        names = " and ".join(p.name for p in found)
        raise InputError(
            f"no whole checkpoint in {folder}: {names} damaged and set aside; run again to start anew"
        )
    return None


def exists(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint, whole or not."""
    return (folder / CURRENT).exists() or (folder / PREVIOUS).exists()


def note(folder: Path, event: str) -> None:
    """Append one line to `folder/log.txt`: date, time of day, event.  Earlier lines are never touched."""
    line = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {' '.join(event.split())}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOG, "a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise InputError(f"cannot write {folder / LOG}: {error.strerror}; choose another folder") from None
