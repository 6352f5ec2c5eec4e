"""Chapter 11: where a sigmoid should begin, one vector from many prompts, a bag of candidates, who found whom."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .core import Check, Exercise


def check_best_bias(fn) -> Check:
    """fn(n) -> the bias at which the sigmoid loss of a batch of n pairs is lowest while all cosines are 0."""
    return BEST_BIAS.check(fn)


def check_class_vectors(fn) -> Check:
    """fn(texts [T, K, D]) -> [K, D]: one unit vector per class from the vectors of T prompts of any length."""
    return CLASS_VECTORS.check(fn)


def check_bag_loss(fn) -> Check:
    """fn(score [N, N, K]) -> MIL-NCE, pictures look for bags; score[i, j, k]: picture i, text k of bag j."""
    return BAG_LOSS.check(fn)


def check_recall(fn) -> Check:
    """fn(score [N, M], wanted [N], shown [M], k) -> the share of queries that have their caption among the first k."""
    return RECALL.check(fn)


BEST_BIAS = Exercise(
    sample=lambda g: [(2,), (16,), (128,), (32768,)],
    reference=lambda n: -math.log(n - 1),
    mistakes=(
        (
            "the share of yes is 1/n; sigmoid(b) = 1/n gives odds of 1 to n - 1, not 1 to n",
            lambda n: -math.log(n),
        ),
        ("the sign: most answers are no, so the bias lies below 0", lambda n: math.log(n - 1)),
        ("there are n pairs among n^2 questions: one in n, not one in n^2", lambda n: -math.log(n**2 - 1)),
        ("this is the share of yes itself: the bias goes through a sigmoid first", lambda n: 1 / n),
        ("these are the odds: take their logarithm", lambda n: 1 / (n - 1)),
        ("this is the paper's start for every batch; here the best one depends on n", lambda n: -10.0),
        ("the natural logarithm: the sigmoid is made of e", lambda n: -math.log10(n - 1)),
    ),
    praise="for a batch of 32,768 it is -10.4; the paper begins at -10",
)


def _prompts(g: torch.Generator) -> list[tuple]:
    cases = []
    for t, k, d in ((3, 4, 5), (8, 6, 7), (2, 3, 3)):
        length = 0.2 + 4 * torch.rand(t, k, 1, generator=g).double()
        cases.append((length * F.normalize(torch.randn(t, k, d, generator=g).double() + 0.5, dim=2),))
    return cases


CLASS_VECTORS = Exercise(
    sample=_prompts,
    reference=lambda z: F.normalize(F.normalize(z, dim=2).mean(dim=0), dim=1),
    mistakes=(
        (
            "long vectors outvote short ones here: divide each by its length before you average",
            lambda z: F.normalize(z.mean(dim=0), dim=1),
        ),
        (
            "a mean of unit vectors is shorter than 1: divide by its length again",
            lambda z: F.normalize(z, dim=2).mean(0),
        ),
        ("neither the prompts' vectors nor their mean have length 1 here", lambda z: z.mean(dim=0)),
        (
            "dim=0 are the prompts here: the length of a vector runs over the last dimension",
            lambda z: F.normalize(F.normalize(z, dim=0).mean(dim=0), dim=1),
        ),
        (
            "the mean runs over the prompts (the first dimension); this one runs over the classes",
            lambda z: F.normalize(F.normalize(z, dim=2).mean(dim=1), dim=1),
        ),
        ("this is the first prompt alone", lambda z: F.normalize(z[0], dim=1)),
    ),
    praise="and it costs nothing later: the classes keep one vector each, however many prompts you wrote",
)


def _bag(score: Tensor) -> Tensor:
    return -score.logsumexp(dim=2).log_softmax(dim=1).diagonal().mean()


BAG_LOSS = Exercise(
    sample=lambda g: [(3 * torch.randn(n, n, k, generator=g).double(),) for n, k in ((3, 2), (5, 4), (4, 6))],
    reference=_bag,
    mistakes=(
        (
            "one softmax per candidate, averaged, asks every candidate to fit: add them up inside the logarithm",
            lambda s: -s.permute(0, 2, 1).log_softmax(dim=2).diagonal(dim1=0, dim2=2).mean(),
        ),
        (
            "the mean over all candidates of all bags asks every candidate to fit: add them up inside the logarithm",
            lambda s: -s.flatten(1).log_softmax(dim=1).view_as(s).diagonal(dim1=0, dim2=1).mean(),
        ),
        (
            "the mean of the scores lets one bad candidate spoil the bag: logsumexp over the candidates",
            lambda s: -s.mean(dim=2).log_softmax(dim=1).diagonal().mean(),
        ),
        (
            "add exp(score), not scores, over the candidates",
            lambda s: -s.sum(dim=2).log_softmax(dim=1).diagonal().mean(),
        ),
        (
            "the largest score alone: close, but the sum lets the others count",
            lambda s: -s.amax(dim=2).log_softmax(dim=1).diagonal().mean(),
        ),
        (
            "here every bag looks for its picture: the softmax runs over the bags (dim=1)",
            lambda s: -s.logsumexp(dim=2).log_softmax(dim=0).diagonal().mean(),
        ),
        (
            "both directions are the chapter's formula; here pictures look for bags only",
            lambda s: (_bag(s) + _bag(s.transpose(0, 1))) / 2,
        ),
        ("the sign: minus the logarithm", lambda s: -_bag(s)),
    ),
    praise="one good candidate is enough",
)


def _retrieval(g: torch.Generator) -> list[tuple]:
    """Scores with repeated captions, so that one and the same caption stands in several places."""
    cases = []
    for n, m, kinds, k in ((6, 8, 4, 1), (10, 12, 5, 3), (8, 8, 6, 2)):
        shown = torch.cat([torch.arange(kinds), torch.randint(kinds, (m - kinds,), generator=g)])
        shown = shown[torch.randperm(m, generator=g)]
        wanted = torch.randint(kinds, (n,), generator=g)
        score = torch.randn(n, m, generator=g).double() + 0.7 * (shown == wanted[:, None])
        cases.append((score, wanted, shown, k))
    return cases


def _recall(score, wanted, shown, k) -> Tensor:
    first = score.topk(k, dim=1).indices
    return (shown[first] == wanted[:, None]).any(dim=1).double().mean()


def _best_place(score, wanted, shown) -> Tensor:
    """The first place in which each query's caption stands, and whether it does not come first among its equals."""
    return (shown == wanted[:, None]).double().argmax(dim=1)


RECALL = Exercise(
    sample=_retrieval,
    reference=_recall,
    mistakes=(
        (
            "the same caption can stand in several places; each of them is a hit, not the first one alone",
            lambda s, w, c, k: (
                (s.topk(k, dim=1).indices == _best_place(s, w, c)[:, None]).any(dim=1).double().mean()
            ),
        ),
        (
            "this is precision at k, the share of hits among the first k: one hit is enough",
            lambda s, w, c, k: (c[s.topk(k, dim=1).indices] == w[:, None]).double().mean(),
        ),
        (
            "the smallest scores come first here: the most similar have the largest",
            lambda s, w, c, k: (c[(-s).topk(k, dim=1).indices] == w[:, None]).any(dim=1).double().mean(),
        ),
        (
            "these are places among the M: look up with `shown` which caption stands there",
            lambda s, w, c, k: (s.topk(k, dim=1).indices == w[:, None]).any(dim=1).double().mean(),
        ),
        (
            "this is recall at 1, whatever k is",
            lambda s, w, c, k: (c[s.argmax(dim=1)] == w).double().mean(),
        ),
        (
            "a number of queries: divide by how many there are",
            lambda s, w, c, k: (c[s.topk(k, dim=1).indices] == w[:, None]).any(dim=1).double().sum(),
        ),
    ),
    praise="with repeated captions counted as what they are",
)
