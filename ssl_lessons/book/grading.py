"""Grade a learner's notebook: run its exercises and what they need, nothing else, and ask the checkers.

nbformat, nbclient and IPython are imported inside the functions that need them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ssl_lessons.book import files
from ssl_lessons.book.needs import Statement, needed, statements
from ssl_lessons.book.tasks import Task, tasks_of
from ssl_lessons.errors import InputError

PREPARING = 300  # seconds for what an exercise needs
VERDICT_MIME = "application/vnd.ssl-lessons.check+json"
_SETUP = re.compile(r"^\s*(?:device = )?book\.setup\(['\"](\d\d[a-z]?)['\"]", re.MULTILINE)
_DEFINES = r"^\s*(?:def {0}\b|{0} *=)"


@dataclass(frozen=True)
class Grade:
    """What became of an exercise.  passed: True, False, or None when not attempted; message: what the learner reads."""

    task: Task
    passed: bool | None
    message: str

    @property
    def points(self) -> int:
        return self.task.points if self.passed else 0


def grade(path: Path, timeout: float = 60, chapters: Path = files.CHAPTERS) -> tuple[str, list[Grade]]:
    """The number of the chapter that a learner's notebook belongs to, and a Grade for each of its exercises.

    Of the notebook only those statements are executed, in a fresh kernel, that define the functions asked for, and
    those that they need; nothing that the chapter computes, so that no slip trains anything.  timeout: seconds for one
    check.  The checks are the book's own.  The learner's code is executed as it is: grade the
    work of strangers in a container.  Raises InputError for a file that is no notebook or does not say its chapter.
    """
    import jupytext

    cells = _code_cells(path)
    number = _number(path, cells, chapters)
    chapter = jupytext.read(files.find([number], chapters)[0]).cells
    found = tasks_of(chapter, number)
    program, grades = _program(cells, found, {cell.source.strip() for cell in chapter})
    verdicts = _verdicts(program, path.resolve().parent, timeout)
    return number, [grades.get(task.id) or Grade(task, *verdicts[task.id]) for task in found]


def _code_cells(path: Path) -> list[str]:
    """The code of a notebook, cell by cell, as Python: `%magic` and `!command` translated."""
    import nbformat
    from IPython.core.inputtransformer2 import TransformerManager

    from ssl_lessons.book.tidy import load

    cells = nbformat.from_dict(load(path))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    translate = TransformerManager().transform_cell
    return [translate(source) if source.strip() else "" for source in code]


def _number(path: Path, cells: list[str], chapters: Path) -> str:
    """The chapter: from the set-up cell, else from the file's name."""
    said = [m[1] for source in cells if (m := _SETUP.search(source))] or [files.number_of(path)]
    if said[0] not in {files.number_of(source) for source in files.find((), chapters)}:
        raise InputError(
            f"{path} does not say which chapter it belongs to: it needs the chapter's set-up cell, with "
            '`book.setup("13")`.'
        )
    return said[0]


def _program(
    cells: list[str], found: list[Task], chapter: set[str]
) -> tuple[list[tuple[str | None, str]], dict[str, Grade]]:
    """What to execute, (id of an exercise or None, code) in order; and the grades that are clear without it.

    Of cells that are as in the chapter no work is done, so that a learner's slip, such as a name of the chapter in
    place of an argument, trains nothing.
    """
    notebook: list[Statement] = []
    place_of: list[int] = []  # the cell of each statement
    grades = {}
    for place, source in enumerate(cells):
        try:
            parsed = statements(source)
        except SyntaxError as error:
            for task in found:
                if re.search(_DEFINES.format(task.function), source, re.MULTILINE):
                    wrong = f"your cell is no Python: {error.msg} (line {error.lineno})"
                    grades[task.id] = Grade(task, False, wrong)
            continue
        if source.strip() in chapter:
            parsed = [statement for statement in parsed if statement.kind != "work"]
        notebook += parsed
        place_of += [place] * len(parsed)
    answers = {}
    for task in found:
        last = max((i for i, s in enumerate(notebook) if task.function in s.binds), default=None)
        if last is None and task.id not in grades:
            grades[task.id] = Grade(task, None, f"not attempted yet: no cell defines {task.function}")
        if last is not None:
            grades.pop(task.id, None)
            answers[last] = task
    return _ordered(notebook, place_of, answers), grades


def _ordered(notebook, place_of, answers: dict[int, Task]) -> list[tuple[str | None, str]]:
    """The statements needed, those of a cell together, and after an answer its check."""
    program: list[tuple[str | None, str]] = []
    cell = None
    for i in needed(answers, notebook):
        if place_of[i] == cell and program[-1][0] is None:
            program[-1] = (None, f"{program[-1][1]}\n{notebook[i].text}")
        else:
            program.append((None, notebook[i].text))
        cell = place_of[i]
        if i in answers:
            program.append((answers[i].id, _check(answers[i])))
    return program


def _check(task: Task) -> str:
    return (
        f"from IPython.display import display as _display\n"
        f"from ssl_lessons.book.exercises import {task.module}\n"
        f"_verdict = {task.check}\n"
        f'_display({{"{VERDICT_MIME}": [_verdict.passed, _verdict.message]}}, raw=True)'
    )


def _verdicts(program, folder: Path, timeout: float) -> dict[str, tuple[bool | None, str]]:
    """Execute in a fresh kernel; exercise -> (passed, message)."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    from ssl_lessons.book.running import kernel_manager_class

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for _, code in program])
    # What exercises need are imports, which take long on a busy machine, and must not fail for all that follow.
    limits = {code: max(timeout, PREPARING) if name is None else timeout for name, code in program}
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: limits[cell.source],
        interrupt_on_timeout=True,
        allow_errors=True,
        kernel_manager_class=kernel_manager_class(),
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
    )
    died = "the kernel died while this or an exercise before it was running"
    try:
        client.execute()
    except DeadKernelError:
        pass
    verdicts, error = {}, None
    for (name, _), cell in zip(program, notebook.cells, strict=True):
        raised = [output for output in cell.outputs if output.output_type == "error"]
        error = raised[0] if raised else error
        if name is None:
            continue
        said = [o.data[VERDICT_MIME] for o in cell.outputs if VERDICT_MIME in o.get("data", {})]
        if said:
            verdicts[name] = tuple(said[-1])
        elif error is not None and error.ename == "KeyboardInterrupt":
            verdicts[name] = (False, "stopped: it ran too long")
        else:
            verdicts[name] = (False, f"your cell raises {error.ename}: {error.evalue}" if error else died)
        error = None
    return verdicts
