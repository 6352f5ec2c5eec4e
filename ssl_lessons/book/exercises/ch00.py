"""Chapter 00: nearest neighbours, a draw of labels, a loss without its mask, when fine-tuning surely wins."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.evaluation.evidence import interval

from .core import Check, Exercise, Stop, call, failed


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


def check_stuck_at(fn) -> Check:
    """fn(n, temperature) -> NT-Xent without the mask on the diagonal, for perfect embeddings of n pictures."""
    return STUCK.check(fn)


def check_fine_tune_from(fn) -> Check:
    """fn(labels [K], frozen [K, S], tuned [K, S]) -> the count from which on the paired interval lies above 0, or 0."""
    return FROM.check(fn)


def _unit(x: Tensor, dim: int = 1) -> Tensor:
    return normalize(x, dim=dim)


def _vote(score: Tensor, train_y: Tensor, k: int) -> Tensor:
    """Labels by majority among the k training rows of highest score; score [M, N]."""
    return _votes(score, train_y, k).argmax(1)


def _weighted(score: Tensor, train_y: Tensor, k: int, temperature: float = 0.07) -> Tensor:
    """As `_vote`, each neighbour with the weight of the package's own kNN."""
    similarity, rows = score.topk(k, dim=1)
    votes = score.new_zeros(len(score), int(train_y.max()) + 1)
    return votes.scatter_add_(1, train_y[rows], (similarity / temperature).exp()).argmax(1)


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
            "the vote is weighted by the similarity: here every neighbour has one vote",
            lambda x, y, t, k: _weighted(_unit(t) @ _unit(x).T, y, k),
        ),
        (
            "the features are normalized over the wrong axis: every row (dim=1) gets length 1",
            lambda x, y, t, k: _vote(_unit(t, 0) @ _unit(x, 0).T, y, k),
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

STUCK = Exercise(
    sample=lambda g: [(n, tau) for n, tau in ((256, 0.1), (8, 0.5), (3, 1.0), (64, 0.25))],
    reference=lambda n, tau: math.log(2 + (2 * n - 2) * math.exp(-1 / tau)),
    mistakes=(
        (
            "this is the smallest value of the right loss: in her code the diagonal is a candidate too",
            lambda n, tau: math.log(1 + (2 * n - 2) * math.exp(-1 / tau)),
        ),
        (
            "log 2 is the limit at a low temperature: the 2n - 2 other entries count as well",
            lambda n, tau: math.log(2),
        ),
        (
            "a row of s has 2n entries, two of which are 1 / temperature: 2n - 2 zeros are left",
            lambda n, tau: math.log(2 + (2 * n - 1) * math.exp(-1 / tau)),
        ),
        (
            "a row of s has 2n entries, two of which are 1 / temperature: 2n - 2 zeros are left",
            lambda n, tau: math.log(2 + 2 * n * math.exp(-1 / tau)),
        ),
        (
            "subtract the partner's own 1 / temperature: cross-entropy is log sum exp minus the logit of the target",
            lambda n, tau: math.log(2 * math.exp(1 / tau) + 2 * n - 2),
        ),
        (
            "there are 2n views, not n: count the entries of one row of s",
            lambda n, tau: math.log(2 + (n - 2) * math.exp(-1 / tau)),
        ),
        (
            "there are 2n views, not n: count the entries of one row of s",
            lambda n, tau: math.log(2 + (n - 1) * math.exp(-1 / tau)),
        ),
        (
            "the similarities are divided by the temperature: 1 / temperature, not 1",
            lambda n, tau: math.log(2 + (2 * n - 2) * math.exp(-1)),
        ),
    ),
    praise="and so no training gets her below log 2 = 0.69",
)


def _from(labels: Tensor, frozen: Tensor, tuned: Tensor, sure) -> int:
    """The smallest count from which on `sure(differences [S])` is true at every count; 0 if there is none."""
    first = 0
    for k in reversed(range(len(labels))):
        if not sure(tuned[k] - frozen[k]):
            break
        first = int(labels[k])
    return first


def _sure(d: Tensor) -> bool:
    return interval(d.tolist())[1] > 0


# Differences of three seeds, tuned minus frozen: some are sure by a normal quantile and not by Student's t, with all
# seeds of one sign or with one dissenting; and a win of the frozen features where labels are many.
_LOOKS_SURE = ((0.10, 0.11, 0.12), (0.02, 0.11, 0.20), (0.05, 0.06, 0.07), (0.04, 0.05, 0.06))
_ONE_DISSENTS = ((0.10, 0.11, 0.12), (-0.01, 0.20, 0.25), (0.05, 0.06, 0.07), (0.04, 0.05, 0.06))
_FROZEN_WINS = ((0.10, 0.11, 0.12), (0.05, 0.06, 0.07), (0.01, 0.02, 0.03), (-0.06, -0.05, -0.04))


def _curves(g: torch.Generator) -> list[tuple]:
    """Curves that differ by a lot, a little and not at all; runs of one seed share their luck."""
    labels, cases = torch.tensor([1, 2, 5, 10, 25, 50]), []
    for gains in (
        (0.2, -0.2, 0.03, 0.2, 0.2, 0.2),
        (0.2, 0.2, 0.2, 0.01, 0.2, 0.05),
        (0.3, 0.3, 0.3, 0.3, 0.3, 0.0),
        (-0.1, 0.01, 0.03, 0.1, 0.1, 0.1),
    ):
        shared = 0.05 * torch.randn(1, 3, generator=g)
        own = 0.02 * torch.randn(2, 6, 3, generator=g)
        frozen = (0.3 + shared + own[0]).double()
        cases.append((labels, frozen, frozen + (torch.tensor(gains)[:, None] + own[1]).double()))
    for rows in (_LOOKS_SURE, _ONE_DISSENTS, _FROZEN_WINS):
        frozen = 0.3 + 0.05 * torch.randn(4, 3, generator=g).double()
        cases.append(
            (torch.tensor([5, 10, 20, 50]), frozen, frozen + torch.tensor(rows, dtype=torch.float64))
        )
    return cases


FROM = Exercise(
    sample=_curves,
    reference=lambda c, f, t: _from(c, f, t, _sure),
    mistakes=(
        (
            "only the means are compared: ask for the interval",
            lambda c, f, t: _from(c, f, t, lambda d: d.mean() > 0),
        ),
        (
            "all seeds agree, which three seeds do by luck once in eight: ask for the interval",
            lambda c, f, t: _from(c, f, t, lambda d: d.min() > 0),
        ),
        (
            "with three seeds Student's t belongs in the interval, not 1.64: use evidence.interval",
            lambda c, f, t: _from(c, f, t, lambda d: d.mean() > 1.6449 * d.std() / len(d) ** 0.5),
        ),
        (
            "this is the 95 % interval",
            lambda c, f, t: _from(c, f, t, lambda d: interval(d.tolist(), 0.95)[1] > 0),
        ),
        (
            "this is a position: return the number of labels per class, labels[k]",
            lambda c, f, t: (_from(torch.arange(1, len(c) + 1), f, t, _sure) or 1) - 1,
        ),
        (
            "this is the first sure win: at a larger count it is not sure any more",
            lambda c, f, t: next((int(n) for n, a, b in zip(c, f, t, strict=True) if _sure(b - a)), 0),
        ),
        (
            "not paired: take the difference seed by seed, then its interval",
            lambda c, f, t: _unpaired(c, f, t),
        ),
        ("the other way round: tuned minus frozen", lambda c, f, t: _from(c, t, f, _sure)),
    ),
)


def _unpaired(labels: Tensor, frozen: Tensor, tuned: Tensor) -> int:
    """As `_from`, with the two intervals compared instead of the interval of the differences."""
    first = 0
    for k in reversed(range(len(labels))):
        if interval(tuned[k].tolist())[1] <= interval(frozen[k].tolist())[2]:
            break
        first = int(labels[k])
    return first


def _labels(counts: list[int], unlabelled: int) -> Tensor:
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)] + [torch.full((unlabelled,), -1)])
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(len(y)))]


_LABEL_CASES = ((_labels([15, 25, 15], 30), 12), (_labels([20, 12, 15, 14], 25), 10))


DRAWS = 400


def _is_window(chosen: Tensor, members: Tensor) -> bool:
    """Whether those of the members that were chosen follow each other, the last being followed by the first."""
    inside = torch.isin(members, chosen)
    return int((inside & ~inside.roll(1)).sum()) <= 1


def _check_draws(fn, labels: Tensor, per_class: int) -> None:
    """Raises Stop with what is wrong in DRAWS draws."""
    draws = [_draw(fn, labels, per_class, seed) for seed in range(DRAWS)]
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
    if all(_is_window(d, m) for d in draws for m in members):
        raise failed(
            "neighbours are always drawn together: shuffle the images of a class, do not cut out a stretch"
        )
    for m in members:
        chance, drawn = per_class / len(m), sum(torch.isin(m, d).double() for d in draws)
        farthest = (drawn - DRAWS * chance).abs() / math.sqrt(DRAWS * chance * (1 - chance))
        if farthest.max() > 5:  # a fair draw gets there once in 10,000 checks
            odd = int(farthest.argmax())
            raise failed(
                f"not fair: image {int(m[odd])} is in {int(drawn[odd])} of {DRAWS} draws, and in {DRAWS * chance:.0f} "
                "it should be: every image of a class must have the same chance"
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
    if len(index) and int(index.max()) < int(torch.bincount(labels[labels >= 0]).max()):
        raise failed("these are labels, or positions inside a class: return indices into `labels`")
    if (drawn < 0).any():
        raise failed(f"{(drawn < 0).sum()} unlabelled images (label -1) are drawn: leave them out")
    if len(index.unique()) < len(index):
        raise failed("duplicates: an image is drawn more than once; draw without replacement")
    counts = torch.bincount(drawn, minlength=int(labels.max()) + 1).tolist()
    if set(counts) != {per_class}:
        raise failed(f"not stratified: {counts} images per class are drawn instead of {per_class} of each")
    return index
