"""The ledger as data: what chapters judged, what is undecided and what deciding would cost."""

import json

import pytest

from ssl_lessons import book
from ssl_lessons.book import files, ledger
from ssl_lessons.evaluation.evidence import UNSURE


def verdict(word, n=3, decide=None):
    return {
        "word": word,
        "estimate": 0.0,
        "low": -1.0,
        "high": 1.0,
        "n": n,
        "margin": 0.02,
        "decide": decide,
        "reason": "",
    }


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three claims of the table; one record with times, one without."""
    rows = [
        {"chapter": "13_a", "id": "C-1", "records": ["slow"], "drawn": verdict(UNSURE, 3, 9)},
        {"chapter": "14_b", "id": "C-2", "records": ["slow"], "drawn": verdict(UNSURE, 3, 5)},
        {"chapter": "15_c", "id": "C-3", "records": ["silent"], "drawn": verdict(UNSURE, 3, 4)},
        {"chapter": "16_d", "id": "C-4", "records": ["slow"], "drawn": verdict("holds here")},
    ]
    none = verdict("not tested", 0) | {"estimate": None, "low": None, "high": None}
    made = {
        "claims": [row | {"photographs": none} for row in rows],
        "slow": {"rows": [{"seconds": s} for s in (10, 30, 500)] + [{"seconds": None}, {"probe": 1}]},
        "silent": {"rows": [{"probe": 0.5}]},
    }
    for name, content in made.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    real = files.data_file
    monkeypatch.setattr(
        ledger, "data_file", lambda n: tmp_path / n[8:] if n.startswith("results/") else real(n)
    )
    ledger._seconds_per_run.cache_clear()
    yield
    ledger._seconds_per_run.cache_clear()


def test_what_is_undecided_comes_cheapest_first_and_unknown_cost_last(small):
    found = book.undecided()
    assert [(u.judged.claim.id, u.more, u.minutes) for u in found] == [
        ("C-2", 2, 2.0),
        ("C-1", 6, 6.0),
        ("C-3", 1, None),
    ]
    assert all(u.world == "drawn" for u in found)


def test_the_ledger_joins_verdicts_and_table(small):
    one = book.judged()[0]
    assert (one.chapter, one.records, one.verdicts["drawn"].decide) == ("13_a", ("slow",), 9)
    assert one.claim is book.claims()["C-1"] and one.verdicts["photographs"].n == 0


def test_the_real_ledger_can_be_read_and_every_record_it_names_is_there():
    for one in book.judged():
        assert one.claim.status == "claim" and one.records, one.chapter
        for name in one.records:
            assert files.data_file(f"results/{name}.json").is_file()


def test_which_records_a_text_reads():
    text = (
        'a, _ = book.recorded("one", world=2)\nmine = recorded("arm")\nresults_table(())\n'
        'book.on_photographs(("jitter", "1"), ("jitter", "0"))\n'
        'book.recorded(\n    "two")\nbook.recorded("one")'
    )
    assert files.records_read(text) == ["one", "two", "photographs", "families"]
