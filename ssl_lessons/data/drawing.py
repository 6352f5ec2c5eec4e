"""How the embedded world is drawn: ten kinds of object built from parts, textures, colours and light, as pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CLASSES = ("bird", "boat", "car", "cat", "cup", "fish", "house", "lamp", "rocket", "tree")
TEXTURES = ("plain", "stripes", "checks", "dots", "waves", "clouds")


# ---- signed distances (negative inside), in an object's own frame, x right and y up ---------------


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


_OBJECTS = (_bird, _boat, _car, _cat, _cup, _fish, _house, _lamp, _rocket, _tree)


# ---- pictures ------------------------------------------------------------------------------------


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
    for kind, parts_of in enumerate(_OBJECTS):
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
        for distance, tone in parts_of(px, py):
            alpha = (0.5 - distance * scale * size / 2).clamp(0, 1)
            parts = [p * (1 - alpha) for p in parts]
            parts[tone] = parts[tone] + alpha
        for layer, part in zip(cover, parts, strict=True):
            layer[rows] = part
    return cover


def _grid(n: int, size: int) -> tuple[Tensor, Tensor]:
    """x to the right and y upwards of the middle of every pixel, from -1 to 1: twice [n, size, size]."""
    ticks = (torch.arange(size) + 0.5) / size * 2 - 1
    return ticks.view(1, 1, size).expand(n, size, size), -ticks.view(1, size, 1).expand(n, size, size)


def covered(f: dict[str, Tensor], size: int) -> Tensor:
    """How much of each pixel the object covers, from 0 to 1: [n, size, size]."""
    return sum(_coverage(f, *_grid(len(f["x"]), size), size))


def draw(f: dict[str, Tensor], size: int, objects: bool) -> Tensor:
    """The pictures of a table of factors, [n] each: uint8 [n, 3, size, size]; without objects, their backgrounds."""
    x, y = _grid(len(f["x"]), size)

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
