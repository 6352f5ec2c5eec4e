"""Editions of the chapters for class: without solutions, with them in place, for nbgrader, for otter-grader.

jupytext and nbformat are imported inside the functions that need them: a chapter on Colab has only the core
dependencies.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ssl_lessons.book import files
from ssl_lessons.book.needs import needed, statements
from ssl_lessons.book.tasks import UNDONE, Task, tasks_of, without_solutions
from ssl_lessons.errors import InputError

KINDS = ("student", "solutions", "nbgrader", "otter")
_AT_THE_END = r"[Ss]olutions\s+(?:stand|are)\s+at\s+the\s+end(?:\s+of\s+the\s+notebook)?"
_POINTERS = (  # sentences that point to the section "Solutions", and what is left of them without it
    (rf"{_AT_THE_END};\s+skipping", "Skipping"),
    (rf";\s+{_AT_THE_END}\.", "."),
    (rf"\s*{_AT_THE_END}\.", ""),
)


def write(
    kind: str, numbers: Sequence[str], out: Path, chapters: Path = files.CHAPTERS
) -> list[tuple[Path, list[Task]]]:
    """Write an edition of the chapters with these numbers (all when none is given) into the folder `out`.

    kind: "student" (whole chapters without solutions), "solutions" (whole chapters, every stub solved), "nbgrader"
    (exercises only, at the place where a course folder has its sources), "otter" (exercises only, in the format of
    `otter assign`).  Returns the notebooks written, each with its exercises.  Raises InputError for an unknown kind
    or number, and where a notebook of other content is in the way; then nothing is written.
    """
    import nbformat

    if kind not in KINDS:
        raise InputError(f"There is no edition {kind!r}; choose one of {', '.join(KINDS)}.")
    make: Callable = {"student": student, "solutions": solved, "nbgrader": nbgrader, "otter": otter}[kind]
    texts, written = {}, []
    for source in files.find(numbers, chapters):
        number, notebook = files.number_of(source), read(source)
        found = tasks_of(notebook.cells, number)
        place = Path(out, "source", number) if kind == "nbgrader" else Path(out)
        path = place / f"{source.stem}.ipynb"
        texts[path] = nbformat.writes(make(notebook, found, number), version=4) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != texts[path]:
            raise InputError(
                f"{path} is there already and differs; move it away or choose another folder with -o."
            )
        written.append((path, found))
    for path, text in texts.items():
        files.write(path, text)
    return written


def read(source: Path):
    """A chapter as a notebook: cells from its .py, outputs from its .ipynb where the cell is the same."""
    import jupytext
    import nbformat

    notebook, saved = jupytext.read(source), source.with_suffix(".ipynb")
    if saved.is_file():
        outputs = {
            c.source.strip(): c.outputs for c in nbformat.read(saved, 4).cells if c.cell_type == "code"
        }
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = copy.deepcopy(outputs.get(cell.source.strip(), []))
    return notebook


def student(notebook, tasks: list[Task], number: str):
    """The whole chapter without the section "Solutions"; hints stay."""
    notebook.cells = without_solutions(notebook.cells)
    first = notebook.cells[tasks[0].cell - 1]
    for pointer, rest in _POINTERS:
        first.source = re.sub(pointer, rest, first.source)
    return _finished(notebook)


def solved(notebook, tasks: list[Task], number: str):
    """The whole chapter; every stub has the body of its solution, and no output, since nothing is executed."""
    for task in tasks:
        cell = notebook.cells[task.cell]
        cell.source, cell.outputs = f"{task.solved()}\n\n\n{task.check}", []
    return _finished(notebook)


def nbgrader(notebook, tasks: list[Task], number: str):
    """The exercises as an nbgrader source: answers between its marks, each with a test cell of its own."""
    cells = _opening(notebook, tasks, number)
    for cell, name in zip(cells, ("title", "setup", "imports"), strict=True):
        _for_nbgrader(cell, f"{number}-{name}", locked=True)
    for task in tasks:
        solution = task.solved("### BEGIN SOLUTION", "### END SOLUTION")
        test = _code(
            f"from ssl_lessons.book.exercises import {task.module}, quietly\n\n"
            f"with quietly():\n    {task.check}.require()"
        )
        cells += [
            _for_nbgrader(_markdown(task.text), f"{task.id}-text", locked=True),
            _for_nbgrader(_code(_function(solution, task)), f"{task.id}-answer", solution=True),
            _for_nbgrader(test, f"{task.id}-test", locked=True, grade=True, points=task.points),
        ]
    notebook.cells = cells
    return _finished(notebook, keep="nbgrader")


def otter(notebook, tasks: list[Task], number: str):
    """The exercises as a master notebook for `otter assign`."""
    config = [
        "# ASSIGNMENT CONFIG", f'name: "{number}"', "requirements:", f'    - "git+{files.repository()}"',
        "export_cell:", "    pdf: false", "tests:", "    ok_format: false",
    ]  # fmt: skip
    cells = [_raw("\n".join(config)), *_opening(notebook, tasks, number)]
    for task in tasks:
        # What stands between the marks of a prompt is in the student's version only.
        solution = task.solved(
            "# BEGIN SOLUTION NO PROMPT", f'# END SOLUTION\n""" # BEGIN PROMPT\n{UNDONE}\n"""; # END PROMPT'
        )
        test = (
            f"def test_{task.function}({task.function}):\n"
            f"    from ssl_lessons.book.exercises import {task.module}\n\n    {task.check}.require()"
        )
        cells += [
            _raw(f'# BEGIN QUESTION\nname: "{task.id}"\npoints: {task.points}'),
            _markdown(task.text),
            _raw("# BEGIN SOLUTION"), _code(_function(solution, task)), _raw("# END SOLUTION"),
            _raw("# BEGIN TESTS"), _code(test), _raw("# END TESTS"),
            _raw("# END QUESTION"),
        ]  # fmt: skip
    notebook.cells = cells
    return _finished(notebook)


def _opening(notebook, tasks: list[Task], number: str) -> list:
    """Title, set-up, and one cell with the chapter's imports and whatever else the exercises need."""
    chapter = re.sub(r"^# ", "", notebook.cells[0].source.splitlines()[0])
    points = sum(task.points for task in tasks)
    title = (
        f"# Exercises of chapter {chapter}\n\n"
        f"{len(tasks)} exercises, {points} points. Write the functions; a test below each says what is wrong."
    )
    code = [cell.source for cell in notebook.cells[: tasks[0].cell] if cell.cell_type == "code"]
    before = [
        statement for source in code[1:] for statement in statements(source) if statement.kind != "work"
    ]
    answers = [s for task in tasks for s in statements(task.solved()) if task.function in s.binds]
    imports = [place for place, statement in enumerate(before) if statement.kind == "import"]
    places = needed([*imports, *range(len(before), len(before) + len(answers))], before + answers)
    kept = [before[place] for place in places if place < len(before)]
    first = "\n".join(dict.fromkeys(s.text for s in kept if s.kind == "import"))
    rest = [s.text for s in kept if s.kind != "import"]
    return [_markdown(title), _code(code[0]), _code("\n\n\n".join([first, *rest]))]


def _function(code: str, task: Task) -> str:
    """Of a stub's cell the function alone: what tries it out may need the whole chapter."""
    return next(s.text for s in statements(code) if task.function in s.binds)


def _finished(notebook, keep: str | None = None):
    """Cleaned like a saved chapter; not paired with a text source, and with the metadata `keep` of its cells."""
    import nbformat

    kept = [cell.metadata.get(keep) for cell in notebook.cells]
    files.clean(notebook)
    del notebook.metadata["jupytext"]
    for cell, metadata in zip(notebook.cells, kept, strict=True):
        if metadata is not None:
            cell.metadata[keep] = metadata
    nbformat.validate(notebook)
    return notebook


def _for_nbgrader(
    cell, name: str, locked: bool = False, solution: bool = False, grade: bool = False, points: int = 0
):
    metadata = {
        "schema_version": 3, "grade_id": name, "cell_type": cell.cell_type, "locked": locked, "solution": solution,
        "grade": grade, "task": False,
    }  # fmt: skip
    cell.metadata["nbgrader"] = metadata | ({"points": points} if grade else {})
    return cell


def _markdown(text: str):
    import nbformat

    return nbformat.v4.new_markdown_cell(text)


def _code(text: str):
    import nbformat

    return nbformat.v4.new_code_cell(text)


def _raw(text: str):
    import nbformat

    return nbformat.v4.new_raw_cell(text)
