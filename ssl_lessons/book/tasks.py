"""The exercises of a chapter, read from its text source.

An exercise is a Markdown heading `### 2 · Title (••, 8 minutes)`, its points being the dots; below it a code cell
with one function that returns NOT_ATTEMPTED and, as the last line, its check, `ch13.check_x(x)`; and a function of
the same name in the section "Solutions", with which the chapter ends.  Without a check it is done on paper.

jupytext is imported inside the functions that need it: a chapter on Colab has only the core dependencies.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from ssl_lessons.book import files
from ssl_lessons.errors import InputError

UNDONE = "return NOT_ATTEMPTED"
HEADING = re.compile(r"^### (\d+) · (.+) \((•+), .*\)$", re.MULTILINE)
_SOLUTIONS = re.compile(r"^###? Solutions$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r":\s*(#.*)?$")  # the line that ends a function's first statement
_CHECK = re.compile(r"(ch\w+)\.check_\w+\((\w+)\)")


@dataclass(frozen=True)
class Task:
    """An exercise: id ("13b-2"), title and points (its dots); text: its Markdown, hints included.

    cell: the place of its code cell in the chapter.  stub: that cell without its last line, check
    ("ch13.check_x(x)").  module: "ch13".  function: the name of what is to be written.  solution: that function,
    as the chapter's last section has it.
    """

    id: str
    title: str
    points: int
    text: str
    cell: int
    stub: str
    check: str
    module: str
    function: str
    solution: str

    def solved(self, before: str = "", after: str = "") -> str:
        """The stub with the body of the solution in place of NOT_ATTEMPTED, between two lines where they are given."""
        lines = self.solution.splitlines()
        header = next(i for i, line in enumerate(lines) if _HEADER.search(line))
        parts = [f"    {mark}" for mark in before.splitlines()] + lines[header + 1 :]
        parts += [f"    {mark}" for mark in after.splitlines()]
        return self.stub.replace(f"    {UNDONE}", "\n".join(parts))


def tasks(source: Path) -> list[Task]:
    """The exercises of a chapter that have a check, from its .py.  Raises InputError where one is incomplete."""
    import jupytext

    return tasks_of(jupytext.read(source).cells, files.number_of(source))


def tasks_of(cells: list, number: str) -> list[Task]:
    """As `tasks`, from the cells of the chapter with this number."""
    solutions, found = _solutions(cells), []
    for place, cell in enumerate(cells):
        check = (
            _CHECK.fullmatch(cell.source.rstrip().rpartition("\n")[2]) if cell.cell_type == "code" else None
        )
        if check is None:
            continue
        text = cells[place - 1].source if cells[place - 1].cell_type == "markdown" else ""
        heading = max(HEADING.finditer(text), key=lambda m: m.start(), default=None)
        stub = cell.source.rstrip().rpartition("\n")[0].rstrip()
        function = check[2]
        if heading is None:
            raise InputError(
                f"Chapter {number}: above `{check[0]}` a heading `### 1 · Title (••, 5 minutes)` is missing."
            )
        if function not in solutions or stub.count(UNDONE) != 1:
            raise InputError(
                f"Chapter {number}: {function} needs one `{UNDONE}` in its cell and a function of the same name "
                "in the section Solutions."
            )
        if _arguments(stub, function) != _arguments(solutions[function], function):
            raise InputError(f"Chapter {number}: {function} and its solution differ in their arguments.")
        found.append(
            Task(
                f"{number}-{heading[1]}",
                heading[2],
                len(heading[3]),
                text[heading.start() :],
                place,
                stub,
                check[0],
                check[1],
                function,
                solutions[function],
            )  # fmt: skip
        )
    if len({task.id for task in found}) < len(found):
        raise InputError(f"Chapter {number}: two exercises have the same number.")
    return found


def without_solutions(cells: list) -> list:
    """The cells up to the section "Solutions", with which a chapter ends; their Markdown is changed in place."""
    kept = []
    for cell in cells:
        cut = _SOLUTIONS.search(cell.source) if cell.cell_type == "markdown" else None
        if cut is None:
            kept.append(cell)
            continue
        cell.source = cell.source[: cut.start()].rstrip()
        return kept + [cell] * bool(cell.source)
    return kept


def _solutions(cells: list) -> dict[str, str]:
    """The functions of the section "Solutions": name -> source, with the comments that follow it."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heading = _SOLUTIONS.search(text)
    code = "\n".join(_PYTHON.findall(text[heading.end() :])) if heading else ""
    lines, nodes, found = code.splitlines(), ast.parse(code).body, {}
    for node, following in zip(nodes, [*nodes, None][1:], strict=True):
        end = following.lineno - 1 if following else len(lines)
        if isinstance(node, ast.FunctionDef):
            found[node.name] = "\n".join(lines[node.lineno - 1 : end]).rstrip()
    return found


def _arguments(code: str, function: str) -> list[str]:
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    return []
