"""`ssl-lessons edition`, `grade` and `clean`: chapters for class, and what learners hand in."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ssl_lessons.cli.book import Numbers
from ssl_lessons.cli.options import Json, app


class Kind(StrEnum):
    student = "student"
    solutions = "solutions"
    nbgrader = "nbgrader"
    otter = "otter"


Notebook = Annotated[Path, typer.Argument(metavar="FILE", help="A learner's notebook (.ipynb).")]


@app.command()
def edition(
    kind: Annotated[Kind, typer.Argument(help="What to make of the chapters.")],
    numbers: Numbers = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The folder to write to.")] = Path(
        "edition"
    ),
) -> None:
    """Write chapters as notebooks for class; executes nothing.

    student: whole chapters without solutions; hints stay.  solutions: whole chapters with every stub solved.
    nbgrader: the exercises alone, answers and tests in cells of their own, as DIR/source/NN/NAME.ipynb; with DIR as the
    course folder go on with `nbgrader generate_assignment NN`.  otter: the exercises alone, for
    `otter assign DIR/NAME.ipynb DIST`.  Grading an nbgrader or otter edition trains nothing.  A notebook in
    the way that differs is never overwritten.

    Example:  ssl-lessons edition nbgrader 13 14 -o course
    """
    from ssl_lessons.book import editions

    for path, tasks in editions.write(kind.value, numbers or (), out):
        print(f"{path}  {len(tasks)} exercises, {sum(task.points for task in tasks)} points")


@app.command()
def grade(
    file: Notebook,
    as_json: Json = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one check may take.")] = 60,
) -> None:
    """Grade the exercises of a learner's notebook.

    Executes the functions asked for and what they need of the notebook, nothing else, and prints the points and the
    checker's sentence for each; writes nothing. The exit code is 0 with all points, 1 otherwise, 2 when the file is no
    notebook of a chapter. It runs the learner's code as it is: use a container for strangers.

    --json prints the shape that PrairieLearn expects as results.json, with points beside the score; GitHub Classroom
    needs the exit code alone:

    {"gradable": true, "score": 0.25, "points": 2, "max_points": 8, "chapter": "13", "tests": [{"name": "13-1 How large
    a batch?", "points": 1, "max_points": 1, "message": "correct", "passed": true}, ...]}

    passed is true, false, or null when not attempted.

    Example:  ssl-lessons grade work/13_from_nce_to_nt_xent.ipynb
    """
    from ssl_lessons.book import grading

    number, grades = grading.grade(file, timeout)
    points, most = sum(g.points for g in grades), sum(g.task.points for g in grades)
    if as_json:
        rows = [
            {
                "name": f"{g.task.id} {g.task.title}", "points": g.points, "max_points": g.task.points,
                "message": g.message, "passed": g.passed,
            }
            for g in grades
        ]  # fmt: skip
        head = {
            "gradable": True,
            "score": points / most,
            "points": points,
            "max_points": most,
            "chapter": number,
        }
        print(json.dumps(head | {"tests": rows}, indent=2, ensure_ascii=False))
    else:
        for g in grades:
            print(f"{g.task.id:7} {g.points} of {g.task.points}  {g.task.title}: {g.message}")
        print(f"chapter {number}: {points} of {most} points")
    raise typer.Exit(0 if points == most else 1)


@app.command()
def clean(file: Notebook) -> None:
    """Make a learner's notebook fit for GitHub.

    Takes out widget state, dead widgets and execution counts, which GitHub cannot show or compare; whatever the learner
    wrote and all other outputs stay. Rewrites the file in one step.

    Example:  ssl-lessons clean work/13_from_nce_to_nt_xent.ipynb
    """
    from ssl_lessons.book.tidy import tidy

    gone = tidy(file)
    print(f"{file}: removed {', '.join(gone)}" if gone else f"{file}: nothing to remove")
