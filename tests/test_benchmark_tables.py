"""The parts of chapter 12b's benchmark that could be wrong without anyone noticing."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("tables")


def rows(table) -> set[tuple]:
    return {tuple(row) for row in table.x.tolist()}


@pytest.mark.parametrize("name", ["tied", "digits", "cancer"])
def test_no_test_row_is_tuned_on(bench, name):
    fit, held_out = bench.table(name, bench.TUNING_SEED)
    tuned = rows(fit) | rows(held_out)
    assert not rows(fit) & rows(held_out)
    for seed in bench.SEEDS:
        train, test = bench.table(name, seed)
        assert not rows(test) & (tuned | rows(train))


def test_the_plan_names_every_row_once_and_measures_no_seed_of_the_design(bench):
    places = [(part, *row[:3]) for part in bench.PARTS for row in bench.rows_of(part)]
    assert len(set(places)) == len(places)
    assert {seed for *_, seed in places} == {bench.TUNING_SEED, *bench.SEEDS}
    assert not {0, 1, 2} & set(bench.SEEDS)


def test_every_arm_chooses_from_three_settings_at_most(bench):
    settings = {}
    for name, _, _, more, _ in bench.rows_of("tuning"):
        settings[name, more["of"]] = settings.get((name, more["of"]), 0) + 1
    assert set(settings.values()) <= {1, 3} and len(bench.FINE_RATES) == 3
