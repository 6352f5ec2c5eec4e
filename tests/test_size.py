"""Small things only: files, functions, and nothing said twice."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES, OF_A_FUNCTION, RUN = 400, 60, 12
REASON = f"Over {LINES} lines: "  # in the docstring of a file that is longer
ROOMS = ("ssl_lessons", "benchmarks", "tests")


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_a_long_file_says_why(files):
    long = {name: text for name, text in files.items() if text.count("\n") > LINES}
    assert [name for name, text in long.items() if REASON not in ast.get_docstring(ast.parse(text))] == []


def long_functions(text: str, most: int = OF_A_FUNCTION) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [f"{f.name}: {n} lines" for f in found if (n := f.end_lineno - f.lineno + 1) > most]


def test_no_function_of_the_package_is_long(files):
    package = {name: text for name, text in files.items() if name.startswith("ssl_lessons")}
    assert {name: found for name, text in package.items() if (found := long_functions(text))} == {}


def own_lines(text: str) -> list[str]:
    """The lines of a file without indent, without empty ones and without imports, which may be alike."""
    imports = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return [line.strip() for n, line in lines if n not in imports and line.strip()]


def twice(texts: dict[str, str], run: int = RUN) -> list[str]:
    """Where `run` lines in a row stand in two places."""
    places = defaultdict(list)
    for where, text in texts.items():
        lines = own_lines(text)
        for first in range(len(lines) - run + 1):
            places[tuple(lines[first : first + run])].append(where)
    return sorted({f"{' and '.join(sorted(at))}: {lines[0]}" for lines, at in places.items() if len(at) > 1})


def test_no_run_of_lines_stands_twice(files):
    assert twice(files) == []


def test_what_is_long_or_stands_twice_is_seen():
    body = "\n".join(f"    x{i} = {i}" for i in range(RUN))
    assert long_functions(f"def f():\n{body}\n", RUN) == [f"f: {RUN + 1} lines"]
    assert long_functions(f"def f():\n{body}\n") == []
    assert twice({"a": f"def f():\n{body}\n", "b": f"import os\n\nclass C:\n{body}\n"}) == ["a and b: x0 = 0"]
    assert twice({"a": f"if True:\n{body}\n{body}\n"})[0].startswith("a and a: ")
    imported = "from a import (\n" + re.sub(r" = \d+", ",", body) + "\n)\n"
    assert twice({"a": imported, "b": imported}) == []
