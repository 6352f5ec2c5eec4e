"""The clinic's bookkeeping: which cases are the test, what is due, what is counted."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_lessons import data
from ssl_lessons.diagnostics import VERDICTS

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def clinic(monkeypatch, tmp_path):
    """The benchmark, with an empty record of its own."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("clinic")
    for name in ("clinic", "_record"):
        monkeypatch.setattr(importlib.import_module(name), "RESULTS", tmp_path)
    return module


def row(case, seed=6, verdict=None, **more):
    kind = "healthy" if case.expected == "healthy" else "broken"
    return {
        "case": case.name, "seed": seed, "split": case.split, "kind": kind, "expected": case.expected,
        "also": case.also, "verdict": verdict or case.expected, "seconds": 1.0,
    } | more  # fmt: skip


def write(clinic, rows):
    (clinic.RESULTS / "clinic.json").write_text(
        json.dumps({"date": "1900-01-01", "versions": {}, "rows": rows})
    )


def test_the_test_shares_no_patient_with_the_cases_the_lines_were_drawn_on(clinic):
    drawn, test = clinic.cases("drawn on"), clinic.cases("test")
    assert not set(drawn) & set(test) and {**drawn, **test} == clinic.cases() and len(test) > 40
    settings = {
        split: {
            str(
                (
                    c.method,
                    c.expected,
                    c.options,
                    c.training,
                    c.policy,
                    c.broken_by,
                    c.encoder,
                    c.encoder_options,
                )
            )
            for c in known.values()
        }
        for split, known in (("drawn on", drawn), ("test", test))
    }
    assert not settings["drawn on"] & settings["test"] and len(settings["test"]) == len(test)
    assert {c.expected for c in test.values()} == set(VERDICTS) - {"not finite"}
    assert not set(clinic.SEEDS["drawn on"]) & set(clinic.SEEDS["test"])


def test_every_patient_can_be_built(clinic):
    trained = {"batch_size", "lr"}
    for case in clinic.cases("test").values():
        recipe = clinic.recipe_of(case)
        assert recipe.build(0, n_images=64, n_classes=10).encoder.dim > 0
        assert set(case.training) <= trained and (not case.broken_by or case.broken_by in clinic.BREAKS)
    encoder = clinic.recipe_of(clinic.cases()["vit_no_negatives"]).build(0).encoder
    assert encoder.name == "vit" and encoder.dim == 48


def test_what_is_in_the_record_is_not_due_unless_asked(clinic):
    known = clinic.cases()
    write(clinic, [row(known["byol"], 0), row(known["bottleneck_of_two"], 6)])
    assert [(s, c.name) for s, c in clinic.due(["byol"], [0, 1], None, False)] == [(1, "byol")]
    assert [s for s, _ in clinic.due(["byol"], None, None, False)] == [1, 2, 3, 4, 5]
    assert [s for s, _ in clinic.due(["byol"], None, None, True)] == [0, 1, 2, 3, 4, 5]
    assert [s for s, _ in clinic.due(["bottleneck_of_two"], None, None, False)] == [7, 8]
    test = clinic.due([], None, "test", False)
    assert len(test) == 3 * len(clinic.cases("test")) - 1 and all(c.split == "test" for _, c in test)
    assert [s for s, _ in test] == sorted(s for s, _ in test)


def test_a_run_is_recorded_at_once_and_not_repeated(clinic, monkeypatch):
    ran = []

    def run(case, seed, sets):
        ran.append((case.name, seed))
        if len(ran) == 2:
            raise KeyboardInterrupt
        return row(case, seed), [], None

    monkeypatch.setattr(clinic, "run", run)
    monkeypatch.setattr(clinic, "images", lambda seed, split: None)
    names = ["bottleneck_of_two", "flat_teacher"]
    with pytest.raises(KeyboardInterrupt):
        clinic.main(clinic.due(names, [6], None, False), 60)
    clinic.main(clinic.due(names, [6], None, False), 60)
    assert ran == [("bottleneck_of_two", 6), ("flat_teacher", 6), ("flat_teacher", 6)]
    assert [r["case"] for r in clinic.record()["rows"]] == names
    clinic.main(clinic.due(names, [6, 7], None, False), -1.0)  # no time left
    assert len(ran) == 3


def test_the_matrix_counts_the_test_alone(clinic):
    known = clinic.cases()
    rows = [
        row(known["byol"], 0, "divergence"),
        row(known["byol_other_settings"]),
        row(known["dcl_other_settings"], verdict="shortcut"),
        row(known["small_simsiam_no_predictor"], verdict="complete collapse"),  # the other name that is right
    ]
    text = clinic.table(rows)
    assert "broken: 1 of 1" in text and "healthy: 1 of 2" in text and "divergence" not in text
    assert "dcl_other_settings seed 6: shortcut" in text and text.count("seed") == 1
    assert "in the record yet" in clinic.table(rows[:1])


def test_a_patient_is_trained_and_judged_anew(clinic):
    """A row holds all that the verdict needs; a new judgement changes neither it nor the head of the record."""
    case = replace(clinic.cases()["bottleneck_of_two"], steps=24, training={"batch_size": 32})
    sets = data.shapes("unlabeled", 16, 64, 6), data.shapes("train", 16, 800, 6)
    made, history, _ = clinic.run(case, 6, sets)
    assert made["split"] == "test" and made["verdict"] == "dimensional collapse" and len(history) == 24
    assert set(made["evidence"]) == set(clinic.MEASURED)
    write(clinic, [{k: v for k, v in made.items() if k not in ("split", "verdict")}])
    clinic.judge_anew()
    content = clinic.record()
    assert content["date"] == "1900-01-01"
    assert content["rows"][0]["verdict"] == made["verdict"] and content["rows"][0]["split"] == "test"


def test_every_row_of_the_record_is_marked():
    rows = json.loads((BENCHMARKS.parent / "data" / "results" / "clinic.json").read_text())["rows"]
    assert {r["split"] for r in rows} <= {"drawn on", "test"} and len(rows) >= 372
