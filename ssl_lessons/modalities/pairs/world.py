"""Drawn scenes with captions: one thing on a ground, or two side by side; every factor is known, said or unsaid.

One thing: its kind, colour, size, place and whether its ground is dark or light can be said; in which direction the
ground is striped is never said.  A caption says only some of what it could, in one of four ways; and a known share of
captions belongs to other pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions

SPLITS = ("unlabeled", "train", "test")
KINDS, COLOURS, STRIPES = len(captions.SAID["kind"]), len(captions.SAID["colour"]), 4
FACTORS = {name: len(words) for name, words in captions.SAID.items()} | {"stripes": STRIPES}
TWO = {
    "left kind": KINDS,
    "left colour": COLOURS,
    "right kind": KINDS,
    "right colour": COLOURS,
    "stripes": STRIPES,
}
RADIUS = torch.tensor([0.15, 0.25])  # of small and large things, as shares of the side
NOISE = 0.06  # standard deviation of the sensor


@dataclass(frozen=True)
class Scenes:
    """N pictures with a caption each.

    pictures: uint8 [N, 3, S, S].  ids: int64 [N, 16], the captions as numbers (`captions.decode` gives the words).
    factors: name -> integers [N], see FACTORS (one thing) and TWO.  right: bool [N], whether the caption is that of the
    picture: for measuring, no method may look.
    """

    pictures: Tensor
    ids: Tensor
    factors: dict[str, Tensor]
    right: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows) -> Scenes:
        factors = {name: values[rows] for name, values in self.factors.items()}
        return Scenes(self.pictures[rows], self.ids[rows], factors, self.right[rows])

    @property
    def texts(self) -> list[str]:
        """The captions in words."""
        return captions.decode(self.ids)


def scenes(
    split: str, n: int, seed: int = 0, *, wrong: float = 0.0, say: Sequence[str] = tuple(captions.SAID),
    said: float = 0.7, unseen: bool | None = None, side: int = 24,
) -> Scenes:  # fmt: skip
    """Draw n scenes of one thing; the same arguments give the same scenes, and splits never share one.

    wrong: the share of captions that are those of other scenes.  say: the factors a caption may speak of; said: with
    which probability it speaks of each (of the kind always).  unseen: True for combinations of kind and colour that
    `unseen_pairs` sets apart only, False for the others only, None for all.
    Raises InputError for an unknown split or factor, and numbers that make no sense.
    """
    g = _generator(split, n, seed, wrong, said, side)
    factors = {name: torch.randint(options, (n,), generator=g) for name, options in FACTORS.items()}
    if unseen is not None:
        apart, together = unseen_pairs(), [k for k in range(KINDS * COLOURS) if k not in unseen_pairs()]
        code = torch.tensor(apart if unseen else together)
        code = code[torch.randint(len(code), (n,), generator=g)]
        factors |= {"kind": code // COLOURS, "colour": code % COLOURS}
    pictures = torch.empty(n, 3, side, side)
    _ground(g, pictures, factors["ground"], factors["stripes"])
    wobble = 0.05 * (2 * torch.rand(n, 2, generator=g) - 1)
    centres = torch.stack([factors["place"] % 2, factors["place"] // 2], dim=1) * 0.38 + 0.31 + wobble
    _paint(g, pictures, factors["kind"], factors["colour"], centres, RADIUS[factors["size"]])
    style = torch.randint(captions.STYLES, (n,), generator=g).tolist()
    spoken = torch.rand(n, len(captions.SAID), generator=g) < said
    names = list(captions.SAID)
    rows = zip(*(factors[name].tolist() for name in names), strict=True)
    texts = [
        captions.describe(dict(zip(names, row, strict=True)), style[i], [
            name for k, name in enumerate(names) if name in say and (spoken[i, k] or name == "kind")])
        for i, row in enumerate(rows)
    ]  # fmt: skip
    return _finish(g, pictures, captions.encode(texts), factors, wrong)


def two_things(
    split: str, n: int, seed: int = 0, *, half: bool | None = None, placed: bool = True, wrong: float = 0.0,
    side: int = 24,
) -> Scenes:  # fmt: skip
    """Draw n scenes of two things of different kinds and colours, side by side: "a red disc left of a blue cross".

    half: of two kinds and two colours there are two scenes, which exchange the colours; True draws only one of them
    (which one, depends on all four), False only the other, None both.  placed: captions say who stands where; else they
    say "a red disc and a blue cross", in either order.  Other arguments and errors as in `scenes`.
    """
    g = _generator(split, n, seed, wrong, 1.0, side)
    kind, colour = (torch.randint(k, (n,), generator=g) for k in (KINDS, COLOURS))
    kinds = torch.stack([kind, (kind + 1 + torch.randint(KINDS - 1, (n,), generator=g)) % KINDS], dim=1)
    colours = torch.stack(
        [colour, (colour + 1 + torch.randint(COLOURS - 1, (n,), generator=g)) % COLOURS], dim=1
    )
    if half is not None:
        turned = in_half(kinds, colours) != half
        colours[turned] = colours[turned].flip(1)
    stripes = torch.randint(STRIPES, (n,), generator=g)
    pictures = torch.empty(n, 3, side, side)
    _ground(g, pictures, torch.randint(2, (n,), generator=g), stripes)
    for k in (0, 1):
        wobble = torch.tensor([0.05, 0.18]) * (2 * torch.rand(n, 2, generator=g) - 1)
        centres = torch.tensor([0.27 + 0.46 * k, 0.5]) + wobble
        _paint(g, pictures, kinds[:, k], colours[:, k], centres, 0.17 + 0.04 * torch.rand(n, generator=g))
    style = (torch.randint(2, (n,), generator=g) + (0 if placed else 2)).tolist()
    things = zip(kinds.tolist(), colours.tolist(), style, strict=True)
    texts = [captions.describe_two((k[0], c[0]), (k[1], c[1]), s) for k, c, s in things]
    values = (kinds[:, 0], colours[:, 0], kinds[:, 1], colours[:, 1], stripes)
    return _finish(g, pictures, captions.encode(texts), dict(zip(TWO, values, strict=True)), wrong)


def in_half(kinds: Tensor, colours: Tensor) -> Tensor:
    """bool [n]: whether scenes of two kinds and two colours, each [n, 2], belong to the half of `two_things`.

    Of a scene and the one with its colours exchanged always one does, whichever stands left.
    """
    first = (kinds[:, 0] < kinds[:, 1]) == (colours[:, 0] < colours[:, 1])
    return first == ((kinds.sum(dim=1) + colours.sum(dim=1)) % 2 == 0)


def unseen_pairs() -> list[int]:
    """kind * 6 + colour of the six combinations set apart: every kind once, every colour once."""
    return [kind * COLOURS + (2 * kind + kind // 3) % COLOURS for kind in range(KINDS)]


def _generator(split: str, n: int, seed: int, wrong: float, said: float, side: int) -> torch.Generator:
    if split not in SPLITS or n < 1 or not 0 <= wrong <= 1 or not 0 <= said <= 1 or side < 16:
        raise InputError(
            f"needs a split of {', '.join(SPLITS)}, n >= 1, wrong and said from 0 to 1, and a side of at least 16"
        )
    return torch.Generator().manual_seed(3 * seed + SPLITS.index(split) + 104729)


def _finish(g: torch.Generator, pictures: Tensor, ids: Tensor, factors: dict, wrong: float) -> Scenes:
    """Sensor noise, whole numbers, and some captions passed on among the scenes that were drawn for it."""
    n = len(pictures)
    chosen = torch.randperm(n, generator=g)[: round(wrong * n)]
    ids, right = ids.clone(), torch.ones(n, dtype=torch.bool)
    if len(chosen) > 1:
        ids[chosen], right[chosen] = ids[chosen.roll(1)], False
    grain = torch.randn(pictures.shape, generator=g) * NOISE
    return Scenes(((pictures + grain) * 255).round().clamp(0, 255).byte(), ids, factors, right)


def _ground(g: torch.Generator, pictures: Tensor, light: Tensor, stripes: Tensor) -> None:
    """Fills pictures [n, 3, S, S] with stripes in one of four directions, dark or light."""
    n, side = len(pictures), pictures.shape[-1]
    angle = math.pi * stripes / STRIPES
    waves, phase = 2 + 2 * torch.rand(n, generator=g), torch.rand(n, generator=g)
    grid = (torch.arange(side) + 0.5) / side
    along = grid * angle.cos()[:, None, None] + grid[:, None] * angle.sin()[:, None, None]
    wave = (2 * math.pi * (waves[:, None, None] * along + phase[:, None, None])).sin()
    tint = 0.1 * (torch.rand(n, 3, generator=g) - 0.5)
    pictures.copy_((0.28 + 0.44 * light)[:, None, None, None] + tint[:, :, None, None] + 0.12 * wave[:, None])


def _paint(
    g: torch.Generator, pictures: Tensor, kind: Tensor, colour: Tensor, centres: Tensor, radius: Tensor
) -> None:
    """Paints one thing onto each picture: centres [n, 2] (x, y) and radius [n] as shares of the side."""
    n, side = len(pictures), pictures.shape[-1]
    grid = (torch.arange(side) + 0.5) / side
    x = ((grid - centres[:, :1]) / radius[:, None])[:, None, :].expand(n, side, side)
    y = ((grid - centres[:, 1:]) / radius[:, None])[:, :, None].expand(n, side, side)
    turn = 0.25 * (2 * torch.rand(n, generator=g) - 1)
    c, s = turn.cos()[:, None, None], turn.sin()[:, None, None]
    x, y = c * x + s * y, c * y - s * x
    hue = (colour + 0.3 * (torch.rand(n, generator=g) - 0.5)) / COLOURS
    rgb = ((hue[:, None] - torch.tensor([0.0, 1 / 3, 2 / 3])) * 2 * math.pi).cos()
    level = 0.4 + 0.2 * torch.rand(n, 1, generator=g)  # brighter or darker than either ground
    paint = (level + 0.7 * rgb).clamp(0.02, 0.98)[:, :, None, None]
    inside = torch.zeros(n, side, side, dtype=torch.bool)
    for number, shape in enumerate(_SHAPES):
        own = kind == number
        inside[own] = shape(x[own], y[own])
    pictures.copy_(torch.where(inside[:, None], paint, pictures))


_SHAPES = (
    lambda x, y: x.square() + y.square() < 0.9,
    lambda x, y: torch.maximum(x.abs(), y.abs()) < 0.85,
    lambda x, y: (y < 0.8) & (y > 2.0 * x.abs() - 1.0),
    lambda x, y: ((x.abs() < 0.34) & (y.abs() < 1)) | ((y.abs() < 0.34) & (x.abs() < 1)),
    lambda x, y: (x.square() + y.square() < 1.1) & (x.square() + y.square() > 0.3),
    lambda x, y: ((y.abs() < 0.3) & (x > -1) & (x < 0.3)) | ((x >= 0.1) & (x < 1) & (y.abs() < 1.0 - x)),
)
