"""Clips of one or two shapes that move over a still texture: every factor, mask and position is known.

The left edge of the picture is glued to the right one, and the top to the bottom, as in old arcade games.  So a shape
that glides is anywhere with equal probability at any moment, whichever way it goes: one still picture says nothing
about direction and speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

KINDS = ("disc", "square", "triangle", "cross")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
DIRECTIONS, SPEEDS, TEXTURES = 8, (0.6, 1.2, 1.8), 4  # speeds in pixels of a 24-pixel picture, per frame
FACTORS = {"kind": 4, "colour": 6, "direction": 8, "speed": 3, "background": 4, "column": 4}
MOTIONS = ("glide", "bounce")
SPLITS = ("train", "test")
RADIUS = 0.16  # of a shape, as a share of the side
CHUNK = 250  # clips drawn at a time: more at once do not fit the processor's cache


@dataclass(frozen=True)
class Clips:
    """N clips of T frames.

    frames: uint8 [N, T, 3, S, S].  masks: uint8 [N, T, S, S], 0 background, 1 the first shape, 2 the second.
    centres: [N, T, objects, 2], (x, y) as shares of the side.  factors: name -> integers [N], of the first shape;
    "column" is the quarter of the picture, from the left, in which it is in the middle frame.  other: the same moments
    seen by a second camera, or None.
    """

    frames: Tensor
    masks: Tensor
    centres: Tensor
    factors: dict[str, Tensor]
    other: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows) -> Clips:
        other = None if self.other is None else self.other[rows]
        factors = {name: values[rows] for name, values in self.factors.items()}
        return Clips(self.frames[rows], self.masks[rows], self.centres[rows], factors, other)


def clips(
    split: str, n: int, seed: int = 0, *, frames: int = 8, side: int = 24, motion: str = "glide", loss: float = 0.0,
    objects: int = 1, camera: bool = False, pan: float = 0.0, drift: float = 0.0, noise: float = 0.03,
    flicker: bool = False,
) -> Clips:  # fmt: skip
    """Draw n clips; the same arguments give the same clips, and the splits never share one.

    motion: "glide" (constant velocity) or "bounce" (a ball that falls and comes back, and glides sideways).
    loss: the share of its speed that a ball loses at each bounce; with 0 a film run backwards is as likely as the
    film.  objects: 1, or 2 of different colours (the first in front).  camera: also film with a second camera
    (mirrored, other colours, other noise).  pan: how far the background moves sideways, in sides per frame.
    drift: by how much the camera brightens its picture from frame to frame, in shares of the full range (an artefact,
    not in the scene).
    noise: standard deviation of the sensor, fresh in every frame.  flicker: a new background in every frame.
    Raises InputError for an unknown split or motion, and for numbers that make no sense.
    """
    if split not in SPLITS or motion not in MOTIONS:
        raise InputError(f"splits: {', '.join(SPLITS)}; motions: {', '.join(MOTIONS)}")
    if n < 1 or frames < 3 or side < 8 or objects not in (1, 2) or not 0 <= loss < 1 or noise < 0:
        raise InputError("needs n >= 1, frames >= 3, side >= 8, 1 or 2 objects, 0 <= loss < 1 and noise >= 0")
    g = torch.Generator().manual_seed(2 * seed + SPLITS.index(split) + 7919)
    parts = [
        _drawn(
            g, min(CHUNK, n - done), frames, side, motion, loss, objects, camera, pan, drift, noise, flicker
        )
        for done in range(0, n, CHUNK)
    ]
    return Clips(
        torch.cat([p.frames for p in parts]),
        torch.cat([p.masks for p in parts]),
        torch.cat([p.centres for p in parts]),
        {name: torch.cat([p.factors[name] for p in parts]) for name in FACTORS},
        torch.cat([p.other for p in parts]) if camera else None,
    )


def _drawn(g, n, frames, side, motion, loss, objects, camera, pan, drift, noise, flicker) -> Clips:
    scenes = [_scene(g, n, frames, motion, loss) for _ in range(objects)]
    if objects == 2:  # another colour, and another kind
        for name, options in (("colour", 6), ("kind", 4)):
            step = 1 + _whole(g, n, options - 1)
            scenes[1][0][name] = (scenes[0][0][name] + step) % options
    factors = scenes[0][0]
    if flicker:
        textures, which = _texture(g, n * frames, 1, side, 0.0)
        background = textures.view(n, frames, 3, side, side), which.view(n, frames)[:, 0]
    else:
        background = _texture(g, n, frames, side, pan)
    factors["background"] = background[1]
    picture, masks = background[0], torch.zeros(n, frames, side, side, dtype=torch.uint8)
    for number in reversed(range(objects)):
        own, centres = scenes[number]
        inside = _silhouettes(own["kind"], centres, side)
        picture = torch.where(inside[:, :, None], _colour(g, own["colour"])[:, None, :, None, None], picture)
        masks[inside] = number + 1
    centres = torch.stack([c for _, c in scenes], dim=2)
    factors["column"] = (4 * centres[:, frames // 2, 0, 0]).long().clamp(0, 3)
    other = None
    if camera:
        other = 0.15 + 0.7 * picture.flip(-1)[:, :, [2, 0, 1]]
        other = _film(g, other, noise, drift)
    factors = {name: factors[name] for name in FACTORS}
    return Clips(_film(g, picture, noise, drift), masks, centres, factors, other)


def _whole(g: torch.Generator, n: int, below: int) -> Tensor:
    return torch.randint(below, (n,), generator=g)


def _scene(g: torch.Generator, n: int, frames: int, motion: str, loss: float) -> tuple[dict, Tensor]:
    """The factors of one shape, and its centres [n, frames, 2]."""
    kind, colour = _whole(g, n, len(KINDS)), _whole(g, n, len(COLOURS))
    direction, speed = _whole(g, n, DIRECTIONS), _whole(g, n, len(SPEEDS))
    start, t = torch.rand(n, 1, 2, generator=g), torch.arange(frames).float()
    pace = torch.tensor(SPEEDS)[speed] / 24
    angle = 2 * math.pi * direction / DIRECTIONS
    if motion == "glide":
        step = pace[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        centres = (start + t[None, :, None] * step[:, None]) % 1
    else:
        x = (start[..., 0] + t * (pace * angle.cos().sign())[:, None] / 2) % 1
        centres = torch.stack([x, _bounce(g, n, t, loss)], dim=2)
    return {"kind": kind, "colour": colour, "direction": direction, "speed": speed}, centres


def _bounce(
    g: torch.Generator, n: int, t: Tensor, loss: float, gravity: float = 0.06, arcs: int = 24
) -> Tensor:
    """Heights [n, T] of balls, y pointing down: exact parabolas, the next one lower where speed is lost.

    A ball of height h comes back after p = 2 sqrt(2 h / gravity) frames; losing a share of its speed shortens the next
    arc by that share.  It is first seen at a random moment of its arc: without loss, a motion and its reverse are then
    equally likely.
    """
    height = 0.3 + 0.4 * torch.rand(n, 1, generator=g)
    first = 2 * (2 * height / gravity).sqrt()
    lengths = first * (1 - loss) ** torch.arange(arcs)
    ends = lengths.cumsum(dim=1)
    time = t + first * torch.rand(n, 1, generator=g)
    arc = torch.searchsorted(ends, time.contiguous(), right=True).clamp(max=arcs - 1)
    length = lengths.gather(1, arc)
    passed = (time - (ends.gather(1, arc) - length)).clamp(min=0).minimum(length)
    floor = 1 - RADIUS
    return floor - gravity / 2 * passed * (length - passed)


def _silhouettes(kind: Tensor, centres: Tensor, side: int) -> Tensor:
    """bool [n, frames, side, side]: where the shapes are; a shape that leaves comes in at the other edge."""
    grid = (torch.arange(side) + 0.5) / side
    away = [(grid - centres[..., k, None] + 0.5) % 1 - 0.5 for k in (0, 1)]
    x, y = away[0][..., None, :] / RADIUS, away[1][..., :, None] / RADIUS
    shapes = (
        lambda x, y, a, b: x.square() + y.square() < 1,
        lambda x, y, a, b: torch.maximum(a, b) < 0.9,
        lambda x, y, a, b: (y < 0.9) & (y > 2.1 * a - 1.1),
        lambda x, y, a, b: ((a < 0.4) & (b < 1.1)) | ((b < 0.4) & (a < 1.1)),
    )
    inside = torch.zeros(*centres.shape[:2], side, side, dtype=torch.bool)
    for number, shape in enumerate(shapes):
        own = kind == number
        inside[own] = shape(x[own], y[own], x[own].abs(), y[own].abs())
    return inside


def _colour(g: torch.Generator, hue: Tensor) -> Tensor:
    """RGB [n, 3] in [0, 1] of a colour near one of COLOURS."""
    angle = (hue + 0.3 * (torch.rand(len(hue), generator=g) - 0.5)) / len(COLOURS)
    rgb = ((angle[:, None] - torch.tensor([0.0, 1 / 3, 2 / 3])) * 2 * math.pi).cos()
    return (0.5 + 0.75 * rgb).clamp(0.05, 0.95)


def _texture(
    g: torch.Generator, n: int, frames: int, side: int, pan: float, colours: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Waves in one of four orientations: [n, frames, 3, side, side], and which [n].  colours: [2, n, 3], or dull."""
    which = _whole(g, n, TEXTURES)
    angle = math.pi * which / TEXTURES
    waves, phase = 2 + 2 * torch.rand(n, generator=g), torch.rand(n, generator=g)
    low, high = 0.2 + 0.35 * torch.rand(2, n, 3, generator=g) if colours is None else colours
    grid = (torch.arange(side) + 0.5) / side
    x = grid[None, None, None, :] + pan * torch.arange(frames)[None, :, None, None]
    along = (
        x * angle.cos()[:, None, None, None] + grid[None, None, :, None] * angle.sin()[:, None, None, None]
    )
    wave = 0.5 + 0.5 * (2 * math.pi * (waves[:, None, None, None] * along + phase[:, None, None, None])).cos()
    low, high = low[:, None, :, None, None], high[:, None, :, None, None]
    return low + (high - low) * wave[:, :, None], which


def _film(g: torch.Generator, picture: Tensor, noise: float, drift: float) -> Tensor:
    """uint8, with sensor noise and, where asked, a brightness that rises from frame to frame about its mean."""
    frames = picture.shape[1]
    rise = drift * (torch.arange(frames) - (frames - 1) / 2)
    grain = torch.randn(picture.shape, generator=g).mul_(noise).add_(picture).add_(rise[:, None, None, None])
    return grain.mul_(255).round_().clamp_(0, 255).byte()
