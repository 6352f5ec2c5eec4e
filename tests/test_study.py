"""A study stays closed until its prediction is written, keeps what was predicted, and judges by the one rule."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_lessons.book import Study
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence

TEMPLATE = Path(__file__).parents[1] / "examples" / "study" / "my_study.py"


@pytest.fixture
def study(tmp_path):
    return Study(
        "trial", hypothesis="A beats B.", treatment="A", control="B", measured="score",
        changes_my_mind="an interval below two points", effect=0.03, spread=0.01, folder=str(tmp_path / "new"),
    )  # fmt: skip


def fair(seed):
    return {"treatment": 0.5 + 0.03 + 0.001 * seed, "control": 0.5, "floor": 0.1}


def never(seed):
    raise AssertionError("it ran")


def test_nothing_runs_without_a_prediction(study):
    with pytest.raises(InputError, match="results stay closed"):
        study.results(never)
    assert not study.path.exists()


@pytest.mark.parametrize(
    ("low", "high", "because", "says"),
    [
        (3, 1, "one two three", "low below high"),
        (1, 1, "one two three", "low below high"),
        (float("nan"), 1, "one two three", "low below high"),
        (True, 3, "one two three", "low below high"),
        ("1", 3, "one two three", "low below high"),
        (1, 3, "", "say why"),
        (1, 3, "a guess", "say why"),
        (1, 3, None, "say why"),
    ],
)
def test_a_prediction_is_an_interval_with_a_reason(study, low, high, because, says):
    with pytest.raises(InputError, match=says):
        study.predict(low, high, because)
    with pytest.raises(InputError, match="stay closed"):
        study.results(never)


def test_the_verdict_is_that_of_the_one_rule_beside_the_prediction(study, capsys):
    study.predict(1, 5, "I made them up")
    verdict = study.results(fair)
    arms = [fair(s) for s in (0, 1, 2)]
    expected = evidence.compare(
        [a["treatment"] for a in arms], [a["control"] for a in arms], floor=[a["floor"] for a in arms]
    )
    assert verdict == expected and verdict.word == evidence.HOLDS
    assert "+3.1 points: inside the +1 to +5" in capsys.readouterr().out
    assert study.results(never) == verdict  # nothing is run twice


def test_a_missed_prediction_says_so(study, capsys):
    study.predict(-5, 0, "B is the newer one")
    study.results(fair)
    assert "outside the -5 to +0" in capsys.readouterr().out


def test_an_arm_that_did_not_learn_is_not_tested(study):
    study.predict(1, 5, "I made them up")
    verdict = study.results(lambda seed: {"treatment": 0.11 + 0.001 * seed, "control": 0.1, "floor": 0.11})
    assert verdict.word == evidence.UNTESTED


def test_no_prediction_comes_after_results_and_no_plan_changes_after_the_prediction(study):
    study.predict(1, 5, "I made them up")
    study.predict(2, 5, "I thought again, before any run")
    study.results(fair)
    with pytest.raises(InputError, match="no prediction"):
        study.predict(0, 9, "I always thought so")
    assert json.loads(study.path.read_text())["prediction"]["low"] == 2
    for change in (
        {"hypothesis": "B beats A."},
        {"margin": 0.001},
        {"seeds": (0, 1, 2, 3)},
        {"rule": "lower"},
    ):
        with pytest.raises(InputError, match=f"'{next(iter(change))}' is not what it was"):
            replace(study, **change).results(never)
    assert replace(study, minutes=3, command="make").results(never).word == evidence.HOLDS


def test_a_crash_loses_no_finished_pair(study):
    study.predict(1, 5, "I made them up")
    with pytest.raises(ZeroDivisionError):
        study.results(lambda seed: fair(seed) if seed < 2 else 1 / 0)
    seen = []
    study.results(lambda seed: seen.append(seed) or fair(seed))
    assert seen == [2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hypothesis": " ... "}, "'hypothesis'"),
        ({"changes_my_mind": ""}, "'changes_my_mind'"),
        ({"name": "a/b"}, "no file's"),
        ({"rule": "correlates"}, "rule must be"),
        ({"margin": 0.0}, "finite numbers"),
        ({"spread": -1.0}, "finite numbers"),
        ({"effect": float("inf")}, "finite numbers"),
        ({"seeds": (0, 1)}, "at least 3"),
        ({"seeds": (0, 0, 1)}, "at least 3"),
    ],
)
def test_a_plan_that_plans_nothing_is_refused(study, change, says):
    with pytest.raises(InputError, match=says):
        replace(study, **change)


def test_power_follows_from_effect_and_spread_in_the_direction_of_the_rule(study):
    sure, blind = study.power(), replace(study, spread=0.1).power()
    assert sure > 0.75 > 0.2 > blind
    lower = replace(study, rule="lower", effect=-0.03)
    assert lower.power() == sure and lower.needed() == study.needed()
    assert study.power(study.needed()) >= 0.78
    equal = replace(study, rule="no_worse", effect=0.0)
    assert equal.power(40) > 0.95


def test_the_card_holds_the_plan(study, capsys):
    replace(study, command="make it", minutes=7).card()
    text = capsys.readouterr().out
    for part in (
        "A beats B.",
        "margin 2 points",
        "3 seeds decide with",
        "make it",
        "7 minutes",
        "below two points",
    ):
        assert part in text


def run_template(text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(text, "my_study", "exec"), {"__name__": "my_study"})


def test_the_template_is_closed_as_it_comes_and_opens_with_a_prediction(tmp_path, monkeypatch, capsys):
    text = TEMPLATE.read_text()
    with pytest.raises(InputError, match="results stay closed"):
        run_template(text, tmp_path, monkeypatch)
    opened, n = re.subn(r"^# (study\.predict\()", r"\1", text, flags=re.MULTILINE)
    short, m = re.subn(r"^STEPS = \d+", "STEPS = 1", opened, flags=re.MULTILINE)
    small = short.replace("n=2000", "n=400")
    assert n == m == 1 and small != short
    run_template(small, tmp_path, monkeypatch)
    assert "because outlines survive" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "studies" / "blur.json").read_text())["rows"]) == 3
