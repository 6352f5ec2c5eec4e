"""Real English for the networks of chapters 8 and 8b: Python's manual as ids, held-out paragraphs, exams, n-grams."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corpora, corruptions
from ssl_lessons.modalities.words.language import CLS, MASK, PAD, SEP, SPECIAL

LONGEST, RARE, FOLDS, RUN = 20, len(SPECIAL), 10, 8
"""Words kept of a sentence; the id of all rare words; parts of the text; a run of words that makes a near copy."""


@dataclass(frozen=True)
class Part:
    """N sentences as [CLS] words [SEP], in order: ids [N, 22], padded; topic [N] and paragraph [N], as numbers."""

    ids: Tensor
    topic: Tensor
    paragraph: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def neighbours(self) -> Tensor:
        """Rows [P] whose next row is the next sentence of the same paragraph."""
        return (self.paragraph[:-1] == self.paragraph[1:]).nonzero()[:, 0]


@dataclass(frozen=True)
class Split:
    """words: the vocabulary, special ones first, then [RARE]; near: held-out sentences left out as near copies."""

    words: tuple[str, ...]
    train: Part
    test: Part
    near: int

    def decode(self, ids: Tensor) -> str:
        """The words of ids [T], frame and padding left out."""
        return " ".join(self.words[i] for i in ids.tolist() if i not in (PAD, CLS, SEP))

    def encode(self, text: str) -> Tensor:
        """[CLS] text [SEP] as ids [1, T]; "___" is the gap, unknown words are [RARE]."""
        place = {w: i for i, w in enumerate(self.words)} | {"___": MASK}
        return torch.tensor([[CLS, *(place.get(w, RARE) for w in text.split()), SEP]])


def split(hold: int = 0, tuning: bool = False, least: int = 5) -> Split:
    """The manual with one of ten parts held out: whole paragraphs, dealt to the parts by lot, the same lot for all.

    tuning: leave parts 0, 1 and 2 out altogether; they are the exams of three seeds.  least: how often a word must
    occur in the train part to be a word of its own.  A held-out sentence that shares a run of 8 words with a train
    sentence is dropped.  Raises InputError for a part that is not there, or that tuning may not see.
    """
    if hold not in range(3 * tuning, FOLDS):
        raise InputError(f"hold must be a part from {3 * tuning} to {FOLDS - 1}, not {hold!r}.")
    paragraphs = corpora.manual_paragraphs()
    order = list(range(len(paragraphs)))
    random.Random(0).shuffle(order)
    part = {p: i % FOLDS for i, p in enumerate(order)}
    rows = [(p, topic, words) for p, (topic, block) in enumerate(paragraphs) for words in block]
    train = [row for row in rows if part[row[0]] != hold and not (tuning and part[row[0]] < 3)]
    runs = {run for *_, words in train for run in _runs(words)}
    held = [row for row in rows if part[row[0]] == hold]
    test = [row for row in held if runs.isdisjoint(_runs(row[2]))]
    seen = Counter(w for *_, words in train for w in words)
    known = sorted((w for w, n in seen.items() if n >= least), key=lambda w: (-seen[w], w))
    vocabulary = (*SPECIAL, "[RARE]", *known)
    size = Counter(topic for _, topic, _ in rows)
    topics = sorted(size, key=lambda t: (-size[t], t))
    return Split(
        vocabulary, *(_part(r, vocabulary, topics) for r in (train, test)), near=len(held) - len(test)
    )


def _runs(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {words[i : i + RUN] for i in range(len(words) - RUN + 1)}


def _part(rows: list, vocabulary: tuple[str, ...], topics: list[str]) -> Part:
    ids = framed([words for *_, words in rows], vocabulary)
    number = {t: i for i, t in enumerate(topics)}
    return Part(ids, torch.tensor([number[t] for _, t, _ in rows]), torch.tensor([p for p, *_ in rows]))


def framed(sentences: list, vocabulary: tuple[str, ...]) -> Tensor:
    """[CLS] words [SEP] of each sentence, its first 20 words, those not in the vocabulary as [RARE]: [N, 22]."""
    place = {w: i for i, w in enumerate(vocabulary)}
    ids = torch.full((len(sentences), LONGEST + 2), PAD)
    for row, words in enumerate(sentences):
        line = [CLS, *(place.get(w, RARE) for w in words[:LONGEST]), SEP]
        ids[row, : len(line)] = torch.tensor(line)
    return ids


def bare(ids: Tensor) -> Tensor:
    """The words of ids [N, T] without their frame, padded: [N, T - 2]."""
    return torch.where(corruptions.words(ids), ids, PAD)[:, 1:-1]


def bag(ids: Tensor, vocabulary: int) -> Tensor:
    """How often each word of the vocabulary stands in ids [N, T], the special ones never: float [N, V]."""
    return torch.zeros(len(ids), vocabulary).scatter_add_(1, ids, corruptions.words(ids).float())


# ---- exams --------------------------------------------------------------------------------------------------------


def gaps(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Every place of ids [N, T] that holds a word of the vocabulary, one at a time: rows [G, T] and places [G]."""
    row, place = (ids > RARE).nonzero(as_tuple=True)
    return ids[row], place


def found(log_p: Tensor, answer: Tensor) -> dict[str, float]:
    """How well scores [G, V] name the words answer [G]: top1 and top5, shares, and bits, the mean of -log2 p.

    Special words are taken out and the rest is normalised.  A tie with the answer counts against it.
    """
    log_p = log_p.double().clone()
    log_p[:, : len(SPECIAL)] = -torch.inf
    log_p = log_p.log_softmax(dim=1)
    own = log_p.gather(1, answer[:, None])
    rank = (log_p >= own).sum(dim=1)
    bits = -own.mean().item() / torch.tensor(2.0).log().item()
    return {
        "top1": (rank <= 1).double().mean().item(),
        "top5": (rank <= 5).double().mean().item(),
        "bits": bits,
    }


def classes(words: tuple[str, ...], ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gaps at words of the hand-made classes: numbers [K] among `gaps(ids)`, class [K], whether it is asked [K].

    Every other word of a class (in the order of corpora.DOCUMENTATION_GROUPS) is only asked about, never taught.
    """
    label, asked = torch.full((len(words),), -1), torch.zeros(len(words), dtype=torch.bool)
    place = {w: i for i, w in enumerate(words)}
    for number, group in enumerate(corpora.DOCUMENTATION_GROUPS.values()):
        for turn, word in enumerate(group):
            if word in place:
                label[place[word]], asked[place[word]] = number, turn % 2 == 1
    rows, at = gaps(ids)
    answer = rows[torch.arange(len(rows)), at]
    which = (label[answer] >= 0).nonzero()[:, 0]
    return which, label[answer[which]], asked[answer[which]]


# ---- counting -----------------------------------------------------------------------------------------------------


class Ngrams:
    """Counts of runs of up to `order` (1, 2 or 3) words, interpolated: Kneser and Ney (1995), one discount.

    p(w | h) = (c(h w) - d)+ / c(h) + d n(h) / c(h) p(w | h without its first word), n(h): how many words follow h.  The
    lower orders count in how many contexts a word stands, not how often.  ids [N, T] as in `Part`.
    """

    def __init__(self, ids: Tensor, vocabulary: int, order: int = 3, discount: float = 0.75):
        if order not in (1, 2, 3) or not 0 < discount < 1:
            raise InputError(f"Ngrams needs order 1, 2 or 3 and 0 < discount < 1, not {order}, {discount}.")
        self.order, self.d, v = order, discount, vocabulary
        padded = torch.cat(
            [torch.full((len(ids), 1), CLS), ids], dim=1
        )  # so that two words stand before the first
        runs = torch.stack([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=2).flatten(0, 1)
        runs = runs[runs[:, 2] != PAD]
        self.triples, self.times = runs.unique(dim=0, return_counts=True)
        kinds = self.triples if order == 3 else runs
        pairs = torch.bincount(kinds[:, 1] * v + kinds[:, 2], minlength=v * v).view(v, v).float()
        single = (pairs > 0).sum(dim=0) if order > 1 else pairs.sum(dim=0)
        self.unigram = (single + 0.5) / (single + 0.5).sum()
        total = pairs.sum(dim=1, keepdim=True).clamp(min=1)
        rest = torch.where(
            pairs.sum(1, keepdim=True) > 0, (pairs > 0).sum(1, keepdim=True) * discount / total, 1.0
        )
        self.bigram = (pairs - discount).clamp(min=0) / total + rest * self.unigram

    def next(self, a: int, b: int) -> Tensor:
        """p(w | a b) of all words w: [V]."""
        if self.order < 3:
            return self.unigram if self.order == 1 else self.bigram[b]
        here = (self.triples[:, 0] == a) & (self.triples[:, 1] == b)
        times = self.times[here].float()
        if not len(times):
            return self.bigram[b]
        p = self.bigram[b] * (self.d * len(times) / times.sum())
        return p.index_add(0, self.triples[here, 2], (times - self.d) / times.sum())

    def _then(self, log_p: Tensor, b: Tensor, x: Tensor, y: Tensor, w: int) -> Tensor:
        """log_p [V] plus log p(w | x y), for candidates in x [V] or in y [V] (all others the same word)."""
        if self.order < 3:
            return log_p + (self.bigram[y, w].log() if self.order == 2 else 0.0)
        free, fixed = (0, 1) if len(x.unique()) > 1 else (1, 0)
        t, (known,) = self.triples, (x, y)[fixed].unique()
        mine = t[:, fixed] == known
        v = len(log_p)
        total = torch.zeros(v).index_add(0, t[mine, free], self.times[mine].float())
        kinds = torch.zeros(v).index_add(0, t[mine, free], torch.ones(int(mine.sum())))
        hit = mine & (t[:, 2] == w)
        above = torch.zeros(v).index_add(0, t[hit, free], self.times[hit].float() - self.d)
        some = total.clamp(min=1)
        p = above / some + torch.where(total > 0, self.d * kinds / some, 1.0) * self.bigram[y, w]
        return log_p + p.log()

    def fill(self, ids: Tensor, place: Tensor, both: bool = False) -> Tensor:
        """Log-probabilities [G, V] of the word at `place` [G] of ids [G, T], from what stands before it.

        both: from both sides, p(word | before) times the probability of the next two words given it (not normalised).
        """
        padded = torch.cat([torch.full((len(ids), 1), CLS), ids, torch.full((len(ids), 1), PAD)], dim=1)
        every, scores = torch.arange(len(self.unigram)), []
        for row, at in zip(padded, (place + 1).tolist(), strict=True):
            a, b, _, c, e = row[at - 2 : at + 3]
            log_p = self.next(int(a), int(b)).log()
            if both and self.order > 1:
                log_p = self._then(log_p, b, b.expand(len(every)), every, int(c))
                if self.order == 3 and e != PAD:
                    log_p = self._then(log_p, b, every, c.expand(len(every)), int(e))
            scores.append(log_p)
        return torch.stack(scores)


def between(ids: Tensor, vocabulary: int, share: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """What stood between the two neighbours of the gap: fill(ids, place) -> log-probabilities [G, V].

    (c(left, w, right) + share p(w)) / (c(left, right) + share), p(w) as often as w occurs in ids [N, T].
    """
    runs = torch.stack([ids[:, :-2], ids[:, 1:-1], ids[:, 2:]], dim=2).flatten(0, 1)
    runs = runs[runs[:, 1] >= len(SPECIAL)]
    often = torch.bincount(ids[ids >= len(SPECIAL)], minlength=vocabulary) + 0.5
    base = share * often / often.sum()

    def fill(ids: Tensor, place: Tensor) -> Tensor:
        row, scores = torch.arange(len(ids)), []
        for left, right in zip(ids[row, place - 1], ids[row, place + 1], strict=True):
            here = (runs[:, 0] == left) & (runs[:, 2] == right)
            scores.append(torch.bincount(runs[here, 1], minlength=vocabulary) + base)
        scores = torch.stack(scores)
        return (scores / scores.sum(dim=1, keepdim=True)).log()

    return fill
