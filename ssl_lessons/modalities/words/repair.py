"""Objectives that repair sentences, each a module with `loss(ids, label, generator)`, and the features they leave.

All read the same pairs [CLS] A [SEP] B [SEP], and all leave an encoder of the same shape behind (`.encoder`).
network: other sizes than the drawn language needs, for `Transformer` (real English has more words).
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corruptions, language
from ssl_lessons.modalities.words.transformer import Transformer


class Masked(nn.Module):
    """Masked language modelling, and beside it, if asked for, a question about the two sentences at [CLS].

    pairs: "random" (next sentence prediction), "swapped" (sentence order prediction) or None; words: whether words are
    hidden at all.
    """

    def __init__(
        self, pairs: str | None = None, words: bool = True, network: dict | None = None, **corruption
    ):
        super().__init__()
        self.encoder, self.pairs, self.words = Transformer(**network or {}), pairs, words
        self.corruption = {"vocabulary": len(self.encoder.bias)} | corruption
        self.head = nn.Linear(self.encoder.width, 2)

    def loss(self, ids: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        device, total = self.head.weight.device, 0.0
        shown, mask = corruptions.bert(ids, generator, **self.corruption) if self.words else (ids, None)
        states = self.encoder(shown.to(device))
        if self.words:
            total = total + losses.masked_lm(self.encoder.logits(states), ids.to(device), mask.to(device))
        if self.pairs:
            total = total + F.cross_entropy(self.head(states[:, 0]), label.to(device))
        return total


class Causal(nn.Module):
    """The next word, left to right: GPT."""

    pairs = None

    def __init__(self, network: dict | None = None):
        super().__init__()
        self.encoder = Transformer(causal=True, **network or {})

    def loss(self, ids: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        ids = ids.to(self.encoder.bias.device)
        return losses.causal_lm(self.encoder.logits(self.encoder(ids)), ids, corruptions.real(ids))


class Electra(nn.Module):
    """A small generator fills in what is hidden; the encoder says of every word whether it was replaced.

    weight: of the detection beside the generator's loss (Clark et al. 2020: 50).  size: width of the generator.
    No gradient passes from the encoder to the generator: its words are drawn.
    """

    pairs = None

    def __init__(self, size: int = 16, weight: float = 50.0, network: dict | None = None):
        super().__init__()
        network = network or {}
        self.encoder, self.weight = Transformer(**network), weight
        self.generator = Transformer(**network | {"width": size, "heads": 2})
        self.head = nn.Linear(self.encoder.width, 1)

    def loss(self, ids: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        device = self.head.weight.device
        shown, mask = corruptions.hide(ids, generator, 0.15)
        vocabulary = len(self.encoder.bias)
        noise = -torch.empty(int(mask.sum()), vocabulary).exponential_(generator=generator).log()
        ids, shown, mask = ids.to(device), shown.to(device), mask.to(device)
        logits = self.generator.logits(self.generator(shown))
        drawn = (logits.detach()[mask] + noise.to(device)).argmax(dim=-1)  # Gumbel: a draw from the softmax
        corrupted = ids.masked_scatter(mask, drawn)
        found = self.head(self.encoder(corrupted))[..., 0]
        detection = losses.replaced_token(found, corrupted != ids, corruptions.real(ids))
        return losses.masked_lm(logits, ids, mask) + self.weight * detection


class Diffusion(nn.Module):
    """Hide a share t of the words, t anywhere in (0, 1], fill them in, divide by t."""

    pairs = None

    def __init__(self, network: dict | None = None):
        super().__init__()
        self.encoder = Transformer(**network or {})

    def loss(self, ids: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        device = self.encoder.bias.device
        t = 1 - torch.rand(len(ids), 1, generator=generator)
        shown, mask = corruptions.hide(ids, generator, t)
        logits = self.encoder.logits(self.encoder(shown.to(device)))
        moved = (ids, mask, t[:, 0], corruptions.words(ids))
        return losses.masked_diffusion(logits, *(x.to(device) for x in moved))


class Denoising(nn.Module):
    """Encoder and a decoder of one layer: write the whole sentence, or what is missing, after reading the damaged one.

    damage(ids, generator) -> damaged ids, or (damaged ids, what to write).
    """

    pairs = None

    def __init__(self, damage: Callable):
        super().__init__()
        self.encoder, self.damage = Transformer(), damage
        self.decoder = Transformer(depth=1, causal=True, reads=True, length=2 * language.PAIR_LENGTH)

    def loss(self, ids: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        device = self.encoder.bias.device
        damaged = self.damage(ids, generator)
        damaged, target = damaged if isinstance(damaged, tuple) else (damaged, ids)
        damaged, target = damaged.to(device), target.to(device)
        there = corruptions.real(damaged)[:, None, None, :]
        states = self.decoder(target, self.encoder(damaged), there)
        return losses.causal_lm(self.decoder.logits(states), target, corruptions.real(target))


OBJECTIVES: dict[str, Callable[[], nn.Module]] = {
    "mlm": Masked,
    "mlm, always [MASK]": partial(Masked, random=0.0, keep=0.0),
    "gpt": Causal,
    "nsp": partial(Masked, "random", words=False),
    "sop": partial(Masked, "swapped", words=False),
    "mlm + nsp": partial(Masked, "random"),
    "mlm + sop": partial(Masked, "swapped"),
    "electra": Electra,
    "diffusion": Diffusion,
    "bart: masking": partial(Denoising, lambda ids, g: corruptions.hide(ids, g)[0]),
    "bart: deletion": partial(Denoising, corruptions.delete),
    "bart: infilling": partial(Denoising, corruptions.infill),
    "bart: permutation": partial(Denoising, corruptions.permute),
    "bart: rotation": partial(Denoising, corruptions.rotate),
    "t5": partial(Denoising, corruptions.t5),
}
"""Every objective of the lesson by name; calling one makes the module."""


def build(name: str, seed: int, **options) -> nn.Module:
    """A fresh module; its initial weights depend on the seed alone, and those of its encoder are the same for all.

    options: for its class, such as `network`.
    """
    if name not in OBJECTIVES:
        raise InputError(f"There is no objective {name!r}; there are {', '.join(OBJECTIVES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OBJECTIVES[name](**options)


def batch_loss(
    module: nn.Module, data: language.Stories, size: int = 64
) -> Callable[[torch.Generator], Tensor]:
    """loss(generator) for `training.fit`: draws stories, one pair of neighbouring sentences from each."""

    def loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(data), (size,), generator=generator)
        ids, label, _ = language.pairs(data[rows], generator, module.pairs)
        return module.loss(ids, label, generator)

    return loss


@torch.no_grad()
def pair_features(encoder: Transformer, ids: Tensor, size: int = 500) -> Tensor:
    """What the encoder says of the two sentences: the last state at [CLS] beside the mean of the second: [N, 2 D]."""
    first = torch.cat([encoder(part.to(encoder.bias.device))[:, 0].cpu() for part in ids.split(size)])
    return torch.cat([first, features(encoder, ids, size)[-1]], dim=1)


@torch.no_grad()
def features(encoder: Transformer, ids: Tensor, size: int = 500) -> list[Tensor]:
    """What the encoder says of the second sentence: the mean over its words, after every layer: depth + 1 of [N, D]."""
    device = encoder.bias.device
    found = []
    for part in ids.split(size):
        weight = (corruptions.words(part) & (language.segments(part) == 1)).float()[..., None]
        layers = [x.cpu() for x in encoder.layers(part.to(device))]
        found.append([(x * weight).sum(1) / weight.sum(1) for x in layers])
    return [torch.cat(layer) for layer in zip(*found, strict=True)]


def bag_of_words(ids: Tensor, part: int | None = 1) -> Tensor:
    """How often each word occurs, in the first (0) or second (1) sentence, or in both (None): float [N, V]."""
    counts = torch.zeros(len(ids), len(language.VOCABULARY))
    keep = corruptions.words(ids) & ((language.segments(ids) == part) | (part is None))
    return counts.scatter_add_(1, ids, keep.float())


# ---- filling a gap ---------------------------------------------------------------------------------------------


@torch.no_grad()
def fill(module: nn.Module, ids: Tensor, place: Tensor) -> Tensor:
    """Scores [N, V] of the word at `place` [N], which nobody is shown: each objective in the form it was trained in.

    A causal network reads what stands before the gap.  A network that fills in reads the whole text with [MASK] in the
    gap; a decoder writes up to the gap after the encoder read the damaged text (deletion: without the word; T5: its
    short form).  ELECTRA puts every word into the gap and says how original it looks.
    Log-probabilities but for ELECTRA.
    """
    encoder, row = module.encoder, torch.arange(len(ids))
    device = encoder.bias.device
    shown = ids.clone()
    shown[row, place] = language.MASK
    if isinstance(module, Electra):
        return originality(module, ids, place, _ASKED)
    if isinstance(module, Denoising):
        target, at = ids, place - 1
        if module.damage is corruptions.t5:
            target = torch.tensor([language.CLS, language.MASK]).expand(len(ids), 2)
            at = torch.ones_like(place)
        elif module.damage is corruptions.delete:
            shown = corruptions.close(ids, shown == language.MASK)
        shown = shown.to(device)
        states = module.decoder(target.to(device), encoder(shown), corruptions.real(shown)[:, None, None, :])
        return module.decoder.logits(states[row, at]).log_softmax(dim=-1).cpu()
    at = place - 1 if encoder.causal else place
    states = encoder((ids if encoder.causal else shown).to(device))
    return encoder.logits(states[row, at]).log_softmax(dim=-1).cpu()


@torch.no_grad()
def originality(module: Electra, ids: Tensor, place: Tensor, words: Iterable[int]) -> Tensor:
    """- the logit of "replaced" of each of `words` in the gap: [N, V]; 0 for those that nobody asks about."""
    row, scores = torch.arange(len(ids)), torch.zeros(len(ids), len(module.encoder.bias))
    for word in words:
        tried = ids.clone()
        tried[row, place] = word
        states = module.encoder(tried.to(module.head.weight.device))
        scores[:, word] = -module.head(states[row, place])[:, 0].cpu()
    return scores


_ASKED = [
    language.VOCABULARY.index(w) for group in (*language.AUXILIARIES, *language.VERBS.values()) for w in group
]


class Counts:
    """The simplest rule that could win: how often a word stood between its two neighbours in the training text."""

    def __init__(self, ids: Tensor):
        v = len(language.VOCABULARY)
        left, word, right = ids[:, :-2].flatten(), ids[:, 1:-1].flatten(), ids[:, 2:].flatten()
        self.table = torch.bincount((left * v + right) * v + word, minlength=v**3).view(v, v, v)

    def fill(self, ids: Tensor, place: Tensor) -> Tensor:
        """As `fill`; every word is counted half a time more than it was seen."""
        row = torch.arange(len(ids))
        seen = self.table[ids[row, place - 1], ids[row, place + 1]] + 0.5
        return (seen / seen.sum(dim=1, keepdim=True)).log()


def gaps(
    data: language.Stories, generator: torch.Generator
) -> dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Questions with two answers each: name -> (ids [N, T], place [N], right words [N, 4], wrong words [N, 4]).

    agreement: the number of "is, are, was, were" where the clause between subject and verb names others of the other
    number; tense: of the same word, given away by the sentence before; polarity: a verb for or against, given "not" and
    the sentence before or the last word.
    """
    ids, _, f = language.pairs(data, generator)
    second = language.segments(ids) == 1
    word = {name: i for i, name in enumerate(language.VOCABULARY)}
    aux = torch.tensor([[word[w] for w in pair] for pair in language.AUXILIARIES])  # [tense, number]
    verbs = torch.tensor([[word[w] for w in language.VERBS[side]] for side in (0, 1)])

    def where(group: Tensor) -> Tensor:
        return (torch.isin(ids, group) & second).long().argmax(dim=1)

    at_aux, at_verb = where(aux), where(verbs)
    row = torch.arange(len(ids))
    plural = torch.tensor([word[p + "s"] for p in language.PEOPLE])
    single = torch.tensor([word[p] for p in language.PEOPLE])
    before = ids[row, (at_aux - 2).clamp(min=0)]  # ... who the farmers met [gap]
    nearest = torch.where(torch.isin(before, plural), 1, torch.where(torch.isin(before, single), 0, -1))
    clause = torch.isin(ids[row, at_aux - 1], torch.tensor([word[w] for w in language.RELATIVES]))
    hard = clause & (nearest == 1 - f["number"])
    twice = [0, 1, 0, 1]
    by_number = (aux.T[f["number"]][:, twice], aux.T[1 - f["number"]][:, twice])
    by_tense = (aux[f["tense"]][:, twice], aux[1 - f["tense"]][:, twice])
    turned = ids[row, at_verb - 1] == word["not"]
    side = torch.isin(ids[row, at_verb], verbs[1]).long()[turned]
    return {
        "agreement": (ids[hard], at_aux[hard], by_number[0][hard], by_number[1][hard]),
        "tense": (ids, at_aux, *by_tense),
        "polarity": (ids[turned], at_verb[turned], verbs[side], verbs[1 - side]),
    }


def right(log_p: Tensor, good: Tensor, bad: Tensor) -> float:
    """Share of gaps in which the right words together are more probable than the wrong ones together."""
    score = [log_p.gather(1, words).logsumexp(dim=1) for words in (good, bad)]
    return float(((score[0] > score[1]).double() + 0.5 * (score[0] == score[1])).mean())
