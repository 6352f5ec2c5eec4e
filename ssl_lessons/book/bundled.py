"""Files for a browser that Python packages bring along: nothing is fetched when the site or slides are written."""

import importlib.metadata
import importlib.util
from collections.abc import Sequence

from ssl_lessons.errors import InputError


def bundled(package: str, ending: str) -> bytes:
    """The file of a package whose path ends so.  Raises InputError where the package is missing."""
    try:
        files = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        files = ()
    for path in files:
        if f"/{path.as_posix()}".endswith(f"/{ending}"):
            return path.locate().read_bytes()
    raise missing(package)


def require(modules: Sequence[str]) -> None:
    """Raise InputError where one of these modules is not installed."""
    for name in modules:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # of the package that it is in
            found = None
        if found is None:
            raise missing(name)


def missing(package: str) -> InputError:
    return InputError(f"Site and slides need {package}: run this with `uv run --group site ssl-lessons ...`.")
