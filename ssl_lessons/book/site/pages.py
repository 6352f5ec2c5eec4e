"""The pages that are made from the book's own tables."""

import csv
import html
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_lessons.book.atlas import place, systems
from ssl_lessons.book.files import ROOT, data_file, number_of, records_read, sources_of
from ssl_lessons.book.ledger import PLACES, Judged, claims, judged
from ssl_lessons.book.site import instructors
from ssl_lessons.book.site.course_map import drawing
from ssl_lessons.book.site.outline import PARTS, Outline, notebook
from ssl_lessons.evaluation.evidence import UNTESTED, Verdict

WRITTEN = Path(__file__).parent / "pages"  # pages that are text
WIDE = (
    "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"  # a table or drawing that wants the whole width
)


def all_pages(book: Outline, chapters: Path) -> dict[str, str]:
    """Every page but the chapters and the package's, by the name of its source file."""
    made = {
        "index.md": _front(book, chapters),
        "map.md": _map(book),
        "ledger.md": _ledger(book),
        "atlas.md": _atlas(book),
        "records.md": _records(book, chapters),
        "glossary.md": _glossary(book),
        "versions.md": _versions(book, chapters),
        "references.md": _references(),
    }
    for path in sorted(WRITTEN.glob("*.md")):
        made[path.name] = book.relink(path.read_text(encoding="utf-8"))
    made["instructors.md"] = WIDE + instructors.page(made["instructors.md"], book, chapters, table)
    return made


def table(
    name: str, headings: Sequence[str], rows: Sequence, filters: Mapping[str, str] | None = None
) -> str:
    """An HTML table in its own scroll box, without blank lines, which would end it in Markdown.

    rows: (cells as HTML, the values that it is filtered by, several joined by "|").  filters: value -> its label.
    """
    wide = ' class="ssl-wide"' if len(headings) > 3 else ""
    sieve = f" data-filters='{html.escape(json.dumps(filters))}'" if filters else ""
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    lines = []
    for cells, values in rows:
        data = "".join(f' data-{key}="{html.escape(str(value))}"' for key, value in values.items())
        lines.append(f"<tr{data}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f'<div class="ssl-box" role="region" tabindex="0" aria-label="{html.escape(name)}">\n<table{wide}{sieve}>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>\n</div>\n"
    )


def _rows(name: str) -> list[dict]:
    with open(data_file(name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _toctree(caption: str, documents: Sequence[str]) -> str:
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(documents) + "\n```\n"


def _front(book: Outline, chapters: Path) -> str:
    readme = chapters.parent / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else "# The book\n"
    lead = text.partition("\n## ")[0].replace("](#", f"]({book.repository}#")
    different = re.search(r"^## What is different here\n.*?(?=^## |\Z)", text, re.M | re.S)
    rows, trees = [], []
    for (first, caption), (after, _) in zip(PARTS, [*PARTS[1:], ("99", "")], strict=True):
        part = [c for c in book.chapters if first <= c.number < after]
        for c in part:
            rows.append(
                ([book.link(c.number, f"{c.number} {c.short}"), html.escape(c.question), str(c.minutes)], {})
            )
        if part:
            trees.append(_toctree(caption, [f"{c.number} {c.short} <chapters/{c.name}>" for c in part]))
    told = (
        f"{len(rows)} chapters and companions, {sum(c.minutes for c in book.chapters) / 60:.0f} hours to read"
    )
    parts = [
        book.relink(lead.strip()),
        "Everything here is read without a kernel: numbers and pictures are those of the saved runs. To run a chapter, "
        f"open it on Colab (its first link), or take [the repository]({book.repository}).",
        f"## The course\n\n{told}, exercises apart. [The map](map.md) shows what builds on what.",
        table("The course", ("chapter", "question", "minutes to read"), rows),
        book.relink(different[0].strip()) if different else "",
        *trees,
        _toctree(
            "Look up",
            ("map", "ledger", "atlas", "records", "glossary", "bugs", "own_pictures", "instructors", "references"),
        ),
        _toctree("The package", ("api/index", "versions")),
    ]
    return "\n\n".join(parts) + "\n"


def _map(book: Outline) -> str:
    lines = []
    names = {c.number for c in book.chapters}
    for c in book.chapters:
        if c.of != c.number and c.of in names:
            continue
        needs = ", ".join(book.link(n) for n in c.needs) or "nothing before it"
        leads = ", ".join(
            book.link(o.number) for o in book.chapters if c.number in o.needs and o.of == o.number
        )
        line = f"- {book.link(c.number, f'{c.number} {c.short}')}, {c.minutes} minutes. Needs {needs}."
        lines.append(line + (f" Leads to {leads}." if leads else ""))
        for o in book.chapters:
            if o.of == c.number and o is not c:
                also = ", ".join(book.link(n) for n in o.needs if n != c.number)
                line = (
                    f"  - {book.link(o.number, f'{o.number} {o.short}')}, {o.minutes} minutes, a companion."
                )
                lines.append(line + (f" Needs {also}, too." if also else ""))
    return WIDE + (
        "# Course map\n\nAn arrow leads from a chapter to one that needs it; what a chapter needs stands in its title "
        "cell. Arrows that follow from others are left out. Letters are companions, which nothing needs unless it "
        "says so. Minutes are to read, exercises apart.\n\n"
        f"{drawing(book)}\n\n## As a list\n\n" + "\n".join(lines) + "\n"
    )


def _source(book: Outline, key: str) -> str:
    if key in PLACES:
        return html.escape(PLACES[key])
    text = html.escape(re.sub(r"^([a-z_-]+?)(\d{4}).*", lambda m: f"{m[1].title()} {m[2]}", key))
    return (
        f'<a href="references{book.suffix}#ref-{key}">{text}</a>' if key in book.references.values() else text
    )


def _ledger(book: Outline) -> str:
    found: dict[str, list[Judged]] = {}
    for one in judged():
        found.setdefault(one.claim.id, []).append(one)
    rows, withdrawn = [], []
    for claim in claims().values():
        statement = f'<span id="{claim.id}">{html.escape(claim.id)}</span>: {html.escape(claim.statement)}'
        source = f"{_source(book, claim.source)}, {html.escape(claim.place)}"
        if claim.status != "claim":
            withdrawn.append(([statement, source, html.escape(claim.note)], {}))
            continue
        records = found.get(claim.id, [])
        cells, values = [], {}
        for world in ("drawn", "photographs"):
            told = [one.verdicts[world] for one in records] or [Verdict(UNTESTED, reason="in no chapter yet")]
            cells.append("<br>".join(html.escape(str(verdict)) for verdict in told))
            values[world] = "|".join(dict.fromkeys(verdict.word for verdict in told))
        numbers = [one.chapter.partition("_")[0] for one in records]
        values["chapter"] = "|".join(numbers)
        places = ", ".join(book.link(number) for number in numbers)
        rows.append(([statement, source, html.escape(claim.comparison()), *cells, places], values))
    return WIDE + (
        f"# Ledger of claims\n\n{len(rows)} statements of the literature beside what this book measured, by rules "
        "fixed beforehand. A verdict says what was seen here, in small worlds and short runs; what the source speaks "
        "of may be another matter. Numbers: treatment minus control with a 90 % interval over seeds. "
        "`evaluation.evidence` has the rule.\n\n"
        + table(
            "Ledger of claims",
            ("statement", "source", "compared", "drawn world", "photographs", "chapter"),
            rows,
            {"drawn": "In the drawn world", "photographs": "On photographs", "chapter": "Chapter"},
        )
        + f"\n## Withdrawn\n\n{len(withdrawn)} statements are no claims that runs could decide, and why.\n\n"
        + table("Withdrawn claims", ("statement", "source", "why"), withdrawn)
    )


def _alive(book: Outline, row: dict) -> str:
    """HTML that leads to the place of a system: a section of a chapter, else a test or a script in the repository."""
    if (there := place(row["place"])) is None:
        here = {c.number for c in book.chapters}
        number = row["chapter"]
        if number == "cards":
            return f'<a href="{book.repository}/blob/main/data/README.md">data cards</a>'
        return f"{html.escape(number)} (planned)" if number not in here else "not yet"
    if there.chapter in {c.name for c in book.chapters}:
        address = f"chapters/{there.chapter}{book.suffix}#{there.anchor}"
    else:
        address = f"{book.repository}/blob/main/{there.file}"
    text = number_of(Path(there.chapter)) if there.chapter else Path(there.file).name
    return f'<a href="{address}">{html.escape(text)}</a>'


def _atlas(book: Outline) -> str:
    rows, known = [], systems()
    for row in known:
        cells = [html.escape(row[key]) for key in ("name", "year", "authors", "kind", "modality")]
        values = {"kind": row["kind"], "modality": row["modality"], "chapter": row["chapter"]}
        rows.append(([*cells, _alive(book, row)], values))
    alive = sum(bool(row["place"]) for row in known)
    return WIDE + (
        f"# Atlas\n\n{len(rows)} named systems of the literature. For {alive} of them the last column leads to where "
        "they come to life: the section of a chapter, a test or a script in which one is run, computed, measured or "
        "written down.\n\n"
        + table(
            "Atlas",
            ("name", "year", "authors", "kind", "modality", "alive in"),
            rows,
            {"kind": "Kind", "modality": "Modality", "chapter": "Chapter"},
        )
    )


def _readers(chapters: Path) -> dict[str, list[str]]:
    """Record -> numbers of the chapters whose source reads it."""
    found: dict[str, list[str]] = {}
    for path in sources_of(chapters):
        for name in records_read(path.read_text(encoding="utf-8")):
            found.setdefault(name, []).append(number_of(path))
    return found


def _records(book: Outline, chapters: Path) -> str:
    rows, readers = [], _readers(chapters)
    for path in sorted(data_file("results/claims.json").parent.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if path.name == "claims.json":
            continue
        address = f"{book.repository}/blob/main/data/results/{path.name}"
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        cells = [
            f'<a href="{address}">{path.name}</a>', f"<code>{html.escape(record['command'])}</code>", record["date"],
            str(len(record["rows"])), ", ".join(book.link(n) for n in readers.get(path.stem, ())) or "none",
            html.escape(f"{versions}; {record['machine']}"),
        ]  # fmt: skip
        rows.append((cells, {}))
    return WIDE + (
        "# Run records\n\nWhat takes longer than a minute was run before, and recorded with the command that repeats "
        "it. Chapters read these files and run a part of each anew.\n\n"
        + table("Run records", ("file", "command", "date", "rows", "read in", "versions and machine"), rows)
    )


def _glossary(book: Outline) -> str:
    entries = []
    for row in sorted(_rows("glossary.csv"), key=lambda row: row["term"].lower()):
        places = " ".join(book.link(number) for number in row["chapter"].split())
        entries.append(f"{row['term']}\n  {row['sentence']} (Chapter {places}.)\n")
    return (
        f"# Glossary\n\n{len(entries)} terms, each with the chapter that explains it.\n\n```{{glossary}}\n"
        + ("\n".join(entries) + "```\n")
    )


def _versions(book: Outline, chapters: Path) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    newest = {}
    for bound in project.get("tool", {}).get("uv", {}).get("constraint-dependencies", ()):
        name, _, version = bound.partition(" ;")[0].partition("<=")
        newest[name] = f"{newest[name]} or {version}" if name in newest else version
    packages = []
    for requirement in project["project"]["dependencies"]:
        name = re.match(r"[\w-]+", requirement)[0]
        packages.append(([name, html.escape(requirement.removeprefix(name)), newest.get(name, "")], {}))
    runs = []
    for c in book.chapters:
        printed = json.dumps(notebook(chapters / f"{c.name}.py"), ensure_ascii=False)
        torch = re.search(r"· torch ([\d.]+)", printed)
        cells = [book.link(c.number, f"{c.number} {c.short}"), str(c.minutes), html.escape(c.runs)]
        runs.append(([*cells, torch[1] if torch else ""], {}))
    licences = [path for name in ("LICENSE", "LICENSE-text") if (path := ROOT / name).is_file()]
    texts = [
        f"### {path.name}\n\n```text\n{path.read_text(encoding='utf-8').strip()}\n```" for path in licences
    ]
    return "\n\n".join(
        [
            f"# Versions and licence\n\nVersion {project['project']['version']} of the book's package.",
            "## Packages\n\nThe lowest version each chapter may meet, and the newest that all of it was run with.",
            table("Packages", ("package", "required", "newest tried"), packages),
            "## Chapters\n\nThe time to run is for two CPU cores; the version of torch is that of the saved run.",
            table("Chapters", ("chapter", "minutes to read", "to run", "torch"), runs),
            "## Licence",
            *(texts or ["The repository states no licence yet; all rights are its authors'."]),
            "## What this site contains of others\n\nThe theme sphinx-book-theme and the pages' skeleton by Sphinx "
            "(BSD), the icons of Font Awesome Free (CC BY 4.0, SIL OFL 1.1 and MIT), MathJax (Apache 2.0), and "
            "in the slides reveal.js (MIT).",
        ]
    )


def _references() -> str:
    return (
        "# References\n\nWhat the chapters cite, by first author; each entry leads to the paper.\n\n"
        "```{bibliography}\n:all:\n:style: plain\n```\n"
    )
