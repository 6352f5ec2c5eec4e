"""Two sentences that a network is told are neighbours: ways to make the second one from the first, or to look it up.

Every way takes ids [N, T] and a CPU generator and gives ids [N, T'].  Which factors of the meaning survive is measured
by `kept`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corruptions, sentences
from ssl_lessons.modalities.words.language import CLS, PAD, SPECIAL
from ssl_lessons.modalities.words.sentences import KIND, NAMES, TONGUE

Way = Callable[[Tensor, torch.Generator], Tensor]


def _named(ids: Tensor) -> Tensor:
    """Which words name a person, deed or place: bool, of the shape of ids."""
    return KIND["concept"][ids] >= 0


def _renamed(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Every word that names something becomes a name of the same thing, drawn anew; the others stay."""
    start = len(SPECIAL) + len(sentences.FUNCTION)
    tongue = torch.where(ids >= len(SPECIAL) + TONGUE, TONGUE, 0)
    name = torch.randint(NAMES, ids.shape, generator=generator)
    return torch.where(_named(ids), tongue + start + NAMES * KIND["concept"][ids] + name, ids)


def synonyms(ids: Tensor, generator: torch.Generator, share: float = 0.5) -> Tensor:
    """Each name becomes, with probability `share`, a name of the same thing, drawn from a thesaurus."""
    change = torch.rand(ids.shape, generator=generator) < share
    return torch.where(change, _renamed(ids, generator), ids)


def back_translation(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Into the second tongue and back, word by word; all names of a thing are offered (Sennrich et al. 2016)."""
    abroad = torch.where(ids >= len(SPECIAL), _renamed(ids, generator) + TONGUE, ids)
    return torch.where(ids >= len(SPECIAL), _renamed(abroad, generator) - TONGUE, ids)


def deletion(ids: Tensor, generator: torch.Generator, rate: float = 0.1) -> Tensor:
    """About one word in ten goes, at least one of each sentence."""
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~corruptions.words(ids), 2.0)
    gone = (draw < rate) | (draw == draw.min(dim=1, keepdim=True).values)
    return corruptions.close(ids, gone)


def swapping(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Two words of each sentence change places."""
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~corruptions.words(ids), -1.0)
    a, b = draw.topk(2, dim=1).indices.T
    row, swapped = torch.arange(len(ids)), ids.clone()
    swapped[row, a], swapped[row, b] = ids[row, b], ids[row, a]
    return swapped


def insertion(ids: Tensor, generator: torch.Generator) -> Tensor:
    """A synonym of some word of the sentence is put somewhere in it: one place longer."""
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~_named(ids), -1.0)
    new = _renamed(ids, generator).gather(1, draw.argmax(dim=1, keepdim=True))
    length = corruptions.real(ids).sum(dim=1, keepdim=True)
    at = (torch.rand(len(ids), 1, generator=generator) * (length + 1)).long()
    place = torch.arange(ids.shape[1] + 1).expand(len(ids), -1)
    longer = torch.cat([ids, torch.full((len(ids), 1), PAD)], dim=1)
    shifted = longer.gather(1, (place - (place > at).long()).clamp(min=0))
    return torch.where(place == at, new, shifted)


def eda(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Easy data augmentation (Wei and Zou 2019, section 2): one of four edits, drawn for each sentence, one word each.

    A synonym replaces a word, a synonym is inserted, two words are swapped, a word is deleted.
    """
    which = torch.randint(4, (len(ids), 1), generator=generator)
    replaced = torch.where(_one_name(ids, generator), _renamed(ids, generator), ids)
    edits = (replaced, swapping(ids, generator), deletion(ids, generator, 0.0))
    edits = [torch.cat([e, torch.full((len(ids), 1), PAD)], dim=1) for e in edits]
    edits.append(insertion(ids, generator))
    return torch.stack(edits).gather(0, which.expand(-1, ids.shape[1] + 1)[None])[0]


def _one_name(ids: Tensor, generator: torch.Generator) -> Tensor:
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~_named(ids), 2.0)
    return draw == draw.min(dim=1, keepdim=True).values


def masking(ids: Tensor, generator: torch.Generator, rate: float = 0.2) -> Tensor:
    """One word in five is hidden."""
    return corruptions.hide(ids, generator, rate)[0]


def cropping(ids: Tensor, generator: torch.Generator, share: float = 0.7) -> Tensor:
    """A run of seven words in ten is kept, the rest goes."""
    length = corruptions.real(ids).sum(dim=1, keepdim=True)
    keep = (share * length).ceil().long()
    start = (torch.rand(len(ids), 1, generator=generator) * (length - keep + 1)).long()
    place = torch.arange(ids.shape[1])
    return corruptions.close(ids, (place < start) | (place >= start + keep))


def contextual(ids: Tensor, generator: torch.Generator, encoder: nn.Module, rate: float = 0.2) -> Tensor:
    """Some words are hidden and drawn anew from what a masked language model expects there (after Kobayashi 2018).

    encoder: a Transformer that was trained to fill in; it must be in evaluation mode, for dropout would disturb it.
    """
    shown, mask = corruptions.hide(ids, generator, rate)
    with torch.no_grad():
        one = torch.ones(len(ids), 1, dtype=torch.long)
        framed = torch.cat([one * CLS, shown], dim=1)
        logits = encoder.logits(encoder(framed.to(encoder.bias.device)))[:, 1:].cpu()
        logits[..., : len(SPECIAL)] = -torch.inf
    noise = -torch.empty(logits.shape).exponential_(generator=generator).log()
    return torch.where(mask, (logits + noise).argmax(dim=-1), ids)


def nothing(ids: Tensor, generator: torch.Generator) -> Tensor:
    """The same sentence again: whatever tells the two apart is in the network (Gao et al. 2021: its dropout)."""
    return ids


WAYS: dict[str, Way] = {
    "nothing (dropout)": nothing,
    "masking": masking,
    "cropping": cropping,
    "EDA": eda,
    "back translation": back_translation,
}
"""Ways that need no network."""


def kept(way: Way, ids: Tensor, generator: torch.Generator) -> dict[str, float]:
    """Share of sentences [N, T] that still say the same of each factor, as `sentences.read` reads them; and `words`,
    the share of names that are still the same word somewhere in the sentence."""
    changed = way(ids, generator)
    same = (sentences.read(ids) == sentences.read(changed)).double().mean(dim=0)
    there = (ids[:, :, None] == changed[:, None, :]).any(dim=2)[_named(ids)]
    return dict(zip(sentences.FACTORS, same.tolist(), strict=True)) | {"words": float(there.double().mean())}


def bm25(query: Tensor, texts: Tensor, k1: float = 1.2, b: float = 0.75) -> Tensor:
    """How well each text answers each query by its words alone: [Q, N] (Robertson and Zaragoza 2009, eq. 3.15).

        sum over words of the query of  idf(w) tf(w) (k1 + 1) / (tf(w) + k1 (1 - b + b length / mean length))

    query [Q, T] and texts [N, T]: ids; idf(w) = log(1 + (N - n + 0.5) / (n + 0.5)), n: texts that have the word.
    """
    if not len(query) or not len(texts):
        raise InputError("bm25() needs at least one query and one text.")
    asked, tf = (counts(ids) for ids in (query, texts))
    n = (tf > 0).sum(dim=0)
    idf = (1 + (len(texts) - n + 0.5) / (n + 0.5)).log()
    length = tf.sum(dim=1, keepdim=True)
    weight = tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / length.mean()))
    return (asked > 0).float() @ (idf * weight).T


def counts(ids: Tensor) -> Tensor:
    """How often each word occurs in ids [N, T], special ones left out: float [N, V]."""
    bag = torch.zeros(len(ids), len(sentences.VOCABULARY))
    return bag.scatter_add_(1, ids, (corruptions.words(ids)).float())
