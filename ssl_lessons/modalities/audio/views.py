"""Views of a sound: crops, hidden bands or cells, background mixed in."""

import torch
from torch import Tensor

from ssl_lessons.errors import InputError


def crops(x: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """A random stretch of `length` times out of each x [B, T, M], [B, length, M]."""
    b, t, _ = x.shape
    if not 1 <= length <= t:
        raise InputError(f"a crop of {length} frames does not fit into {t}.")
    start = torch.randint(t - length + 1, (b, 1), generator=generator)
    index = (start + torch.arange(length)).to(x.device)
    return x[torch.arange(b, device=x.device)[:, None], index]


def spans(b: int, t: int, share: float, length: int, generator: torch.Generator) -> Tensor:
    """Bool [b, t]: stretches of `length`, which may overlap, until exactly round(share * t) places are hidden."""
    count = round(share * t)
    if not 0 < count < t or not 1 <= length <= t:
        raise InputError(f"cannot hide {share} of {t} places in stretches of {length}.")
    # Stretches begin in a random order; place i is hidden by the earliest stretch that covers it; the first win.
    order = torch.rand(b, t, generator=generator)
    padded = torch.nn.functional.pad(order, (length - 1, 0), value=2.0)
    earliest = padded.unfold(1, length, 1).amin(-1) + 1e-6 * torch.rand(b, t, generator=generator)
    return torch.zeros(b, t, dtype=torch.bool).scatter_(1, earliest.argsort(1)[:, :count], True)


def bands(
    b: int, t: int, m: int, times: tuple[int, int], filters: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """SpecAugment's masks, bool [b, t, m], True = hidden: whole times and whole filters, in stretches.

    times, filters: (number of stretches, their length) along the two axes.  Park et al. (2019), section 2, with fixed
    in place of random lengths.
    """
    hidden = torch.zeros(b, t, m, dtype=torch.bool)
    for size, (count, length), axis in ((t, times, 1), (m, filters, 2)):
        if length > size:
            raise InputError(f"a band of {length} does not fit into {size}.")
        for _ in range(count):
            start = torch.randint(size - length + 1, (b, 1), generator=generator)
            place = torch.arange(size)
            band = (place >= start) & (place < start + length)  # [b, size]
            hidden |= band[:, :, None] if axis == 1 else band[:, None, :]
    return hidden


def cells_like(hidden: Tensor, generator: torch.Generator) -> Tensor:
    """As many single cells hidden, in each clip, as `hidden` [B, T, M] hides, drawn at random."""
    flat = hidden.flatten(1)
    rank = torch.rand(flat.shape, generator=generator).argsort(1).argsort(1)
    return (rank < flat.sum(1, keepdim=True)).view_as(hidden)


def mix(logmel: Tensor, background: Tensor, share: Tensor) -> Tensor:
    """log((1 - a) exp(x) + a exp(y)): powers add, not their logarithms; a = share [B], x and y [B, T, M].

    The mix-up of BYOL-A (Niizumi et al. 2021): the background in a small share.
    """
    a = share.to(logmel).view(-1, 1, 1)
    if logmel.shape != background.shape or bool((share <= 0).any() | (share >= 1).any()):
        raise InputError("mix needs two spectrograms of one shape and shares strictly between 0 and 1.")
    return torch.logaddexp(logmel + (1 - a).log(), background + a.log())
