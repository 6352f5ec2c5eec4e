"""Pages on the package, one per room, from the source text: nothing is imported."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
ROOMS = (
    "losses", "methods", "views", "data", "modalities", "models", "diagnostics", "evaluation", "training",
    "deployment", "book",
)  # fmt: skip
LEFT_OUT = (
    "exercises",
    "site",
    "slides",
)  # of the book's room: checkers, which would give answers away, and these pages and slides


def all_pages() -> dict[str, str]:
    """The pages of the package by the name of their source file."""
    made = {f"api/{room}.md": _room(PACKAGE / room) for room in ROOMS}
    rows = "\n".join(f"- [`ssl_lessons.{room}`]({room}.md): {_first_line(PACKAGE / room)}" for room in ROOMS)
    made["api/index.md"] = (
        "# The package\n\nOne page per room, from the docstrings. A room imports only rooms below it.\n\n"
        f"{rows}\n\n```{{toctree}}\n:hidden:\n\n" + "\n".join(ROOMS) + "\n```\n"
    )
    return made


def _first_line(room: Path) -> str:
    return _markdown(_docstring(_parsed(room / "__init__.py")).split("\n\n")[0])


def _room(room: Path) -> str:
    parts = [f"# ssl_lessons.{room.name}", _markdown(_docstring(_parsed(room / "__init__.py")))]
    for path in sorted(room.rglob("*.py")):
        inside = path.relative_to(room).parts[0] not in LEFT_OUT
        if inside and path.name != "__init__.py" and not path.name.startswith("_"):
            parts += _module(path, ".".join(path.relative_to(room).with_suffix("").parts))
    return "\n\n".join(part for part in parts if part) + "\n"


def _module(path: Path, name: str) -> list[str]:
    tree = _parsed(path)
    found = [
        node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and _public(node)
    ]
    parts = [f"## {name}", _markdown(_docstring(tree))]
    for node in found:
        parts += [f"### {node.name}", f"```python\n{_signature(node)}\n```", _markdown(_docstring(node))]
        methods = [m for m in node.body if isinstance(m, ast.FunctionDef) and _public(m) and _docstring(m)]
        for method in methods if isinstance(node, ast.ClassDef) else ():
            parts += [f"```python\n{_signature(method)}\n```", _markdown(_docstring(method))]
    return parts if found else []


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _docstring(node) -> str:
    return ast.get_docstring(node) or ""


def _public(node) -> bool:
    return not node.name.startswith("_")


def _signature(node) -> str:
    if isinstance(node, ast.FunctionDef):
        return _call(node.name, node)
    for made in node.body:
        if isinstance(made, ast.FunctionDef) and made.name == "__init__":
            return _call(node.name, made)
    fields = [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign)]
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return "\n".join(
        [f"class {node.name}" + (f"({bases})" if bases else ""), *(f"    {field}" for field in fields)]
    )


def _call(name: str, function: ast.FunctionDef) -> str:
    """The name with its arguments, on one line where they fit, else one a line."""
    whole = re.sub(r"^self(, )?", "", ast.unparse(function.args))
    gives = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    if len(line := f"{name}({whole}){gives}") <= 88:
        return line
    words = re.split(r", (?=(?:[^\[\]()]|\[[^\[\]]*\]|\([^()]*\))*$)", whole)  # not inside brackets
    return f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){gives}"


def _markdown(docstring: str) -> str:
    """A docstring as Markdown: indented by four spaces or in backticks it is code, else text."""
    lines = []
    for line in docstring.splitlines():
        if line.startswith("    "):
            lines.append(line)
            continue
        words = re.split(r"(`+[^`]+`+)", line)
        words[::2] = [re.sub(r"([*_$<\[\]\\#])", r"\\\1", word) for word in words[::2]]
        lines.append("".join(words))
    return "\n".join(lines)
