"""The table of all methods in the second world: made of the records, each method beside its own floor."""

import pytest

from ssl_lessons import book
from ssl_lessons.errors import InputError
from ssl_lessons.methods import METHODS


@pytest.fixture
def standings(monkeypatch):
    monkeypatch.syspath_prepend(book.ROOT / "benchmarks")
    import standings

    return standings


def test_every_row_is_a_method_whose_record_has_it_and_its_floor(standings):
    assert standings.ARMS.keys() <= METHODS.keys()
    for row in standings.standings():
        assert row.seeds >= 1 and 0.05 < row.floor < 0.25 and 0.05 < row.probe < 0.8, row.method


def test_more_than_thirty_methods_have_learned_as_the_readme_says(standings):
    learned = [row.method for row in standings.standings() if row.learned]
    assert len(learned) > 30
    told = " ".join((book.ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "More than thirty end ten points or more above their own network before training" in told
    assert standings.CLEAR == 0.10


def test_one_seed_has_not_learned_however_large_its_lead(standings):
    rows = {row.method: row for row in standings.standings()}
    assert rows["simclr"].learned and not rows["beit"].learned
    one = standings.Standing("toy", "toy", 1, seeds=1, probe=0.5, floor=0.1)
    assert not one.learned and standings.Standing("toy", "toy", 1, 3, 0.5, 0.1).learned


def test_two_rows_of_one_seed_are_refused(standings):
    rows = [{"seed": 0, "arm": "a", "probe": 0.1}, {"seed": 0, "arm": "a", "probe": 0.2}]
    with pytest.raises(InputError, match="several rows of one seed"):
        standings.found(rows, {"arm": "a"}, "probe")
    with pytest.raises(InputError, match="no row"):
        standings.found(rows, {"arm": "b"}, "probe")


def test_it_prints_all_rows_and_what_is_missing(standings, capsys):
    standings.main()
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in standings.ARMS) and "No run in this world:" in said
