"""What the things of the scenes sound like: a timbre for each kind, a pitch for each size, and an ear.

A sound says nothing of colour, place, ground and stripes.  What it has of its own, a picture does not show: how loud
it is, when it begins, and the noise of the room.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs.world import KINDS, Scenes

BANDS, FRAMES = 32, 12
PITCH = (5.0, 3.0)  # the lowest partial of a small and of a large thing, in bands
ROOMS = 4
# How strong the first six partials of each kind are.
TIMBRE = torch.tensor([
    [1.0, 0.1, 0.1, 0.0, 0.0, 0.0], [1.0, 0.0, 0.8, 0.0, 0.6, 0.0], [0.4, 1.0, 0.4, 0.2, 0.1, 0.0],
    [0.6, 0.6, 0.6, 0.6, 0.6, 0.6], [0.2, 0.1, 1.0, 0.8, 0.1, 0.0], [0.9, 0.8, 0.0, 0.0, 0.5, 0.8],
])  # fmt: skip


def sounds(
    scenes: Scenes,
    seed: int = 0,
    wrong: float = 0.0,
    noise: float = 0.25,
    hum: float = 0.15,
    silent: bool = False,
) -> tuple[Tensor, Tensor]:
    """(sounds [N, 1, 32, 12], log energies of 32 bands over 12 frames; room [N], one of ROOMS).

    Partials at multiples of the pitch, which wavers by 6 %, rise when the thing is struck and decay; the room adds a
    hum of its own, of that strength.  wrong: the share of scenes that get the sound of another one.  silent: the same
    sounds without the thing; the room is left.
    Raises InputError for a share outside [0, 1], and for negative noise or hum.
    """
    if not 0 <= wrong <= 1 or min(noise, hum) < 0:
        raise InputError("wrong is a share from 0 to 1, and noise and hum are not negative")
    n, g = len(scenes), torch.Generator().manual_seed(seed + 77003)
    kind, size = scenes.factors["kind"], scenes.factors["size"]
    pitch = torch.tensor(PITCH)[size] * (1 + 0.06 * (2 * torch.rand(n, generator=g) - 1))
    partial = pitch[:, None] * torch.arange(1, 7)  # [N, 6]
    strength = TIMBRE[kind] * (0.7 + 0.6 * torch.rand(n, 6, generator=g))
    bump = torch.exp(-0.5 * ((torch.arange(BANDS) - partial[..., None]) / 0.6).square())  # [N, 6, BANDS]
    spectrum = (strength[..., None] * bump).sum(dim=1) * (not silent)
    time = torch.arange(FRAMES) - torch.randint(FRAMES // 2, (n, 1), generator=g)
    envelope = torch.where(time >= 0, torch.exp(-time / 5.0), 0.02)  # [N, FRAMES]
    room = torch.randint(ROOMS, (n,), generator=g)
    hums = hum * torch.exp(-0.5 * ((torch.arange(BANDS) - (4 + 8 * room)[:, None]) / 2.0).square())
    loud = torch.exp(0.4 * torch.randn(n, 1, 1, generator=g))
    energy = loud * (spectrum[:, :, None] * envelope[:, None] + hums[..., None]) + 0.02
    heard = energy.log() + noise * torch.randn(n, BANDS, FRAMES, generator=g)
    if (chosen := torch.randperm(n, generator=g)[: round(wrong * n)]).numel() > 1:
        heard[chosen] = heard[chosen.roll(1)]
    return heard[:, None], room


def tinted(scenes: Scenes, room: Tensor, strength: float = 0.2) -> Scenes:
    """The same scenes filmed by four cameras, one for each room; each has a tint of its own, red, green, blue or none.

    room: int [N] below ROOMS, as `sounds` gives it.  strength: added to the tinted channel, as a share of the range.
    """
    tint = 255 * strength * torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])[room]
    pictures = (scenes.pictures + tint[:, :, None, None]).round().clamp(0, 255).byte()
    return replace(scenes, pictures=pictures)


class EarNet(nn.Module):
    """Sounds [N, 1, 32, 12] -> [N, dim]: two convolutions over bands and time, and the mean and maximum over time."""

    def __init__(self, dim: int = 64):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 16, (5, 3), (2, 1), (2, 1)), nn.ReLU(),
            nn.Conv2d(16, 24, (5, 3), (2, 2), (2, 1)), nn.ReLU(),
        )  # fmt: skip
        self.flat, self.dim = nn.Linear(2 * 24 * (BANDS // 4), dim), dim

    def forward(self, heard: Tensor) -> Tensor:
        x = self.convs((heard + 2) / 2).flatten(1, 2)  # [N, channels * bands, time]
        return F.relu(self.flat(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)))


def statistics(heard: Tensor) -> Tensor:
    """What Owens et al. (2016) cluster, in small: means and deviations of every band over time, [N, 2 * 32]."""
    return torch.cat([heard[:, 0].mean(dim=2), heard[:, 0].std(dim=2)], dim=1)


assert len(TIMBRE) == KINDS
