"""Long films with a narrator: four events one after the other, and words for each that come early or late.

A film keeps to one colour and one background, as a cooking film keeps to one dish; each event has a thing and a motion
of its own.  What is said about event k overlaps with it, and often with its neighbour, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import world
from ssl_lessons.modalities.video.encoders import ClipNet

EVENTS, FRAMES = 4, 6  # of a film; frames of an event
WAYS = ("right", "down", "left", "up")
PACES = ("slowly", "steadily", "fast")
WORDS = (*world.COLOURS, *world.KINDS, *WAYS, *PACES)
SAID = {"colour": world.COLOURS, "kind": world.KINDS, "direction": WAYS, "speed": PACES}
_FIRST = {"colour": 0, "kind": 6, "direction": 10, "speed": 14}  # of each factor's words in WORDS
LATE = 3  # by how many frames a caption may come early or late


@dataclass(frozen=True)
class Narrated:
    """N films.  frames: uint8 [N, 24, 3, S, S].  factors: name -> integers [N, 4], of each event.  begins: integers
    [N, 4], the frame in which the caption of an event begins to be said; it takes FRAMES frames.
    """

    frames: Tensor
    factors: dict[str, Tensor]
    begins: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def captions(self) -> Tensor:
        """The words of each event: integers [N, 4, 4], rows of WORDS."""
        return torch.stack([self.factors[name] + first for name, first in _FIRST.items()], dim=2)


def films(
    split: str, n: int, seed: int = 0, *, late: int = LATE, side: int = 24, noise: float = 0.03
) -> Narrated:
    """Draw n films; the same arguments give the same films, and the splits never share one.

    late: captions begin up to so many frames before or after their event.  Raises InputError for an unknown split, and
    for numbers that make no sense.
    """
    if split not in world.SPLITS:
        raise InputError(f"splits: {', '.join(world.SPLITS)}")
    if n < 1 or side < 8 or not 0 <= late <= FRAMES or noise < 0:
        raise InputError(f"needs n >= 1, side >= 8, late from 0 to {FRAMES} and noise >= 0")
    g = torch.Generator().manual_seed(2 * seed + world.SPLITS.index(split) + 1299709)
    parts = [_drawn(g, min(world.CHUNK, n - done), late, side, noise) for done in range(0, n, world.CHUNK)]
    factors = {name: torch.cat([p.factors[name] for p in parts]) for name in SAID}
    return Narrated(torch.cat([p.frames for p in parts]), factors, torch.cat([p.begins for p in parts]))


def _drawn(g: torch.Generator, n: int, late: int, side: int, noise: float) -> Narrated:
    factors = {
        name: torch.randint(len(SAID[name]), (n, EVENTS), generator=g)
        for name in ("kind", "direction", "speed")
    }
    factors["colour"] = torch.randint(len(world.COLOURS), (n, 1), generator=g).expand(n, EVENTS)
    angle = 2 * math.pi * factors["direction"] / len(WAYS)
    pace = torch.tensor(world.SPEEDS)[factors["speed"]] / 24
    step = pace[..., None] * torch.stack([angle.cos(), angle.sin()], dim=2)  # [n, EVENTS, 2]
    start, t = torch.rand(n, EVENTS, 1, 2, generator=g), torch.arange(FRAMES).float()[:, None]
    centres = (start + t * step[:, :, None]) % 1  # [n, EVENTS, FRAMES, 2]
    inside = world._silhouettes(factors["kind"].flatten(), centres.flatten(0, 1), side)
    inside = inside.view(n, EVENTS * FRAMES, 1, side, side)
    picture, _ = world._texture(g, n, EVENTS * FRAMES, side, 0.0)
    paint = world._colour(g, factors["colour"][:, 0])[:, None, :, None, None]
    frames = world._film(g, torch.where(inside, paint, picture), noise, 0.0)
    shift = torch.randint(-late, late + 1, (n, EVENTS), generator=g)
    begins = (FRAMES * torch.arange(EVENTS) + shift).clamp(0, FRAMES * (EVENTS - 1))
    return Narrated(frames, factors, begins)


def cut(frames: Tensor, start: Tensor, length: int) -> Tensor:
    """`length` successive frames of each film from frame `start` [N] on, moved where they do not fit."""
    start = start.clamp(0, frames.shape[1] - length)
    return frames[torch.arange(len(frames))[:, None], start[:, None] + torch.arange(length)]


def events(long: Narrated) -> tuple[Tensor, Tensor]:
    """Every event by itself: clips uint8 [4 N, FRAMES, 3, S, S] and captions [4 N, 4]."""
    return long.frames.unflatten(1, (EVENTS, FRAMES)).flatten(0, 1), long.captions.flatten(0, 1)


class Matcher(nn.Module):
    """Clips and captions in one space: a ClipNet and a linear map; a vector for each word, summed, and two layers.

    see(clips) -> [N, 32], read(captions [N, 4]) -> [N, 32].  one_frame: the middle frame alone stands for the clip.
    """

    def __init__(self, one_frame: bool = False):
        super().__init__()
        self.encoder, self.one_frame = ClipNet(), one_frame
        self.seen = nn.Linear(self.encoder.dim, 32)
        self.words = nn.EmbeddingBag(len(WORDS), 64, mode="sum")
        self.said = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        self.scale = nn.Parameter(torch.tensor(10.0).log())

    def see(self, clips: Tensor) -> Tensor:
        if self.one_frame:
            middle = clips.shape[1] // 2
            clips = clips[:, middle : middle + 1].expand(-1, 3, -1, -1, -1)
        return self.seen(self.encoder(clips))

    def read(self, captions: Tensor) -> Tensor:
        return self.said(self.words(captions))


class VideoText(nn.Module):
    """VideoCLIP (Xu et al. 2021): clips and captions that overlap in time find each other, by InfoNCE both ways.

    A batch has `seeds` groups of `alike` films, all four events of each.  pairs: "exact", the clip of the very frames
    in which the caption is said; "overlapped", a clip of random length, 4 to 12 frames, around a random moment of the
    caption; "true", the event itself, which no narrator knows.  retrieved: the films of a group are neighbours by
    their mean vector, so that the negatives are harder; call `retrieve()` now and then.  Else they are any films.
    A call takes a generator and returns the loss of a fresh batch.  Raises InputError for unknown pairs.
    """

    def __init__(
        self, net: Matcher, long: Narrated, pairs: str = "overlapped", retrieved: bool = False, alike: int = 6,
    ):  # fmt: skip
        super().__init__()
        if pairs not in ("exact", "overlapped", "true"):
            raise InputError(f"pairs are exact, overlapped or true, not {pairs!r}")
        self.net, self.pairs, self.retrieved, self.alike = net, pairs, retrieved, alike
        self.data, self.near = [long], None

    @torch.no_grad()
    def retrieve(self) -> None:
        """Find each film's neighbours anew: by the mean of its events' vectors, seen and read, as said."""
        long = self.data[0]
        device = next(self.net.parameters()).device
        total = 0
        for k in range(EVENTS):
            clips = cut(long.frames, long.begins[:, k], FRAMES)
            seen = torch.cat([self.net.see(x.to(device)) for x in clips.split(500)])
            read = self.net.read(long.captions[:, k].to(device))
            total = total + F.normalize(seen, dim=1) + F.normalize(read, dim=1)
        total = F.normalize(total, dim=1)
        self.near = (total @ total.T).topk(3 * self.alike, dim=1).indices.cpu()

    def forward(self, generator: torch.Generator) -> Tensor:
        long = self.data[0]
        films = torch.randperm(len(long), generator=generator)[: self.alike]
        if self.retrieved:
            if self.near is None:
                self.retrieve()
            some = torch.randperm(3 * self.alike, generator=generator)[: self.alike]
            films = self.near[films[0], some]
        rows = films.repeat_interleave(EVENTS)
        event = torch.arange(EVENTS).repeat(len(films))
        device = next(self.net.parameters()).device
        clips = self._clips(rows, event, generator).to(device)
        captions = long.captions[rows, event].to(device)
        return losses.clip(self.net.see(clips), self.net.read(captions), self.net.scale.exp())

    def _clips(self, rows: Tensor, event: Tensor, generator: torch.Generator) -> Tensor:
        long = self.data[0]
        begins = FRAMES * event if self.pairs == "true" else long.begins[rows, event]
        if self.pairs != "overlapped":
            return cut(long.frames[rows], begins, FRAMES)
        length = int(torch.randint(4, 13, (1,), generator=generator))
        around = begins + torch.randint(FRAMES, (len(rows),), generator=generator)
        return cut(long.frames[rows], around - length // 2, length)


@torch.no_grad()
def ranked(net: Matcher, clips: Tensor, captions: Tensor) -> dict[str, float]:
    """How a caption finds its clip, and how a clip finds each of its words.

    "first": a caption's nearest clip, of those with other captions and one of its own, is the right one.  "same
    colour": the same among clips of its colour alone.  For each factor of SAID: of the captions that differ from the
    clip's in that word alone, the nearest is the right one.  clips, captions: as `events` gives them.
    """
    net.eval()
    device = next(net.parameters()).device
    seen = torch.cat([F.normalize(net.see(x.to(device)), dim=1).cpu() for x in clips.split(500)])
    said = F.normalize(net.read(captions.to(device)), dim=1).cpu()
    score = said @ seen.T
    same = (captions[:, None] == captions).all(dim=2)
    own = torch.eye(len(captions), dtype=torch.bool)
    others = score.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(captions))
    found = {"first": float((others.argmax(dim=1) == target).float().mean())}
    inside = others.masked_fill(captions[:, None, 0] != captions[:, 0], -torch.inf)
    found["same colour"] = float((inside.argmax(dim=1) == target).float().mean())
    for place, (name, first) in enumerate(_FIRST.items()):
        choices = captions[:, None].repeat(1, len(SAID[name]), 1)
        choices[:, :, place] = first + torch.arange(len(SAID[name]))
        texts = (
            F.normalize(net.read(choices.flatten(0, 1).to(device)), dim=1)
            .cpu()
            .unflatten(0, choices.shape[:2])
        )
        best = (texts * seen[:, None]).sum(dim=2).argmax(dim=1)
        found[name] = float((best + first == captions[:, place]).float().mean())
    return found
