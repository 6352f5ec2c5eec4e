"""Chapter 00: cosine similarity, nearest neighbours, a draw of labels, R^2."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .core import Check, Exercise, Stop, call, failed


def check_cosine_similarity(fn) -> Check:
    """fn(a [N, D], b [M, D]) -> [N, M]: the cosine of every row of a with every row of b."""
    return COSINE.check(fn)


def check_knn_predict(fn) -> Check:
    """fn(train_x [N, D], train_y [N], test_x [M, D], k) -> labels [M].

    The majority vote of the k nearest training rows by cosine similarity; no ties occur in the check.
    """
    return KNN.check(fn)


def check_label_subset(fn) -> Check:
    """fn(labels [N], per_class, generator) -> indices [per_class * classes], in any order.

    A random stratified draw without replacement, driven by the generator alone; labels of -1 are not drawn.
    """
    try:
        for labels, per_class in _LABEL_CASES:
            _check_draws(fn, labels, per_class)
    except Stop as stop:
        return stop.check
    return Check(True, "correct: random, distinct, stratified and labelled only")


def check_factor_score(fn) -> Check:
    """fn(target [N], prediction [N]) -> R^2, the share of the target's variance that is explained.

    The check holds no score below 0, so a score clipped at 0 is accepted too.
    """
    return FACTOR_SCORE.check(fn)


def _unit(x: Tensor, dim: int = 1) -> Tensor:
    return normalize(x, dim=dim)


COSINE = Exercise(
    sample=lambda g: [
        (torch.randn(n, d, generator=g).double() + 0.5, 3 * torch.randn(m, d, generator=g).double())
        for n, m, d in [(4, 6, 3), (7, 2, 5), (1, 3, 8)]
    ],
    reference=lambda a, b: _unit(a) @ _unit(b).T,
    mistakes=(
        (
            "not normalized: this is the dot product; divide every row by its length first",
            lambda a, b: a @ b.T,
        ),
        (
            "normalized over the wrong axis: each row (dim=1) must get length 1, not each column",
            lambda a, b: _unit(a, 0) @ _unit(b, 0).T,
        ),
        ("only one side is normalized: the rows of b keep their length", lambda a, b: _unit(a) @ b.T),
        ("only one side is normalized: the rows of a keep their length", lambda a, b: a @ _unit(b).T),
        (
            "divided by the squared lengths: take the square root of the sum of squares",
            lambda a, b: a @ b.T / (a.pow(2).sum(1, keepdim=True) * b.pow(2).sum(1)),
        ),
        (
            "transposed: the rows of the result belong to a, its columns to b",
            lambda a, b: _unit(b) @ _unit(a).T,
        ),
    ),
)


def _vote(score: Tensor, train_y: Tensor, k: int) -> Tensor:
    """Labels by majority among the k training rows of highest score; score [M, N]."""
    return _votes(score, train_y, k).argmax(1)


def _votes(score: Tensor, train_y: Tensor, k: int) -> Tensor:
    return torch.nn.functional.one_hot(train_y[score.topk(k, dim=1).indices], int(train_y.max()) + 1).sum(1)


def _knn_cases(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, classes, k in [(60, 4, 3, 5), (80, 6, 2, 9), (50, 3, 4, 7)]:
        x, test_x = (torch.randn(size, d, generator=g).double() for size in (n, 200))
        noisy = x[:, :classes] + 0.7 * torch.randn(n, min(d, classes), generator=g).double()
        y = noisy.argmax(1)
        x = x * torch.rand(n, 1, generator=g).mul(2).exp().double()  # lengths that mislead all but the cosine
        score = _unit(test_x) @ _unit(x).T
        # No test row with a tied vote, nor with a k-th neighbour that rounding could exchange.
        first, second = _votes(score, y, k).topk(2, dim=1).values.T
        ranked = score.sort(dim=1, descending=True).values
        clear = (first > second) & (ranked[:, k - 1] - ranked[:, k] > 1e-4)
        cases.append((x, y, test_x[clear], k))
    return cases


KNN = Exercise(
    sample=_knn_cases,
    reference=lambda x, y, t, k: _vote(_unit(t) @ _unit(x).T, y, k),
    mistakes=(
        (
            "these are the farthest training rows, not the nearest: a high cosine means near",
            lambda x, y, t, k: _vote(-_unit(t) @ _unit(x).T, y, k),
        ),
        (
            "Euclidean distance of features that are not normalized: compare directions, not lengths",
            lambda x, y, t, k: _vote(-torch.cdist(t, x), y, k),
        ),
        (
            "the features are not normalized: long training rows win the dot product",
            lambda x, y, t, k: _vote(t @ x.T, y, k),
        ),
        (
            "only the nearest neighbour decides: all k must vote",
            lambda x, y, t, k: _vote(_unit(t) @ _unit(x).T, y, 1),
        ),
        (
            "these are positions of training rows: look up their labels in train_y",
            lambda x, y, t, k: (_unit(t) @ _unit(x).T).argmax(1),
        ),
    ),
)

FACTOR_SCORE = Exercise(
    sample=lambda g: [_regression(n, g) for n in (7, 20, 12)],
    reference=lambda t, p: 1 - (t - p).pow(2).sum() / (t - t.mean()).pow(2).sum(),
    mistakes=(
        (
            "this is the squared correlation: it forgives a wrong offset and scale, R^2 does not",
            lambda t, p: torch.corrcoef(torch.stack([t, p]))[0, 1] ** 2,
        ),
        (
            "this is the correlation: R^2 compares squared errors",
            lambda t, p: torch.corrcoef(torch.stack([t, p]))[0, 1],
        ),
        (
            "the baseline is missing: divide by the squared errors of always predicting the mean",
            lambda t, p: 1 - (t - p).pow(2).sum() / t.pow(2).sum(),
        ),
        (
            "the baseline is missing: this is 1 minus the mean squared error, which depends on the unit",
            lambda t, p: 1 - (t - p).pow(2).mean(),
        ),
        (
            "this is the unexplained share: subtract it from 1",
            lambda t, p: (t - p).pow(2).sum() / (t - t.mean()).pow(2).sum(),
        ),
        (
            "the two roles are swapped: the baseline is the mean of the target, not of the prediction",
            lambda t, p: 1 - (t - p).pow(2).sum() / (p - p.mean()).pow(2).sum(),
        ),
        (
            "a mean over N is divided by a variance over N - 1: use correction=0 or sums in both places",
            lambda t, p: 1 - (t - p).pow(2).mean() / t.var(),
        ),
    ),
)


def _regression(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    target = 1.5 * torch.randn(n, generator=g).double() + 2
    return target, 0.8 * target + 0.7 + 0.3 * torch.randn(n, generator=g).double()


def _labels(counts: list[int], unlabelled: int) -> Tensor:
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)] + [torch.full((unlabelled,), -1)])
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(len(y)))]


_LABEL_CASES = ((_labels([15, 25, 15], 30), 12), (_labels([20, 12, 15, 14], 25), 10))


def _check_draws(fn, labels: Tensor, per_class: int) -> None:
    """Raises Stop with what is wrong in 40 draws; 40 miss one given image with a chance below 1e-6."""
    draws = [_draw(fn, labels, per_class, seed) for seed in range(40)]
    chosen = [set(d.tolist()) for d in draws]
    members = [(labels == c).nonzero().flatten() for c in range(int(labels.max()) + 1)]
    first = set(torch.cat([m[:per_class] for m in members]).tolist())
    if all(c == first for c in chosen):
        raise failed("not random: always the first images of every class")
    if all(c == chosen[0] for c in chosen):
        raise failed("not random: another seed of the generator draws the same images")
    if set(_draw(fn, labels, per_class, seed=0).tolist()) != chosen[0]:
        raise failed("not repeatable: one seed draws different images; pass the generator to random calls")
    never = set(torch.cat(members).tolist()) - set().union(*chosen)
    if never:
        raise failed(
            f"some images are never drawn in {len(draws)} draws, such as image {min(never)}: "
            "every image of a class must have the same chance"
        )


def _draw(fn, labels: Tensor, per_class: int, seed: int) -> Tensor:
    """One draw, checked for everything that a single draw can show."""
    index = call(fn, (labels, per_class, torch.Generator().manual_seed(seed)))
    integers = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
    if not isinstance(index, Tensor) or index.ndim != 1 or index.dtype not in integers:
        got = f"{index.dtype} {list(index.shape)}" if isinstance(index, Tensor) else type(index).__name__
        raise failed(f"return a 1-D integer tensor of indices into labels, not {got}")
    if len(index) and not (0 <= index.min() and index.max() < len(labels)):
        raise failed(f"indices {index.min()} to {index.max()} do not fit {len(labels)} labels")
    index = index.long()
    drawn = labels[index]
    if (drawn < 0).any():
        raise failed(f"{(drawn < 0).sum()} unlabelled images (label -1) are drawn: leave them out")
    if len(index.unique()) < len(index):
        raise failed("duplicates: an image is drawn more than once; draw without replacement")
    counts = torch.bincount(drawn, minlength=int(labels.max()) + 1).tolist()
    if set(counts) != {per_class}:
        raise failed(f"not stratified: {counts} images per class are drawn instead of {per_class} of each")
    return index
