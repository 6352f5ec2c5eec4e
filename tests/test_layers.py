"""A room of the package imports only rooms on floors below its own."""

import ast
from pathlib import Path

import pytest

import ssl_lessons

ROOT = Path(ssl_lessons.__file__).parent
FLOORS = (
    "errors", "deferred", "storage", "progress", "diagnostics", "losses", "views", "data", "modalities", "models",
    "evaluation", "methods", "deployment", "training", "book", "cli", "__main__",
)  # fmt: skip
FLOOR = {room: level for level, room in enumerate(FLOORS)}
FILES = [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def imported_rooms(source: str, package: tuple[str, ...]) -> set[str]:
    """Rooms of ssl_lessons that `source`, a module inside `package` (parts below ssl_lessons), imports anywhere."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name.split(".") for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                base = ["ssl_lessons", *package][: 1 + len(package) - (node.level - 1)] + base
            # `from ssl_lessons import plots` names the room after the import
            names = [base + a.name.split(".") for a in node.names]
        rooms |= {name[1] for name in names if name[0] == "ssl_lessons" and len(name) > 1}
    return rooms


def violations(room: str, rooms: set[str]) -> list[str]:
    found = []
    for other in sorted(rooms - {room}):
        if other not in FLOOR:
            found.append(f"{room} imports {other}, which has no floor")
        elif FLOOR[other] >= FLOOR[room]:
            found.append(f"{room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_only_below(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    assert parts[0] in FLOOR, f"{parts[0]} has no floor"
    assert violations(parts[0], imported_rooms(path.read_text(), parts[:-1])) == []


def test_the_package_itself_imports_nothing():
    assert imported_rooms((ROOT / "__init__.py").read_text(), ()) == set()


@pytest.mark.parametrize(
    "source, package, rooms",
    [
        ("import ssl_lessons.plots as p", (), {"plots"}),
        ("from ssl_lessons import book, data", (), {"book", "data"}),
        ("from ssl_lessons.data.world import shapes", (), {"data"}),
        ("from . import plots", (), {"plots"}),
        ("from .errors import InputError", (), {"errors"}),
        ("from ..errors import InputError", ("losses",), {"errors"}),
        ("from .contrastive import nt_xent", ("losses",), {"losses"}),
        ("def f():\n    from ..plots import show", ("methods",), {"plots"}),
        ("import torch, json", (), set()),
    ],
)
def test_imports_are_seen(source, package, rooms):
    assert imported_rooms(source, package) == rooms


def test_violations_are_seen():
    assert violations("evaluation", {"methods"}) and violations("methods", {"training"})
    assert violations("views", {"book"}) and violations("book", {"cli"}) and violations("book", {"secret"})
    assert not violations("book", {"training", "errors"}) and not violations("data", {"data", "errors"})
