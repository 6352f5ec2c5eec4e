"""What towers know: zero-shot classes, whose colour is whose, and how far apart the senses lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions
from ssl_lessons.modalities.pairs.encoders import Towers, apply
from ssl_lessons.modalities.pairs.world import Scenes


def see(towers: Towers, pictures: Tensor) -> Tensor:
    """Unit vectors [N, D] of pictures."""
    return F.normalize(apply(towers.picture, pictures, towers), dim=1)


def read(towers: Towers, texts: Tensor | Sequence[str]) -> Tensor:
    """Unit vectors [N, D] of captions, given as ids or as texts."""
    ids = texts if isinstance(texts, Tensor) else captions.encode(texts)
    return F.normalize(apply(towers.text, ids, towers), dim=1)


def class_vectors(towers: Towers, factor: str, templates: Sequence[str] = ("a {}",)) -> Tensor:
    """One unit vector [K, D] for each value of a factor: the mean over the templates, as CLIP's ensemble of prompts
    (Radford et al. 2021, section 3.1.4: an average in the space of embeddings)."""
    if not templates:
        raise InputError("give at least one template, such as 'a {}'")
    vectors = [read(towers, captions.prompts(factor, t)) for t in templates]
    return F.normalize(torch.stack(vectors).mean(dim=0), dim=1)


def zero_shot(
    towers: Towers, scenes: Scenes, factor: str = "kind", templates: Sequence[str] = ("a {}",)
) -> float:
    """How often the value of a factor whose prompt is most similar to the picture is the right one."""
    classes = class_vectors(towers, factor, templates)
    found = (see(towers, scenes.pictures) @ classes.T).argmax(dim=1)
    return float((found == scenes.factors[factor]).float().mean())


def zero_shot_pairs(towers: Towers, scenes: Scenes) -> float:
    """The same among all 36 combinations of colour and kind, "a red disc", ..: right if both are."""
    kinds, colours = captions.SAID["kind"], captions.SAID["colour"]
    texts = [f"a {colour} {kind}" for kind in kinds for colour in colours]
    found = (see(towers, scenes.pictures) @ read(towers, texts).T).argmax(dim=1)
    wanted = scenes.factors["kind"] * len(colours) + scenes.factors["colour"]
    return float((found == wanted).float().mean())


def prefers_own(towers: Towers, scenes: Scenes) -> float:
    """Scenes of two things: how often a picture is nearer to its caption than to the one with the colours swapped.

    Equal counts half: a reader that does not see the order cannot tell, and gets 1/2.
    """
    u = see(towers, scenes.pictures)
    own, other = ((u * read(towers, ids)).sum(dim=1) for ids in (scenes.ids, captions.swapped(scenes.ids)))
    equal = (own - other).abs() < 1e-6
    return float(torch.where(equal, 0.5, (own > other).float()).mean())


def gap(u: Tensor, v: Tensor) -> float:
    """The modality gap: the distance of the two mean unit vectors (Liang et al. 2022, section 4.2)."""
    u, v = (F.normalize(z, dim=1).mean(dim=0) for z in (u, v))
    return float((u - v).norm())


def closed(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Both clouds moved so that their means agree, and put back onto the sphere."""
    u, v = (F.normalize(z, dim=1) for z in (u, v))
    half = (u.mean(dim=0) - v.mean(dim=0)) / 2
    return F.normalize(u - half, dim=1), F.normalize(v + half, dim=1)
