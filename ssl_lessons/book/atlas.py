"""Where the systems of `data/atlas.csv` come to life: its column `place`, and the sections of chapters that it names.

A place is an address and, after a blank, the words under which the system stands there where its own name does not:
    chapters/13_from_nce_to_nt_xent.ipynb#the-run-your-six-lines-train-a-network
    tests/test_words.py::test_glove_weight_and_loss_against_loops
    benchmarks/families.py words
An address is a heading of a chapter, a test, or a script.  No place: the system is not alive yet.
"""

import csv
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ssl_lessons.book.files import data_file
from ssl_lessons.errors import InputError

_PLACE = re.compile(
    r"(?P<path>chapters/(?P<chapter>\w+)\.ipynb#(?P<anchor>[a-z][a-z0-9-]*)"
    r"|tests/\w+\.py::(?P<test>test_\w+)|benchmarks/\w+\.py)(?: (?P<words>\S.*))?"
)


@dataclass(frozen=True)
class Place:
    """chapter: the name of its file without its ending, or None for a test and a script; words: "" for the own name."""

    file: str  # from the root of the repository
    chapter: str | None
    anchor: str | None
    test: str | None
    words: str


def systems() -> list[dict]:
    """The rows of the atlas."""
    with open(data_file("atlas.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def place(text: str) -> Place | None:
    """A place from its text, None from an empty one; InputError for text that is none."""
    if not text:
        return None
    if not (match := _PLACE.fullmatch(text)):
        raise InputError(
            f"{text!r} is no place: write chapters/NAME.ipynb#heading, tests/FILE.py::test_name or "
            "benchmarks/FILE.py, and after a blank the words to look for there."
        )
    file = re.split("#|::", match["path"])[0]
    return Place(file, match["chapter"], match["anchor"], match["test"], match["words"] or "")


def anchor(heading: str) -> str:
    """The id that Sphinx gives to a heading (docutils' make_id): "1 · Two bugs (••)" -> "two-bugs"."""
    plain = unicodedata.normalize("NFKD", re.sub(r"[$`*]", "", heading).lower())
    words = re.sub("[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode())
    return re.sub("^[-0-9]+|-+$", "", words)


def sections(source: Path) -> dict[str, str]:
    """anchor -> heading, text and code of every section of a chapter's .py, with the sections below it."""
    found: list[tuple[int, str, list[str]]] = []  # level, anchor, cells
    for cell in re.split(r"^# %%", Path(source).read_text(encoding="utf-8"), flags=re.M)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            body = re.sub(r"^# ?", "", body, flags=re.M)
            parts = re.split(r"^(#{1,4} .*)$", body, flags=re.M)
            _add(found, parts[0])
            for heading, text in zip(parts[1::2], parts[2::2], strict=True):
                marks, _, title = heading.partition(" ")
                found.append((len(marks), anchor(title), []))
                _add(found, f"{title}\n{text}")
        else:
            _add(found, f"```python\n{body}\n```\n")
    return {name: "".join(_whole(found, i)) for i, (_, name, _) in enumerate(found)}


def _add(found: list[tuple[int, str, list[str]]], text: str) -> None:
    if found:
        found[-1][2].append(text)


def _whole(found: list[tuple[int, str, list[str]]], i: int) -> list[str]:
    """The cells of section i and of the deeper ones that follow it."""
    level, _, cells = found[i]
    cells = list(cells)
    for deeper, _, more in found[i + 1 :]:
        if deeper <= level:
            break
        cells += more
    return cells
