"""A benchmark in parts: what the record has is not measured again, each row is saved at once, dry saves nothing."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def record(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("_record")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


@pytest.fixture
def jobs():
    measured = []

    def job(arm):
        def measure():
            measured.append(arm)
            if arm == "breaks":
                raise RuntimeError
            return {"score": 0.5}

        return {"arm": arm, "seed": 0}, measure

    return lambda *arms: [job(arm) for arm in arms], measured


TRIAL = ("trial", ("arm", "seed"))


def test_what_is_recorded_is_not_measured_again_and_a_crash_loses_nothing(record, jobs):
    make, measured = jobs
    with pytest.raises(RuntimeError):
        record.resume(*TRIAL, make("a", "breaks", "b"), ("torch",))
    assert record.recorded("trial") == [{"arm": "a", "seed": 0, "score": 0.5}]
    record.resume(*TRIAL, make("a", "b"), ("torch",))
    assert measured == ["a", "breaks", "b"]
    assert [row["arm"] for row in record.recorded("trial")] == ["a", "b"]


def test_dry_measures_everything_and_saves_nothing_and_time_can_be_up(record, jobs, capsys):
    make, measured = jobs
    record.resume(*TRIAL, make("a", "b"), ("torch",), dry=True)
    record.resume(*TRIAL, make("a", "b"), ("torch",), seconds=-1)
    assert measured == ["a", "b"] and record.recorded("trial") == []
    assert "time is up" in capsys.readouterr().out


def test_the_options_of_a_benchmark(record):
    parser = record.arguments("What it does.", ("tuning", "runs"), {"steps": 100})
    found = vars(parser.parse_args(["--parts", "runs", "--steps", "2", "--dry"]))
    assert found == {"parts": ["runs"], "seeds": None, "seconds": float("inf"), "steps": 2, "dry": True}
    with pytest.raises(SystemExit):
        parser.parse_args(["--parts", "other"])
