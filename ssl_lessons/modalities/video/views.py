"""Cutting, spoiling and augmenting clips: where the labels of video tasks come from.  All chance from a generator.

Clips are [N, T, 3, S, S], uint8 or float; the tasks return (clips, labels).
"""

import itertools
import math

import torch
from torch import Tensor

from ssl_lessons.errors import InputError


def to_float(clips: Tensor) -> Tensor:
    """uint8 -> float, about -1 to 1."""
    return clips.float() / 127.5 - 1


def reorder(clips: Tensor, order: Tensor) -> Tensor:
    """Frames in another order, one per clip: order, integers [N, K] -> [N, K, 3, S, S]."""
    _check(clips)
    if order.ndim != 2 or len(order) != len(clips) or order.is_floating_point():
        raise InputError(f"the order must be integers [{len(clips)}, frames], not {list(order.shape)}")
    return clips[torch.arange(len(clips), device=clips.device)[:, None], order.to(clips.device)]


def in_order(clips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half the clips as they are (label 1), half with their frames shuffled (0): Shuffle and Learn, for whole clips."""
    _check(clips)
    label = torch.rand(len(clips), generator=generator) < 0.5
    order = torch.where(label[:, None], torch.arange(clips.shape[1]), shuffled(clips, generator))
    return reorder(clips, order), label.long().to(clips.device)


def shuffled(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Orders [N, T] that are neither the true one nor its reverse (which motion alone cannot tell from it)."""
    n, t = clips.shape[:2]
    order = torch.rand(n, t, generator=generator).argsort(dim=1)
    rising = (order[:, 1:] > order[:, :-1]).all(dim=1) | (order[:, 1:] < order[:, :-1]).all(dim=1)
    order[rising] = torch.cat([torch.arange(1, t, 2), torch.arange(0, t, 2)])
    return order


def arrow(clips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half the clips forwards (label 1), half backwards (0): the arrow of time."""
    _check(clips)
    label = (torch.rand(len(clips), generator=generator) < 0.5).to(clips.device)
    return torch.where(label[:, None, None, None, None], clips, clips.flip(1)), label.long()


def permuted(clips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which order?  Four frames in one of 12 orders, a motion and its reverse counted as one (order prediction, OPN).

    The frames are the four at equal distances; labels 0..11.
    """
    _check(clips, 4)
    orders = torch.tensor([p for p in itertools.permutations(range(4)) if p < p[::-1]])
    label = torch.randint(len(orders), (len(clips),), generator=generator)
    places = torch.linspace(0, clips.shape[1] - 1, 4).round().long()
    turned = torch.rand(len(clips), 1, generator=generator) < 0.5
    order = torch.where(turned, orders[label].flip(1), orders[label])
    return reorder(clips, places[order]), label.to(clips.device)


def odd_one(clips: Tensor, generator: torch.Generator, choices: int = 3) -> tuple[Tensor, Tensor]:
    """`choices` cuts of every clip, one of them shuffled (O3N): [N, choices, T', ...] and which one is odd.

    A cut leaves out two of the frames, its own two.
    """
    _check(clips, 5)
    n, t = clips.shape[:2]
    odd = torch.randint(choices, (n,), generator=generator)
    cuts = []
    for k in range(choices):
        order = torch.rand(n, t, generator=generator).argsort(dim=1)[:, : t - 2].sort(dim=1).values
        mixed = order.gather(1, shuffled(clips[:, : t - 2], generator))
        cuts.append(reorder(clips, torch.where((odd == k)[:, None], mixed, order)))
    return torch.stack(cuts, dim=1), odd.to(clips.device)


def paced(clips: Tensor, generator: torch.Generator, frames: int = 4) -> tuple[Tensor, Tensor]:
    """Every frame (label 0) or every second one (1), `frames` of them: at what pace does the film run?"""
    _check(clips, 2 * frames - 1)
    label = torch.randint(2, (len(clips),), generator=generator)
    room = clips.shape[1] - (label + 1) * (frames - 1)
    start = (torch.rand(len(clips), generator=generator) * room).long()
    order = start[:, None] + (label + 1)[:, None] * torch.arange(frames)
    return reorder(clips, order), label.to(clips.device)


def augment(
    clips: Tensor, generator: torch.Generator, consistent: bool = True, shift: int = 4, colour: float = 0.5
) -> Tensor:
    """Random shift and colour of float clips: one draw per clip, or (consistent=False) a fresh one per frame.

    With a fresh shift in every frame nobody can tell any more how the thing moved: that is why CVRL draws once.
    """
    _check(clips)
    n, t = clips.shape[:2]
    draws = (n, 1) if consistent else (n, t)
    dy, dx = torch.randint(-shift, shift + 1, (2, *draws), generator=generator)
    gain = 1 + colour * (2 * torch.rand(*draws, 3, 1, 1, generator=generator) - 1)
    add = colour * (torch.rand(*draws, 3, 1, 1, generator=generator) - 0.5)
    moved = shifted(clips, dx.expand(n, t), dy.expand(n, t))
    return moved * gain.to(clips.device) + add.to(clips.device)


def shifted(clips: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Clips moved right by dx and down by dy pixels, integers [N, T]; what leaves comes in at the other edge."""
    n, t, _, s, w = clips.shape
    rows = (torch.arange(s) - dy[..., None]) % s  # [N, T, S]
    columns = (torch.arange(w) - dx[..., None]) % w
    at = (rows[..., :, None] * w + columns[..., None, :]).view(n, t, 1, s * w).to(clips.device)
    return clips.flatten(3).gather(3, at.expand(-1, -1, clips.shape[2], -1)).view_as(clips)


def ego_motion(clips: Tensor, generator: torch.Generator, shift: int = 3) -> tuple[Tensor, Tensor]:
    """A frame and itself after the camera moved: pairs [N, 2, 3, S, S] and which of (2 shift + 1)^2 moves it was."""
    _check(clips)
    dx, dy = torch.randint(-shift, shift + 1, (2, len(clips)), generator=generator)
    zero = torch.zeros_like(dx)
    pair = clips[:, :1].expand(-1, 2, -1, -1, -1)
    moved = shifted(pair, torch.stack([zero, dx], 1), torch.stack([zero, dy], 1))
    return moved, ((dy + shift) * (2 * shift + 1) + dx + shift).to(clips.device)


def masks(n: int, slices: int, places: int, ratio: float, generator: torch.Generator, tubes: bool) -> Tensor:
    """bool [n, slices * places], True = hidden, as many in every clip: tubes (the same places in all slices) or not.

    slices: steps of time, places: patches of one.  Raises InputError where nothing or everything would be hidden.
    """
    total = places if tubes else slices * places
    hidden = round(ratio * total)
    if not 0 < hidden < total:
        raise InputError(f"a ratio of {ratio} hides {hidden} of {total}: some must be hidden, and some seen")
    scores = torch.rand(n, total, generator=generator)
    mask = scores.argsort(dim=1).argsort(dim=1) < hidden
    return mask.repeat(1, slices) if tubes else mask


def leak(mask: Tensor, slices: int) -> float:
    """Of the hidden places, the share that is seen at another time: what may be copied where nothing moves."""
    by_time = mask.view(len(mask), slices, -1)
    somewhere = (~by_time).any(dim=1, keepdim=True).expand_as(by_time)
    return float(somewhere[by_time].float().mean())


def patches(clips: Tensor, time: int = 2, side: int = 6) -> Tensor:
    """Cut float clips into cubes: [N, T, 3, S, S] -> [N, (T / time) (S / side)^2, 3 time side^2], time first."""
    n, t, c, s, w = clips.shape
    if t % time or s % side or w % side:
        raise InputError(
            f"{t} frames of {s} x {w} pixels do not divide into cubes of {time} x {side} x {side}"
        )
    x = clips.view(n, t // time, time, c, s // side, side, w // side, side)
    return x.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(n, -1, time * c * math.prod((side, side)))


def _check(clips: Tensor, least: int = 1) -> None:
    if clips.ndim != 5 or clips.shape[1] < least:
        raise InputError(f"clips must be [N, T, 3, S, S] with T >= {least}, not {list(clips.shape)}")
