"""What of a chapter goes on its slides.  One rule for every chapter, nothing is marked by hand:

- Title, question, what one can do afterwards.
- Section by section, up to the exercises, in the notebook's order:
  of a paragraph its first sentence (short ones: the first few; before a formula that the paragraph leads to, its last
  one, too), the whole of it into the speaker's notes; lists, item by item in the same way; formulas, block quotes
  (predictions) and tables in full; every picture; what a cell printed, up to six lines; a widget as a slider, with the
  section's questions in the notes; code only where a cell of at most twelve lines is nothing but a function or class.
- The titles of the exercises; every claim with its verdicts; links.

Left out: the set-up, hints, exercises and solutions, quizzes, and the section on where it comes from but for its links.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl_lessons.book import frames
from ssl_lessons.book.files import CLAIM_MIME, HIDDEN
from ssl_lessons.book.slides import fit, text
from ssl_lessons.book.slides.fit import Block
from ssl_lessons.book.tasks import HEADING as EXERCISE

CODE_LINES, PRINTED_LINES, SHORT = 12, 6, 60
_LAST = re.compile(r"(exercises|solutions)\b", re.I)
_ASIDE = re.compile(
    r"(where it comes from|further reading|quiz|(a|two|three|four) questions?$|solutions)", re.I
)
_PLACE = re.compile(r'<div class="ssl-frames" data-widget="(\d+)"></div>')
_ROW = re.compile(r'<th scope="row"[^>]*>(.*?)</th><td[^>]*>(.*?)</td>', re.S)


@dataclass(frozen=True)
class Section:
    """A heading and what is below it: ("text", Markdown) or ("cell", a code cell), in order; exercise: one of them."""

    title: str
    parts: list[tuple[str, object]] = field(default_factory=list)

    @property
    def markdown(self) -> str:
        return "\n\n".join(part for kind, part in self.parts if kind == "text")


@dataclass(frozen=True)
class Slide:
    """kind: a CSS class; title: Markdown; notes: Markdown for the speaker."""

    kind: str
    title: str
    blocks: tuple[Block, ...]
    notes: str = ""


def sections(notebook: dict) -> list[Section]:
    """The chapter by its headings of the first three levels; code cells without the set-up."""
    found = [Section("")]
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for piece in re.split(r"^(?=#{1,3} )", source, flags=re.M):
                if heading := re.match(r"#{1,3} (.*)\n?", piece):
                    found.append(Section(heading[1].strip()))
                    piece = piece[heading.end() :]
                if piece.strip():
                    found[-1].parts.append(("text", piece.strip()))
        elif cell["cell_type"] == "code" and "book.setup(" not in source:
            found[-1].parts.append(("cell", cell))
    return found[1:] if not found[0].parts else found


def slides(notebook: dict, folder: Path) -> list[Slide]:
    """The slides of a chapter between its title and its closing slide.  folder: where the frames of its widgets lie."""
    found, tasks, claims, done = [], [], [], False
    for section in sections(notebook)[1:]:
        done = done or bool(_LAST.match(section.title))
        tasks += EXERCISE.findall(f"### {section.title}")
        claims += _claims(section)
        if not (done or _ASIDE.match(section.title)):
            found += _of_section(section, folder)
    if tasks:
        listed = tuple(fit.item(f"{number} · {title} {dots}") for number, title, dots in tasks)
        found += fit.packed("tasks", "Exercises", [(block, "") for block in listed], Slide)
    return found + fit.packed("claims", "Claims, tested", [(one, "") for one in fit.verdicts(claims)], Slide)


def _of_section(section: Section, folder: Path) -> list[Slide]:
    blocks = []
    for kind, part in section.parts:
        blocks += _of_text(part) if kind == "text" else _of_cell(part, section, folder)
    kind = "wrong" if "goes wrong" in section.title.lower() else "plain"
    return fit.packed(kind, section.title, blocks, Slide)


def _of_text(markdown: str) -> list[tuple[Block, str]]:
    """The blocks of a Markdown cell, each with what the speaker is told."""
    parts, found = text.paragraphs(markdown), []
    for part, following in zip(parts, [*parts, ""][1:], strict=True):
        if part.startswith("$$"):
            found += [(block, "") for block in fit.equations(part)]
        elif part.startswith(">"):
            found += [(block, "") for block in fit.quote(re.sub(r"^> ?", "", part, flags=re.M))]
        elif part.startswith("```"):
            lines = part.splitlines()[1:-1]
            if len(lines) <= CODE_LINES:
                found.append((fit.code("\n".join(lines)), ""))
        elif part.startswith("|"):
            found.append((fit.markdown_table(part), ""))
        elif re.match(r"\s*(?:[-*]|\d+\.)\s+", part):
            for item in text.items(part):
                first, rest = _opening(item)
                found.append((fit.item(first), item if rest else ""))
        elif not part.startswith(("<", "![", "[![")):
            found += _of_paragraph(part, leads=following.startswith("$$"))
    return found


def _of_paragraph(part: str, leads: bool) -> list[tuple[Block, str]]:
    first, rest = _opening(part)
    shown = f"{first} {rest[-1]}" if leads and rest else first
    return [(fit.text_block(shown, leads), part if rest else "")]


def _opening(part: str) -> tuple[str, list[str]]:
    """The first sentences of a text, at least SHORT letters of them, and those that follow."""
    first, *rest = text.sentences(part)
    while rest and len(text.plain(first)) < SHORT:
        first = f"{first} {rest.pop(0)}"
    return first, rest


def _of_cell(cell: dict, section: Section, folder: Path) -> list[tuple[Block, str]]:
    found, drawn, outputs = [], False, cell.get("outputs", [])
    for output in outputs:
        data = output.get("data", {})
        markup = "".join(data.get("text/html", ""))
        if CLAIM_MIME in data:
            continue
        if output["output_type"] == "stream":
            lines = "".join(output["text"]).splitlines()
            printed = "\n".join(line for line in lines if "%|" not in line).strip("\n")  # no progress bars
            if printed.strip() and printed.count("\n") < PRINTED_LINES:
                found.append((fit.printed(printed), ""))
        elif (place := _PLACE.search(markup)) and (slider := frames.markup(folder, place[1])):
            drawn = True
            found.append((fit.slider(slider), f"**Ask before the slider:** {asking(section)}"))
        elif picture := re.search(r"<img\b[^>]*>", markup):
            drawn = True
            found.append((fit.picture(picture[0]), ""))
        elif "<table" in markup:
            found += [(block, "") for block in fit.table(markup)]
    source = "".join(cell["source"])
    lines = [line for line in source.splitlines() if line.strip()]
    only = all(re.match(r"def |class |@|[\s)]", line) for line in lines)
    hidden = HIDDEN in cell.get("metadata", {}).get("tags", ())
    if not hidden and not drawn and len(lines) <= CODE_LINES and only:
        found.insert(0, (fit.code(source), ""))
    return found


def asking(section: Section) -> str:
    """What to ask before the slider is moved: the questions that the widget's section asks in front of it."""
    before = []
    for kind, part in section.parts:
        if kind == "text":
            before.append(part)
        elif "explore(" in "".join(part["source"]):
            break
    asked = text.questions("\n\n".join(before)) or ["What will change when you move it, and why?"]
    return " ".join(asked)


def _claims(section: Section) -> list[dict[str, str]]:
    """Statement and verdicts, as HTML, of the claims that the section's cells report."""
    outputs = [o for kind, cell in section.parts if kind == "cell" for o in cell.get("outputs", [])]
    shown = [o["data"] for o in outputs if CLAIM_MIME in o.get("data", {})]
    return [dict(_ROW.findall("".join(data.get("text/html", "")))) for data in shown]


def papers(notebook: dict, most: int = 8) -> list[str]:
    """Links, in Markdown, from the section on where the chapter comes from."""
    found: Sequence[str] = ()
    for section in sections(notebook):
        if re.match("where it comes from", section.title, re.I):
            found = re.findall(r"(?<!!)\[[^\]]+\]\(https?://[^)\s]+\)", section.markdown)
    return [html.unescape(" ".join(link.split())) for link in dict.fromkeys(found)][:most]
