"""The embedded image world: pictures drawn by a program, with every generating factor known.

Ten kinds of object, each built from parts with an upright pose, stand on textured backgrounds.  Colours,
textures, lighting, pose and proportions are drawn independently of the kind, and whether the object is lighter or
darker than its ground is a coin toss, so no colour and no linear function of the pixels gives the label away; shape
does.  `sample_factors` draws a table of factors, `render` turns a table
into pixels at any resolution, and `shapes` puts both together in STL-10's layout.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import torch
from torch import Tensor

from ssl_lessons.data.drawing import CLASSES, TEXTURES, covered, draw
from ssl_lessons.data.image_set import SPLITS, UNLABELLED, Factor, ImageSet, label_subset
from ssl_lessons.errors import InputError
from ssl_lessons.views.color import lab_to_rgb, rgb_to_lab

COUNTS = {"unlabeled": 10_000, "train": 5_000, "test": 8_000}
FOLD_SIZE = 1_000

# name: (kind, low, high); a categorical factor takes the integers low .. high - 1.
FACTORS = {
    "kind": ("categorical", 0, len(CLASSES)),
    "x": ("continuous", -0.28, 0.28),
    "y": ("continuous", -0.28, 0.28),
    "scale": ("continuous", 0.55, 0.85),
    "rotation": ("circular", -0.45, 0.45),
    "facing": ("categorical", 0, 2),
    "proportion": ("continuous", -1.0, 1.0),
    "object_hue": ("circular", 0.0, 2 * math.pi),
    "object_texture": ("categorical", 0, len(TEXTURES)),
    "background_hue": ("circular", 0.0, 2 * math.pi),
    "background_texture": ("categorical", 0, len(TEXTURES)),
    "texture_scale": ("continuous", 2.0, 5.0),
    "texture_angle": ("circular", 0.0, 2 * math.pi),
    "polarity": ("categorical", 0, 2),
    "contrast": ("continuous", 0.45, 0.65),
    "light_angle": ("circular", 0.0, 2 * math.pi),
    "light_strength": ("continuous", 0.0, 0.2),
}
# The first edition's world: objects so large and so well centred that nearest neighbours among pixels find the kind.
FIRST_WORLD = FACTORS | {
    "x": ("continuous", -0.22, 0.22),
    "y": ("continuous", -0.22, 0.22),
    "scale": ("continuous", 0.78, 1.0),
    "rotation": ("circular", -0.32, 0.32),
}
WORLDS = {1: FIRST_WORLD, 2: FACTORS}
_BLOCK = 1_000  # factors are drawn in blocks, so that image i does not depend on how many follow it
_CHUNK = 256  # images drawn at once: the working arrays stay in cache


def render(factors: dict[str, Tensor], size: int = 32, objects: bool = True) -> Tensor:
    """Draw a table of factors.

    factors: every name of FACTORS, [N] each (see `sample_factors`).  Returns uint8 [N, 3, size, size].
    The same table always gives the same pixels.  Raises InputError for a missing factor or size < 8.
    """
    missing = [name for name in FACTORS if name not in factors]
    if missing:
        raise InputError(f"the factor table lacks {', '.join(missing)}; start from sample_factors")
    if size < 8:
        raise InputError(f"size must be at least 8 pixels, got {size}")
    n = len(factors["kind"])
    chunks = [
        draw({k: factors[k][i : i + _CHUNK] for k in FACTORS}, size, objects) for i in range(0, n, _CHUNK)
    ]
    return torch.cat(chunks) if chunks else torch.empty(0, 3, size, size, dtype=torch.uint8)


def sample_factors(
    n: int, seed: int = 0, *, oriented: bool = True, imbalance: float = 1.0, world: int = 2
) -> dict[str, Tensor]:
    """Draw `n` rows of independent factors, [n] each; int64 when categorical, float32 otherwise.

    oriented=False turns objects by any angle, as things seen from above.  imbalance is the ratio of the most to
    the least frequent kind (class probabilities fall off exponentially).  world: 2, or the first edition's, 1.
    Row i depends on `seed` and i alone.
    """
    if n < 1 or not 1 <= imbalance < math.inf:
        raise InputError(f"need n >= 1 and imbalance >= 1, got n={n}, imbalance={imbalance}")
    if world not in WORLDS:
        raise InputError(f"world must be one of {', '.join(map(str, WORLDS))}, not {world!r}")
    weights = torch.logspace(0, -math.log10(imbalance), len(CLASSES))
    blocks = []
    for block in range(math.ceil(n / _BLOCK)):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{block}".encode()))
        row = {}
        for name, (kind, low, high) in WORLDS[world].items():
            u = torch.rand(_BLOCK, generator=generator)
            if name == "kind" and imbalance > 1:
                row[name] = torch.bucketize(u, (weights / weights.sum()).cumsum(0)[:-1])
            elif kind == "categorical":
                row[name] = (low + u * (high - low)).long()
            elif name == "rotation" and not oriented:
                row[name] = u * 2 * math.pi
            else:
                row[name] = low + u * (high - low)
        blocks.append(row)
    return {name: torch.cat([b[name] for b in blocks])[:n] for name in FACTORS}


def _split_seed(split: str, seed: int) -> int:
    return zlib.crc32(f"shapes/{split}/{seed}".encode())


def as_image_set(
    factors: dict[str, Tensor], size: int, split: str, labelled: bool = True, objects: bool = True
) -> ImageSet:
    """Render a table of factors and wrap it as an ImageSet (labels: the kind, or the texture without objects)."""
    target = "kind" if objects else "background_texture"
    labels = factors[target] if labelled else torch.full_like(factors[target], UNLABELLED)
    table = {name: Factor(factors[name], kind) for name, (kind, _, _) in FACTORS.items()}
    if not objects:
        unused = (
            "kind",
            "x",
            "y",
            "scale",
            "rotation",
            "facing",
            "proportion",
            "object_hue",
            "object_texture",
        )
        table = {name: factor for name, factor in table.items() if name not in unused}
    classes = CLASSES if objects else TEXTURES
    return ImageSet(render(factors, size, objects), labels, classes, "shapes", split, table)


def shapes(
    split: str = "train",
    size: int = 32,
    n: int | None = None,
    seed: int = 0,
    *,
    oriented: bool = True,
    imbalance: float = 1.0,
    objects: bool = True,
    world: int = 2,
) -> ImageSet:
    """The embedded world in STL-10's layout: unlabeled (labels -1) / train (ten folds of 1,000) / test.

    size: pixels.  n: how many images (default 10,000 / 5,000 / 8,000).  Switches: `oriented=False` turns objects
    by any angle, `imbalance=k` makes the commonest kind k times as frequent as the rarest in the unlabeled split,
    `objects=False` leaves only the textured background, whose pattern is then the label, `world=1` draws the first
    edition's world.
    Bit-identical for equal arguments.  Raises InputError for an unknown split or an impossible size.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    n = COUNTS[split] if n is None else n
    table = sample_factors(
        n,
        _split_seed(split, seed),
        oriented=oriented,
        imbalance=imbalance if split == "unlabeled" else 1.0,
        world=world,
    )
    images = as_image_set(table, size, split, labelled=split != "unlabeled", objects=objects)
    if split == "train" and n == COUNTS["train"] and objects:
        per_class = FOLD_SIZE // len(images.classes)
        folds = tuple(label_subset(images.labels, per_class, seed=i) for i in range(10))
        images = ImageSet(
            images.images, images.labels, images.classes, images.name, split, images.factors, folds
        )
    return images


def object_masks(images: ImageSet) -> Tensor:
    """Where the object of each picture of the embedded world is, exactly: bool [N, S, S], the pixels of which it covers
    at least half.  Raises InputError for other images than those of `data.shapes` with objects.
    """
    if "kind" not in images.factors:
        raise InputError("only pictures of data.shapes with objects have known masks")
    table = {name: factor.values for name, factor in images.factors.items()}
    rows = range(0, len(images), _CHUNK)
    return torch.cat([covered({k: v[i : i + _CHUNK] for k, v in table.items()}, images.size) for i in rows]) >= 0.5


def backgrounds(images: ImageSet) -> Tensor:
    """The pictures of the embedded world without their objects: uint8 [N, 3, S, S].  Errors as in `object_masks`."""
    if "kind" not in images.factors:
        raise InputError("only pictures of data.shapes with objects can be drawn without them")
    return render({name: factor.values for name, factor in images.factors.items()}, images.size, objects=False)


def on_backgrounds(images: ImageSet, partner: Tensor) -> ImageSet:
    """Every object, cut out along its exact mask, on the background of picture partner[i].

    partner: int64 [N], see `same_polarity`.  The factors stay those of the object's picture.  Raises InputError for
    other images than those of `data.shapes` with objects, and partners that are no pictures of the set.
    """
    if partner.shape != images.labels.shape or not 0 <= int(partner.min()) <= int(partner.max()) < len(images):
        raise InputError(f"partner must name one of the {len(images)} pictures for each of them")
    cut = object_masks(images)[:, None]
    return replace(images, images=torch.where(cut, images.images, backgrounds(images)[partner]))


def same_polarity(images: ImageSet, seed: int = 0) -> Tensor:
    """For every picture another one, drawn at random, whose ground is dark or light as its own: int64 [N].

    On such a ground an object keeps its contrast.  Each picture is the partner of one other.  Raises InputError for
    images without that factor, and where one picture is alone with its polarity.
    """
    if "polarity" not in images.factors:
        raise InputError("same_polarity needs the factor table of data.shapes (with objects)")
    polarity, partner = images.factors["polarity"].values, torch.arange(len(images))
    generator = torch.Generator().manual_seed(seed)
    for value in polarity.unique():
        members = (polarity == value).nonzero()[:, 0]
        if len(members) < 2:
            raise InputError("one picture is alone with its polarity: take more pictures")
        members = members[torch.randperm(len(members), generator=generator)]
        partner[members] = members.roll(1)
    return partner


def recolour(images: ImageSet, object_hue: Tensor, chroma: float = 25.0) -> ImageSet:
    """Pictures of the embedded world painted anew in Lab, so that their lightness says nothing about any hue.

    L comes from the mean of the channels, squeezed into 40..75, where every hue of that chroma can be shown; the object
    gets object_hue (radians, [N], an angle in the ab plane), the background its own factor background_hue.  Raises
    InputError for other images than those of `data.shapes` with objects.
    """
    if "object_hue" not in images.factors or object_hue.shape != images.labels.shape:
        raise InputError("recolour takes images of data.shapes with objects, and one hue per image")
    table = {name: factor.values for name, factor in images.factors.items()}
    empty = render(table, images.size, objects=False)
    drawn = (images.images != empty).any(dim=1)  # [N, S, S]: where the object is
    gray = images.images.float().mean(dim=1, keepdim=True) / 255
    light = 40 + 0.35 * rgb_to_lab(gray.expand(-1, 3, -1, -1))[:, 0]
    hue = torch.where(drawn, object_hue[:, None, None], table["background_hue"][:, None, None])
    painted = lab_to_rgb(torch.stack([light, chroma * hue.cos(), chroma * hue.sin()], dim=1))
    return replace(images, images=(255 * painted.clamp(0, 1)).round().to(torch.uint8))


def video(n: int, frames: int = 8, size: int = 32, seed: int = 0) -> Tensor:
    """Clips of one object drifting, turning and growing smoothly: uint8 [n, frames, 3, size, size]."""
    if frames < 1:
        raise InputError(f"a clip has at least one frame, got {frames}")
    first = sample_factors(n, _split_seed("video", seed))
    last = sample_factors(n, _split_seed("video-end", seed))
    clips = []
    for t in torch.linspace(0, 1, frames).tolist():
        table = dict(first)
        for name in ("x", "y", "scale", "rotation"):
            table[name] = (1 - t) * first[name] + t * last[name]
        clips.append(render(table, size))
    return torch.stack(clips, dim=1)


def captions(images: ImageSet) -> list[str]:
    """A sentence per image of the embedded world, from its factors.  Raises InputError for other data."""
    needed = ("kind", "facing", "polarity", "background_texture", "x")
    if any(name not in images.factors for name in needed):
        raise InputError("captions need the factor table of data.shapes (with objects)")
    rows = zip(*(images.factors[name].values.tolist() for name in needed), strict=True)
    return [
        f"a {('dark', 'light')[polarity]} {CLASSES[kind]} facing {('right', 'left')[facing]} "
        f"{'on the left' if x < -0.06 else 'on the right' if x > 0.06 else 'in the middle'} "
        f"of a {TEXTURES[texture]} background"
        for kind, facing, polarity, texture, x in rows
    ]
