"""What the site knows about the chapters: read from the title cells of their notebooks and from README's table."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_lessons.book.files import data_file, find, number_of, repository
from ssl_lessons.errors import InputError

PARTS = (
    ("00", "Start"), ("01", "I · Early work"), ("05", "II · Pretext tasks"), ("13", "III · Loss families"),
    ("20", "IV · Collapse, knobs, evaluation"), ("24", "V · The build"),
)  # fmt: skip  # the first chapter of each, and what it is called


@dataclass(frozen=True)
class Chapter:
    """A chapter or companion; needs: numbers of the chapters that its title cell says it needs."""

    number: str
    name: str
    title: str
    short: str
    question: str
    minutes: int
    runs: str  # how long, in words
    needs: tuple[str, ...]

    @property
    def of(self) -> str:
        """The number of the chapter that this is a companion of, or its own."""
        return self.number[:2]


@dataclass(frozen=True)
class Outline:
    """The chapters in the site; everything else that exists is linked to where the repository shows it."""

    chapters: tuple[Chapter, ...]
    suffix: str  # of a page: .html, or .xhtml in the EPUB
    repository: str
    references: dict[str, str]  # address of a paper -> its key

    def link(self, number: str, text: str | None = None) -> str:
        """HTML that leads from a page at the top to a chapter, or its number where it is not in the site."""
        text = html.escape(text or number)
        for chapter in self.chapters:
            if chapter.number == number:
                return f'<a href="chapters/{chapter.name}{self.suffix}">{text}</a>'
        return text

    def relink(self, markdown: str, up: str = "") -> str:
        """Markdown whose links to papers lead to the references, and those out of the site to the repository.

        up: the way to the top, "../" in a chapter.
        """
        present = {chapter.name for chapter in self.chapters}

        def local(match: re.Match) -> str:
            text, path, anchor = match[1], match[2], match[3] or ""
            if path.endswith(".ipynb") and Path(path).stem in present:
                return match[0]
            if path.endswith(".md") and not path.startswith(("../", "data/")):  # a page of the site itself
                return match[0]
            path = path.removeprefix("../") if "/" in path else f"chapters/{path}"
            return f"[{text}]({self.repository}/blob/main/{path}{anchor})"

        def paper(match: re.Match) -> str:
            key = self.references.get(html.unescape(match[2]))
            page = f"{up}references{self.suffix}#ref-{key}"
            return f'<a class="reference" href="{page}">{match[1]}</a>' if key else match[0]

        text = re.sub(r"(?<!!)\[([^\]]+)\]\((https?://[^)\s]+)\)", paper, markdown)
        return re.sub(
            r"(?<!!)\[([^\]]+)\]\((?!https?:)([\w./-]+\.(?:ipynb|md|csv|py|json|bib))(#[\w-]*)?\)",
            local,
            text,
        )


def outline(numbers: Sequence[str], chapters: Path, suffix: str) -> Outline:
    """Read the chapters with these numbers, all by default.

    Raises InputError for an unknown number and for a chapter without a saved notebook.
    """
    readme = chapters.parent / "README.md"
    table = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    pairs = re.findall(
        r"^@\w+\{([^,]+),.*?url = \{([^}]+)\}",
        data_file("references.bib").read_text(encoding="utf-8"),
        re.M | re.S,
    )
    found = tuple(_chapter(path, table) for path in find(numbers, chapters))
    return Outline(found, suffix, repository(), {url: key for key, url in pairs})


def notebook(path: Path) -> dict:
    """The saved notebook of a chapter, from the path of its source; InputError where there is none."""
    path = path.with_suffix(".ipynb")
    if not path.is_file():
        raise InputError(f"{path.name} is missing: run `ssl-lessons build {number_of(path)}` first.")
    return json.loads(path.read_text(encoding="utf-8"))


def _chapter(path: Path, readme: str) -> Chapter:
    text = "".join(notebook(path)["cells"][0]["source"])
    number = number_of(path)
    heading = re.search(r"^# (.*)", text)
    title = heading[1].partition("·")[2].strip() or heading[1] if heading else path.stem
    row = re.search(rf"^\| \[{number} ([^\]]+)\]\([^)]*\) \|(?: \d+ \|)? (.*?) \|$", readme, re.M)
    time = re.search(r"\*\*Time\*\*: (\d+) minutes", text)
    runs = re.search(r"minutes to read,\s+([^.,]*?)\s+to\s+run", text)
    needs = re.search(r"\*\*You need\*\*(.*?)(?=\*\*Time\*\*|\n\n|\Z)", text, re.S)
    linked = re.findall(r"\((\d\d[a-z]?)_\w+\.ipynb\)", needs[1]) if needs else []
    return Chapter(
        number,
        path.stem,
        title,
        row[1] if row else title,
        row[2] if row else title,
        int(time[1]) if time else 0,
        " ".join(runs[1].split()) if runs else "",
        # A chapter may name its own companions there: they build on it.
        tuple(n for n in dict.fromkeys(linked) if not (n[:2] == number and len(n) > 2)),
    )
