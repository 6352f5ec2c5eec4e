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

from ssl_lessons.data.image_set import SPLITS, UNLABELLED, Factor, ImageSet, label_subset
from ssl_lessons.errors import InputError
from ssl_lessons.views.color import lab_to_rgb, rgb_to_lab

CLASSES = ("bird", "boat", "car", "cat", "cup", "fish", "house", "lamp", "rocket", "tree")
TEXTURES = ("plain", "stripes", "checks", "dots", "waves", "clouds")
COUNTS = {"unlabeled": 10_000, "train": 5_000, "test": 8_000}
FOLD_SIZE = 1_000

# name: (kind, low, high); a categorical factor takes the integers low .. high - 1.
FACTORS = {
    "kind": ("categorical", 0, len(CLASSES)),
    "x": ("continuous", -0.22, 0.22),
    "y": ("continuous", -0.22, 0.22),
    "scale": ("continuous", 0.78, 1.0),
    "rotation": ("circular", -0.32, 0.32),
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
_BLOCK = 1_000  # factors are drawn in blocks, so that image i does not depend on how many follow it
_CHUNK = 256  # images drawn at once: the working arrays stay in cache


# ---- drawing: signed distances (negative inside), in an object's own frame, x right and y up ----


def _disc(x, y, cx, cy, rx, ry=None):
    ry = rx if ry is None else ry
    return (torch.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) - 1) * min(rx, ry)


def _box(x, y, cx, cy, half_w, half_h):
    return torch.maximum((x - cx).abs() - half_w, (y - cy).abs() - half_h)


def _stroke(x, y, x0, y0, x1, y1, radius):
    dx, dy = x1 - x0, y1 - y0
    t = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return torch.sqrt((x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2) - radius


def _polygon(x, y, *corners):
    """A convex polygon, corners counter-clockwise."""
    distance = None
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        side = ((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length
        distance = side if distance is None else torch.maximum(distance, side)
    return distance


def _ring(x, y, cx, cy, radius, width):
    return (torch.sqrt((x - cx) ** 2 + (y - cy) ** 2) - radius).abs() - width


# Every object is a list of (distance, tone) parts, painted in order; tone 0 is the body, 1 the second colour,
# 2 the accent.


def _bird(x, y):
    return [
        (_polygon(x, y, (-0.95, 0.25), (-0.8, -0.15), (-0.3, -0.1), (-0.4, 0.1)), 1),
        (_stroke(x, y, -0.05, -0.4, -0.05, -0.9, 0.05), 1),
        (_stroke(x, y, 0.2, -0.4, 0.2, -0.9, 0.05), 1),
        (_disc(x, y, 0.0, -0.1, 0.58, 0.4), 0),
        (_disc(x, y, 0.48, 0.42, 0.3), 0),
        (_polygon(x, y, (0.72, 0.3), (1.0, 0.36), (0.72, 0.54)), 1),
        (_disc(x, y, -0.12, -0.05, 0.3, 0.18), 2),
    ]


def _boat(x, y):
    return [
        (_stroke(x, y, 0.0, -0.3, 0.0, 0.9, 0.05), 2),
        (_polygon(x, y, (0.08, -0.15), (0.8, -0.15), (0.08, 0.85)), 1),
        (_polygon(x, y, (-0.08, 0.6), (-0.55, -0.15), (-0.08, -0.15)), 1),
        (_polygon(x, y, (-0.9, -0.3), (-0.55, -0.8), (0.55, -0.8), (0.9, -0.3)), 0),
    ]


def _car(x, y):
    return [
        (_polygon(x, y, (-0.6, 0.0), (0.45, 0.0), (0.2, 0.5), (-0.4, 0.5)), 1),
        (_box(x, y, 0.0, -0.15, 0.95, 0.25), 0),
        (_disc(x, y, -0.52, -0.45, 0.25), 2),
        (_disc(x, y, 0.52, -0.45, 0.25), 2),
    ]


def _cat(x, y):
    return [
        (_stroke(x, y, -0.35, -0.7, -0.85, -0.1, 0.09), 0),
        (_disc(x, y, 0.0, -0.45, 0.45, 0.5), 0),
        (_polygon(x, y, (-0.25, 0.9), (-0.4, 0.3), (0.05, 0.45)), 1),
        (_polygon(x, y, (0.45, 0.9), (0.15, 0.45), (0.6, 0.3)), 1),
        (_disc(x, y, 0.1, 0.3, 0.42, 0.36), 0),
        (_disc(x, y, -0.05, 0.35, 0.08), 2),
        (_disc(x, y, 0.27, 0.35, 0.08), 2),
    ]


def _cup(x, y):
    return [
        (_ring(x, y, 0.58, 0.0, 0.28, 0.08), 1),
        (_polygon(x, y, (-0.65, 0.6), (-0.45, -0.75), (0.35, -0.75), (0.55, 0.6)), 0),
        (_disc(x, y, -0.05, 0.6, 0.6, 0.14), 2),
    ]


def _fish(x, y):
    return [
        (_polygon(x, y, (-0.5, 0.0), (-0.98, 0.5), (-0.98, -0.5)), 1),
        (_polygon(x, y, (0.25, 0.3), (0.0, 0.72), (-0.25, 0.3)), 1),
        (_disc(x, y, 0.1, 0.0, 0.75, 0.42), 0),
        (_disc(x, y, 0.5, 0.1, 0.1), 2),
    ]


def _house(x, y):
    return [
        (_box(x, y, 0.42, 0.62, 0.1, 0.28), 2),
        (_box(x, y, 0.0, -0.35, 0.65, 0.5), 0),
        (_polygon(x, y, (0.0, 0.85), (-0.85, 0.1), (0.85, 0.1)), 1),
        (_box(x, y, -0.25, -0.55, 0.15, 0.3), 2),
        (_box(x, y, 0.3, -0.25, 0.15, 0.15), 2),
    ]


def _lamp(x, y):
    return [
        (_stroke(x, y, 0.0, 0.1, 0.0, -0.8, 0.07), 1),
        (_box(x, y, 0.0, -0.82, 0.42, 0.1), 1),
        (_polygon(x, y, (-0.3, 0.85), (-0.65, 0.1), (0.65, 0.1), (0.3, 0.85)), 0),
        (_stroke(x, y, 0.4, 0.1, 0.4, -0.3, 0.06), 2),
    ]


def _rocket(x, y):
    return [
        (_polygon(x, y, (-0.2, -0.6), (0.0, -1.0), (0.2, -0.6)), 2),
        (_polygon(x, y, (-0.2, 0.0), (-0.65, -0.65), (-0.2, -0.5)), 1),
        (_polygon(x, y, (0.2, 0.0), (0.2, -0.5), (0.65, -0.65)), 1),
        (_box(x, y, 0.0, -0.05, 0.28, 0.55), 0),
        (_polygon(x, y, (0.0, 1.0), (-0.28, 0.5), (0.28, 0.5)), 1),
        (_disc(x, y, 0.0, 0.15, 0.14), 2),
        (_box(x, y, 0.14, -0.35, 0.12, 0.09), 2),
    ]


def _tree(x, y):
    return [
        (_box(x, y, 0.0, -0.65, 0.13, 0.33), 1),
        (_disc(x, y, -0.32, 0.0, 0.4), 0),
        (_disc(x, y, 0.32, 0.0, 0.4), 0),
        (_disc(x, y, 0.0, 0.4, 0.45), 0),
        (_disc(x, y, 0.2, 0.1, 0.09), 2),
        (_disc(x, y, -0.2, 0.4, 0.09), 2),
    ]


_DRAW = (_bird, _boat, _car, _cat, _cup, _fish, _house, _lamp, _rocket, _tree)


def _texture(x: Tensor, y: Tensor, kinds: Tensor, frequency: Tensor, angle: Tensor) -> Tensor:
    """Patterns in [-1, 1] over the plane; kinds [n] index TEXTURES, frequency in periods per image."""
    out = torch.zeros_like(x)
    for kind in range(1, len(TEXTURES)):
        rows = (kinds == kind).nonzero().flatten()
        if len(rows) == 0:
            continue
        w = (math.pi * frequency[rows]).view(-1, 1, 1)
        c, s = angle[rows].cos().view(-1, 1, 1), angle[rows].sin().view(-1, 1, 1)
        u, v = (x[rows] * c + y[rows] * s) * w, (y[rows] * c - x[rows] * s) * w
        if kind == 1:
            pattern = (3 * torch.sin(u)).clamp(-1, 1)
        elif kind == 2:
            pattern = (6 * torch.sin(u) * torch.sin(v)).clamp(-1, 1)
        elif kind == 3:
            pattern = (4 * (torch.cos(u) + torch.cos(v)) - 4).clamp(-1, 1)
        elif kind == 4:
            pattern = torch.sin(u + 1.5 * torch.sin(v / 2))
        else:  # a few incommensurate waves look like clouds and need no random numbers
            pattern = (
                torch.sin(0.7 * u + torch.sin(0.9 * v)) + torch.sin(1.3 * v + torch.sin(1.1 * u + 1))
            ) / 2
        out[rows] = pattern
    return out


def _rgb(hue: Tensor, value: Tensor, saturation: float = 0.45) -> Tensor:
    """Colours of a given hue (radians) and lightness [n] -> [n, 3, 1, 1]; the channel mean is the lightness."""
    shift = torch.tensor([0.0, -2 * math.pi / 3, 2 * math.pi / 3])
    wheel = torch.cos(hue[:, None] + shift)
    room = torch.minimum(value, 1 - value)[:, None]
    return (value[:, None] + saturation * 2 * room * wheel).view(-1, 3, 1, 1)


def _coverage(f: dict[str, Tensor], x: Tensor, y: Tensor, size: int) -> list[Tensor]:
    """How much of each pixel the body, the second colour and the accent cover: three [n, S, S] in [0, 1]."""
    cover = [torch.zeros_like(x) for _ in range(3)]
    for kind, draw in enumerate(_DRAW):
        rows = (f["kind"] == kind).nonzero().flatten()
        if len(rows) == 0:
            continue
        scale, turn, stretch = (f[k][rows].view(-1, 1, 1) for k in ("scale", "rotation", "proportion"))
        dx = x[rows] - f["x"][rows].view(-1, 1, 1)
        dy = y[rows] - f["y"][rows].view(-1, 1, 1)
        mirror = 1 - 2 * f["facing"][rows].view(-1, 1, 1).float()
        px = mirror * (dx * turn.cos() + dy * turn.sin()) / (scale * (1 + 0.135 * stretch))
        py = (dy * turn.cos() - dx * turn.sin()) / (scale * (1 - 0.135 * stretch))
        parts = [torch.zeros_like(px) for _ in range(3)]
        for distance, tone in draw(px, py):
            alpha = (0.5 - distance * scale * size / 2).clamp(0, 1)
            parts = [p * (1 - alpha) for p in parts]
            parts[tone] = parts[tone] + alpha
        for layer, part in zip(cover, parts, strict=True):
            layer[rows] = part
    return cover


def _render_chunk(f: dict[str, Tensor], size: int, objects: bool) -> Tensor:
    n = len(f["x"])
    ticks = (torch.arange(size) + 0.5) / size * 2 - 1
    x = ticks.view(1, 1, size).expand(n, size, size)
    y = -ticks.view(1, size, 1).expand(n, size, size)

    # Light object on dark ground or the reverse: the contrast is guaranteed, its sign says nothing.
    sign = 2 * f["polarity"].float() - 1
    object_value, ground_value = 0.5 + sign * f["contrast"] / 2, 0.5 - sign * f["contrast"] / 2
    ground = _texture(x, y, f["background_texture"], f["texture_scale"], f["texture_angle"])
    image = _rgb(f["background_hue"], ground_value) + 0.08 * ground.unsqueeze(1)
    if objects:
        skin = _texture(x, y, f["object_texture"], 1.5 * f["texture_scale"], f["texture_angle"] + 1)
        body, second, accent = (c.unsqueeze(1) for c in _coverage(f, x, y, size))
        base = _rgb(f["object_hue"], object_value) + 0.07 * skin.unsqueeze(1)
        trim = _rgb(f["object_hue"] + 1, object_value - 0.10 * sign)
        mark = _rgb(f["object_hue"] + 2.5, object_value - 0.25 * sign)
        image = image * (1 - body - second - accent) + base * body + trim * second + mark * accent
    light = f["light_angle"].view(-1, 1, 1)
    shade = 1 + f["light_strength"].view(-1, 1, 1) * (x * light.cos() + y * light.sin())
    return (image * shade.unsqueeze(1) * 255).round().clamp(0, 255).to(torch.uint8)


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
        _render_chunk({k: factors[k][i : i + _CHUNK] for k in FACTORS}, size, objects)
        for i in range(0, n, _CHUNK)
    ]
    return torch.cat(chunks) if chunks else torch.empty(0, 3, size, size, dtype=torch.uint8)


def sample_factors(
    n: int, seed: int = 0, *, oriented: bool = True, imbalance: float = 1.0
) -> dict[str, Tensor]:
    """Draw `n` rows of independent factors, [n] each; int64 when categorical, float32 otherwise.

    oriented=False turns objects by any angle, as things seen from above.  imbalance is the ratio of the most to
    the least frequent kind (class probabilities fall off exponentially).
    Row i depends on `seed` and i alone.
    """
    if n < 1 or not 1 <= imbalance < math.inf:
        raise InputError(f"need n >= 1 and imbalance >= 1, got n={n}, imbalance={imbalance}")
    weights = torch.logspace(0, -math.log10(imbalance), len(CLASSES))
    blocks = []
    for block in range(math.ceil(n / _BLOCK)):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{block}".encode()))
        row = {}
        for name, (kind, low, high) in FACTORS.items():
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
) -> ImageSet:
    """The embedded world in STL-10's layout: unlabeled (labels -1) / train (ten folds of 1,000) / test.

    size: pixels.  n: how many images (default 10,000 / 5,000 / 8,000).  Switches: `oriented=False` turns objects
    by any angle, `imbalance=k` makes the commonest kind k times as frequent as the rarest in the unlabeled split,
    `objects=False` leaves only the textured background, whose pattern is then the label.
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
    )
    images = as_image_set(table, size, split, labelled=split != "unlabeled", objects=objects)
    if split == "train" and n == COUNTS["train"] and objects:
        per_class = FOLD_SIZE // len(images.classes)
        folds = tuple(label_subset(images.labels, per_class, seed=i) for i in range(10))
        images = ImageSet(
            images.images, images.labels, images.classes, images.name, split, images.factors, folds
        )
    return images


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
