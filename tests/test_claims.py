"""The table of claims, and that every chapter hands in runs and no rules of its own."""

import ast
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from ssl_lessons import book
from ssl_lessons.book import files
from ssl_lessons.book.ledger import PLACES, verdicts
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import FAILS, HOLDS, UNSURE, UNTESTED, Runs, judge

ROOT = Path(__file__).parent.parent
CHAPTERS = files.find()
TABLE = book.claims()
IN_USE = [row for row in TABLE.values() if row.status == "claim"]
KEYS = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "data" / "references.bib").read_text(), re.MULTILINE))


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.id)
def test_a_row_is_complete(row):
    assert (
        row.status in ("claim", "withdrawn")
        and row.source in {*KEYS, *PLACES}
        and row.statement.endswith(".")
    )
    if row.status == "withdrawn":
        assert row.note
        return
    assert all(value for value in asdict(row).values())
    assert row.rule in evidence.RULES and row.learns in evidence.LEARNS and row.margin > 0
    assert row.learns == "none" or row.rule != "correlates"


def test_no_two_rows_share_an_id_or_a_statement():
    assert len((ROOT / "data" / "claims.csv").read_text().splitlines()) == len(TABLE) + 1
    assert len({row.statement for row in TABLE.values()}) == len(TABLE)


def simulated(row, direction, spread):
    """Runs of five seeds in which the treatment lies `direction` margins above the control; a correlation of forty
    runs, or of six where the spread is large."""
    luck = np.random.default_rng(0).standard_normal((3, 5))
    if row.rule == "correlates":
        x, noise = np.random.default_rng(0).standard_normal((2, 40 if spread < 1 else 6))
        return Runs(x, direction * x + min(spread, 1) * noise)
    control = 100 * row.margin + row.margin * spread * luck[0]
    treatment = 100 * row.margin + row.margin * (direction + spread * luck[1])
    return Runs(treatment, control, [0.0] * 5, (luck[2] + 100, luck[2] + 100))


@pytest.mark.parametrize("row", IN_USE, ids=lambda row: row.id)
def test_no_rule_is_constant(row):
    words = {
        judge(simulated(row, d, 0.1), row.rule, row.margin, row.learns).word for d in (-8, -2, 0.02, 2, 8)
    }
    assert words == {HOLDS, FAILS}
    assert judge(simulated(row, 1, 3), row.rule, row.margin, row.learns).word == UNSURE
    if row.learns != "none":
        asleep = Runs([1.0, 1.1, 1.2], [1.3, 1.1, 1.0], [1.2, 1.0, 1.1])
        assert judge(asleep, row.rule, row.margin, row.learns).word == UNTESTED


def calls(path):
    """The calls of `book.claim` in a chapter."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) in ("book.claim", "claim")]


def faults(path) -> list[str]:
    """What a chapter does with claims that the table should do, or that cannot fail."""
    found = []
    for call in calls(path):
        names = [keyword.arg for keyword in call.keywords]
        if len(call.args) != 1 or not set(names) <= {"drawn", "photographs", "groups"} or not names:
            found.append(f"line {call.lineno}: claim takes an id of the table and runs, nothing else")
        if not (isinstance(call.args[0], ast.Constant) and call.args[0].value in TABLE):
            found.append(f"line {call.lineno}: the id is not one of data/claims.csv")
        for keyword in call.keywords:
            if any(
                isinstance(n, ast.Constant) and isinstance(n.value, int | float)
                for n in ast.walk(keyword.value)
            ):
                found.append(f"line {call.lineno}: a number stands where runs should")
    words = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
    return found + [f"the verdict {w!r} is written out" for w in evidence.WORDS if w in words]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_states_no_rule_of_its_own(path):
    assert not faults(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('book.claim("C-71", "Twice two is four.", "reproduced", {"a": 4})', "nothing else"),
        ('book.claim("C-71")', "nothing else"),
        ('book.claim("C-99999", drawn=runs)', "not one of"),
        ('book.claim("C-71", drawn=Runs([0.1, 0.2], b))', "a number stands"),
        ('print("holds here")', "written out"),
    ],
)
def test_the_test_of_chapters_sees(tmp_path, text, says):
    (tmp_path / "30_x.py").write_text(text)
    assert any(says in fault for fault in faults(tmp_path / "30_x.py"))


def test_a_claim_shows_statement_source_rule_and_both_verdicts(capsys):
    arms = Runs([0.6, 0.62, 0.61], [0.3, 0.31, 0.33], [0.2, 0.21, 0.2])
    found = verdicts("C-71", arms)
    assert found["drawn"].word == HOLDS and found["photographs"].word == UNTESTED
    assert book.claim("C-71", drawn=arms) is None
    text = capsys.readouterr().out
    for part in (TABLE["C-71"].statement, "https://arxiv.org/abs/2002.05709, section 3.1", "holds here: +0.297",
                 "not tested: no run in this world", "at least 0.02"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(("id", "says"), [("C-99999", "add it"), ("C-21", "withdrawn")])
def test_an_unknown_or_withdrawn_claim_is_refused(id, says):
    with pytest.raises(InputError, match=says):
        book.claim(id, drawn=Runs([1.0], [2.0]))
