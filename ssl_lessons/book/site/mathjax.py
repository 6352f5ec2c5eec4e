"""MathJax, which draws the formulas: one file of its npm package, fetched once and kept in the cache folder."""

import tarfile
from pathlib import Path

from ssl_lessons.errors import InputError

FILE = "tex-svg-full.js"  # the one build that needs neither fonts nor further files
URL = "https://registry.npmjs.org/mathjax/-/mathjax-3.2.2.tgz"
MD5 = "736b3f3f34fbcc6f42eee2758faab7bc"


def mathjax(given: Path | None = None) -> bytes:
    """MathJax's script: from `given` (the file, the npm package or a folder with either), else the cache or the net.

    Raises InputError where it is not in `given` or cannot be fetched.
    """
    if given is not None:
        return _read(Path(given))
    from ssl_lessons.data.cache import cache_folder
    from ssl_lessons.data.download import fetch

    kept = cache_folder() / "site" / URL.rpartition("/")[2]
    try:
        return _read(fetch(URL, kept, MD5))
    except InputError as error:
        raise InputError(
            f"MathJax, which draws the formulas, is not here ({error}). Connect to the internet once, or fetch "
            f"{URL} on another machine and give it with --mathjax FILE."
        ) from None


def _read(path: Path) -> bytes:
    if path.is_dir():
        found = sorted(path.rglob(FILE)) + sorted(path.glob("mathjax-3*.tgz"))
        if not found:
            raise InputError(f"{path} holds no {FILE}: give the folder of MathJax 3's npm package.")
        path = found[0]
    if not path.is_file():
        raise InputError(f"There is no file {path}: give MathJax's {FILE} or its npm package with --mathjax.")
    if path.suffix != ".tgz":
        return path.read_bytes()
    try:
        with tarfile.open(path) as package:
            return package.extractfile(f"package/es5/{FILE}").read()
    except (tarfile.TarError, KeyError, OSError):
        raise InputError(
            f"{path} is not the npm package of MathJax 3: give another with --mathjax."
        ) from None
