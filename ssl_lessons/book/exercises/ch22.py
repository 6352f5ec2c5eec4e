"""Chapter 22: a forecast, what an optimiser decays by a slip, seeds to see an effect, how to spend runs."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from scipy.special import stdtrit

from .core import Check, Exercise, judge_forecast

__all__ = ["check_decayed", "check_seeds_to_see", "check_spend", "judge_forecast"]


def check_decayed(fn) -> Check:
    """fn(parameters) -> how many numbers get weight decay; parameters: list of (name, shape)."""
    return DECAYED.check(fn)


def check_seeds_to_see(fn) -> Check:
    """fn(spread, effect) -> the smallest number of seeds at which the 90 % interval around `effect` leaves out zero."""
    return SEEDS_TO_SEE.check(fn)


def check_spend(fn) -> Check:
    """fn(runs, between, within) -> (settings, gain): how many settings to try with equal shares of the runs."""
    return SPEND.check(fn)


# --- 22.1: what is decayed? ----------------------------------------------------------------------------------------


def _networks(g: torch.Generator) -> list[tuple]:
    cases = []
    for width, out in ((8, 16), (4, 10), (32, 7)):
        cases.append(
            (
                [
                    ("layers.0.weight", (width, 3, 3, 3)),
                    ("layers.1.weight", (width,)),
                    ("layers.1.bias", (width,)),
                    ("layers.3.weight", (2 * width, width, 3, 3)),
                    ("layers.4.weight", (2 * width,)),
                    ("layers.4.bias", (2 * width,)),
                    ("head.weight", (out, 2 * width)),
                    ("head.bias", (out,)),
                ],
            )
        )
    return cases


def _count(parameters, keep) -> int:
    return sum(math.prod(shape) for name, shape in parameters if keep(name, shape))


DECAYED = Exercise(
    sample=_networks,
    reference=lambda p: _count(p, lambda name, shape: len(shape) > 1),
    mistakes=(
        (
            "this goes by the name alone: the weight of a BatchNorm is called weight too, and is one-dimensional",
            lambda p: _count(p, lambda name, shape: "bias" not in name),
        ),
        (
            "this decays everything, biases and BatchNorm as well",
            lambda p: _count(p, lambda name, shape: True),
        ),
        (
            "these are the numbers that are spared: return the others",
            lambda p: _count(p, lambda name, shape: len(shape) == 1),
        ),
        (
            "this counts tensors: count the numbers in them",
            lambda p: sum(len(shape) > 1 for _, shape in p),
        ),
        (
            "only convolutions: linear layers are decayed as well",
            lambda p: _count(p, lambda name, shape: len(shape) == 4),
        ),
    ),
    praise="by shape, not by name: that is what build_optimizer does",
)

# --- 22.2: seeds to see an effect ----------------------------------------------------------------------------------


def _half(spread: float, n: int) -> float:
    return float(stdtrit(n - 1, 0.95)) * spread / math.sqrt(n)


def _seeds(spread: float, effect: float, half=_half) -> int:
    n = 2
    while half(spread, n) >= effect:
        n += 1
    return n


SEEDS_TO_SEE = Exercise(
    sample=lambda g: [(2.0, 2.0), (1.2, 2.0), (3.5, 2.0), (2.5, 0.9)],
    reference=_seeds,
    mistakes=(
        (
            "with few seeds the spread is itself uncertain: Student's quantile, n - 1 degrees of freedom, not 1.645",
            lambda s, e: _seeds(s, e, lambda s, n: 1.645 * s / math.sqrt(n)),
        ),
        (
            "with few seeds the spread is itself uncertain: Student's quantile, n - 1 degrees of freedom, not 1.645",
            lambda s, e: math.ceil((1.645 * s / e) ** 2),
        ),
        (
            "a 90 % interval leaves 5 % on either side: the quantile at 0.95, not 0.975",
            lambda s, e: _seeds(s, e, lambda s, n: float(stdtrit(n - 1, 0.975)) * s / math.sqrt(n)),
        ),
        (
            "a 90 % interval leaves 5 % on either side: the quantile at 0.95, not 0.9",
            lambda s, e: _seeds(s, e, lambda s, n: float(stdtrit(n - 1, 0.90)) * s / math.sqrt(n)),
        ),
        (
            "n - 1 degrees of freedom, not n",
            lambda s, e: _seeds(s, e, lambda s, n: float(stdtrit(n, 0.95)) * s / math.sqrt(n)),
        ),
        (
            "the mean of n seeds wobbles by spread / sqrt(n), not spread / n",
            lambda s, e: _seeds(s, e, lambda s, n: float(stdtrit(n - 1, 0.95)) * s / n),
        ),
        ("one too few: there the interval still holds zero", lambda s, e: _seeds(s, e) - 1),
    ),
    praise="and that is if the estimate hits the truth: half of all studies find less",
)

# --- 22.3: how to spend runs ---------------------------------------------------------------------------------------


@cache
def largest_of(k: int) -> float:
    """The expected largest of k independent standard normal numbers: the integral of x d(Phi(x)^k)."""
    from scipy.special import ndtr

    x = np.linspace(-8, 8, 4001)
    return float(np.trapezoid(x * np.gradient(ndtr(x) ** k, x), x))


def _gain(k: int, n: float, between: float, within: float) -> float:
    return between**2 / math.sqrt(between**2 + within**2 / n) * largest_of(k)


def _spend(runs: int, between: float, within: float, gain=_gain) -> tuple[int, float]:
    options = {k: gain(k, runs / k, between, within) for k in range(2, runs + 1) if runs % k == 0}
    best = max(options, key=options.get)
    return best, options[best]


SPEND = Exercise(
    sample=lambda g: [(24, 1.0, 1.0), (24, 1.0, 4.0), (24, 3.0, 1.0), (36, 1.0, 6.0)],
    reference=_spend,
    mistakes=(
        (
            "this is the largest mean that one sees, luck included: only the share "
            "between^2 / (between^2 + within^2 / n) of it is the setting's",
            lambda r, b, w: _spend(r, b, w, lambda k, n, b, w: math.sqrt(b**2 + w**2 / n) * largest_of(k)),
        ),
        (
            "this forgets the noise: the pick is not the best setting, only the one that looked best",
            lambda r, b, w: _spend(r, b, w, lambda k, n, b, w: b * largest_of(k)),
        ),
        (
            "the noise of a mean of n seeds is within / sqrt(n), its square within^2 / n",
            lambda r, b, w: _spend(r, b, w, lambda k, n, b, w: b**2 / math.sqrt(b**2 + w**2) * largest_of(k)),
        ),
        (
            "the seeds per setting are runs / settings, not all runs",
            lambda r, b, w: _spend(r, b, w, lambda k, n, b, w: _gain(k, n * k, b, w)),
        ),
        ("the order: (settings, gain)", lambda r, b, w: _spend(r, b, w)[::-1]),
        (
            "this is the number of seeds per setting: return the number of settings first",
            lambda r, b, w: (r // _spend(r, b, w)[0], _spend(r, b, w)[1]),
        ),
    ),
    praise="the noisier a run, the fewer settings are worth trying",
)
