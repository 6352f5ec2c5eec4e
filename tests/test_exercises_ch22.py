"""The checkers of chapter 22 against solutions in several styles, and plausible wrong ones."""

import math

import numpy as np
import pytest
from exercise_cases import checker_tests
from scipy.stats import t

from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch22


def by_loop(parameters):
    total = 0
    for _, shape in parameters:
        if len(shape) >= 2:
            total += int(np.prod(shape))
    return total


def by_scipy(spread, effect):
    return next(n for n in range(2, 1000) if t(n - 1).ppf(0.95) * spread / n**0.5 < effect)


def by_list(runs, between, within):
    options = [k for k in range(2, runs + 1) if not runs % k]
    share = [between**2 / (between**2 + within**2 * k / runs) for k in options]
    spread = [math.sqrt(between**2 + within**2 * k / runs) for k in options]
    gains = [s * d * ch22.largest_of(k) for s, d, k in zip(share, spread, options, strict=True)]
    best = int(np.argmax(gains))
    return [options[best], gains[best]]


CORRECT = {
    "check_decayed": [by_loop, lambda p: float(by_loop(p))],
    "check_seeds_to_see": [by_scipy],
    "check_spend": [by_list, lambda *a: tuple(by_list(*a))],
}
WRONG = [
    ("check_decayed", "by the name alone", lambda p: sum(math.prod(s) for n, s in p if "bias" not in n)),
    ("check_seeds_to_see", "Student's quantile", lambda s, e: max(2, math.floor((1.645 * s / e) ** 2) + 1)),
    ("check_spend", "the order", lambda *a: by_list(*a)[::-1]),
]
TestCheckers = checker_tests(ch22, correct=CORRECT, wrong=WRONG)


@pytest.mark.parametrize(
    ("forecast", "passed", "words"),
    [
        (NOT_ATTEMPTED, None, "not attempted"),
        ("five", False, "one number"),
        (True, False, "one number"),
        (math.nan, False, "one number"),
        (-3, False, "the other way round"),
        (12.0, False, "the size is not"),
        (6, True, "correct"),
        (np.float32(6), True, "correct"),
        (np.int64(12), False, "the size is not"),
        (0, False, "no difference"),
    ],
)
def test_a_forecast_is_compared_with_the_run(forecast, passed, words):
    check = ch22.judge_forecast(forecast, lambda: 5.0)
    assert check.passed is passed and words in check.message


def test_nothing_runs_before_a_forecast():
    def never():
        raise AssertionError("ran")

    assert ch22.judge_forecast(NOT_ATTEMPTED, never).passed is None
    assert ch22.judge_forecast("a lot", never).passed is False


def test_the_largest_of_normals_is_that_of_a_simulation():
    drawn = np.random.default_rng(0).standard_normal((40_000, 8))
    assert ch22.largest_of(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-4)
    assert ch22.largest_of(8) == pytest.approx(drawn.max(axis=1).mean(), abs=0.01)


def test_the_expected_gain_is_that_of_a_simulation():
    rng, between, within, k, n = np.random.default_rng(1), 1.0, 2.0, 6, 4
    worth = between * rng.standard_normal((40_000, k))
    means = worth + within / math.sqrt(n) * rng.standard_normal(worth.shape)
    picked = worth[np.arange(len(worth)), means.argmax(axis=1)]
    assert ch22._gain(k, n, between, within) == pytest.approx(picked.mean(), abs=0.02)
