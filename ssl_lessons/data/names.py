"""What can be asked for by name.  Without torch: a name that is mistyped is refused before anything is imported."""

from pathlib import Path

from ssl_lessons.errors import InputError

NAMES = ("shapes", "digits", "stl10", "cifar10")


def check_known(name: str | Path) -> None:
    """Raises InputError for a name that is neither a data set nor a folder (or an archive) that is there."""
    if name not in NAMES and not Path(name).expanduser().exists():
        raise InputError(f"{str(name)!r} is neither a data set ({', '.join(NAMES)}) nor a folder of pictures")
