"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ssl_lessons.errors import InputError

Write = Callable[[Path], object]


def write_atomically(path: Path, write: Write) -> None:
    """Call `write(temporary_path)`, then move the finished file to `path` in one step.  The folder is made if need be.

    Whatever goes wrong, the file that was at `path` stays as it was and the temporary one is removed.  Raises
    InputError, with the system's reason, where the disk or a quota is full or the folder cannot be written.
    """
    write_together({path: write})


def write_together(writes: Mapping[Path, Write]) -> None:
    """As `write_atomically` for files that belong together: all are finished before the first takes its place."""
    temporary = {path: path.with_name(path.name + ".tmp") for path in writes}
    try:
        for path, write in writes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary[path])
            with open(temporary[path], "rb") as file:
                os.fsync(file.fileno())
        for path in writes:
            os.replace(temporary[path], path)
    except OSError as error:
        _remove(temporary.values())
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}; free some space or choose another folder") from None
    except (Exception, KeyboardInterrupt):
        _remove(temporary.values())
        raise


def _remove(paths) -> None:
    for path in paths:
        with suppress(OSError):  # it was never written, or the folder cannot be changed
            path.unlink()
