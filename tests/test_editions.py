"""Every chapter's exercises as an autograder needs them; the editions made of them; grading and cleaning notebooks."""

import ast
import importlib
import json
import re
import sys

import pytest
from typer.testing import CliRunner

from ssl_lessons import cli
from ssl_lessons.book import editions, files, grading
from ssl_lessons.book.exercises import Check, quietly
from ssl_lessons.book.needs import needed, statements
from ssl_lessons.book.tasks import tasks, tasks_of
from ssl_lessons.book.tidy import tidy
from ssl_lessons.errors import InputError

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

SOURCES = files.sources_of()
each_chapter = pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)


def code_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def ssl(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


# ---- the exercises of the chapters ------------------------------------------------------------------------


@each_chapter
def test_every_check_belongs_to_a_complete_exercise_and_every_exercise_has_a_check(source):
    found, text = tasks(source), source.read_text(encoding="utf-8")
    assert len(found) == len(re.findall(r"^ch\w+\.check_", text, re.MULTILINE)) > 0
    headings = re.findall(r"^# ### (\d+) · .*\(•+, (.*)\)$", text, re.MULTILINE)
    assert [t.id.partition("-")[2] for t in found] == [
        n for n, minutes in headings if "on paper" not in minutes
    ]


def test_every_checker_is_used_by_a_chapter():
    used = {
        (task.module, task.check.partition("(")[0].partition(".")[2]) for s in SOURCES for task in tasks(s)
    }
    for module in {name for name, _ in used}:
        checkers = vars(importlib.import_module(f"ssl_lessons.book.exercises.{module}"))
        assert {(module, name) for name in checkers if name.startswith("check_")} <= used


@each_chapter
def test_solutions_pass_their_tests_stubs_do_not_and_nothing_is_trained(source, capsys):
    found, number = tasks(source), files.number_of(source)
    setup, needs, *pairs = code_of(editions.nbgrader(editions.read(source), found, number))
    for node in ast.parse(needs).body:
        assert isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign), (
            ast.unparse(node)
        )
    names = {}
    for code in (setup, needs):
        exec(code, names)
    assert len(pairs) == 2 * len(found)
    for answer, test in zip(pairs[::2], pairs[1::2], strict=True):
        exec(answer, names)
        exec(test, names)
        for undone in (
            "raise NotImplementedError()",
            "return NOT_ATTEMPTED",
        ):  # nbgrader's stub, and the book's
            exec(re.sub(r"### BEGIN SOLUTION.*### END SOLUTION", undone, answer, flags=re.DOTALL), names)
            with pytest.raises(AssertionError, match="^not attempted yet$"):
                exec(test, names)
    assert capsys.readouterr().err == ""


TOY = [
    (
        "markdown",
        "## Exercises\n\n### 1 · Twice (••, 5 minutes)\nDouble it.\n<details><summary>Hint</summary>+</details>",
    ),
    ("code", "def twice(x):\n    return NOT_ATTEMPTED\n\n\nch00.check_twice(twice)"),
    (
        "markdown",
        "Words.\n\n### Solutions\n\n```python\ndef twice(x):\n    # Why\n    return 2 * x\n    # How\n```",
    ),
]


def toy(old: str = "", new: str = "") -> list:
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    return [make[kind](text.replace(old, new) if old else text) for kind, text in TOY]


def test_an_exercise_is_read_with_its_hints_and_the_comments_of_its_solution():
    [task] = tasks_of(toy(), "00b")
    assert (task.id, task.title, task.points, task.module) == ("00b-1", "Twice", 2, "ch00")
    assert task.text.startswith("### 1") and "<summary>" in task.text and task.cell == 1
    assert task.solved() == "def twice(x):\n    # Why\n    return 2 * x\n    # How"
    assert task.solved("# A", "# B\n# C").endswith("# How\n    # B\n    # C")
    assert "    # A\n    # Why" in task.solved("# A")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("### 1 · Twice (••, 5 minutes)", "### Twice", "a heading"),
        ("def twice(x):\n    # Why", "def thrice(x):\n    # Why", "a function of the same name"),
        ("    return NOT_ATTEMPTED", "    return None", "needs one `return NOT_ATTEMPTED`"),
        ("def twice(x):\n    # Why", "def twice(y):\n    # Why", "differ in their arguments"),
    ],
)
def test_an_incomplete_exercise_is_named(old, new, says):
    with pytest.raises(InputError, match=f"Chapter 00: .*{says}"):
        tasks_of(toy(old, new), "00")


def test_require_raises_with_the_sentence_that_the_reader_sees():
    Check(True, "correct").require()
    for passed in (False, None):
        check = Check(passed, "the sign is wrong")
        with pytest.raises(AssertionError, match="^the sign is wrong$"):
            check.require()


def test_what_a_right_answer_warns_of_does_not_reach_stderr(capsys):
    with quietly():
        print("UserWarning: an old name", file=sys.stderr)
    assert capsys.readouterr().err == ""


# ---- what a piece of code needs ---------------------------------------------------------------------------


def test_needs_are_followed_through_scopes_and_nothing_else_is_taken():
    before = statements(
        "import math\n"
        "z = train()\n"  # local names of f do not count
        "size = 2\n"
        "table = {}\n"
        "table['a'] = size\n"
        "size = 3\n"
        "def f(x):\n    z = [size * y for y in x]\n    return g(z, table)\n"
        "def g(z, t):\n    return max(z) + math.pi\n"  # after f, but f is called later
        "print(f([1]))\n"
    )
    wanted = statements("def answer(x):\n    return f(x)\n    # the end")
    lines = [(before + wanted)[i].text.splitlines()[0] for i in needed([len(before)], before + wanted)]
    assert lines == ["import math", "size = 2", "table = {}", "table['a'] = size", "size = 3", "def f(x):",
                     "def g(z, t):", "def answer(x):"]  # fmt: skip
    assert wanted[0].text.endswith("# the end")


# ---- the editions -----------------------------------------------------------------------------------------


@each_chapter
def test_the_student_edition_has_hints_and_outputs_and_no_solution(source):
    found, whole = tasks(source), editions.read(source)
    outputs = [cell.outputs for cell in whole.cells if cell.cell_type == "code" and cell.outputs]
    notebook = editions.student(editions.read(source), found, files.number_of(source))
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"^###? Solutions$", text, re.MULTILINE)
    for task in found:
        assert task.solution not in text and task.solved() not in text and task.stub in text
        assert task.text.count("<details>") == 0 or task.text.partition("<details>")[2] in text
    exercises = notebook.cells[found[0].cell - 1].source
    assert (
        not re.search("olutions (stand|are) at", exercises)
        and re.search(r"\n\n### 1 ", exercises)
        and ".." not in exercises
    )
    kept = [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(kept) == len(outputs) and "jupytext" not in notebook.metadata


def test_the_solutions_edition_has_each_stub_solved_above_its_check(tmp_path):
    [(path, found)] = editions.write("solutions", ["13"], tmp_path)
    notebook = nbformat.read(path, 4)
    for task in found:
        cell = notebook.cells[task.cell]
        assert (
            cell.source.endswith(f"\n{task.check}")
            and "NOT_ATTEMPTED" not in cell.source
            and not cell.outputs
        )
        assert cell.source.startswith(task.stub.splitlines()[0])  # the stub's types stay
    assert notebook.cells[-1].source.startswith("## Solutions")


def test_the_nbgrader_edition_separates_answers_and_tests_and_counts_the_points(tmp_path):
    [(path, found)] = editions.write("nbgrader", ["13b"], tmp_path)
    assert path == tmp_path / "source" / "13b" / "13b_slips_in_print.ipynb"
    marks = [cell.metadata.nbgrader for cell in nbformat.read(path, 4).cells]
    assert len({m.grade_id for m in marks}) == len(marks) and {m.schema_version for m in marks} == {3}
    assert [m.points for m in marks if m.grade] == [task.points for task in found]
    assert not any(m.solution and m.grade for m in marks)
    assert all(m.locked != m.solution for m in marks)


def test_a_notebook_in_the_way_is_never_overwritten(tmp_path):
    [(path, _)] = editions.write("student", ["13b"], tmp_path)
    editions.write("student", ["13b"], tmp_path)  # the same again
    path.write_text("a learner's work", encoding="utf-8")
    result = ssl("edition", "student", "13", "13b", "-o", tmp_path)
    assert result.exit_code == 2 and "13b_slips_in_print.ipynb is there already" in result.output
    assert path.read_text(encoding="utf-8") == "a learner's work" and len(list(tmp_path.iterdir())) == 1


# ---- grading ----------------------------------------------------------------------------------------------

ANSWERS = {
    "13-1": "def candidates_needed(nats, loss):\n    return len(runs)",  # what the chapter trains
    "13-2": "def temperature_for(gap, ratio):\n    while True:\n        pass",
    "13-3": "unit = partial(F.normalize, dim=1)\n\n\ndef helper(z):\n    return unit(z)\n\n\n"
    "%matplotlib inline\ndef my_nt_xent(z1, z2, temperature):\n    z = helper(torch.cat([z1, z2]))\n"
    "    logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)\n"
    "    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))",
    "13-4": "def nt_xent_many(z, temperature)\n    return 0",  # a colon is missing
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """`grade --json` of a learner's copy of chapter 13: exit code and what was printed."""
    folder = tmp_path_factory.mktemp("work")
    [(path, found)] = editions.write("student", ["13"], folder)
    notebook = nbformat.read(path, 4)
    for task in found:
        notebook.cells[task.cell].source = f"{ANSWERS[task.id]}\n\n\n{task.check}"
    notebook.cells.insert(2, nbformat.v4.new_code_cell("raise SystemExit('a cell that nothing needs')"))
    path = path.rename(folder / "my copy.ipynb")  # the set-up cell says the chapter
    nbformat.write(notebook, path)
    result = ssl("grade", path, "--json", "--timeout", "5")
    return result.exit_code, json.loads(result.stdout)


def test_a_learners_notebook_is_graded_by_its_functions_alone(graded):
    code, said = graded
    assert code == 1 and said["gradable"] is True and said["chapter"] == "13"
    assert (said["points"], said["max_points"], said["score"]) == (2, 8, 0.25)
    messages = {test["name"][:4]: (test["points"], test["passed"], test["message"]) for test in said["tests"]}
    assert messages["13-3"] == (2, True, "correct")
    assert messages["13-1"][:2] == (0, False) and "name 'runs' is not defined" in messages["13-1"][2]
    assert messages["13-2"] == (0, False, "stopped: it ran too long")
    assert messages["13-4"][:2] == (0, False) and messages["13-4"][2].startswith(
        "your cell is no Python: expected ':'"
    )


def test_the_solutions_edition_gets_all_points_and_exit_code_0(tmp_path):
    [(path, _)] = editions.write("solutions", ["13b"], tmp_path)
    result = ssl("grade", path)
    assert result.exit_code == 0, result.output
    assert "chapter 13b: 5 of 5 points" in result.output


def test_what_is_no_notebook_of_a_chapter_is_refused(tmp_path):
    empty = nbformat.v4.new_notebook()
    nbformat.write(empty, tmp_path / "mine.ipynb")
    (tmp_path / "text.ipynb").write_text("hello", encoding="utf-8")
    for name, says in (
        ("gone", "cannot be read"),
        ("text", "no notebook"),
        ("mine", "does not say which chapter"),
    ):
        for command in ("grade", "clean")[: 1 if name == "mine" else 2]:
            result = ssl(command, tmp_path / f"{name}.ipynb")
            assert result.exit_code == 2 and says in result.output


def test_an_exercise_that_is_missing_is_not_attempted(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "_verdicts", lambda program, folder, timeout: {})
    path = tmp_path / "13b_slips_in_print.ipynb"  # the name alone says the chapter
    nbformat.write(nbformat.v4.new_notebook(), path)
    _, grades = grading.grade(path)
    assert [g.passed for g in grades] == [None, None] and "no cell defines judge" in grades[1].message


# ---- cleaning ---------------------------------------------------------------------------------------------


def test_clean_takes_out_what_github_cannot_show_and_nothing_that_a_learner_wrote(tmp_path):
    cell = nbformat.v4.new_code_cell("answer = 42  # é", execution_count=7)
    cell.metadata |= {"collapsed": False}
    cell.outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": "42"}, execution_count=7),
        nbformat.v4.new_output("display_data", {files.WIDGET_MIME: {"model_id": "a"}, "text/plain": "Box()"}),
        nbformat.v4.new_output("stream", name="stdout", text="said\n"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("my notes"), cell])
    notebook.metadata |= {"widgets": {"application/vnd.jupyter.widget-state+json": {}}, "mine": 1}
    path = tmp_path / "mine.ipynb"
    nbformat.write(notebook, path)
    assert tidy(path) == ["widget state", "1 dead widgets", "1 execution counts"]
    after = nbformat.read(path, 4)
    nbformat.validate(after)
    assert after.metadata == {"mine": 1} and after.cells[0] == notebook.cells[0]
    assert after.cells[1].execution_count is None and after.cells[1].source == cell.source
    assert [o.output_type for o in after.cells[1].outputs] == ["execute_result", "stream"]
    assert after.cells[1].metadata == cell.metadata and after.cells[1].id == cell.id
    stamp = path.stat().st_mtime_ns
    assert tidy(path) == [] and path.stat().st_mtime_ns == stamp
