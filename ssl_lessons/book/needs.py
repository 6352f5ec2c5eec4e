"""Which statements of a notebook a piece of code needs: found by names, nothing is executed."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_BUILTIN = frozenset(dir(builtins))
_KINDS = {"import": ast.Import | ast.ImportFrom, "function": ast.FunctionDef, "class": ast.ClassDef}


@dataclass(frozen=True)
class Statement:
    """One top-level statement: its lines, the names it gives a value, and the names it reads.

    kind: "import", "function", "class", "value" (an assignment that calls nothing) or "work" (whatever may take time).
    """

    text: str
    binds: frozenset[str]
    reads: frozenset[str]
    kind: str


def statements(code: str) -> list[Statement]:
    """The top-level statements of a cell.  Raises SyntaxError where it is no Python."""
    lines, found = code.splitlines(), []
    for node in ast.parse(code).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        last = node.end_lineno
        while last < len(lines) and re.match(r"\s+#", lines[last]):  # a comment inside, after the last line
            last += 1
        binds, reads = _names(ast.Module([node], []))
        found.append(Statement("\n".join(lines[first - 1 : last]), binds, reads, _kind(node)))
    return found


def needed(wanted: Iterable[int], notebook: Sequence[Statement]) -> list[int]:
    """The statements (their places in `notebook`, in order) that give values to all that those at `wanted` read.

    Those at `wanted` are among them.  A name that nothing binds is left alone: running the code will say so.
    """
    kept, open_ends = set(wanted), list(wanted)
    while open_ends:
        place = open_ends.pop()
        # What a function reads counts when it is called, not where it stands.
        end = len(notebook) if notebook[place].kind == "function" else place
        for name in notebook[place].reads - _BUILTIN:
            source = next((i for i in reversed(range(end)) if name in notebook[i].binds and i != place), None)
            if source is not None and source not in kept:
                kept.add(source)
                open_ends.append(source)
    return sorted(kept)


def _kind(node: ast.stmt) -> str:
    for kind, types in _KINDS.items():
        if isinstance(node, types):
            return kind
    plain = isinstance(node, ast.Assign | ast.AnnAssign) and not any(
        isinstance(n, ast.Call) for n in ast.walk(node)
    )
    return "value" if plain else "work"


def _names(module: ast.Module) -> tuple[frozenset[str], frozenset[str]]:
    """Global names that a statement binds (or changes a part of), and those that it reads, in inner scopes too."""
    top = symtable.symtable(ast.unparse(module), "cell", "exec")
    binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    reads = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        tables += table.get_children()
        reads |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            while isinstance(node, ast.Subscript | ast.Attribute):
                node = node.value
            if isinstance(node, ast.Name) and node.id in reads:
                binds.add(node.id)
    return frozenset(binds), frozenset(reads)
