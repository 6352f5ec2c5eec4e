"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ssl_lessons.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary_path)`, then move the finished file to `path` in one step.  The folder is made if need be.

    Whatever goes wrong, the file that was at `path` stays as it was and the temporary one is removed.  Raises
    InputError, with the system's reason, where the disk or a quota is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}; free some space or choose another folder") from None
    except (Exception, KeyboardInterrupt):
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # it was never written, or the folder cannot be changed
        path.unlink()
