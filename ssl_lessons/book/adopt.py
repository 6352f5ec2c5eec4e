"""Turn the book into a fork's own, or into a release: every address of its repository, in texts and notebooks."""

import re
import tomllib
from pathlib import Path

from ssl_lessons.book import files
from ssl_lessons.errors import InputError

# What states the address: badges, set-up cells, links to files, how to cite.
TEXTS = (
    "pyproject.toml", "*.md", "CITATION.cff", "chapters/*.py", "chapters/*.ipynb", "data/*.md", "docs/**/*.md",
    "examples/**/*.md", ".github/**/*.yml",
)  # fmt: skip
_ADDRESS = re.compile(r"https://github\.com/([\w-]+/[\w.-]+?)(?:\.git)?/?")
_TAG_TABLE = re.compile(r'\n*\[tool\.ssl-lessons\]\ntag = "[^"]*"\n')


def adopt(address: str, tag: str | None = None, root: Path = files.ROOT) -> dict[str, int]:
    """Make the clone at `root` the book of the repository at `address`; changed files, each with its changed places.

    tag: the release that badges, set-up cells and links name; without it they name main.  Of a notebook only the
    sources change, and the ids that follow from them; outputs stay.  A second call changes nothing.
    Raises InputError for what is no address on GitHub, for an impossible tag, and where there is no clone.
    """
    new = _ADDRESS.fullmatch(address)
    if not new:
        raise InputError(f"{address!r} is no address of a repository: https://github.com/OWNER/REPO")
    if tag is not None and not re.fullmatch(r"[\w.-]+", tag):
        raise InputError(f"{tag!r} is no tag: letters, digits, dots and dashes, such as v1.0")
    if not (root / "pyproject.toml").is_file() or not (root / "chapters").is_dir():
        raise InputError(f"{root} is no clone of the book: run this in the folder that `git clone` made")
    old = _ADDRESS.fullmatch(files.repository(root))
    if not old:
        raise InputError(
            "Repository in pyproject.toml is no address on GitHub: set it by hand, then run this again"
        )
    changed = {}
    for path in sorted({path for pattern in TEXTS for path in root.glob(pattern)}):
        text = path.read_text(encoding="utf-8")
        made = (
            _notebook(text, old[1], new[1], tag)
            if path.suffix == ".ipynb"
            else _moved(text, old[1], new[1], tag)
        )
        if path == root / "pyproject.toml":
            made = _pinned(made, tag)
        if made != text:
            files.write(path, made)
            changed[path.relative_to(root).as_posix()] = _places(text, made)
    return changed


def _moved(text: str, old: str, new: str, tag: str | None) -> str:
    """A text with the new address, and with the tag where an address names a version."""
    text = re.sub(rf"(github(?:\.com)?/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
    text = re.sub(rf"{re.escape(_pages(old))}(?![\w-])", _pages(new), text)
    text = re.sub(
        rf"(github(?:\.com)?/{re.escape(new)}/(?:blob|tree)/)[\w.-]+", rf"\g<1>{tag or 'main'}", text
    )
    pin = f"@{tag}" if tag else ""
    return re.sub(
        rf"(git\+https://github\.com/{re.escape(new)})(?:@[\w.-]+)?(?![\w.-])", rf"\g<1>{pin}", text
    )


def _pages(place: str) -> str:
    """Where GitHub Pages show OWNER/REPO."""
    return "{}.github.io/{}".format(*place.split("/"))


def _notebook(text: str, old: str, new: str, tag: str | None) -> str:
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    sources = [_moved(cell.source, old, new, tag) for cell in notebook.cells]
    if sources == [cell.source for cell in notebook.cells]:
        return text
    for cell, source in zip(notebook.cells, sources, strict=True):
        cell.source = source
    files.name_cells(notebook.cells)
    return nbformat.writes(notebook, version=4) + "\n"


def _pinned(pyproject: str, tag: str | None) -> str:
    """pyproject.toml with the tag, or without one."""
    if tomllib.loads(pyproject).get("tool", {}).get("ssl-lessons", {}).get("tag") == tag:
        return pyproject
    pyproject = _TAG_TABLE.sub("\n", pyproject).rstrip("\n") + "\n"
    return pyproject + (f'\n[tool.ssl-lessons]\ntag = "{tag}"\n' if tag else "")


def _places(old: str, new: str) -> int:
    """Lines of the new text that the old one does not have."""
    had = set(old.splitlines())
    return sum(line not in had for line in new.splitlines())
