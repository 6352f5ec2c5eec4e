"""Chapter 25: the schedule, the learning rate of a batch size, false negatives, a time budget."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.training.optimizers import warmup_cosine

from .core import Check, Exercise


def check_lr_at(fn) -> Check:
    """fn(step, steps, warmup_steps, peak) -> learning rate at `step` of 0 .. steps - 1.

    Linear warm-up that reaches the peak at step `warmup_steps`, then half a cosine to 0, as
    `ssl_lessons.training.optimizers.warmup_cosine` times the peak.
    """
    return LR_AT.check(fn)


def check_scaled_lr(fn) -> Check:
    """fn(base_lr, batch_size) -> learning rate by the linear rule, base_lr being meant for a batch of 256."""
    return SCALED_LR.check(fn)


def check_false_negatives(fn) -> Check:
    """fn(labels [N]) -> the fraction of false negatives in an NT-Xent batch of 2N views.

    A negative is false when it has the class of its anchor.  Each anchor has 2N - 2 negatives (itself and its
    positive are none); mean over the anchors.
    """
    return FALSE_NEGATIVES.check(fn)


def check_steps_that_fit(fn) -> Check:
    """fn(seconds, seconds_per_step, images, batch_size) -> (steps, epochs).

    Whole steps that fit into the time, and how often they go through the images (a fraction is fine).
    """
    return STEPS_THAT_FIT.check(fn)


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
            "starts at 0, so that step 0 learns nothing: use (step + 1) / (warmup_steps + 1)",
            _ramp(lambda s, w: s / w),
        ),
        ("starts at 0, so that step 0 learns nothing: count step + 1", _ramp(lambda s, w: s / (w + 1))),
        (
            "the warm-up reaches the peak one step early: divide by warmup_steps + 1",
            _ramp(lambda s, w: (s + 1) / w),
        ),
        (
            "the cosine runs over all steps: it should start at its top when the warm-up ends",
            _ramp_then(lambda s, n, w: _half_cosine(s / n)),
        ),
        (
            "the cosine is stretched over all steps: after the warm-up, steps - warmup_steps remain",
            _ramp_then(lambda s, n, w: _half_cosine((s - w) / n)),
        ),
        (
            "the cosine reaches 0 one step early: divide by steps - warmup_steps",
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

SCALED_LR = Exercise(
    sample=lambda g: [(0.3, 4096), (0.05, 64), (1e-3, 1024), (0.2, 256)],
    reference=lambda base, batch: base * batch / 256,
    mistakes=(
        ("not scaled: the base learning rate is meant for a batch of 256", lambda base, batch: base),
        (
            "this is the square root rule: the linear rule is proportional to the batch",
            lambda base, batch: base * math.sqrt(batch / 256),
        ),
        (
            "this is the square root rule without its 256: the linear rule is base_lr times batch_size / 256",
            lambda base, batch: base * math.sqrt(batch),
        ),
        (
            "divided the wrong way round: a larger batch takes larger steps",
            lambda base, batch: base * 256 / batch,
        ),
        ("the 256 is missing: divide the batch size by it", lambda base, batch: base * batch),
    ),
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


def _budget(steps: float, images: int, batch: int) -> tuple[float, float]:
    return steps, steps * batch / images


STEPS_THAT_FIT = Exercise(
    # Images in whole batches (dropping the last one or not is all the same), times far from a whole step.
    sample=lambda g: [(60.0, 0.0629, 8192, 256), (100.0, 0.3, 1024, 64), (25.0, 1.8, 4096, 512)],
    reference=lambda s, per_step, images, batch: _budget(s // per_step, images, batch),
    mistakes=(
        (
            "the steps are not whole: an unfinished step does not count",
            lambda s, p, n, b: _budget(s / p, n, b),
        ),
        (
            "the steps are rounded up: the last one would not finish in time",
            lambda s, p, n, b: _budget(s // p + 1, n, b),
        ),
        (
            "the epochs forget the batch size: a step takes batch_size images",
            lambda s, p, n, b: (s // p, s // p / n),
        ),
        (
            "the epochs are upside down: images seen divided by images there are",
            lambda s, p, n, b: (s // p, n / (s // p * b)),
        ),
        ("the epochs are rounded down: give the fraction too", lambda s, p, n, b: (s // p, s // p * b // n)),
        (
            "time is multiplied: divide the seconds by the seconds per step",
            lambda s, p, n, b: _budget(s * p // 1, n, b),
        ),
        ("the order is wrong: return (steps, epochs)", lambda s, p, n, b: (s // p * b / n, s // p)),
        (
            "this is the number of images seen: divide it by the images there are",
            lambda s, p, n, b: (s // p, s // p * b),
        ),
    ),
)
