"""How long a chapter takes to read: counted from its text source, and written into its title cell."""

import re
from dataclasses import dataclass
from pathlib import Path

from ssl_lessons.book import files

WORDS_A_MINUTE, LINES_A_MINUTE = 180, 15
APART = ("exercises", "solutions")  # sections that the reader does rather than reads
_TIME = re.compile(r"(\*\*Time\*\*: )\d+( minutes to read)")


@dataclass(frozen=True)
class Size:
    """words of prose, lines of code meant to be read; longest: lines of the longest such cell."""

    words: int
    lines: int
    longest: int

    @property
    def minutes(self) -> int:
        """Honest minutes: 180 words and 15 lines of code a minute, exercises apart."""
        return round(self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE)


def size(source: Path) -> Size:
    """The size of a chapter, from its .py; cells tagged "hide-input", exercises and their solutions do not count."""
    import jupytext

    words, cells, apart = 0, [0], False
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "markdown":
            for section in re.split(r"^(?=##? )", cell.source, flags=re.MULTILINE):  # a cell may hold several
                heading = re.match(r"##? (.*)", section)
                apart = heading[1].strip().lower().startswith(APART) if heading else apart
                words += 0 if apart else _words(section)
        elif not apart and files.HIDDEN not in cell.metadata.get("tags", ()):
            cells.append(sum(bool(line.strip()) for line in cell.source.splitlines()))
    return Size(words, sum(cells), max(cells))


def _words(markdown: str) -> int:
    """Words of a Markdown cell: a formula's symbols count, addresses, tags and marks do not."""
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", markdown)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def write_minutes(source: Path) -> Size:
    """Put the honest minutes into the title cell ("**Time**: 25 minutes to read") and into the table of the README
    beside the chapters' folder, where there is one; the chapter's size.
    """
    found = size(source)
    _write(source, _TIME, found.minutes)
    readme = source.parent.parent / "README.md"
    if readme.is_file():
        _write(readme, re.compile(rf"(\(chapters/{source.stem}\.ipynb\) \| )\d+( \|)"), found.minutes)
    return found


def _write(path: Path, place: re.Pattern, minutes: int) -> None:
    text = path.read_text(encoding="utf-8")
    told = place.sub(rf"\g<1>{minutes}\g<2>", text, count=1)
    if told != text:
        files.write(path, told)
