"""Chapters 02 and 02b: subsampling, what negative sampling converges to, a Huffman tree; directions taken out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.modalities.words import geometry
from ssl_lessons.modalities.words.counts import keep_probability, noise_distribution
from ssl_lessons.modalities.words.objectives import huffman

from .core import Check, Exercise, Stop, call

# ---- chapter 02 --------------------------------------------------------------------------------------------


def check_kept_share(fn) -> Check:
    """fn(counts [V], t) -> the expected share of the words of the text that subsampling keeps."""
    return KEPT_SHARE.check(fn)


def check_optimal_scores(fn) -> Check:
    """fn(n [V, V], k, power) -> [V, V]: the best NEG scores with noise in proportion to count^power."""
    return OPTIMAL_SCORES.check(fn)


def check_probabilities(fn) -> Check:
    """fn(s [W, V], q [V]) -> [W, V]: the probabilities in scores trained by NEG; rows sum to 1."""
    return PROBABILITIES.check(fn)


def check_mean_decisions(fn) -> Check:
    """fn(counts [V]) -> decisions per word of the text, by the Huffman tree of the counts."""
    return MEAN_DECISIONS.check(fn)


def _counts(g: torch.Generator, *shape: int, most: int = 60) -> Tensor:
    return torch.randint(1, most, shape, generator=g).double()


def _kept(n: Tensor, t: float) -> Tensor:
    return (n / n.sum() * keep_probability(n, t)).sum()


KEPT_SHARE = Exercise(
    sample=lambda g: [(_counts(g, v, most=most), t) for v, most, t in [(5, 90, 0.1), (8, 400, 0.02), (6, 50, 0.3)]],
    reference=_kept,
    mistakes=(
        ("this is the mean over the vocabulary: weigh every word by how often the text has it",
         lambda n, t: keep_probability(n, t).mean()),
        ("this is the share that is dropped", lambda n, t: 1 - _kept(n, t)),
        ("this is how many words are kept, not their share: divide by the length of the text",
         lambda n, t: (n * keep_probability(n, t)).sum()),
        ("the probability is not cut off at 1: rare words cannot be kept more than once",
         lambda n, t: (n / n.sum() * (t / (n / n.sum())).sqrt()).sum()),
        ("the square root is missing: sqrt(t / f)",
         lambda n, t: (n / n.sum() * (t / (n / n.sum())).clamp(max=1)).sum()),
        ("the root is upside down: t / f, frequent words are kept less",
         lambda n, t: (n / n.sum() * (n / n.sum() / t).sqrt().clamp(max=1)).sum()),
    ),
)  # fmt: skip


def _best(n: Tensor, k: int, power: float) -> Tensor:
    return (n / (k * n.sum(dim=1, keepdim=True) * noise_distribution(n.sum(dim=0), power))).log()


OPTIMAL_SCORES = Exercise(
    sample=lambda g: [(_counts(g, v, v), k, a) for v, k, a in [(3, 5, 0.75), (4, 2, 0.5), (5, 15, 0.9)]],
    reference=_best,
    mistakes=(
        ("this is PMI - log k, right for unigram noise; here q is proportional to count^power",
         lambda n, k, a: _best(n, k, 1.0)),
        ("log k is missing: there are k noise words for each observed one", lambda n, k, a: _best(n, 1, a)),
        ("log k is added: more noise lowers the scores", lambda n, k, a: _best(n, 1, a) + math.log(k)),
        ("q does not sum to 1: divide count^power by its sum",
         lambda n, k, a: (n / (k * n.sum(dim=1, keepdim=True) * n.sum(dim=0) ** a)).log()),
        ("the power is taken of the probabilities and they are not summed up to 1 again",
         lambda n, k, a: (n / (k * n.sum(dim=1, keepdim=True) * (n.sum(dim=0) / n.sum()) ** a)).log()),
        ("the noise is that of the row's word; noise words stand in the place of the neighbour, the column",
         lambda n, k, a: _best(n.T, k, a).T),
        ("the logarithm is missing", lambda n, k, a: _best(n, k, a).exp()),
        ("these are the scores of NCE, log p(c | w): NEG does not know q",
         lambda n, k, a: (n / n.sum(dim=1, keepdim=True)).log()),
        ("this is the probability of \"observed\"; its logit is asked for",
         lambda n, k, a: _best(n, k, a).sigmoid()),
    ),
)  # fmt: skip


def _scores_and_noise(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(w, v, generator=g, dtype=torch.float64), noise_distribution(_counts(g, v)))
        for w, v in [(3, 4), (2, 6), (5, 5)]
    ]


PROBABILITIES = Exercise(
    sample=_scores_and_noise,
    reference=lambda s, q: (s + q.log()).softmax(dim=1),
    mistakes=(
        ("a softmax of the scores ignores the noise: they are log-ratios to q, multiply q back in",
         lambda s, q: s.softmax(dim=1)),
        ("q is divided out once more: NEG has already divided by it, multiply",
         lambda s, q: (s - q.log()).softmax(dim=1)),
        ("right up to a factor: the rows do not sum to 1", lambda s, q: s.exp() * q),
        ("the columns sum to 1: normalise over the neighbours, dim=1", lambda s, q: (s + q.log()).softmax(dim=0)),
        ("q itself is added to the scores: add its logarithm", lambda s, q: (s + q).softmax(dim=1)),
        ("softmax first, q after: then the rows do not sum to 1", lambda s, q: s.softmax(dim=1) * q),
        ("these are log-probabilities", lambda s, q: (s + q.log()).log_softmax(dim=1)),
        ("this is the probability of \"observed\", not of the neighbour", lambda s, q: s.sigmoid()),
    ),
    praise="; k has dropped out, it is the same for all neighbours",
)  # fmt: skip


def _decisions(n: Tensor) -> float:
    heap, total = sorted(n.tolist()), 0.0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, joined)
        total += joined
    return total / float(n.sum())


def _entropy(n: Tensor) -> Tensor:
    p = n / n.sum()
    return -(p * p.log2()).sum()


MEAN_DECISIONS = Exercise(
    sample=lambda g: [
        (torch.tensor(n, dtype=torch.float64),)
        for n in ([40.0, 7, 6, 2, 1], [90.0, 41, 20, 11, 5, 3, 2], [100.0, 30, 29, 9, 4, 4])
    ],
    reference=_decisions,
    mistakes=(
        ("this is the depth of a balanced tree, rounded up: Huffman's gives frequent words short ways",
         lambda n: float(math.ceil(math.log2(len(n))))),
        ("this is log2 of the vocabulary: a balanced tree's", lambda n: math.log2(len(n))),
        ("this is the entropy in bits: a bound from below, a tree makes whole decisions", _entropy),
        ("this is the mean over the vocabulary: weigh every word by how often the text has it",
         lambda n: huffman(n).turns.abs().double().sum(dim=1).mean()),
        ("this counts the decisions of the whole text: divide by its length", lambda n: _decisions(n) * n.sum()),
        ("this is the longest way", lambda n: float(huffman(n).turns.shape[1])),
        ("the two commonest groups are joined: join the two rarest", lambda n: _decisions_wrong(n)),
    ),
)  # fmt: skip


def _decisions_wrong(n: Tensor) -> float:
    groups, total = sorted(n.tolist()), 0.0
    while len(groups) > 1:
        joined = groups.pop() + groups.pop()
        groups = sorted([*groups, joined])
        total += joined
    return total / float(n.sum())


# ---- chapter 02b -------------------------------------------------------------------------------------------


def check_neutralize_subspace(fn) -> Check:
    """fn(w [N, D], G [k, D]) -> [N, D]: unit rows with no component in the span of the rows of G."""
    return NEUTRALIZE_SUBSPACE.check(fn)


def check_chance_alignment(fn) -> Check:
    """fn(n) -> what share of n words (n even, half on each side) a random split gets right under the better naming."""
    return CHANCE_ALIGNMENT.check(fn)


def check_fool(fn) -> Check:
    """fn(n, d) -> (w [n, d], g [d]): direct bias 0, and 2-means still finds which words are of the first half."""
    try:
        for n, d in ((8, 6), (12, 5)):
            _judge_fool(fn, n, d)
    except Stop as stop:
        return stop.check
    return Check(True, "correct: a direct bias of 0, and a perfect split")


def _judge_fool(fn: Callable, n: int, d: int) -> None:
    value = call(fn, (n, d))
    if not (
        isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, Tensor) for v in value)
    ):
        raise _no("your function should return a pair of tensors, w [n, d] and g [d]")
    w, g = (v.detach().cpu().double() for v in value)
    if w.shape != (n, d) or g.shape != (d,):
        raise _no(f"w should be [{n}, {d}] and g [{d}]; they are {list(w.shape)} and {list(g.shape)}")
    if not (w.isfinite().all() and g.isfinite().all()) or not (
        w.norm(dim=1).min() > 1e-6 and g.norm() > 1e-6
    ):
        raise _no("no row of w and no g may be zero or infinite: they have no direction")
    unit = normalize(w, dim=1)
    if torch.pdist(unit).min() < 1e-3:
        raise _no("two words have the same direction: make all n different")
    if geometry.direct_bias(w, g) > 1e-5:
        raise _no(f"the direct bias is {geometry.direct_bias(w, g):.3f}, not 0: something of g is left in w")
    sides = (torch.arange(n) >= n // 2).long()
    found = geometry.alignment(geometry.split_in_two(w), sides)
    if found < 1:
        raise _no(
            f"2-means gets {found:.0%} of the sides right: move the halves apart, in a direction other than g"
        )


def _no(message: str) -> Stop:
    return Stop(Check(False, message))


def _project(w: Tensor, g: Tensor) -> Tensor:
    g = normalize(g, dim=0)
    return w - (w @ g)[:, None] * g


def _one_by_one(w: Tensor, G: Tensor) -> Tensor:
    for g in G:
        w = _project(w, g)
    return normalize(w, dim=1)


def _at_once(w: Tensor, G: Tensor) -> Tensor:
    G = normalize(G, dim=1)
    return normalize(w - w @ G.T @ G, dim=1)


def _basis(G: Tensor) -> Tensor:
    return torch.linalg.qr(G.T).Q.T


NEUTRALIZE_SUBSPACE = Exercise(
    sample=lambda g: [
        (3 * torch.randn(n, d, generator=g).double(), 2 * torch.randn(k, d, generator=g).double())
        for n, d, k in [(4, 5, 2), (6, 7, 3), (3, 8, 2)]
    ],
    reference=lambda w, G: normalize(w - w @ _basis(G).T @ _basis(G), dim=1),
    mistakes=(
        ("the directions are removed one after the other: they are not at right angles, so removing the next puts some "
         "of the first back; make them orthonormal first", _one_by_one),
        ("all projections are subtracted at once, as if the directions stood at right angles: make them orthonormal "
         "first", _at_once),
        ("the rows are not of unit length after the subtraction: normalise last",
         lambda w, G: normalize(w, dim=1) - normalize(w, dim=1) @ _basis(G).T @ _basis(G)),
        ("the rows are never normalised: divide by their length", lambda w, G: w - w @ _basis(G).T @ _basis(G)),
        ("this keeps only the components in the span; subtract them instead",
         lambda w, G: normalize(w @ _basis(G).T @ _basis(G), dim=1)),
        ("only the first direction is removed", lambda w, G: normalize(_project(w, G[0]), dim=1)),
        ("only the mean of the directions is removed", lambda w, G: normalize(_project(w, G.mean(dim=0)), dim=1)),
        ("nothing is removed: the rows are only normalised", lambda w, G: normalize(w, dim=1)),
    ),
)  # fmt: skip


def _binomial(n: int, share: Callable[[int], float]) -> float:
    return sum(math.comb(n, m) * share(m) for m in range(n + 1)) / 2**n


CHANCE_ALIGNMENT = Exercise(
    sample=lambda g: [(12,), (2,), (30,), (8,)],
    reference=lambda n: _binomial(n, lambda m: max(m, n - m) / n),
    mistakes=(
        ("one half would be right for a fixed naming; the better of two namings is at least one half, every time",
         lambda n: 0.5),
        ("three quarters is the middle between one half and 1; the splits near one half are far more common",
         lambda n: 0.75),
        ("this is the mean number of words, not their share: divide by n",
         lambda n: _binomial(n, lambda m: float(max(m, n - m)))),
        ("this is the worse of the two namings", lambda n: _binomial(n, lambda m: min(m, n - m) / n)),
        ("this is 1/2 + the standard deviation, not the mean distance from one half",
         lambda n: 0.5 + 0.5 / math.sqrt(n)),
    ),
)  # fmt: skip
