"""The instructor's page: its text with what the chapters and their checkers say filled in."""

import ast
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from ssl_lessons.book.site.outline import Chapter, Outline, notebook
from ssl_lessons.book.slides import choose
from ssl_lessons.book.tasks import Task, tasks_of

CHECKERS = Path(__file__).parents[1] / "exercises"
SHORT_COURSE = ("00", "13", "14", "15", "16", "17", "18", "20", "21", "24", "25")
_MINUTES = re.compile(r"^### \d+ · .+ \(•+, (\d+) minutes", re.M)


@dataclass(frozen=True)
class Lesson:
    """A chapter with what an instructor asks about it: minutes of its exercises, tasks, address on Colab."""

    chapter: Chapter
    lab: int
    tasks: list[Task]
    questions: list[tuple[str, str]]  # (section, what to ask before its slider, Markdown)
    colab: str


def page(text: str, book: Outline, chapters: Path, table) -> str:
    """The Markdown of the page: `text` with its marks <!-- ... --> replaced.  table: pages.table."""
    lessons = [_lesson(chapter, chapters) for chapter in book.chapters]
    mains = [one for one in lessons if one.chapter.of == one.chapter.number]
    short = [one for one in mains if one.chapter.number in SHORT_COURSE]
    parts = {
        "six weeks": _path("Six weeks", short, 6, book, table),
        "twelve weeks": _path("Twelve weeks", mains, 12, book, table),
        "chapters": _chapters(lessons, book, table),
        "questions": _questions(lessons, book),
        "mistakes": _mistakes(lessons, book),
    }
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    return text


def _lesson(chapter: Chapter, chapters: Path) -> Lesson:
    made = notebook(chapters / f"{chapter.name}.py")
    cells = [SimpleNamespace(**cell | {"source": "".join(cell["source"])}) for cell in made["cells"]]
    words = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    colab = re.search(r"\)\]\((https://colab\.research\.google\.com/[^)]*)\)", words)
    asked = [
        (section.title, choose.asking(section))
        for section in choose.sections(made)
        if any("explore(" in "".join(part["source"]) for kind, part in section.parts if kind == "cell")
    ]
    return Lesson(
        chapter,
        sum(map(int, _MINUTES.findall(words))),
        tasks_of(cells, chapter.number),
        asked,
        colab[1] if colab else "",
    )


def weeks(loads: Sequence[int], count: int) -> list[list[int]]:
    """Places of `loads`, in order, in at most `count` groups, such that the largest sum is as small as can be."""
    for most in sorted({sum(loads[a:b]) for a in range(len(loads)) for b in range(a + 1, len(loads) + 1)}):
        groups: list[list[int]] = [[]]
        for place, load in enumerate(loads):
            if groups[-1] and sum(loads[i] for i in groups[-1]) + load > most:
                groups.append([])
            groups[-1].append(place)
        if len(groups) <= count and max(loads) <= most:
            return groups
    return []


def _path(name: str, lessons: list[Lesson], count: int, book: Outline, table) -> str:
    rows = []
    groups = weeks([one.chapter.minutes + one.lab for one in lessons], count)
    for week, places in enumerate(groups, 1):
        chosen = [lessons[place] for place in places]
        titles = ", ".join(
            book.link(one.chapter.number, f"{one.chapter.number} {one.chapter.short}") for one in chosen
        )
        told = (sum(one.chapter.minutes for one in chosen), sum(one.lab for one in chosen))
        rows.append(([str(week), titles, *map(str, told)], {}))
    return table(name, ("week", "chapters", "lecture, minutes", "lab, minutes"), rows)


def _chapters(lessons: list[Lesson], book: Outline, table) -> str:
    rows = []
    for one in lessons:
        c = one.chapter
        opened = [f'<a href="slides/{c.name}.html" aria-label="Slides of {c.number}">slides</a>']
        opened = opened if book.suffix == ".html" else []  # an electronic book has none
        opened += [f'<a href="{one.colab}" aria-label="{c.number} on Colab">Colab</a>'] if one.colab else []
        rows.append(
            (
                [
                    book.link(c.number, f"{c.number} {c.short}"), ", ".join(map(book.link, c.needs)) or "-",
                    str(c.minutes), html.escape(c.runs),
                    f"{len(one.tasks)}, {one.lab} minutes", " · ".join(opened),
                ],
                {},
            )
        )  # fmt: skip
    return table("Chapters", ("chapter", "needs", "minutes to read", "to run", "exercises", "open"), rows)


def _questions(lessons: list[Lesson], book: Outline) -> str:
    return "\n".join(
        f"- {book.link(one.chapter.number)} *{section}*: {asked}"
        for one in lessons
        for section, asked in one.questions
    )


def _mistakes(lessons: list[Lesson], book: Outline) -> str:
    parts = []
    for one in lessons:
        told = [(task.title, named_mistakes(task.module, task.check)) for task in one.tasks]
        items = "\n".join(
            f"<li>{html.escape(title.replace('`', ''))}<ul>"
            + "".join(f"<li>{html.escape(m)}</li>" for m in found)
            + "</ul></li>"
            for title, found in told
            if found
        )
        if items:
            name = html.escape(f"{one.chapter.number} {one.chapter.short}")
            parts.append(f"<details><summary>{name}</summary>\n<ul>\n{items}\n</ul>\n</details>")
    return "\n\n".join(parts)


def named_mistakes(module: str, check: str) -> list[str]:
    """What a checker ("ch13", "ch13.check_x(x)") can say is wrong, from its source text; nothing is imported."""
    path = CHECKERS / f"{module}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            known[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    known[target.id] = node
    todo, seen, found = [check.partition(".")[2].partition("(")[0]], set(), []
    while todo:
        name = todo.pop(0)
        if name in known and name not in seen:
            seen.add(name)
            found += _messages(known[name])
            todo += [node.id for node in ast.walk(known[name]) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(found))


def _messages(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "mistakes":
            pairs = [
                pair for pair in ast.walk(node.value) if isinstance(pair, ast.Tuple) and len(pair.elts) == 2
            ]
            found += [_said(pair.elts[0]) for pair in pairs]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            wrong = getattr(node.args[0], "value", None) is False
            if node.func.id == "failed":
                found.append(_said(node.args[0]))
            elif node.func.id == "Check" and wrong and len(node.args) > 1:
                found.append(_said(node.args[1]))
    return [message for message in found if message]


def _said(node: ast.AST) -> str:
    """A text in the source; what is filled in when it is said becomes an ellipsis."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
        return "".join(parts) if len("".join(parts).replace("…", "").strip()) > 15 else ""
    return ""
