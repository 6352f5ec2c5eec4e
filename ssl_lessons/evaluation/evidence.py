"""When a measurement supports a statement: one rule, four words.

A statement compares two arms, a treatment and a control, measured with the same seeds.  Its verdict is

    holds here           the difference is surely above zero, and the estimate is at least the margin
    does not hold here   a difference as large as the margin is excluded
    cannot tell          neither, with how many seeds would decide
    not tested           nobody ran it, or an arm did not learn

"Surely" means a 90 % interval: 5 % on either side.  With no true difference "holds here" is said in at most 5 % of all
studies; with a true difference of the margin, "does not hold here" in at most 5 %.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ssl_lessons.errors import InputError

HOLDS, FAILS, UNSURE, UNTESTED = "holds here", "does not hold here", "cannot tell", "not tested"
WORDS = (HOLDS, FAILS, UNSURE, UNTESTED)
RULES = ("higher", "lower", "no_worse", "no_higher", "correlates")
LEARNS = ("both", "either", "treatment", "control", "none")
MARGIN = 0.02  # two points of accuracy
CONFIDENCE = 0.90
POWER = 0.80  # how surely the named number of seeds would decide
FEWEST, MOST = 3, 200  # seeds: fewer decide nothing; more are called "more than 200"


@dataclass(frozen=True)
class Verdict:
    """One of the four WORDS and the numbers behind it.

    estimate, low, high: treatment minus control (or a rank correlation) and its 90 % interval; None where there is
    none.  n: pairs.  margin: the smallest difference worth caring about.  decide: seeds that would decide, None where
    nothing is left to decide.  reason: why it was not tested.
    """

    word: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    margin: float = MARGIN
    decide: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.word == UNTESTED:
            return f"{self.word}: {self.reason}"
        text = f"{self.word}: {self.estimate:+.3g}"
        if self.low is not None:
            text += f" [{self.low:+.3g}, {self.high:+.3g}]"
        text += f", n = {self.n}, margin {self.margin:g}"
        if self.decide is not None:
            text += f"; n of {f'about {self.decide}' if self.decide <= MOST else f'more than {MOST}'} would decide"
        return text


@dataclass(frozen=True)
class Runs:
    """What one world says about a statement: paired numbers of two arms, element i of both from seed i.

    floor: the same numbers of what has learned nothing (the encoder before training, its statistics settled), also
    paired.  learned: where the numbers say nothing about learning (a spread, a loss), the accuracies of both arms,
    (treatment, control); the floor is then an accuracy too.
    A number may be a nested sequence, such as accuracies over draws of labels: its mean counts, for draws of labels are
    not seeds.
    """

    treatment: Sequence
    control: Sequence
    floor: Sequence | None = None
    learned: tuple[Sequence, Sequence] | None = None


def interval(differences: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean and Student's confidence interval, d +- t s / sqrt(n) with n - 1 degrees of freedom (Student 1908).

    differences: at least two finite numbers, one per seed.  Raises InputError for others.
    """
    from scipy.special import stdtrit

    d = _numbers(differences, "the differences")
    if len(d) < 2:
        raise InputError("an interval needs at least two seeds")
    half = stdtrit(len(d) - 1, (1 + confidence) / 2) * d.std(ddof=1) / math.sqrt(len(d))
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)


@lru_cache
def _deviations(n: int, points: int = 400) -> np.ndarray:
    """What the standard deviation of n normal numbers can be, in units of the true one: equally probable values."""
    from scipy.special import chdtri

    return np.sqrt(chdtri(n - 1, (np.arange(points) + 0.5) / points) / (n - 1))


def chances(effect: float, spread: float, n: int, margin: float = MARGIN) -> dict[str, float]:
    """How often `compare` would say each word of "the treatment is higher", if one knew the truth beforehand.

    effect: the true mean of the differences, spread: their standard deviation over seeds, both in the units of the
    margin; n: pairs.  Differences are normal, so that their mean and their measured deviation s are independent:
    P(holds) = E_s P(mean >= max(margin, half)), P(fails) = E_s P(mean < margin - half), with half the interval's half
    width t s / sqrt(n).  Returns {word: share} for the words that a tested statement can get.  Raises InputError for a
    negative spread, a margin that is not positive, n < 1.
    """
    from scipy.special import ndtr, stdtrit

    if spread < 0 or not margin > 0 or n < 1:
        raise InputError("chances needs a spread of 0 or more, a positive margin and at least one pair")
    if n < FEWEST:
        return {HOLDS: 0.0, FAILS: 0.0, UNSURE: 1.0}
    error = max(spread, 1e-9 * margin) / math.sqrt(n)
    half = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * error * _deviations(n)
    holds = float(ndtr((effect - np.maximum(margin, half)) / error).mean())
    fails = float(ndtr((margin - half - effect) / error).mean())
    return {HOLDS: holds, FAILS: fails, UNSURE: 1 - holds - fails}


def pairs_to_decide(effect: float, spread: float, margin: float = MARGIN) -> int:
    """The smallest n at which a study decides, either way, with the chance POWER: see `chances`.

    MOST + 1 stands for more than MOST.  An effect exactly at the margin never reaches POWER: its estimate lies below
    the margin in half of the studies, however many pairs they have.
    """

    def decides(n: int) -> bool:
        return chances(effect, spread, n, margin)[UNSURE] <= 1 - POWER

    return bisect_left(range(MOST + 1), True, lo=FEWEST, key=decides)


def compare(
    treatment: Sequence,
    control: Sequence,
    margin: float = MARGIN,
    *,
    rule: str = "higher",
    floor: Sequence | None = None,
    learns: str = "both",
    learned: tuple[Sequence, Sequence] | None = None,
) -> Verdict:
    """The verdict on "the treatment is RULE than the control", from numbers paired by seed.

    rule: "higher" or "lower": by at least the margin.  "no_worse" ("no_higher"): less than a margin below (above); it
    is the negation of "lower" ("higher") and so holds where that is excluded.
    floor, learned: what an arm must beat to have learned, and by which numbers, see Runs; learns: which arms must
    ("both", "either", "treatment", "control", "none").  An arm has learned when "arm higher than floor" holds by the
    same rule, with the margin (two points for the accuracies in `learned`).
    Fewer than three pairs cannot tell.
    Raises InputError for numbers that are not paired or not finite, arms with equal numbers throughout (one run under
    two names), a margin that is not positive, an unknown rule, and a floor that is asked for but not given.
    """
    if rule not in RULES[:-1] or learns not in LEARNS:
        raise InputError(f"rule must be one of {', '.join(RULES[:-1])} and learns one of {', '.join(LEARNS)}")
    if not margin > 0:
        raise InputError(f"the margin must be positive, not {margin}")
    if floor is None and learns != "none":
        raise InputError("give the floor (the same encoder before training), or learns='none'")
    t, c = _numbers(treatment, "the treatment"), _numbers(control, "the control")
    if len(t) != len(c):
        raise InputError(f"the arms are paired by seed: {len(t)} numbers of one and {len(c)} of the other")
    if np.array_equal(t, c):
        raise InputError("both arms have the same numbers throughout: one run was given under two names")
    accuracies = (t, c) if learned is None else tuple(_numbers(a, "the accuracies") for a in learned)
    if missing := _did_not_learn(accuracies, floor, learns, margin if learned is None else MARGIN):
        return Verdict(UNTESTED, n=len(t), margin=margin, reason=missing)
    found = _difference(t - c if rule in ("higher", "no_higher") else c - t, margin)
    if rule in ("no_worse", "no_higher"):
        found = replace(found, word={HOLDS: FAILS, FAILS: HOLDS}.get(found.word, found.word))
    return found if rule in ("higher", "no_higher") else _turned(found)


def _difference(d: np.ndarray, margin: float) -> Verdict:
    """The verdict on "d is positive and at least the margin" for differences [n] of pairs."""
    estimate = float(d.mean())
    if len(d) < 2:
        return Verdict(UNSURE, estimate, n=len(d), margin=margin, decide=FEWEST)
    _, low, high = interval(d)
    found = Verdict(UNSURE, estimate, low, high, len(d), margin)
    if len(d) < FEWEST:
        return replace(found, decide=max(FEWEST, pairs_to_decide(estimate, float(d.std(ddof=1)), margin)))
    if low > 0 and estimate >= margin:
        return replace(found, word=HOLDS)
    if high < margin:
        return replace(found, word=FAILS)
    return replace(found, decide=max(len(d) + 1, pairs_to_decide(estimate, float(d.std(ddof=1)), margin)))


def _turned(found: Verdict) -> Verdict:
    """The same verdict with its numbers as treatment minus control."""
    if found.low is None:
        return replace(found, estimate=-found.estimate)
    return replace(found, estimate=-found.estimate, low=-found.high, high=-found.low)


def _did_not_learn(arms: tuple, floor: Sequence | None, learns: str, margin: float) -> str:
    """Why nothing was tested, or "" when those of the arms (treatment, control) that must have learned have."""
    if learns == "none":
        return ""
    f = _numbers(floor, "the floor")
    if {len(a) for a in arms} != {len(f)}:
        raise InputError("the floor is paired with the arms: give one number per seed")
    named = dict(zip(("treatment", "control"), arms, strict=True))
    asleep = [name for name, arm in named.items() if not _learned(arm - f, margin)]
    asleep = [name for name in asleep if learns in (name, "both", "either")]
    if not asleep or (learns == "either" and len(asleep) < 2):
        return ""
    text = ", ".join(f"{name} {named[name].mean():.3g}" for name in asleep)
    return f"no sign that it learned: {text}, floor {f.mean():.3g}, n = {len(f)}"


def _learned(d: np.ndarray, margin: float) -> bool:
    """Whether an arm beats its floor by differences d [n]; fewer than FEWEST need only do so on average, since nothing
    but "cannot tell" follows from them."""
    return float(d.mean()) >= margin if len(d) < FEWEST else _difference(d, margin).word == HOLDS


def every(*verdicts: Verdict) -> Verdict:
    """The verdict on a statement that needs all of several comparisons (intersection-union: Berger 1982).

    It holds where each holds, at the error rate of one; it does not hold where one does not.  Returned is the
    comparison that decides: one that does not hold, then one not tested, one that cannot tell, the narrowest.
    """
    if not verdicts:
        raise InputError("give at least one verdict")
    for word in (FAILS, UNTESTED, UNSURE):
        if some := [v for v in verdicts if v.word == word]:
            return max(some, key=lambda v: v.decide or 0)
    return min(verdicts, key=lambda v: min(abs(v.low), abs(v.high)) / v.margin)


def held_out_best(arms: Mapping[object, Sequence]) -> list[float]:
    """The best of many arms without its luck: for each seed, the number of the arm that is best over the other seeds.

    arms: name -> numbers [n], n >= 2 seeds, paired.  The largest of K equal arms looks better than each; an arm chosen
    on other seeds does not.
    """
    table = np.stack([_numbers(values, f"arm {name!r}") for name, values in arms.items()])
    if table.shape[1] < 2:
        raise InputError("choosing on the other seeds needs at least two seeds")
    others = table.sum(1, keepdims=True) - table
    return [float(table[k, i]) for i, k in enumerate(others.argmax(0))]


def correlation(
    x: Sequence,
    y: Sequence,
    margin: float = 0.5,
    *,
    groups: Sequence | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Verdict:
    """The verdict on "x and y order the runs alike": Spearman's rank correlation with a bootstrap interval.

    x, y: [n] numbers per run.  groups: [n], runs that belong together (one arm under several seeds; equally many of
    each): they are drawn together, and n counts the groups.  The interval is the percentile bootstrap over groups
    (Efron and Tibshirani 1993, chapter 13), widened where it is narrower than Fisher's z with variance 1.06 / (n - 3)
    (Fieller et al. 1957): with few groups the bootstrap alone is too sure.  decide: groups at which a true correlation
    of the size of the estimate would be told from zero (or from the margin) in four of five studies, by Fisher's z.
    Fewer than five groups cannot tell.  Raises InputError for numbers that are not paired or never vary.
    """
    x, y = _numbers(x, "the first quantity"), _numbers(y, "the second quantity")
    if len(x) != len(y) or (groups is not None and len(groups) != len(x)):
        raise InputError("a correlation needs two numbers for each run")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise InputError("a quantity that never varies orders nothing")
    members = _members(np.arange(len(x)) if groups is None else np.asarray(groups))
    estimate, n = float(_spearman(x, y)), len(members)
    found, needed = Verdict(UNSURE, estimate, n=n, margin=margin), _groups_needed(estimate, margin)
    if n < 5:
        return replace(found, decide=max(5, needed))
    drawn = np.random.default_rng(seed).integers(0, n, (draws, n))
    rows = members[drawn].reshape(draws, -1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(_spearman(x[rows], y[rows]), (tail, 100 - tail))
    half = _normal_quantile((1 + CONFIDENCE) / 2) * math.sqrt(1.06 / (n - 3))
    z = _fisher(estimate)
    found = replace(
        found, low=min(float(low), math.tanh(z - half)), high=max(float(high), math.tanh(z + half))
    )
    if found.low > 0 and estimate >= margin:
        return replace(found, word=HOLDS)
    if found.high < margin:
        return replace(found, word=FAILS)
    return replace(found, decide=max(n + 1, needed))


def _members(groups: np.ndarray) -> np.ndarray:
    """The rows of every group, [groups, rows of each]."""
    rows = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    if len({len(r) for r in rows}) > 1:
        raise InputError("the groups have different numbers of runs: give every arm the same seeds")
    return np.stack(rows)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks along the last axis (ties share their mean rank); NaN where one never
    varies."""
    from scipy.stats import rankdata

    a, b = (r - r.mean(-1, keepdims=True) for r in (rankdata(x, axis=-1), rankdata(y, axis=-1)))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def _fisher(correlation: float) -> float:
    return math.atanh(min(max(correlation, -0.999), 0.999))


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def _groups_needed(estimate: float, margin: float) -> int:
    distance = abs(_fisher(estimate) - _fisher(0.0 if estimate >= margin else margin))
    z = _normal_quantile((1 + CONFIDENCE) / 2) + _normal_quantile(POWER)
    return min(MOST + 1, math.ceil(3 + 1.06 * (z / max(distance, 1e-9)) ** 2))


def judge(
    runs: Runs | None, rule: str, margin: float = MARGIN, learns: str = "both", groups: Sequence | None = None
) -> Verdict:
    """The verdict of one world on a statement whose rule, margin and arms that must learn are given; see `compare`.

    "correlates" takes the two quantities as the two arms.  None: nobody ran it there.
    """
    if runs is None:
        return Verdict(UNTESTED, margin=margin, reason="no run in this world")
    if rule == "correlates":
        return correlation(runs.treatment, runs.control, margin, groups=groups)
    return compare(
        runs.treatment, runs.control, margin, rule=rule, floor=runs.floor, learns=learns, learned=runs.learned
    )


def _numbers(values: Sequence, what: str) -> np.ndarray:
    """float64 [n]; an element that is itself a sequence counts by its mean."""
    try:
        array = np.array([float(np.mean(np.asarray(v, dtype=float))) for v in values])
    except (TypeError, ValueError):
        raise InputError(f"{what}: give one number, or one list of numbers, per seed") from None
    if not len(array) or not np.isfinite(array).all():
        raise InputError(f"{what}: every seed needs a finite number, got {array.tolist()}")
    return array
