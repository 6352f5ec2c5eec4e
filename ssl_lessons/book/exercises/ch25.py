"""Chapter 25: the schedule, a time budget, false negatives, batches that survive an interruption, a choice.

Over 400 lines: five exercises with their named mistakes, each of which can be read by itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.evaluation.evidence import interval
from ssl_lessons.training.optimizers import warmup_cosine

from .core import Check, Exercise, Stop, call, failed


def check_lr_at(fn) -> Check:
    """fn(step, steps, warmup_steps, peak) -> learning rate at `step` of 0 .. steps - 1.

    Linear warm-up that reaches the peak at step `warmup_steps`, then half a cosine to 0, as
    `ssl_lessons.training.optimizers.warmup_cosine` times the peak.
    """
    return LR_AT.check(fn)


def check_false_negatives(fn) -> Check:
    """fn(labels [N]) -> the fraction of false negatives in an NT-Xent batch of 2N views.

    A negative is false when it has the class of its anchor.  Each anchor has 2N - 2 negatives (itself and its
    positive are none); mean over the anchors.
    """
    return FALSE_NEGATIVES.check(fn)


def check_steps_that_fit(fn) -> Check:
    """fn(seconds, seconds_per_step, images, batch_size) -> (steps, epochs), a pair of numbers or an array [2].

    Whole steps that fit into the time, at least one, and how often they go through the images (a fraction is fine).
    """
    return STEPS_THAT_FIT.check(_pair(fn))


def check_batches(fn) -> Check:
    """fn(images, batch_size, seed, start, stop) -> for each step of start .. stop - 1, the rows of its batch.

    Distinct rows of 0 .. images - 1, random, decided by (seed, step) alone: wherever the run is taken up again.
    """
    try:
        _check_batches(fn)
    except Stop as stop:
        return stop.check
    return Check(True, "correct: a step has the same batch, wherever the run was taken up again")


def check_choose(fn) -> Check:
    """fn(seconds_a [K], scores_a [K, S], seconds_b [L], scores_b [L, S], budget) -> (choice, difference).

    difference: mean over seeds of a minus b, each at its last measurement within the budget; choice: 1 where its 90 %
    interval lies above 0, -1 where it lies below, else 0.
    """
    return CHOOSE.check(_pair(fn))


def _pair(fn):
    """The same function, with an array [2] turned into a pair of numbers."""
    if not callable(fn):
        return fn

    def converted(*args):
        value = fn(*args)
        if isinstance(value, Tensor | np.ndarray) and value.shape == (2,):
            return tuple(value.tolist())
        return value

    return converted


_SCHEDULES = ((40, 5, 0.5), (90, 20, 4.8))  # steps, warmup_steps, peak


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _ramp_then(decay):
    """A schedule with the right warm-up and `decay(step, steps, warmup_steps)` after it."""

    def lr(step: int, steps: int, warmup_steps: int, peak: float) -> float:
        in_warmup = step < warmup_steps
        return peak * ((step + 1) / (warmup_steps + 1) if in_warmup else decay(step, steps, warmup_steps))

    return lr


def _ramp(rise):
    """A schedule with the right decay and `rise(step, warmup_steps)` before it."""

    def lr(step: int, steps: int, warmup_steps: int, peak: float) -> float:
        in_warmup = step < warmup_steps
        return peak * (rise(step, warmup_steps) if in_warmup else warmup_cosine(step, steps, warmup_steps))

    return lr


def _restarts(inputs: list[tuple], answers: list[Tensor]) -> str | None:
    """Says so when the learning rate rises again after the warm-up."""
    for (before, _, warmup, _), (step, *_), a, b in zip(
        inputs, inputs[1:], answers, answers[1:], strict=False
    ):
        if step == before + 1 and before >= warmup and a.ndim == b.ndim == 0 and b > a + 1e-5:
            return f"restarts: the learning rate rises again at step {step}, after the warm-up"
    return None


LR_AT = Exercise(
    sample=lambda g: [(step, *schedule) for schedule in _SCHEDULES for step in range(schedule[0])],
    reference=lambda step, steps, warmup, peak: peak * warmup_cosine(step, steps, warmup),
    mistakes=(
        ("no warm-up: this is the cosine from step 0 on", lambda s, n, w, peak: peak * _half_cosine(s / n)),
        ("no warm-up: the learning rate is at its peak before step warmup_steps", _ramp(lambda s, w: 1.0)),
        ("no cosine: the learning rate stays at its peak after the warm-up", _ramp_then(lambda s, n, w: 1.0)),
        (
            "the decay is linear: it should follow half a cosine",
            _ramp_then(lambda s, n, w: 1 - (s - w) / (n - w)),
        ),
        (
            "starts at 0: step 0 learns nothing; use (step + 1) / (warmup_steps + 1)",
            _ramp(lambda s, w: s / w),
        ),
        ("starts at 0: step 0 learns nothing; count step + 1", _ramp(lambda s, w: s / (w + 1))),
        (
            "the warm-up reaches the peak one step early: divide by warmup_steps + 1",
            _ramp(lambda s, w: (s + 1) / w),
        ),
        (
            "the cosine runs over all steps: it should start at its top when the warm-up ends",
            _ramp_then(lambda s, n, w: _half_cosine(s / n)),
        ),
        (
            "the cosine is stretched over all steps: steps - warmup_steps remain",
            _ramp_then(lambda s, n, w: _half_cosine((s - w) / n)),
        ),
        (
            "reaches 0 one step early: divide by steps - warmup_steps",
            _ramp_then(lambda s, n, w: _half_cosine((s - w) / (n - w - 1))),
        ),
        ("this is the factor: multiply it by the peak", lambda s, n, w, peak: warmup_cosine(s, n, w)),
        (
            "the cosine runs over all steps, times the warm-up: it should start when the warm-up ends",
            lambda s, n, w, peak: peak * min(1, (s + 1) / (w + 1)) * _half_cosine(s / n),
        ),
    ),
    hint=_restarts,
)


def _class_sizes(labels: Tensor) -> Tensor:
    """For every image, how many images of the batch have its class, itself included: float64 [N]."""
    return (labels[:, None] == labels).sum(1).double()


FALSE_NEGATIVES = Exercise(
    sample=lambda g: [(torch.randint(c, (n,), generator=g),) for n, c in [(12, 3), (30, 10), (7, 2)]],
    reference=lambda y: ((2 * _class_sizes(y) - 2) / (2 * len(y) - 2)).mean(),
    mistakes=(
        (
            "the anchor itself and its positive are counted: neither is a negative",
            lambda y: (_class_sizes(y) / len(y)).mean(),
        ),
        (
            "the positive pair is counted as a negative: leave it out of both counts",
            lambda y: ((2 * _class_sizes(y) - 1) / (2 * len(y) - 1)).mean(),
        ),
        (
            "the positive pair is counted above the fraction line: it shares the class and is no negative",
            lambda y: ((2 * _class_sizes(y) - 1) / (2 * len(y) - 2)).mean(),
        ),
        (
            "the anchor itself and its positive are counted above the fraction line: neither is a negative",
            lambda y: (2 * _class_sizes(y) / (2 * len(y) - 2)).mean(),
        ),
        (
            "the positive pair is counted below the fraction line: there are 2N - 2 negatives",
            lambda y: ((2 * _class_sizes(y) - 2) / (2 * len(y) - 1)).mean(),
        ),
        (
            "all 2N views are counted below the fraction line: there are 2N - 2 negatives",
            lambda y: ((2 * _class_sizes(y) - 2) / (2 * len(y))).mean(),
        ),
        (
            "only one view of the other images is counted: each of them brings two views into the batch",
            lambda y: ((_class_sizes(y) - 1) / (2 * len(y) - 2)).mean(),
        ),
        (
            "this is a number of views: divide by the 2N - 2 negatives",
            lambda y: (2 * _class_sizes(y) - 2).mean(),
        ),
        (
            "this is the fraction of true negatives: count those that share the anchor's class",
            lambda y: 1 - ((2 * _class_sizes(y) - 2) / (2 * len(y) - 2)).mean(),
        ),
        (
            "this is one over the number of classes: count the classes that this batch holds",
            lambda y: 1 / len(y.unique()),
        ),
    ),
)


def _steps(seconds: float, per_step: float) -> float:
    return max(1.0, seconds // per_step)


def _budget(steps: float, images: int, batch: int) -> tuple[float, float]:
    return steps, steps * batch / images


STEPS_THAT_FIT = Exercise(
    # Images in whole batches (dropping the last one or not is all the same), times far from a whole step; the last
    # budget is shorter than a step.
    sample=lambda g: [
        (60.0, 0.0629, 8192, 256),
        (100.0, 0.3, 1024, 64),
        (25.0, 1.8, 4096, 512),
        (2.0, 3.1, 512, 64),
    ],
    reference=lambda s, per_step, images, batch: _budget(_steps(s, per_step), images, batch),
    mistakes=(
        (
            "a time shorter than one step gives no step: take at least one",
            lambda s, p, n, b: _budget(s // p, n, b),
        ),
        ("not whole: an unfinished step does not count", lambda s, p, n, b: _budget(max(1.0, s / p), n, b)),
        (
            "not whole, and not at least one: a short time gives a part of a step",
            lambda s, p, n, b: _budget(s / p, n, b),
        ),
        ("rounded up: the last step would not finish in time", lambda s, p, n, b: _budget(s // p + 1, n, b)),
        (
            "one step too many: at least one is max(1, steps), not a sum",
            lambda s, p, n, b: _budget(_steps(s, p) + 1, n, b),
        ),
        (
            "the epochs forget the batch size: a step takes batch_size images",
            lambda s, p, n, b: (_steps(s, p), _steps(s, p) / n),
        ),
        (
            "the epochs are upside down: images seen by images there are",
            lambda s, p, n, b: (_steps(s, p), n / (_steps(s, p) * b)),
        ),
        (
            "the epochs are rounded down: give the fraction too",
            lambda s, p, n, b: (_steps(s, p), _steps(s, p) * b // n),
        ),
        (
            "time is multiplied: divide the seconds by the seconds per step",
            lambda s, p, n, b: _budget(max(1.0, s * p // 1), n, b),
        ),
        (
            "the order is wrong: return (steps, epochs)",
            lambda s, p, n, b: (_steps(s, p) * b / n, _steps(s, p)),
        ),
        (
            "this is the number of images seen: divide it by the images there are",
            lambda s, p, n, b: (_steps(s, p), _steps(s, p) * b),
        ),
    ),
)


# ---- batches that survive an interruption -------------------------------------------------------------------

_IMAGES, _BATCH, _SEED, _STEPS, _CUT = 50, 8, 3, 12, 5


def _rows(fn, seed: int = _SEED, start: int = 0, noise: int = 0) -> Tensor:
    """The batches of steps start .. _STEPS - 1, int64 [steps, batch]; noise: of the program's random numbers."""
    torch.manual_seed(noise)
    state = torch.get_rng_state()
    value = call(fn, (_IMAGES, _BATCH, seed, start, _STEPS))
    if not torch.equal(state, torch.get_rng_state()):
        raise failed("your function uses the program's own random numbers: take a torch.Generator of its own")
    count = _STEPS - start
    if value is None:
        raise failed("your function returns None; is the return statement missing?")
    try:
        parts = [torch.as_tensor(part) for part in value]
        rows = torch.stack(parts) if parts else torch.empty(0)
    except Exception:  # noqa: BLE001 - whatever was returned, it cannot be read as batches
        raise failed(f"return a list with one tensor of {_BATCH} rows per step") from None
    if len(rows) == _STEPS and start:
        raise failed("a resumed run returns its steps from `start` on, not all of them")
    if (
        rows.shape != (count, _BATCH)
        or rows.is_floating_point()
        or rows.is_complex()
        or rows.dtype == torch.bool
    ):
        raise failed(
            f"for steps {start} to {_STEPS - 1} return {count} batches of {_BATCH} row numbers (int64)"
        )
    if rows.min() < 0 or rows.max() >= _IMAGES:
        raise failed(f"row numbers outside 0 .. {_IMAGES - 1}: there are {_IMAGES} images")
    return rows.long()


def _check_batches(fn) -> None:
    """Raises Stop with what is wrong."""
    with torch.random.fork_rng(devices=[]):
        straight, again = _rows(fn), _rows(fn, noise=1)
        resumed, other = _rows(fn, start=_CUT), _rows(fn, seed=_SEED + 1)
    if not torch.equal(straight, again):
        raise failed("two equal calls give different batches: seed a generator with what you are given")
    if any(len(batch.unique()) < _BATCH for batch in straight):
        raise failed("a picture twice in one batch would be its own negative: draw without replacement")
    if (straight == straight[0]).all():
        raise failed("every step has the same batch: its number has to enter")
    if torch.equal(resumed, straight[: len(resumed)]):
        raise failed(
            "the planted bug: the resumed run begins with the first batches again, whatever `start` is"
        )
    if not torch.equal(resumed, straight[_CUT:]):
        raise failed("the resumed run has other batches than the straight one has in the same steps")
    if torch.equal(straight, other):
        raise failed("the seed is ignored: every run has the same batches")
    if torch.equal(straight[0], other[0]):
        raise failed("the first batch does not depend on the seed")
    if torch.equal(straight[1:], other[:-1]) or torch.equal(straight[:-1], other[1:]):
        raise failed(
            "seed + step: the run of the next seed has the same batches, one step earlier; the two are no fresh runs"
        )
    if (straight.diff(dim=1) == 1).double().mean() > 0.5 or len(straight.unique()) < _IMAGES // 2:
        raise failed("not random: the batches are the same few pictures, or neighbours, every time")


# ---- a choice between two designs ---------------------------------------------------------------------------


def _reached(seconds: Tensor, scores: Tensor, budget: float) -> Tensor:
    """The scores [S] of the last measurement within the budget."""
    return scores[int((seconds <= budget).sum()) - 1]


def _decide(differences: Tensor, quantile: float | None = None) -> tuple[int, float]:
    mean, low, high = interval(differences)
    if quantile is not None:
        half = quantile * float(differences.std()) / math.sqrt(len(differences))
        low, high = mean - half, mean + half
    return int(low > 0) - int(high < 0), mean


def _duels(g: torch.Generator) -> list[tuple]:
    """Design a is quick and levels off, design b is slow and ends higher; budgets before and after they cross, one that
    nobody can decide, and one that only a normal quantile would decide."""
    rise = torch.tensor([0.20, 0.34, 0.44, 0.50, 0.52, 0.525]).double()
    quick, slow = torch.arange(1, 7).double() * 10, torch.arange(1, 7).double() * 22
    luck = torch.randn(2, 6, 3, generator=g).double() * 0.006
    a, b = rise[:, None] + luck[0], 1.12 * rise[:, None] + luck[1]
    # three seeds with t = 2.2: beyond 1.645, short of 2.92
    close = torch.full((6, 3), 0.3).double()
    edge = close + torch.tensor([0.010, 0.020, 0.050]).double()
    wide = close + torch.tensor([-0.04, 0.05, 0.01]).double()
    return [
        (quick, a, slow, b, 50.0), (quick, a, slow, b, 140.0), (quick, a, slow, b, 71.0),
        (quick, edge, slow, close, 70.0), (slow, close, quick, wide, 70.0),
        (slow, b[:, :2], quick, a[:, :2], 95.0),
    ]  # fmt: skip


def _best_within(seconds: Tensor, scores: Tensor, budget: float) -> Tensor:
    return scores[seconds <= budget].amax(0)


def _equal_rows(ta, a, tb, b, budget: float) -> Tensor:
    k = min(int((ta <= budget).sum()), int((tb <= budget).sum())) - 1
    return a[k] - b[k]


def _after(seconds: Tensor, scores: Tensor, budget: float) -> Tensor:
    return scores[min(int((seconds <= budget).sum()), len(scores) - 1)]


def _gap(reached, ta, a, tb, b, budget: float) -> Tensor:
    return reached(ta, a, budget) - reached(tb, b, budget)


CHOOSE = Exercise(
    sample=_duels,
    reference=lambda *duel: _decide(_gap(_reached, *duel)),
    mistakes=(
        (
            "equal steps, not equal seconds: a step of one design costs more",
            lambda *duel: _decide(_equal_rows(*duel)),
        ),
        (
            "the ends of both runs, not what the budget allows",
            lambda ta, a, tb, b, budget: _decide(a[-1] - b[-1]),
        ),
        (
            "a measurement after the budget: take the last one within it",
            lambda *duel: _decide(_gap(_after, *duel)),
        ),
        (
            "the best measurement so far is too good by luck: take the last",
            lambda *duel: _decide(_gap(_best_within, *duel)),
        ),
        (
            "the sign of the mean alone decides nothing: choose only where the whole interval lies on one side of 0",
            lambda *duel: _decide(_gap(_reached, *duel), 0.0),
        ),
        (
            "this is the interval with the normal quantile, 1.64: few seeds need Student's (evidence.interval)",
            lambda *duel: _decide(_gap(_reached, *duel), 1.644854),
        ),
        (
            "this is the 95 % interval: 90 % is asked for",
            lambda *duel: _decide(_gap(_reached, *duel), {1: 12.706205, 2: 4.302653}[duel[1].shape[1] - 1]),
        ),
        (
            "this is b minus a: return a minus b, and 1 where a wins",
            lambda *duel: _decide(-_gap(_reached, *duel)),
        ),
        (
            "the order is wrong: return (choice, difference)",
            lambda *duel: _decide(_gap(_reached, *duel))[::-1],
        ),
    ),
    praise="and it says so where the seeds cannot tell",
)
