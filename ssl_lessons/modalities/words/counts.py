"""From sentences to numbers: vocabulary, subsampling, (word, neighbour) pairs, co-occurrence counts, PMI."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ssl_lessons.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """words: the vocabulary, commonest first.  tokens [T]: indices into it.  sentence [T]: number of the sentence."""

    words: tuple[str, ...]
    tokens: Tensor
    sentence: Tensor

    @cached_property
    def counts(self) -> Tensor:
        """How often each word of the vocabulary occurs: [V]."""
        return torch.bincount(self.tokens, minlength=len(self.words))

    @cached_property
    def _position(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def __contains__(self, word: str) -> bool:
        return word in self._position

    def index(self, words: str | Sequence[str]) -> int | Tensor:
        """The index of a word, or the indices [n] of several.  Raises InputError for a word not in the vocabulary."""
        try:
            if isinstance(words, str):
                return self._position[words]
            return torch.tensor([self._position[word] for word in words])
        except KeyError as error:
            raise InputError(
                f"The word {error.args[0]!r} is not in this vocabulary of {len(self.words)} words."
            ) from None


def read(sentences: Sequence[Sequence[str]], min_count: int = 1) -> Corpus:
    """The corpus of words that occur at least `min_count` times; rarer words are dropped from their sentences.

    Raises InputError when no word is left.
    """
    seen = Counter(word for words in sentences for word in words)
    words = tuple(w for w, n in sorted(seen.items(), key=lambda item: (-item[1], item[0])) if n >= min_count)
    if not words:
        raise InputError(f"No word occurs {min_count} times: give more sentences, or a smaller min_count.")
    position = {word: i for i, word in enumerate(words)}
    kept = [(position[word], n) for n, line in enumerate(sentences) for word in line if word in position]
    tokens, sentence = torch.tensor(kept).T
    return Corpus(words, tokens, sentence)


def keep_probability(counts: Tensor, threshold: float = 1e-5) -> Tensor:
    """min(1, sqrt(t / f)) for words of relative frequency f: [V] -> [V].

    Subsampling of frequent words, Mikolov et al. (2013, "Distributed representations", eq. 5): a word is dropped with
    probability 1 - sqrt(t / f).  (The released C program uses (sqrt(f / t) + 1) t / f, a little more.)
    """
    frequency = counts.double() / counts.sum()
    return (threshold / frequency).sqrt().clamp(max=1)


def subsample(corpus: Corpus, threshold: float, generator: torch.Generator) -> Corpus:
    """The corpus with frequent words dropped at random; what is left moves closer together, as in word2vec."""
    keep = torch.rand(len(corpus.tokens), generator=generator) < keep_probability(corpus.counts, threshold)[
        corpus.tokens
    ].to(torch.float32)
    return replace(corpus, tokens=corpus.tokens[keep], sentence=corpus.sentence[keep])


def noise_distribution(counts: Tensor, power: float = 0.75) -> Tensor:
    """Noise words are drawn in proportion to count^power: [V], sums to 1 (Mikolov et al. 2013, section 2.2: 3/4)."""
    weight = counts.double() ** power
    return weight / weight.sum()


def context_windows(corpus: Corpus, window: int, generator: torch.Generator | None = None) -> Tensor:
    """The up to 2 `window` neighbours of every token in its own sentence: [T, 2 window], -1 where there is none.

    Columns: offsets -window..-1, 1..window.  With a generator each token draws its own radius from 1..window, so that
    close neighbours count more often (word2vec's dynamic window).  Raises InputError for window < 1.
    """
    if window < 1:
        raise InputError(f"The window must reach at least one word to each side, not {window}.")
    offsets = torch.tensor([o for o in range(-window, window + 1) if o])
    place = torch.arange(len(corpus.tokens))[:, None] + offsets
    inside = (place >= 0) & (place < len(corpus.tokens))
    place = place.clamp(0, len(corpus.tokens) - 1)
    inside &= corpus.sentence[place] == corpus.sentence[:, None]
    if generator is not None:
        inside &= offsets.abs() <= torch.randint(1, window + 1, (len(corpus.tokens), 1), generator=generator)
    return torch.where(inside, corpus.tokens[place], -1)


def skip_gram_pairs(
    corpus: Corpus, window: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Every (word, neighbour) pair of the corpus: two index tensors [P], in the order of `context_windows`."""
    windows = context_windows(corpus, window, generator)
    row, column = (windows >= 0).nonzero(as_tuple=True)
    return corpus.tokens[row], windows[row, column]


def cooccurrence(corpus: Corpus, window: int, harmonic: bool = False) -> Tensor:
    """How often word j stands at most `window` places from word i: [V, V] float64, symmetric.

    harmonic: a neighbour at distance d counts 1/d, as in GloVe (Pennington et al. 2014, section 4.2), instead of 1.
    """
    windows = context_windows(corpus, window)
    near = torch.arange(window, 0, -1, dtype=torch.float64)
    weight = (
        (1 / torch.cat([near, near.flip(0)])) if harmonic else torch.ones(2 * window, dtype=torch.float64)
    )
    row, column = (windows >= 0).nonzero(as_tuple=True)
    v = len(corpus.words)
    cell = corpus.tokens[row] * v + windows[row, column]
    return torch.bincount(cell, weight[column], minlength=v * v).view(v, v)


def pmi(counts: Tensor) -> Tensor:
    """Pointwise mutual information log P(w, c) / (P(w) P(c)) of a count table [V, C] (words, contexts), in nats.

    -inf for a pair that never occurs.  Church and Hanks (1990); the matrix of Levy and Goldberg (2014, section 3.3).
    Raises InputError for a table with a negative entry or without any count.
    """
    counts = counts.double()
    if counts.ndim != 2 or (counts < 0).any() or not counts.sum() > 0:
        raise InputError("pmi() needs a table [words, contexts] of counts, none negative and not all zero.")
    expected = counts.sum(dim=1, keepdim=True) * counts.sum(dim=0, keepdim=True) / counts.sum()
    return torch.where(counts > 0, (counts / expected).log(), -torch.inf)


def shifted_positive_pmi(counts: Tensor, negatives: float = 1) -> Tensor:
    """max(PMI - log k, 0): [V, C], non-negative and sparse (Levy and Goldberg 2014, section 4.1); k = 1 is PPMI."""
    return (pmi(counts) - torch.log(torch.tensor(float(negatives)))).clamp(min=0)


def svd_vectors(matrix: Tensor, dim: int) -> Tensor:
    """The first `dim` left singular vectors of `matrix` [V, C] times the root of their singular values: [V, dim].

    The symmetric factorisation W = U_d sqrt(S_d) of Levy and Goldberg (2014, section 4.2).  Signs are fixed by making
    the entry of largest size in each column positive.
    """
    if not 1 <= dim <= min(matrix.shape):
        raise InputError(f"dim must be between 1 and {min(matrix.shape)}, not {dim}.")
    u, s, _ = torch.linalg.svd(matrix.double(), full_matrices=False)
    u = u[:, :dim]
    sign = u.gather(0, u.abs().argmax(dim=0, keepdim=True)).sign()
    return u * sign * s[:dim].sqrt()
