"""Chapter 22c: what ignoring costs, who was turned, what a module gains, what a search was worth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from .core import Check, Exercise, judge_forecast

__all__ = ["check_gain", "check_search_worth", "check_told_apart", "check_turns_named", "judge_forecast"]


def check_told_apart(fn) -> Check:
    """fn(group [N], label [N]) -> the best accuracy of a rule that answers alike within each group."""
    return TOLD.check(fn)


def check_turns_named(fn) -> Check:
    """fn(p [V, T]: chance of seeing view v after change t, columns sum to 1) -> the best accuracy in naming t."""
    return NAMED.check(fn)


def check_gain(fn) -> Check:
    """fn(y [N, D], guess [N, D], y0 [N, D]) -> how much nearer the guess is to y than y0 is, in cosines, on average."""
    return GAIN.check(fn)


def check_search_worth(fn) -> Check:
    """fn(score [P], result [P]) -> what choosing by the score is worth over choosing by lot."""
    return WORTH.check(fn)


def _groups(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randint(k, (n,), generator=g), torch.randint(c, (n,), generator=g))
        for n, k, c in ((24, 5, 3), (40, 12, 4), (15, 3, 2))
    ]


def _largest(group: Tensor, label: Tensor) -> list[tuple[int, int]]:
    """For each group its size and how many of it share its commonest label."""
    return [(int((group == v).sum()), int(label[group == v].bincount().max())) for v in group.unique()]


def _share(group: Tensor, label: Tensor) -> float:
    return sum(top for _, top in _largest(group, label)) / len(label)


TOLD = Exercise(
    sample=_groups,
    reference=_share,
    mistakes=(
        (
            "larger groups count for more: add up what is right, and divide once",
            lambda g, y: sum(top / n for n, top in _largest(g, y)) / len(g.unique()),
        ),
        (
            "that ignores everything: within each group it may choose another answer",
            lambda g, y: y.bincount().max() / len(y),
        ),
        (
            "that is the share of groups in which all labels agree; in the others it is right now and then, too",
            lambda g, y: sum(n == top for n, top in _largest(g, y)) / len(g.unique()),
        ),
        ("a count: divide by the number of pictures", lambda g, y: _share(g, y) * len(y)),
        (
            "one right answer per group is too few: all that share the commonest label are right",
            lambda g, y: len(g.unique()) / len(y),
        ),
        ("that is the error: return the accuracy", lambda g, y: 1 - _share(g, y)),
    ),
    praise="where a view goes, all that is reached from it goes along: this is the price of ignoring",
)


def _chances(g: torch.Generator) -> list[tuple]:
    cases = []
    for v, t in ((6, 3), (5, 4), (9, 2)):
        p = torch.rand(v, t, generator=g).double()
        cases.append((p / p.sum(dim=0),))
    even = torch.rand(4, 1, generator=g).double().expand(4, 3)
    return [*cases, (even / even.sum(dim=0),)]


NAMED = Exercise(
    sample=_chances,
    reference=lambda p: p.amax(dim=1).sum() / p.shape[1],
    mistakes=(
        ("each change is drawn once in T times: divide by their number", lambda p: p.amax(dim=1).sum()),
        (
            "views are not equally frequent: weigh the posterior by how often its view comes",
            lambda p: (p / p.sum(dim=1, keepdim=True)).amax(dim=1).mean(),
        ),
        (
            "for every view the likeliest change, not for every change the likeliest view",
            lambda p: p.amax(dim=0).mean(),
        ),
        ("chance is the answer only where the view says nothing", lambda p: 1 / p.shape[1] + 0 * p.sum()),
        (
            "that is how often a posterior's draw is right; the best rule takes its largest entry",
            lambda p: (p.square() / p.sum(dim=1, keepdim=True)).sum() / p.shape[1],
        ),
    ),
    praise="where the world looks alike after every change, this is 1/T, and no network beats it",
)


def _vectors(g: torch.Generator) -> list[tuple]:
    return [
        tuple(torch.randn(n, d, generator=g).double() * s for s in (1.0, 2.0, 0.5))
        for n, d in ((6, 4), (11, 3))
    ]


def _gain(y: Tensor, guess: Tensor, y0: Tensor) -> Tensor:
    return (cosine_similarity(y, guess) - cosine_similarity(y, y0)).mean()


GAIN = Exercise(
    sample=_vectors,
    reference=_gain,
    mistakes=(
        ("the other way round: positive where the guess is nearer", lambda y, u, y0: -_gain(y, u, y0)),
        ("these are dot products: divide by the lengths", lambda y, u, y0: ((y * u) - (y * y0)).sum(1).mean()),
        ("compare y with y0, not the guess with y0",
         lambda y, u, y0: (cosine_similarity(y, u) - cosine_similarity(u, y0)).mean()),
        ("one number per picture first, then the mean: not cosines of means",
         lambda y, u, y0: _gain(*(v.mean(dim=0, keepdim=True) for v in (y, u, y0)))),
        ("that is the fit alone: a module that repeats y0 fits, too", lambda y, u, y0: cosine_similarity(y, u).mean()),
        ("a mean over pictures, not their sum", lambda y, u, y0: _gain(y, u, y0) * len(y)),
    ),
    praise="zero where the module's best guess is that nothing moved: equivariant by the letter, invariant in fact",
)  # fmt: skip


def _searches(g: torch.Generator) -> list[tuple]:
    return [tuple(torch.rand(p, generator=g).double() for _ in range(2)) for p in (16, 5, 9)]


WORTH = Exercise(
    sample=_searches,
    reference=lambda s, r: r[s.argmax()] - r.mean(),
    mistakes=(
        ("the score's own maximum is biased upwards: report the result of the one it chose",
         lambda s, r: s.max() - s.mean()),
        ("nobody may choose by the result: choose by the score", lambda s, r: r.max() - r.mean()),
        ("score and result belong to different pictures: compare results with results",
         lambda s, r: s.max() - r.mean()),
        ("a lot is right on average: compare with the mean of all results, not with the worst",
         lambda s, r: r[s.argmax()] - r.min()),
        ("that is the result; subtract what a lot gives", lambda s, r: r[s.argmax()]),
        ("that is what the choice costs against the best; asked is what it is worth against a lot",
         lambda s, r: r.max() - r[s.argmax()]),
    ),
    praise="zero for a score that knows nothing, whatever its maximum looks like",
)  # fmt: skip
