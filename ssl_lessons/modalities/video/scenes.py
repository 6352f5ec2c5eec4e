"""Films of two things over stripes as vivid as they are: who moves, and who moves with whom, is decided and known.

For what motion teaches about still pictures: a kind of thing that never moves, or moves in some films only, and two
things that always move together.  One frame of these films says nothing of who moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import views, world

MOTIONS = ("apart", "together")
NEAR = 0.34  # the distance of two neighbours in the middle frame, as a share of the side


@dataclass(frozen=True)
class Scenes:
    """N films of T frames with two things each, of different kinds and colours; the first is in front.

    frames: uint8 [N, T, 3, S, S].  masks: uint8 [N, T, S, S], 0 background, 1 and 2 the things.  centres:
    [N, T, 2, 2], (x, y) as shares of the side.  steps: [N, 2, 2], how far each goes per frame, zero if it rests.
    kind, colour: integers [N, 2]; background: [N].
    """

    frames: Tensor
    masks: Tensor
    centres: Tensor
    steps: Tensor
    kind: Tensor
    colour: Tensor
    background: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows) -> Scenes:
        return Scenes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def moves(self) -> Tensor:
        """Which things move: bool [N, 2]."""
        return self.steps.abs().amax(dim=2) > 0


def scenes(
    split: str, n: int, seed: int = 0, *, frames: int = 8, side: int = 24, resting: int | None = None,
    moving_share: float = 0.0, motion: str = "apart", near: bool = False, pan: float = 0.0, noise: float = 0.03,
) -> Scenes:  # fmt: skip
    """Draw n films; the same arguments give the same films, and the splits never share one.

    resting: a kind (its number in world.KINDS) that moves only in a share `moving_share` of the films in which it
    occurs; all other things always move.  motion: each thing goes its own way ("apart"), or the second goes wherever
    the first goes ("together").  near: in the middle frame the two are neighbours, NEAR apart.  pan: how far the
    background moves sideways, in sides per frame.  The middle frame's distribution is the same for both motions.
    Raises InputError for an unknown split, motion or kind, and for numbers that make no sense.
    """
    if split not in world.SPLITS or motion not in MOTIONS:
        raise InputError(f"splits: {', '.join(world.SPLITS)}; motions: {', '.join(MOTIONS)}")
    if resting not in (None, *range(len(world.KINDS))):
        raise InputError(f"resting must be a kind from 0 to {len(world.KINDS) - 1}, or None, not {resting!r}")
    if n < 1 or frames < 3 or side < 8 or not 0 <= moving_share <= 1 or noise < 0:
        raise InputError("needs n >= 1, frames >= 3, side >= 8, a moving_share from 0 to 1 and noise >= 0")
    g = torch.Generator().manual_seed(2 * seed + world.SPLITS.index(split) + 104729)
    sizes = [min(world.CHUNK, n - done) for done in range(0, n, world.CHUNK)]
    parts = [_drawn(g, k, frames, side, resting, moving_share, motion, near, pan, noise) for k in sizes]
    names = Scenes.__dataclass_fields__
    return Scenes(*(torch.cat([getattr(p, name) for p in parts]) for name in names))


def _drawn(g, n, frames, side, resting, moving_share, motion, near, pan, noise) -> Scenes:
    kind, colour = (
        torch.rand(n, options, generator=g).argsort(dim=1)
        for options in (len(world.KINDS), len(world.COLOURS))
    )
    kind, colour, stripes = kind[:, :2], colour[:, :2], colour[:, 2:4]
    angle = 2 * math.pi * torch.randint(world.DIRECTIONS, (n, 2), generator=g) / world.DIRECTIONS
    pace = torch.tensor(world.SPEEDS)[torch.randint(len(world.SPEEDS), (n, 2), generator=g)] / 24
    steps = pace[..., None] * torch.stack([angle.cos(), angle.sin()], dim=2)
    rests = torch.rand(n, 2, generator=g) >= moving_share
    if resting is not None:
        steps[(kind == resting) & rests] = 0
    if motion == "together":
        steps[:, 1] = steps[:, 0]
    middle, turn = torch.rand(n, 2, 2, generator=g), 2 * math.pi * torch.rand(n, generator=g)
    if near:
        middle[:, 1] = middle[:, 0] + NEAR * torch.stack([turn.cos(), turn.sin()], dim=1)
    t = torch.arange(frames) - frames // 2
    centres = (middle[:, None] + t[None, :, None, None] * steps[:, None]) % 1
    paints = torch.stack([world._colour(g, hue) for hue in stripes.T])
    picture, background = world._texture(g, n, frames, side, pan, paints)
    masks = torch.zeros(n, frames, side, side, dtype=torch.uint8)
    for number in (1, 0):
        inside = world._silhouettes(kind[:, number], centres[:, :, number], side)
        paint = world._colour(g, colour[:, number])[:, None, :, None, None]
        picture = torch.where(inside[:, :, None], paint, picture)
        masks[inside] = number + 1
    film = world._film(g, picture, noise, 0.0)
    return Scenes(film, masks, centres, steps, kind, colour, background)


# ---- masks from motion ----------------------------------------------------------------------------------------------


def differs(frames: Tensor, t: int, gap: int, threshold: float = 0.1, both_sides: bool = False) -> Tensor:
    """Where frame t and the frame `gap` later differ by more than the threshold, a share of the range: bool [N, S, S].

    The difference is the mean of the three colours' absolute ones.  It marks the place that a thing leaves and the one
    that it takes, and nothing in between where both show the same thing.  both_sides: it must differ from the frame
    `gap` earlier, too, which leaves the place alone where the thing is now.
    frames: uint8 [N, T, 3, S, S].  Raises InputError for a moment outside the film.
    """
    times = (t + gap, t - gap) if both_sides else (t + gap,)
    if gap < 1 or min((t, *times)) < 0 or max((t, *times)) >= frames.shape[1]:
        raise InputError(f"a film of {frames.shape[1]} frames has no frame {gap} away from frame {t}")
    now = frames[:, t].float()
    found = [(frames[:, u].float() - now).abs().mean(dim=1) / 255 for u in times]
    return torch.stack(found).amin(dim=0) > threshold


def flow_masks(films: Scenes, t: int) -> Tensor:
    """What moves at frame t, by the known motion: bool [N, S, S]."""
    moving = torch.cat([torch.zeros(len(films), 1, dtype=torch.bool), films.moves], dim=1)
    return moving.gather(1, films.masks[:, t].flatten(1).long()).view_as(films.masks[:, t])


def ask(films: Scenes, t: int, thing: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Point at a random visible pixel of a thing, 0 or 1 [N], in frame t: what moves as this pixel does?

    Returns (point [N, S, S], float, one at the pixel; what moves with it, bool [N, S, S]; seen, bool [N]: is any pixel
    of the thing visible at all?).
    """
    masks = films.masks[:, t]
    visible = (masks == 1 + thing[:, None, None]).flatten(1).float()
    seen = visible.sum(dim=1) > 0
    visible[~seen] = 1
    pixel = torch.multinomial(visible, 1, generator=generator)
    point = torch.zeros_like(visible).scatter_(1, pixel, 1).view(masks.shape)
    own = films.steps.gather(1, thing[:, None, None].expand(-1, 1, 2))
    alike = (films.steps - own).abs().amax(dim=2) < 1e-6
    alike = torch.cat([torch.zeros(len(films), 1, dtype=torch.bool), alike], dim=1)
    return point, alike.gather(1, masks.flatten(1).long()).view(masks.shape), seen


def patches(films: Scenes, t: Tensor, generator: torch.Generator, side: int = 12, jitter: int = 1) -> Tensor:
    """Patches around the first thing at moment t [N]: uint8 [N, 3, side, side]; a tracker's error is up to `jitter`."""
    n, _, _, s, _ = films.frames.shape
    rows = torch.arange(n)
    wrong = torch.randint(-jitter, jitter + 1, (n, 2), generator=generator)
    move = s // 2 - (films.centres[rows, t, 0] * s).long() + wrong
    rolled = views.shifted(films.frames[rows, t][:, None], move[:, :1], move[:, 1:])[:, 0]
    cut = slice((s - side) // 2, (s + side) // 2)
    return rolled[:, :, cut, cut]
