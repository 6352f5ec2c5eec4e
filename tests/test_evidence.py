"""The rule that turns runs into one of four words: its error rates in simulated studies, and its properties."""

import math

import numpy as np
import pytest

from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import (
    FAILS,
    HOLDS,
    MARGIN,
    MOST,
    UNSURE,
    UNTESTED,
    Runs,
    compare,
    correlation,
    every,
    held_out_best,
    interval,
    judge,
)

STUDIES = 2000
LIMIT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / STUDIES)  # three standard errors above the promised 5 %


def studies(effect, seeds=3, spread=0.02, floor=-0.3, rule="higher", learns="both", shared=0.05):
    """Share of each word among STUDIES simulated studies: both arms share a part of their luck, as paired seeds do."""
    generator = np.random.default_rng(seeds)
    common = 0.5 + shared * generator.standard_normal((STUDIES, seeds, 1))
    luck = spread / math.sqrt(2) * generator.standard_normal((STUDIES, seeds, 2))
    arms = common + luck + np.array([effect, 0.0])
    ground = common[..., 0] + floor + spread / math.sqrt(2) * generator.standard_normal((STUDIES, seeds))
    words = [
        compare(a[:, 0], a[:, 1], rule=rule, floor=f, learns=learns).word
        for a, f in zip(arms, ground, strict=True)
    ]
    return {word: words.count(word) / STUDIES for word in evidence.WORDS}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.002, 0.02])
def test_no_effect_is_called_an_effect_in_five_percent_at_most(seeds, spread):
    share = studies(0.0, seeds, spread)
    assert share[HOLDS] <= LIMIT and share[UNTESTED] == 0
    if spread < MARGIN / 5:
        assert share[FAILS] > 0.9  # so little noise excludes an effect worth caring about


def test_the_wrong_sign_is_hardly_ever_called_an_effect():
    assert studies(-0.02)[HOLDS] < 0.01


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_an_effect_of_the_margin_is_denied_in_five_percent_at_most(seeds):
    share = studies(MARGIN, seeds)
    assert 0.02 < share[FAILS] <= LIMIT
    assert 0 < share[HOLDS] < 0.7  # and it is not always found: half of all estimates lie below the margin


def test_a_large_effect_is_found():
    assert studies(0.15)[HOLDS] > 0.95 and studies(0.15, 5)[HOLDS] > 0.99


def test_more_seeds_decide_more():
    unsure = [studies(0.04, seeds)[UNSURE] for seeds in (3, 5, 10)]
    assert unsure[0] > unsure[1] > unsure[2]


def test_an_arm_that_did_not_learn_is_no_evidence():
    assert studies(-0.3, floor=-0.3, spread=0.01)[UNTESTED] > 0.95  # the treatment is at its floor
    assert studies(0.0, floor=0.0, spread=0.01)[UNTESTED] > 0.95  # both are
    assert studies(-0.3, floor=-0.3, spread=0.01, learns="control")[UNTESTED] == 0
    assert studies(-0.3, floor=-0.3, spread=0.01, learns="either")[FAILS] > 0.95
    assert studies(0.0, floor=0.0, spread=0.01, learns="either")[UNTESTED] > 0.9
    assert studies(-0.3, floor=-0.3, spread=0.01, learns="none")[UNTESTED] == 0


def test_loses_little_is_the_negation_of_loses():
    share = studies(-MARGIN, rule="no_worse")
    assert share[HOLDS] <= LIMIT  # a loss of the margin is called none in 5 %
    assert studies(0.0, rule="no_worse", spread=0.005)[HOLDS] > 0.9
    assert studies(-0.15, rule="no_worse")[FAILS] > 0.95
    assert studies(0.0, rule="no_worse")[FAILS] <= LIMIT


def test_the_number_of_seeds_it_names_decides_in_four_of_five_studies():
    for effect, word in ((0.05, HOLDS), (0.0, FAILS)):
        seeds = evidence.pairs_to_decide(effect, 0.04)
        assert 5 < seeds < 40
        assert 0.77 < studies(effect, seeds, spread=0.04)[word] < 0.9
        assert studies(effect, seeds - 1, spread=0.04)[word] < 0.83


def test_no_correlation_is_called_one_in_five_percent_at_most():
    generator = np.random.default_rng(0)
    for n in (5, 8):
        pairs = generator.standard_normal((STUDIES, 2, n))
        words = [correlation(*pair, draws=40).word for pair in pairs]
        assert words.count(HOLDS) / STUDIES <= LIMIT, n


def test_a_strong_correlation_is_found_and_its_absence_shown():
    generator = np.random.default_rng(1)
    x = generator.standard_normal((200, 20))
    y = x + 0.3 * generator.standard_normal((200, 20))
    assert np.mean([correlation(*pair, draws=200).word == HOLDS for pair in zip(x, y, strict=True)]) > 0.95
    found = correlation(generator.standard_normal(200), generator.standard_normal(200))
    assert found.word == FAILS and abs(found.estimate) < 0.3


def test_runs_of_one_group_are_not_counted_as_independent():
    generator = np.random.default_rng(2)
    x, y = np.repeat(generator.standard_normal((2, 6)), 10, axis=1) + 1e-3 * generator.standard_normal(
        (2, 60)
    )
    alone, grouped = correlation(x, y), correlation(x, y, groups=np.repeat(np.arange(6), 10))
    assert grouped.n == 6 and alone.n == 60
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_spearman_agrees_with_scipy_ties_included():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(3)
    x, y = generator.integers(0, 5, (2, 40))
    assert correlation(x, y, draws=10).estimate == pytest.approx(spearmanr(x, y).statistic)


def test_the_interval_is_students():
    from scipy import stats

    d = [0.03, 0.05, 0.01, 0.02]
    known = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert interval(d) == pytest.approx((np.mean(d), known.low, known.high))


def test_order_of_arms_and_scale():
    t, c, floor = [0.60, 0.63, 0.61], [0.52, 0.50, 0.55], [0.2, 0.2, 0.2]
    found = compare(t, c, floor=floor)
    assert found.word == HOLDS and found.estimate == pytest.approx(0.09) and found.low > 0
    swapped = compare(c, t, floor=floor)
    assert swapped.word == FAILS and (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))
    lower = compare(c, t, floor=floor, rule="lower")
    assert lower.word == HOLDS and lower.estimate == pytest.approx(-0.09) and lower.low < lower.high < 0
    assert compare(t, c, floor=floor, rule="no_worse").word == HOLDS
    assert compare(t, c, floor=floor, rule="no_higher").word == FAILS
    scaled = compare(*(100 * np.array(v) for v in (t, c)), 100 * MARGIN, floor=100 * np.array(floor))
    assert scaled.word == HOLDS and scaled.high == pytest.approx(100 * found.high)
    turned = [compare(np.roll(t, k), np.roll(c, k), floor=floor).low for k in range(3)]
    assert turned == pytest.approx([found.low] * 3)


def test_pairing_matters():
    t, c = [0.50, 0.60, 0.70], [0.46, 0.57, 0.66]
    assert compare(t, c, learns="none").word == HOLDS
    assert compare(t, c[::-1], learns="none").word == UNSURE


def test_draws_of_labels_are_not_seeds():
    draws = np.random.default_rng(0).normal(0.02, 0.01, (3, 50))
    found = compare(0.6 + draws, np.full((3, 50), 0.6), learns="none")
    assert found.n == 3


def test_fewer_than_three_seeds_never_decide():
    one, two = compare([0.9], [0.1], learns="none"), compare([0.9, 0.9], [0.1, 0.1001], learns="none")
    assert one.word == two.word == UNSURE and one.decide == two.decide == 3
    assert "n = 1" in str(one) and one.low is None


@pytest.mark.parametrize(("floor", "word"), [(0.2, UNSURE), (0.39, UNTESTED)])
def test_two_seeds_that_clear_the_floor_cannot_tell_instead_of_not_having_learned(floor, word):
    assert compare([0.6, 0.6], [0.4, 0.5], floor=[floor, floor + 0.1]).word == word


def test_what_cannot_be_told_says_how_many_seeds_would_decide():
    found = compare([0.60, 0.56, 0.65], [0.58, 0.57, 0.55], learns="none")
    assert found.word == UNSURE and found.decide > 3 and f"about {found.decide} would decide" in str(found)
    assert f"more than {MOST}" in str(compare([0.6, 0.4, 0.54], [0.5] * 3, learns="none"))


def test_every_comparison_has_to_hold():
    good, better = (
        compare([0.6 + d, 0.61 + d, 0.62 + d], [0.5, 0.51, 0.53], learns="none") for d in (0, 0.2)
    )
    unsure = compare([0.5, 0.6, 0.7], [0.6, 0.5, 0.65], learns="none")
    bad = compare([0.3, 0.3, 0.31], [0.5, 0.51, 0.5], learns="none")
    untested = judge(None, "higher")
    assert every(better, good) == good
    assert (
        every(good, unsure) == unsure and every(unsure, untested) == untested and every(untested, bad) == bad
    )


def test_the_best_of_many_equal_arms_is_no_better_than_one():
    generator = np.random.default_rng(0)
    lucky, fair = [], []
    for _ in range(400):
        arms = {k: 0.02 * generator.standard_normal(3) for k in range(8)}
        lucky.append(max(v.mean() for v in arms.values()))
        fair.append(np.mean(held_out_best(arms)))
    assert np.mean(lucky) > 0.01 and abs(np.mean(fair)) < 0.003
    assert held_out_best({"a": [0.1, 0.2, 0.9], "b": [0.3, 0.4, 0.3]}) == [0.1, 0.2, 0.3]


def test_judge_takes_the_rule_from_outside():
    runs = Runs([0.6, 0.62, 0.61], [0.5, 0.51, 0.53], [0.2, 0.21, 0.2])
    assert judge(runs, "higher").word == HOLDS and judge(runs, "lower").word == FAILS
    assert judge(Runs(range(20), range(20)), "correlates", 0.5).word == HOLDS
    assert judge(None, "higher") == evidence.Verdict(UNTESTED, reason="no run in this world")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: compare([0.1, 0.2], [0.1], learns="none"), "paired by seed"),
        (lambda: compare([0.1, math.nan, 0.2], [0.1] * 3, learns="none"), "finite"),
        (lambda: compare([], [], learns="none"), "finite"),
        (lambda: compare(["a"], [0.1], learns="none"), "one number"),
        (lambda: compare([0.1, 0.2], [0.1, 0.2], learns="none"), "under two names"),
        (lambda: compare([0.1, 0.2], [0.2, 0.3]), "give the floor"),
        (lambda: compare([0.1, 0.2], [0.2, 0.3], floor=[0.1]), "one number per seed"),
        (lambda: compare([0.1, 0.2], [0.2, 0.3], 0, learns="none"), "margin"),
        (lambda: compare([0.1, 0.2], [0.2, 0.3], rule="better", learns="none"), "rule must be"),
        (lambda: interval([0.1]), "two seeds"),
        (lambda: every(), "at least one"),
        (lambda: held_out_best({"a": [1.0]}), "two seeds"),
        (lambda: correlation([1, 2, 3], [1, 2]), "two numbers"),
        (lambda: correlation([1, 2, 3], [1, 2, 4], groups=[0, 0, 1]), "same seeds"),
        (lambda: correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]), "never varies"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()


@pytest.mark.parametrize(("effect", "spread", "n"), [(0.03, 0.03, 3), (0.0, 0.02, 5), (0.02, 0.03, 10)])
def test_chances_are_how_often_compare_says_each_word(effect, spread, n):
    d = effect + spread * np.random.default_rng(0).standard_normal((STUDIES, n))
    said = [evidence.compare(row, np.zeros(n), learns="none").word for row in d]
    found = evidence.chances(effect, spread, n)
    assert {word: said.count(word) / STUDIES for word in found} == pytest.approx(found, abs=0.03)


def test_chances_without_enough_pairs_or_sense():
    assert evidence.chances(0.5, 0.01, 2)[evidence.UNSURE] == 1
    for wrong in ({"spread": -1.0}, {"margin": 0.0}, {"n": 0}):
        with pytest.raises(InputError, match="needs a spread"):
            evidence.chances(**{"effect": 0.0, "spread": 1.0, "n": 3} | wrong)


def test_pairs_to_decide_is_the_first_number_with_the_power_and_none_at_the_margin():
    n = evidence.pairs_to_decide(0.03, 0.03)
    decided = [1 - evidence.chances(0.03, 0.03, k)[evidence.UNSURE] for k in (n - 1, n)]
    assert decided[0] < evidence.POWER <= decided[1] + 1e-9
    assert evidence.pairs_to_decide(0.02, 0.03) == evidence.MOST + 1
    assert evidence.pairs_to_decide(0.1, 0.0) == evidence.FEWEST
    assert evidence.pairs_to_decide(0.01, 0.05) > evidence.pairs_to_decide(0.0, 0.05)
