"""The editions through the real nbgrader and otter-grader: all points, none, and none for each named mistake.

They come in a group of their own:  uv run --isolated --group grading pytest tests/test_graders.py
(GRADED_CHAPTERS="02 13" for other chapters: two to four minutes each)
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ssl_lessons.book import editions
from ssl_lessons.book.exercises.core import Exercise

CHAPTERS = os.environ.get("GRADED_CHAPTERS", "20b").split()


def run(*arguments, folder: Path) -> None:
    """Run a module of this Python; its own commands (nbgrader needs alembic) are found first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def mistakes(task) -> list[str]:
    """Code that gives the task's function each named mistake of its checker."""
    module = importlib.import_module(f"ssl_lessons.book.exercises.{task.module}")
    checker = getattr(module, task.check.partition("(")[0].partition(".")[2])
    return [
        f"{task.function} = {task.module}.{name}.mistakes[{i}][1]"
        for name in checker.__code__.co_names
        if isinstance(getattr(module, name, None), Exercise)
        for i in range(len(getattr(module, name).mistakes))
    ]


@pytest.mark.parametrize("number", CHAPTERS)
def test_nbgrader_gives_solutions_all_points_and_stubs_and_named_mistakes_none(number, tmp_path):
    api = pytest.importorskip("nbgrader.api")
    [(source, tasks)] = editions.write("nbgrader", [number], tmp_path)
    run("nbgrader", "generate_assignment", number, f"--course-dir={tmp_path}", folder=tmp_path)
    release = tmp_path / "release" / number / source.name
    submissions = {"solutions": nbformat.read(source, 4), "stubs": nbformat.read(release, 4)}
    for n in range(max(len(mistakes(task)) for task in tasks)):
        submissions[f"mistakes{n}"] = wrong = nbformat.read(release, 4)
        answers = {f"{task.id}-answer": mistakes(task)[n] for task in tasks if n < len(mistakes(task))}
        for cell in wrong.cells:
            cell.source = answers.get(cell.metadata.nbgrader.grade_id, cell.source)
    for student, notebook in submissions.items():
        folder = tmp_path / "submitted" / student / number
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / source.name)
    patient = [f"--Execute.{name}=300" for name in ("timeout", "startup_timeout", "iopub_timeout")]
    run("nbgrader", "autograde", number, f"--course-dir={tmp_path}", *patient, folder=tmp_path)
    with api.Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as gradebook:
        scores = {s.student.id: (s.score, s.max_score) for s in gradebook.assignment_submissions(number)}
    points = sum(task.points for task in tasks)
    assert scores.pop("solutions") == (points, points)
    assert len(scores) > 1 and set(scores.values()) == {(0, points)}
    for path in (tmp_path / "autograded").glob(f"mistakes*/{number}/*.ipynb"):
        raised = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", []) if "ename" in o]
        assert {output.ename for output in raised} == {"AssertionError"}, raised


@pytest.mark.parametrize("number", CHAPTERS)
def test_otter_gives_solutions_all_points_and_stubs_none(number, tmp_path):
    pytest.importorskip("otter")
    [(source, tasks)] = editions.write("otter", [number], tmp_path)
    run("otter", "assign", source.name, "dist", folder=tmp_path)  # which grades the solutions itself, too
    [autograder] = (tmp_path / "dist" / "autograder").glob("*.zip")
    for version, share in (("autograder", 1), ("student", 0)):
        results = tmp_path / f"results-{version}"
        results.mkdir()
        run(
            "otter",
            "run",
            tmp_path / "dist" / version / source.name,
            "-a",
            autograder,
            "-o",
            results,
            folder=tmp_path,
        )
        tests = json.loads((results / "results.json").read_text(encoding="utf-8"))["tests"]
        scores = {test["name"]: (test["score"], test["max_score"]) for test in tests if "score" in test}
        assert scores == {task.id: (share * task.points, task.points) for task in tasks}
