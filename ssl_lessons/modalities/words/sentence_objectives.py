"""Objectives that leave sentence vectors: neighbours of many kinds, from text alone and from labels.

Each is a module with `forward(generator)` -> loss on a batch of `size` sentences of the documents, and `vectors(ids)`.
All begin with the encoder they are given, a masked language model, and all read a sentence as the mean of the states of
its words.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.modalities.words import corruptions, positives, sentences
from ssl_lessons.modalities.words.language import CLS, PAD, SEP, join
from ssl_lessons.modalities.words.sentences import Documents
from ssl_lessons.modalities.words.transformer import Transformer

SCALE = 20.0  # 1 / temperature, as in SimCSE (Gao et al. 2021: temperature 0.05)
SIZE = 64  # sentences in a batch


def encoder(seed: int, dropout: float = 0.1) -> Transformer:
    """The encoder of all: two layers of width 64; its initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(len(sentences.VOCABULARY), length=2 * sentences.LONGEST + 5, dropout=dropout)


def framed(ids: Tensor) -> Tensor:
    """[CLS] sentence [SEP] for padded ids [N, T]: [N, T + 2]."""
    one = torch.ones(len(ids), 1, dtype=torch.long)
    text = torch.cat([one * CLS, ids, one * SEP], dim=1)
    return text.gather(1, (text == PAD).long().argsort(dim=1, stable=True))


def states(network: Transformer, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The last states [N, T + 2, D] of framed sentences, and which places are words of them, float [N, T + 2, 1]."""
    text = framed(ids)
    device = network.bias.device
    return network(text.to(device)), corruptions.words(text).float()[..., None].to(device)


def pooled(network: Transformer, ids: Tensor) -> Tensor:
    """The mean of the last states over the words of a sentence: [N, D]."""
    x, there = states(network, ids)
    return (x * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)


@torch.no_grad()
def features(network: Callable[[Tensor], Tensor], ids: Tensor, size: int = 1000) -> Tensor:
    """network(ids) -> [N, D] in evaluation mode and in portions, on the CPU."""
    return torch.cat([network(part).cpu() for part in ids.split(size)])


class Objective(nn.Module):
    """What all share: an encoder of its own, the documents, batches."""

    def __init__(self, start: Transformer, data: Documents, size: int = SIZE):
        super().__init__()
        self.encoder, self.data, self.size = copy.deepcopy(start), data, size

    def vectors(self, ids: Tensor) -> Tensor:
        return pooled(self.encoder, ids)

    def places(self, generator: torch.Generator, reach: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """document [B], place of a sentence [B], and of another one `reach` steps away at most [B]."""
        many = self.data.tokens.shape[1]
        doc = torch.randperm(len(self.data), generator=generator)[: self.size]
        first = torch.randint(many - 1, (len(doc),), generator=generator)
        step = 1 + torch.randint(reach, (len(doc),), generator=generator)
        return doc, first, (first + step).clamp(max=many - 1)

    def sentence(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sentences of different documents [B, T] and their meanings [B, 6]."""
        doc, at, _ = self.places(generator)
        return self.data.tokens[doc, at], self.data.meaning[doc, at]


class MaskedWords(Objective):
    """The start of all: BERT's masked words in pairs of neighbouring sentences."""

    def forward(self, generator: torch.Generator) -> Tensor:
        doc, a, b = self.places(generator)
        text = join(self.data.tokens[doc, a], self.data.tokens[doc, b])
        return masked_words(self.encoder, text, generator)


def masked_words(network: Transformer, text: Tensor, generator: torch.Generator) -> Tensor:
    device = network.bias.device
    shown, mask = corruptions.bert(text, generator, vocabulary=len(sentences.VOCABULARY))
    scores = network.logits(network(shown.to(device)))
    return losses.masked_lm(scores, text.to(device), mask.to(device))


class Augmented(Objective):
    """A sentence and what `way` makes of it find each other in the batch (unsupervised SimCSE: `way` does nothing)."""

    def __init__(self, start: Transformer, data: Documents, way: positives.Way):
        super().__init__(start, data)
        self.way = way

    def forward(self, generator: torch.Generator) -> Tensor:
        ids, _ = self.sentence(generator)
        return losses.info_nce(
            self.vectors(ids), self.vectors(self.way(ids, generator)), temperature=1 / SCALE
        )


class Equals(Augmented):
    """The same where every batch says one thing in many words: whatever tells its sentences apart is their wording."""

    def sentence(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        meaning = sentences.meanings(1, generator).expand(self.size, -1)
        return reworded(meaning, generator), meaning


class Queue(Augmented):
    """The same with a slow copy of the encoder and a queue of its older vectors as negatives (MoCo; CERT)."""

    def __init__(self, start: Transformer, data: Documents, way: positives.Way, length: int = 512):
        super().__init__(start, data, way)
        self.slow = copy.deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(0, start.width))
        self.length = length

    def forward(self, generator: torch.Generator) -> Tensor:
        ids, _ = self.sentence(generator)
        with torch.no_grad():
            for old, new in zip(self.slow.parameters(), self.encoder.parameters(), strict=True):
                old.lerp_(new, 0.01)
            key = pooled(self.slow, self.way(ids, generator))
            crowd = self.queue if len(self.queue) else key.roll(1, 0)
        loss = losses.info_nce(self.vectors(ids), key, crowd, temperature=1 / SCALE)
        self.queue = torch.cat([key, self.queue])[: self.length]
        return loss


class Neighbours(Objective):
    """Quick-Thought (Logeswaran and Lee 2018): which of these sentences follows this one?

    reach: how far away the other may be; spans (DeCLUTR, Giorgi et al. 2021): one from the same document, the same
    sentence included, with masked words asked for beside it.
    """

    def __init__(self, start: Transformer, data: Documents, reach: int = 1, spans: bool = False):
        super().__init__(start, data)
        self.reach, self.spans = reach, spans

    def forward(self, generator: torch.Generator) -> Tensor:
        doc, a, b = self.places(generator, self.reach)
        one, two = self.data.tokens[doc, a], self.data.tokens[doc, b]
        loss = losses.info_nce(self.vectors(one), self.vectors(two), temperature=1 / SCALE)
        return loss + masked_words(self.encoder, join(one, two), generator) if self.spans else loss


class Skip(Objective):
    """Skip-Thought (Kiros et al. 2015): write the sentence before and the one after, from the vector alone."""

    def __init__(self, start: Transformer, data: Documents):
        super().__init__(start, data)
        self.decoders = nn.ModuleList(
            Transformer(len(sentences.VOCABULARY), depth=1, causal=True, reads=True) for _ in range(2)
        )

    def forward(self, generator: torch.Generator) -> Tensor:
        doc, a, b = self.places(generator)
        texts = framed(self.data.tokens[doc, a]), framed(self.data.tokens[doc, b])
        loss = 0.0
        for decoder, source, target in zip(self.decoders, texts, texts[::-1], strict=True):
            target = target.to(self.encoder.bias.device)
            memory = self.vectors(source[:, 1:-1])[:, None]
            there = torch.ones(len(memory), 1, 1, 1, dtype=torch.bool, device=memory.device)
            scores = decoder.logits(decoder(target, memory, there))
            loss = loss + losses.causal_lm(scores, target, corruptions.real(target))
        return loss


class Conpono(Objective):
    """CONPONO (Iter et al. 2020): which sentence stands k places away?  The others are of the same document, or not."""

    STEPS = (-2, -1, 1, 2)

    def __init__(self, start: Transformer, data: Documents):
        super().__init__(start, data)
        self.maps = nn.ModuleList(nn.Linear(start.width, start.width) for _ in self.STEPS)

    def forward(self, generator: torch.Generator) -> Tensor:
        doc = torch.randperm(len(self.data), generator=generator)[: self.size // 2]
        text = self.data.tokens[doc]
        n, many, _ = text.shape
        z = self.vectors(text.flatten(0, 1))
        loss = 0.0
        for step, turn in zip(self.STEPS, self.maps, strict=True):
            at = torch.arange(max(0, -step), many - max(0, step))
            anchor = (torch.arange(n)[:, None] * many + at).flatten()
            scores = F.normalize(turn(z[anchor]), dim=1) @ F.normalize(z, dim=1).T * SCALE
            itself = F.one_hot(anchor, n * many).bool().to(scores.device)
            loss = loss + F.cross_entropy(scores.masked_fill(itself, -1e4), (anchor + step).to(scores.device))
        return loss / len(self.STEPS)


class Local(Objective):
    """IS-BERT (Zhang et al. 2020): is this run of words from this sentence?  Runs of 1, 3 and 5 words."""

    def __init__(self, start: Transformer, data: Documents):
        super().__init__(start, data)
        width = start.width
        self.runs = nn.ModuleList(nn.Conv1d(width, width, k, padding=k // 2) for k in (1, 3, 5))

    def local(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x, there = states(self.encoder, ids)
        x = (x * there).transpose(1, 2)
        return torch.cat([torch.relu(run(x)) for run in self.runs], dim=1).transpose(1, 2), there

    def vectors(self, ids: Tensor) -> Tensor:
        parts, there = self.local(ids)
        return (parts * there).sum(dim=1) / there.sum(dim=1)

    def forward(self, generator: torch.Generator) -> Tensor:
        ids, _ = self.sentence(generator)
        parts, there = self.local(ids)
        wholes = (parts * there).sum(dim=1) / there.sum(dim=1)
        real = there[..., 0] > 0
        owner = torch.arange(len(ids), device=real.device)[:, None].expand_as(real)
        return losses.infograph(parts[real], wholes, owner[real])


# ---- with labels ----------------------------------------------------------------------------------------------------


class Labelled(Objective):
    """Pairs of the same meaning in other words, and hard negatives: "contradiction", "BM25" or None.

    Supervised SimCSE (Gao et al. 2021, eq. 5) with contradictions; dense passage retrieval (Karpukhin et al. 2020) with
    the text that shares most words and says something else.
    """

    def __init__(self, start: Transformer, data: Documents, hard: str | None = None):
        super().__init__(start, data)
        self.hard = hard

    def forward(self, generator: torch.Generator) -> Tensor:
        ids, meaning = self.sentence(generator)
        answer = reworded(meaning, generator)
        extra = None
        if self.hard == "contradiction":
            extra = self.vectors(reworded(sentences.change(meaning, "sign", generator), generator))
        elif self.hard == "BM25":
            extra = self.vectors(self.misleading(ids, meaning, generator))
        return losses.clip(self.vectors(ids), self.vectors(answer), SCALE, weight=1.0, extra=extra)

    def misleading(self, ids: Tensor, meaning: Tensor, generator: torch.Generator) -> Tensor:
        tokens, meanings = self.data.flat()
        some = torch.randint(len(tokens), (2000,), generator=generator)
        score = positives.bm25(ids, tokens[some])
        same = (meaning[:, None] == meanings[some]).all(dim=2)
        return tokens[some][score.masked_fill(same, -1.0).argmax(dim=1)]


def reworded(meaning: Tensor, generator: torch.Generator) -> Tensor:
    """A sentence for each meaning [N, 6], its style drawn."""
    return sentences.say(meaning, sentences.styles(len(meaning), generator))


class Siamese(Objective):
    """SBERT (Reimers and Gurevych 2019, section 3): same, contradicting, or neither?  softmax(W [u; v; |u - v|])."""

    def __init__(self, start: Transformer, data: Documents):
        super().__init__(start, data)
        self.head = nn.Linear(3 * start.width, 3)

    def forward(self, generator: torch.Generator) -> Tensor:
        ids, meaning = self.sentence(generator)
        label = torch.randint(3, (len(ids),), generator=generator)
        other = torch.where((label == 1)[:, None], sentences.change(meaning, "sign", generator), meaning)
        kinds = ("roles", "deed", "place", "patient", "tense")
        kind = torch.randint(len(kinds), (len(ids),), generator=generator)
        for i, name in enumerate(kinds):
            here = (label == 2) & (kind == i)
            other = torch.where(here[:, None], sentences.change(meaning, name, generator), other)
        u, v = self.vectors(ids), self.vectors(reworded(other, generator))
        scores = self.head(torch.cat([u, v, (u - v).abs()], dim=1))
        return F.cross_entropy(scores, label.to(scores.device))


class Translations(Objective):
    """The contrast of InfoXLM (Chi et al. 2021): a sentence and its translation in other words find each other."""

    def forward(self, generator: torch.Generator) -> Tensor:
        ids, meaning = self.sentence(generator)
        abroad = sentences.say(meaning, sentences.styles(len(ids), generator), tongue=1)
        return losses.info_nce(self.vectors(ids), self.vectors(abroad), temperature=1 / SCALE)
