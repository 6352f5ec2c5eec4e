"""Ways to damage a sentence: hide, replace, delete, fill in, permute, rotate.  ids [B, T] in, ids [B, T'] out.

Special words ([CLS], [SEP], padding) are never touched except where the text says so.  All chance comes from a CPU
generator.
"""

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words.language import CLS, MASK, PAD, SEP, SPECIAL, VOCABULARY


def words(ids: Tensor) -> Tensor:
    """Which places hold a word that may be damaged: bool, of the shape of ids."""
    return ids >= len(SPECIAL)


def real(ids: Tensor) -> Tensor:
    """Which places are no padding: bool, of the shape of ids."""
    return ids != PAD


def chosen(ids: Tensor, rate, generator: torch.Generator) -> Tensor:
    """Every word with probability `rate` (a number, or one per sentence [B, 1]); at least one in the batch: bool."""
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~words(ids), 2.0)
    mask = draw < rate
    mask.view(-1)[draw.argmin()] |= not bool(mask.any())
    return mask


def bert(
    ids: Tensor, generator: torch.Generator, rate: float = 0.15, random: float = 0.1, keep: float = 0.1,
    vocabulary: int = len(VOCABULARY),
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """BERT's corruption (Devlin et al. 2019, section 3.1): (corrupted ids, mask of the chosen words).

    Of the chosen words a share `random` becomes any word, a share `keep` stays, the rest becomes [MASK].
    vocabulary: how many words there are, special ones included; they come first.
    Raises InputError for shares outside 0..1 or that sum to more than 1.
    """
    if not (0 < rate <= 1 and min(random, keep) >= 0 and random + keep <= 1):
        raise InputError(
            f"rate must lie in (0, 1] and the shares sum to at most 1, not {rate}, {random}, {keep}."
        )
    mask = chosen(ids, rate, generator)
    kind = torch.rand(ids.shape, generator=generator)
    other = torch.randint(len(SPECIAL), vocabulary, ids.shape, generator=generator)
    damaged = torch.where(kind < random, other, torch.where(kind < random + keep, ids, MASK))
    return torch.where(mask, damaged, ids), mask


def hide(ids: Tensor, generator: torch.Generator, rate=0.3) -> tuple[Tensor, Tensor]:
    """Every chosen word becomes [MASK] (BART's token masking; masked diffusion with rate t [B, 1]): (ids, mask)."""
    mask = chosen(ids, rate, generator)
    return torch.where(mask, MASK, ids), mask


def close(ids: Tensor, gone: Tensor) -> Tensor:
    """ids with the places `gone` taken out and padding at the end."""
    left = torch.where(gone, PAD, ids)
    return left.gather(1, (left == PAD).long().argsort(dim=1, stable=True))


def delete(ids: Tensor, generator: torch.Generator, rate: float = 0.3) -> Tensor:
    """Every chosen word disappears without a trace (Lewis et al. 2020, section 2.2): the model must also say where."""
    return close(ids, chosen(ids, rate, generator))


def _spans(ids: Tensor, generator: torch.Generator, rate: float, mean: float) -> Tensor:
    """Runs of words, `mean` long, about `rate` of all words: bool [B, T]."""
    length = 1 + torch.poisson(torch.full(ids.shape, mean - 1.0), generator=generator)
    start = torch.rand(ids.shape, generator=generator) < rate / mean
    place = torch.arange(ids.shape[1])
    end = torch.where(start, place + length, 0.0).cummax(dim=1).values
    mask = (place < end) & words(ids)
    mask.view(-1)[words(ids).view(-1).long().argmax()] |= not bool(mask.any())
    return mask


def infill(ids: Tensor, generator: torch.Generator, rate: float = 0.3, mean: float = 3.0) -> Tensor:
    """Whole runs of words become a single [MASK]: the model must also say how many (Lewis et al. 2020, section 2.2).

    Lengths are 1 + Poisson(mean - 1): BART draws Poisson(3), whose empty runs insert a [MASK]; they are left out here.
    """
    return _merge(ids, _spans(ids, generator, rate, mean))


def _merge(ids: Tensor, mask: Tensor) -> Tensor:
    first = mask & ~torch.nn.functional.pad(mask, (1, 0))[:, :-1]
    return close(torch.where(first, MASK, ids), mask & ~first)


def t5(
    ids: Tensor, generator: torch.Generator, rate: float = 0.15, mean: float = 3.0
) -> tuple[Tensor, Tensor]:
    """T5's objective (Raffel et al. 2020, section 3.1.4): (ids with runs of words as one [MASK], the runs alone).

    The target is [CLS], then for every run [MASK] and its words, then [SEP].  T5 numbers its signs; here all are
    [MASK], told apart by their order.
    """
    mask = _spans(ids, generator, rate, mean)
    first = mask & ~torch.nn.functional.pad(mask, (1, 0))[:, :-1]
    # two places per word: the sign before a run, and the word itself
    signs = torch.where(first, MASK, PAD)
    target = torch.stack([signs, torch.where(mask, ids, PAD)], dim=2).flatten(1)
    ends = torch.full((len(ids), 1), SEP)
    target = torch.cat([torch.full_like(ends, CLS), target, ends], dim=1)
    target = target.gather(1, (target == PAD).long().argsort(dim=1, stable=True))
    return _merge(ids, mask), target[:, : int(real(target).sum(1).max())]


def permute(ids: Tensor, generator: torch.Generator) -> Tensor:
    """The two sentences of [CLS] A [SEP] B [SEP] in random order (Lewis et al. 2020, section 2.2): half are swapped."""
    swap = torch.rand(len(ids), generator=generator) < 0.5
    return torch.where(swap[:, None], _rotated(ids, (ids == SEP).long().argmax(dim=1)), ids)


def rotate(ids: Tensor, generator: torch.Generator) -> Tensor:
    """The text begins at a random one of its places, what stood before comes last (Lewis et al. 2020, section 2.2).

    [CLS] stays; the text is everything after it up to the last [SEP], that [SEP] included.
    """
    inner = real(ids).sum(dim=1) - 1
    return _rotated(ids, (torch.rand(len(ids), generator=generator) * inner).long())


def _rotated(ids: Tensor, by: Tensor) -> Tensor:
    """ids with places 1 .. n - 1 (n: what is no padding) rotated to the left by `by` [B]."""
    inner = real(ids).sum(dim=1, keepdim=True) - 1
    place = torch.arange(ids.shape[1] - 1).expand(len(ids), -1)
    source = torch.where(place < inner, (place + by[:, None]) % inner, place)
    return torch.cat([ids[:, :1], ids[:, 1:].gather(1, source)], dim=1)
