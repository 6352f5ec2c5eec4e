"""Exams for word vectors: concepts and analogies of the little language, classes of the manual, a planted bias."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.modalities.words import corpora, counts, geometry
from ssl_lessons.modalities.words.counts import Corpus

PRONOUNS = (("he", "she"), ("his", "her"), ("himself", "herself"))


@dataclass(frozen=True)
class Classes:
    """Words with a class each: does the nearest of the other words belong to the same one?

    index [n]: the words in the vocabulary; label [n]: their classes.
    """

    index: Tensor
    label: Tensor

    def __call__(self, vectors: Tensor) -> float:
        """Share of the words whose nearest other one has their class, for vectors [V, D]."""
        return geometry.group_accuracy(vectors[self.index], self.label)

    @property
    def chance(self) -> float:
        """What guessing gives on average: another word drawn at random has the same class."""
        size = torch.bincount(self.label).double()
        return float((size * (size - 1)).sum() / (size.sum() * (size.sum() - 1)))


def _classes(corpus: Corpus, groups: Sequence[Sequence[str]]) -> Classes:
    words = [(word, i) for i, group in enumerate(groups) for word in group if word in corpus]
    return Classes(corpus.index([word for word, _ in words]), torch.tensor([i for _, i in words]))


def concepts(corpus: Corpus) -> Classes:
    """The content words of the little language by their concepts (see corpora.kind_of_word)."""
    kinds = corpora.kind_of_word()
    names = sorted(set(kinds.values()))
    return _classes(corpus, [[w for w in corpus.words if kinds.get(w) == name] for name in names])


def manual_classes(corpus: Corpus) -> Classes:
    """The hand-made classes of words of Python's manual (see corpora.DOCUMENTATION_GROUPS)."""
    return _classes(corpus, list(corpora.DOCUMENTATION_GROUPS.values()))


def analogies(corpus: Corpus) -> dict[str, Tensor]:
    """Questions [Q, 4] about the little language, by family."""
    return {f: torch.stack([corpus.index(q) for q in corpora.analogies(f)]) for f in corpora.FAMILIES}


def plurals(corpus: Corpus) -> Tensor:
    """Questions [Q, 4] about the manual: object is to objects as function is to functions."""
    one, many = (corpora.DOCUMENTATION_GROUPS[name] for name in ("things", "many things"))
    pairs = [(a, b) for a, b in zip(one, many, strict=True) if a in corpus and b in corpus]
    return torch.stack([corpus.index((*p, *r)) for p in pairs for r in pairs if p != r])


def analogy_report(vectors: Tensor, questions: Tensor) -> dict[str, float]:
    """How questions [Q, 4] are answered by vectors [V, D], four shares.

    ruled: right, the three given words not allowed.  free: right, any word allowed.  third: the free answer is the
    third word.  lookup: the nearest word to the third is right, without any arithmetic.  The test of the rule by Linzen
    (2016, "Issues in evaluating semantic spaces using word analogies").
    """
    free = geometry.analogy(vectors, questions, exclude=False)
    unit = normalize(vectors, dim=1)
    closest = (unit @ unit.T).fill_diagonal_(-torch.inf).argmax(dim=1)
    shares = {
        "free": free == questions[:, 3],
        "third": free == questions[:, 2],
        "lookup": closest[questions[:, 2]] == questions[:, 3],
    }
    return {"ruled": geometry.analogy_accuracy(vectors, questions)} | {
        name: float(hit.double().mean()) for name, hit in shares.items()
    }


@dataclass(frozen=True)
class Occupations:
    """The occupations of the little language and the pairs of words that differ in gender by definition.

    jobs [J], pairs [P, 2]: words in the vocabulary; share [J]: how often the text says "he"; side [J]: 1 where more
    often than not.
    """

    jobs: Tensor
    pairs: Tensor
    share: Tensor
    side: Tensor

    def direction(self, vectors: Tensor) -> Tensor:
        """The he-she direction [D] of vectors [V, D] (Bolukbasi et al. 2016)."""
        return geometry.bias_direction(vectors, self.pairs)

    def lean(self, vectors: Tensor, direction: Tensor) -> Tensor:
        """The cosine of every occupation with a direction: [J], positive where it leans to "he"."""
        return normalize(vectors[self.jobs], dim=1) @ direction

    def report(self, vectors: Tensor, direction: Tensor) -> dict[str, float]:
        """direct: DirectBias along `direction`; cluster: 2-means against sides; neighbour: nearest on the same side."""
        rows = vectors[self.jobs]
        return {
            "direct": geometry.direct_bias(rows, direction),
            "cluster": geometry.alignment(geometry.split_in_two(rows), self.side),
            "neighbour": geometry.group_accuracy(rows, self.side),
        }


def occupations(corpus: Corpus) -> Occupations:
    """The occupations of a little language."""
    share = torch.tensor(list(corpora.SHARE_OF_HE.values()))
    pairs = torch.stack([corpus.index(pair) for pair in (*PRONOUNS, *corpora.PEOPLE)])
    return Occupations(corpus.index(list(corpora.SHARE_OF_HE)), pairs, share, (share > 0.5).long())


def halves(
    first: list[list[str]], second: list[list[str]], window: int = 5
) -> tuple[Tensor, Tensor, Occupations]:
    """Rows of positive PMI of two little texts over the words that both have, [V, V] each, and their occupations.

    Two texts of one language differ by their sampling noise alone, which two measurements of one text would share.
    """
    read = [counts.read(text) for text in (first, second)]
    words = tuple(word for word in read[0].words if word in read[1])
    tables = []
    for corpus in read:
        index = corpus.index(words)
        tables.append(
            counts.shifted_positive_pmi(counts.cooccurrence(corpus, window))[index][:, index].float()
        )
    empty = torch.zeros(0, dtype=torch.long)
    return *tables, occupations(Corpus(words, empty, empty))
