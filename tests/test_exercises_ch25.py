"""Chapter 25's checkers against solutions and wrong versions written as a reader would write them."""

import math

import numpy as np
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch25
from ssl_lessons.evaluation.evidence import interval
from ssl_lessons.training import steps_that_fit
from ssl_lessons.training.optimizers import warmup_cosine


def lr_by_hand(step, steps, warmup_steps, peak):
    ramp = min(1.0, (step + 1) / (warmup_steps + 1))
    progress = max(0, step - warmup_steps) / (steps - warmup_steps)
    return torch.tensor(peak * ramp * 0.5 * (1 + math.cos(math.pi * progress)))


def false_negatives_loops(labels):
    views = labels.tolist() * 2
    n, shares = len(labels), []
    for i, y in enumerate(views):
        negatives = [views[j] for j in range(2 * n) if j not in (i, (i + n) % (2 * n))]
        shares.append(sum(c == y for c in negatives) / len(negatives))
    return np.mean(shares)


def per_step(mix=lambda seed, step: seed * 1_000_003 + step, draw=None):
    """Batches from a generator of their own for every step."""

    def batches(images, batch_size, seed, start, stop):
        rows = []
        for step in range(start, stop):
            generator = torch.Generator().manual_seed(mix(seed, step))
            order = draw(images, generator) if draw else torch.randperm(images, generator=generator)
            rows.append(order[:batch_size])
        return rows

    return batches


def skipped(images, batch_size, seed, start, stop):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(images, generator=generator)[:batch_size] for _ in range(stop)]
    return torch.stack(drawn[start:])


def numpy_batches(images, batch_size, seed, start, stop):
    return [np.random.default_rng((seed, t)).permutation(images)[:batch_size] for t in range(start, stop)]


def planted(images, batch_size, seed, start, stop):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(images, generator=generator)[:batch_size] for _ in range(start, stop)]


def from_the_global(images, batch_size, seed, start, stop):
    return [torch.randperm(images)[:batch_size] for _ in range(start, stop)]


def seeding_the_global(images, batch_size, seed, start, stop):
    rows = []
    for step in range(start, stop):
        torch.manual_seed(1000 * seed + step)
        rows.append(torch.randperm(images)[:batch_size])
    return rows


def in_order(images, batch_size, seed, start, stop):
    return [(torch.arange(batch_size) + 7 * seed + step * batch_size) % images for step in range(start, stop)]


def choose_with(reach, decide=interval, turn=1):
    def choose(ta, a, tb, b, budget):
        mean, low, high = decide(turn * (reach(ta, a, budget) - reach(tb, b, budget)))
        return (low > 0) * 1 - (high < 0) * 1, mean

    return choose


def last_within(seconds, scores, budget):
    return [s for t, s in zip(seconds, scores, strict=True) if t <= budget][-1]


def student(d):
    d = d.numpy()
    half = {2: 6.313752, 3: 2.919986}[len(d)] * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


def _normal(d):
    half = 1.644854 * d.std() / len(d) ** 0.5
    return d.mean() - half, d.mean() + half


def equal_steps(ta, a, tb, b, budget):
    k = int(torch.minimum((ta <= budget).sum(), (tb <= budget).sum())) - 1
    mean, low, high = interval(a[k] - b[k])
    return int(low > 0) - int(high < 0), mean


CORRECT = {
    "check_lr_at": [lr_by_hand, lambda step, steps, w, peak: peak * warmup_cosine(step, steps, w)],
    "check_false_negatives": [
        false_negatives_loops,
        lambda y: ((y[:, None] == y).sum(1) - 1).float().mean() / (len(y) - 1),
    ],
    "check_steps_that_fit": [
        steps_that_fit,
        lambda s, per, n, b: [max(1, math.floor(s / per)), max(1, math.floor(s / per)) / (n / b)],
        lambda *args: torch.tensor(steps_that_fit(*args)),
        lambda *args: np.array(steps_that_fit(*args)),
    ],
    "check_batches": [per_step(), per_step(lambda seed, t: hash((seed, t)) % 2**60), skipped, numpy_batches],
    "check_choose": [
        choose_with(last_within),
        choose_with(lambda t, s, budget: s[t <= budget][-1], student),
        lambda *duel: torch.tensor(choose_with(last_within)(*duel)),
    ],
}


def schedule(ramp=lambda s, w: (s + 1) / (w + 1), progress=lambda s, n, w: (s - w) / (n - w)):
    def lr(step, steps, warmup_steps, peak):
        if step < warmup_steps:
            return peak * ramp(step, warmup_steps)
        return peak * (1 + math.cos(math.pi * progress(step, steps, warmup_steps))) / 2

    return lr


def count_views(skip, one_view=False, divide_by=None):
    """Same-class views of the anchor, leaving out what `skip(i, n)` lists."""

    def fraction(labels):
        y, n = labels.tolist(), len(labels)
        views = y if one_view else y * 2
        shares = []
        for i in range(n):
            others = [views[j] for j in range(len(views)) if j not in skip(i, n)]
            shares.append(sum(c == y[i] for c in others) / (divide_by(n) if divide_by else len(others)))
        return sum(shares) / n

    return fraction


WRONG = [
    ("check_lr_at", "no warm-up", lambda s, n, w, peak: peak * (1 + math.cos(math.pi * s / n)) / 2),
    ("check_lr_at", "no warm-up", schedule(ramp=lambda s, w: 1)),
    ("check_lr_at", "restarts", schedule(progress=lambda s, n, w: (s - w) % 10 / 10)),
    ("check_lr_at", "restarts", schedule(progress=lambda s, n, w: 2 * (s - w) / (n - w))),
    ("check_lr_at", "starts at 0", schedule(ramp=lambda s, w: s / w)),
    ("check_lr_at", "one step early", schedule(ramp=lambda s, w: (s + 1) / w)),
    ("check_lr_at", "over all steps", schedule(progress=lambda s, n, w: s / n)),
    ("check_lr_at", "over all steps", schedule(progress=lambda s, n, w: (s - w) / n)),
    ("check_lr_at", "multiply it by the peak", lambda s, n, w, peak: lr_by_hand(s, n, w, 1)),
    ("check_false_negatives", "anchor itself", count_views(lambda i, n: ())),
    ("check_false_negatives", "positive pair", count_views(lambda i, n: (i,))),
    ("check_false_negatives", "only one view", count_views(lambda i, n: (i,), True, lambda n: 2 * n - 2)),
    ("check_steps_that_fit", "rounded up", lambda s, p, n, b: (math.ceil(s / p), math.ceil(s / p) * b / n)),
    ("check_steps_that_fit", "not whole", lambda s, p, n, b: (max(1, s / p), max(1, s / p) * b / n)),
    ("check_steps_that_fit", "batch size", lambda s, p, n, b: (max(1, int(s / p)), max(1, int(s / p)) / n)),
    (
        "check_steps_that_fit",
        "upside down",
        lambda s, p, n, b: (max(1, int(s / p)), n / (max(1, int(s / p)) * b)),
    ),
    ("check_steps_that_fit", "tuple of 2", lambda s, p, n, b: int(s / p)),
    ("check_steps_that_fit", "at least one", lambda s, p, n, b: (int(s / p), int(s / p) * b / n)),
    ("check_batches", "planted bug", planted),
    (
        "check_batches",
        "other batches than the straight",
        lambda n, b, s, *at: planted(n, b, s + 99 * at[0], *at),
    ),
    ("check_batches", "program's own random", from_the_global),
    ("check_batches", "program's own random", seeding_the_global),
    ("check_batches", "seed + step", per_step(lambda seed, step: seed + step)),
    ("check_batches", "seed is ignored", per_step(lambda seed, step: step)),
    ("check_batches", "first batch does not depend", per_step(lambda seed, step: seed * step)),
    ("check_batches", "every step has the same", per_step(lambda seed, step: seed)),
    ("check_batches", "its own negative", per_step(draw=lambda n, g: torch.randint(n, (n,), generator=g))),
    ("check_batches", "from `start` on", lambda n, b, seed, start, stop: skipped(n, b, seed, 0, stop)),
    (
        "check_batches",
        "two equal calls",
        lambda n, b, *_: [np.random.permutation(n)[:b] for _ in range(*_[1:])],
    ),
    ("check_batches", "outside 0", lambda *args: skipped(*args) + 1),
    ("check_batches", "not random", in_order),
    (
        "check_batches",
        "12 batches of 8",
        lambda n, b, seed, start, stop: skipped(n, b + 1, seed, start, stop),
    ),
    ("check_choose", "equal steps", equal_steps),
    ("check_choose", "ends of both runs", choose_with(lambda t, s, budget: s[-1])),
    (
        "check_choose",
        "after the budget",
        choose_with(lambda t, s, budget: s[min(int((t <= budget).sum()), 5)]),
    ),
    ("check_choose", "best measurement", choose_with(lambda t, s, budget: s[t <= budget].amax(0))),
    ("check_choose", "sign of the mean", choose_with(last_within, lambda d: (d.mean(),) * 3)),
    ("check_choose", "1.64", choose_with(last_within, lambda d: (d.mean(), *_normal(d)))),
    ("check_choose", "b minus a", choose_with(last_within, turn=-1)),
    ("check_choose", "order is wrong", lambda *duel: choose_with(last_within)(*duel)[::-1]),
]


TestCheckers = checker_tests(ch25, correct=CORRECT, wrong=WRONG)
