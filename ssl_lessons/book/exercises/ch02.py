"""Chapter 02: pointwise mutual information, negative sampling, the NCE correction, a direction removed."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from ssl_lessons.modalities.words.counts import pmi
from ssl_lessons.modalities.words.geometry import neutralize
from ssl_lessons.modalities.words.objectives import nce_loss, negative_sampling_loss

from .core import Check, Exercise


def check_pmi(fn) -> Check:
    """fn(counts [V, C], all positive) -> [V, C]: log P(w, c) / (P(w) P(c)) in nats."""
    return PMI.check(fn)


def check_negative_sampling(fn) -> Check:
    """fn(v [B, D], u [B, D], noise [B, k, D]) -> scalar: -log s(u.v) - sum_k log s(-noise_k.v), mean over the batch."""
    return NEGATIVE_SAMPLING.check(fn)


def check_nce(fn) -> Check:
    """fn(positive [B], negative [B, k], log_q_positive [B], log_q_negative [B, k]) -> scalar: NCE, mean over B."""
    return NCE.check(fn)


def check_neutralize(fn) -> Check:
    """fn(w [N, D], g [D]) -> [N, D]: unit rows without any component along g (g of any length)."""
    return NEUTRALIZE.check(fn)


def _randn(*shape: int, g: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


PMI = Exercise(
    sample=lambda g: [
        (torch.randint(1, 30, shape, generator=g).double(),) for shape in [(3, 3), (4, 6), (5, 2)]
    ],
    reference=pmi,
    mistakes=(
        (
            "this is the log of the joint probability: divide by P(w) P(c), what chance would give",
            lambda n: (n / n.sum()).log(),
        ),
        (
            "this is log P(c | w): divide by P(c) as well, or frequent neighbours win everywhere",
            lambda n: (n / n.sum(dim=1, keepdim=True)).log(),
        ),
        ("this is log P(w | c): divide by P(w) as well", lambda n: (n / n.sum(dim=0, keepdim=True)).log()),
        (
            "counts are divided by counts: the total is missing, log(n N / (n_w n_c))",
            lambda n: (n / (n.sum(dim=1, keepdim=True) * n.sum(dim=0, keepdim=True))).log(),
        ),
        ("the logarithm is to base 2: nats need the natural one", lambda n: pmi(n) / math.log(2)),
        ("the logarithm is missing", lambda n: pmi(n).exp()),
        ("the ratio is upside down: observed over expected", lambda n: -pmi(n)),
        (
            "negative values are cut off: that is positive PMI, a later step",
            lambda n: pmi(n).clamp(min=0),
        ),
        (
            "weighted by the joint probability: these add up to the mutual information; PMI is the log-ratio alone",
            lambda n: n / n.sum() * pmi(n),
        ),
    ),
)


def _embeddings(g: torch.Generator) -> list[tuple]:
    cases = [(6, 3, 2), (4, 5, 7), (9, 2, 4)]
    return [(_randn(b, d, g=g), _randn(b, d, g=g), _randn(b, k, d, g=g)) for b, d, k in cases]


def _scores(v: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    return (u * v).sum(dim=1), torch.einsum("bkd,bd->bk", noise, v)


def _loss(positive: Tensor, negative: Tensor) -> Tensor:
    return -(positive + negative.sum(dim=1)).mean()


NEGATIVE_SAMPLING = Exercise(
    sample=_embeddings,
    reference=lambda *args: negative_sampling_loss(*_scores(*args)),
    mistakes=(
        (
            "the sign is wrong: this grows when observed pairs are recognised; minimise the negative log-likelihood",
            lambda *args: -negative_sampling_loss(*_scores(*args)),
        ),
        (
            "the noise scores keep their sign: a noise pair should get a low score, so log s(-noise.v)",
            lambda *args: _loss(*(logsigmoid(s) for s in _scores(*args))),
        ),
        (
            "the noise words are averaged: the paper sums over the k of them",
            lambda v, u, noise: (
                -(
                    logsigmoid(_scores(v, u, noise)[0]) + logsigmoid(-_scores(v, u, noise)[1]).mean(dim=1)
                ).mean()
            ),
        ),
        (
            "summed over the batch: take the mean",
            lambda *args: len(args[0]) * negative_sampling_loss(*_scores(*args)),
        ),
        (
            "the noise words are compared with u: score them with the centre word, v",
            lambda v, u, noise: negative_sampling_loss((u * v).sum(dim=1), _scores(u, v, noise)[1]),
        ),
        (
            "the vectors are normalised: word2vec scores by the plain dot product",
            lambda v, u, noise: negative_sampling_loss(
                *_scores(normalize(v, dim=1), normalize(u, dim=1), normalize(noise, dim=2))
            ),
        ),
        (
            "without the noise words the loss is won by making every score large",
            lambda v, u, noise: -logsigmoid((u * v).sum(dim=1)).mean(),
        ),
        (
            "a softmax over the 1 + k candidates is InfoNCE; here every candidate is judged on its own",
            lambda v, u, noise: (
                -(
                    _scores(v, u, noise)[0]
                    - torch.cat([_scores(v, u, noise)[0][:, None], _scores(v, u, noise)[1]], dim=1).logsumexp(
                        dim=1
                    )
                ).mean()
            ),
        ),
    ),
)


def _noisy_scores(g: torch.Generator) -> list[tuple]:
    cases = []
    for b, k in [(5, 3), (4, 6), (7, 2)]:
        log_q = [_randn(*shape, g=g).sigmoid().log() - 1 for shape in [(b,), (b, k)]]
        cases.append((_randn(b, g=g), _randn(b, k, g=g), *log_q))
    return cases


NCE = Exercise(
    sample=_noisy_scores,
    reference=nce_loss,
    mistakes=(
        (
            "this is negative sampling: subtract log(k q) from every score",
            lambda p, n, lp, ln: negative_sampling_loss(p, n),
        ),
        (
            "the factor k is missing: there are k noise words for each observed one, so subtract log k + log q",
            lambda p, n, lp, ln: negative_sampling_loss(p - lp, n - ln),
        ),
        (
            "the log-noise is missing: subtract log k + log q, not log k alone",
            lambda p, n, lp, ln: negative_sampling_loss(p - math.log(n.shape[1]), n - math.log(n.shape[1])),
        ),
        (
            "log(k q) is added: the logit is the model's log-probability minus the noise's",
            lambda p, n, lp, ln: nce_loss(
                p + 2 * (lp + math.log(n.shape[1])), n + 2 * (ln + math.log(n.shape[1])), lp, ln
            ),
        ),
        (
            "only the observed pairs are corrected: the noise words need the same logit",
            lambda p, n, lp, ln: negative_sampling_loss(p - math.log(n.shape[1]) - lp, n),
        ),
        (
            "only the noise words are corrected: the observed pairs need the same logit",
            lambda p, n, lp, ln: negative_sampling_loss(p, n - math.log(n.shape[1]) - ln),
        ),
        (
            "the noise words are averaged: sum over the k of them",
            lambda p, n, lp, ln: (
                -(
                    logsigmoid(p - math.log(n.shape[1]) - lp)
                    + logsigmoid(-(n - math.log(n.shape[1]) - ln)).mean(dim=1)
                ).mean()
            ),
        ),
    ),
    praise="and exp(score) is now a probability, not a ratio",
)


def _words_and_direction(g: torch.Generator) -> list[tuple]:
    return [(3 * _randn(n, d, g=g), 2 * _randn(d, g=g)) for n, d in [(4, 3), (6, 5), (3, 8)]]


def _project(w: Tensor, g: Tensor) -> Tensor:
    return w - (w @ g)[:, None] * g


NEUTRALIZE = Exercise(
    sample=_words_and_direction,
    reference=neutralize,
    mistakes=(
        (
            "the direction is not normalised: subtract (w.g / |g|^2) g",
            lambda w, g: normalize(_project(normalize(w, dim=1), g), dim=1),
        ),
        (
            "the rows are not of unit length after the subtraction: normalise last",
            lambda w, g: _project(normalize(w, dim=1), normalize(g, dim=0)),
        ),
        (
            "the rows are never normalised: divide by their length",
            lambda w, g: _project(w, normalize(g, dim=0)),
        ),
        (
            "this keeps only the component along g; subtract it instead",
            lambda w, g: normalize((w @ normalize(g, dim=0))[:, None] * normalize(g, dim=0), dim=1),
        ),
        (
            "this reflects the words, it flips the bias: subtract the component once, not twice",
            lambda w, g: normalize(w - 2 * (w @ normalize(g, dim=0))[:, None] * normalize(g, dim=0), dim=1),
        ),
        ("g itself is subtracted: subtract the projection on g", lambda w, g: normalize(w - g, dim=1)),
        ("nothing is removed: the rows are only normalised", lambda w, g: normalize(w, dim=1)),
    ),
)
