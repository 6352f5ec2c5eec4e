"""Sounds like speech, made from a seed: what is said, who says it and where are known for every frame."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

RATE, HOP, FRAMES = 8000, 80, 96  # samples a second; samples a frame (10 ms); frames a clip
SAMPLES = HOP * FRAMES
PHONES = ("i", "e", "a", "o", "u", "m", "s", "sh", "f", "h")
VOICED = torch.tensor([True] * 6 + [False] * 4)
FORMANTS = torch.tensor(  # centre frequencies in Hz, for a speaker of scale 1
    [
        [300, 2300, 3000], [450, 1900, 2600], [750, 1250, 2500], [480, 900, 2500], [320, 750, 2300],
        [250, 1100, 2100], [3100, 3500, 3800], [1900, 2500, 3000], [1100, 2900, 3700], [500, 1500, 2400],
    ], dtype=torch.float32,
)  # fmt: skip
WIDTHS = torch.tensor([[90.0, 130.0, 180.0]] * 6 + [[350.0, 400.0, 450.0]] * 4)
GAINS = torch.tensor([[1.0, 0.6, 0.35]] * 5 + [[1.0, 0.15, 0.08]] + [[0.7, 0.6, 0.4]] * 4)
WORDS = torch.tensor(  # three phones each; every word begins with another phone than most others
    [[6, 0, 5], [7, 2, 5], [8, 3, 6], [9, 1, 7], [5, 4, 6], [6, 2, 3], [7, 1, 8], [9, 4, 0]]
)
SPEAKERS = 8
PITCH = torch.tensor([92.0, 104.0, 118.0, 132.0, 150.0, 170.0, 192.0, 216.0])
SCALE = torch.tensor([0.92, 1.10, 0.86, 1.02, 1.14, 0.90, 1.06, 0.98])
TILT = torch.tensor([-6.0, -3.0, -9.0, -5.0, -8.0, -4.0, -7.0, -2.0])  # dB per octave above 500 Hz
ROOMS = 6
SPLITS = {"unlabeled": 0, "train": 1, "test": 2}


class Sounds(NamedTuple):
    """N clips of 0.96 s at 8 kHz, wave = speech + noise, and what they were made from.

    wave, speech, noise: float32 [N, 7680].  phone, word: int64 [N, 96], one a frame of 10 ms.  speaker, room: int64
    [N].  level, snr: float32 [N] in dB, the loudness of the clip and of its speech over its noise.
    """

    wave: Tensor
    speech: Tensor
    noise: Tensor
    phone: Tensor
    word: Tensor
    speaker: Tensor
    room: Tensor
    level: Tensor
    snr: Tensor

    def swapped(self, order: Tensor) -> "Sounds":
        """The same speech in other rooms: clip i gets the noise of clip order[i]."""
        noise = self.noise[order]
        return self._replace(wave=self.speech + noise, noise=noise, room=self.room[order])


def sounds(split: str, n: int, seed: int = 0, snr: tuple[float, float] = (3.0, 15.0)) -> Sounds:
    """n clips of a split, "unlabeled", "train" or "test": two words of three phones, a speaker, a room.

    Voiced phones are a train of pulses, the others white noise; three resonances (formants, moved by the size of the
    speaker) shape both.  A room is a colour of steady noise, snr (lowest, highest) dB below the speech.  All factors
    are drawn independently and uniformly.  Raises InputError for an unknown split or n < 1.
    """
    if split not in SPLITS or n < 1:
        raise InputError(f"sounds needs a split out of {', '.join(SPLITS)} and n >= 1, not {split!r}, {n}.")
    g = torch.Generator().manual_seed(1000 * seed + SPLITS[split])
    said = torch.randint(len(WORDS), (n, 2), generator=g)
    speaker = torch.randint(SPEAKERS, (n,), generator=g)
    room = torch.randint(ROOMS, (n,), generator=g)
    level = 12 * torch.rand(n, generator=g) - 6
    ratio = snr[0] + (snr[1] - snr[0]) * torch.rand(n, generator=g)
    place = _places(n, g)
    phone = WORDS[said].flatten(1).gather(1, place)
    word = said.gather(1, place // 3)
    speech = _spoken(phone, speaker, g)
    noise = _noise(room, g)
    loud = 10 ** (level / 20)[:, None]
    speech = 0.1 * loud * speech / speech.square().mean(1, keepdim=True).sqrt()
    quiet = 10 ** (-ratio / 20)[:, None]
    noise = 0.1 * loud * quiet * noise / noise.square().mean(1, keepdim=True).sqrt()
    return Sounds(speech + noise, speech, noise, phone, word, speaker, room, level, ratio)


def _places(n: int, g: torch.Generator) -> Tensor:
    """Which of the six phones each frame belongs to [n, 96]: durations of 10 to 24 frames or so, summing to 96."""
    share = 1 + 0.8 * torch.rand(n, 6, generator=g)
    ends = (share.cumsum(1) / share.sum(1, keepdim=True) * FRAMES).round()
    return (torch.arange(FRAMES)[None, :, None] >= ends[:, None, :-1]).sum(-1)


def _spoken(phone: Tensor, speaker: Tensor, g: torch.Generator) -> Tensor:
    """Excitation through the resonances of each frame [n, 7680]."""
    n = len(phone)
    drift = torch.randn(n, FRAMES // 8, generator=g).repeat_interleave(8, 1)
    drift = torch.nn.functional.avg_pool1d(drift[:, None], 17, 1, 8, count_include_pad=False)[:, 0]
    pitch = PITCH[speaker][:, None] * (1 + 0.05 * drift)
    phase = (2 * math.pi * pitch.repeat_interleave(HOP, 1) / RATE).cumsum(1)
    phase = phase + 2 * math.pi * torch.rand(n, 1, generator=g)
    # All harmonics below 4 kHz at once: 1 + 2 sum_h cos(h phase), a Dirichlet kernel.
    count = (RATE / 2 / PITCH[speaker] * 0.85).floor()[:, None]
    half = torch.sin(phase / 2)
    half = torch.where(half.abs() < 1e-3, torch.full_like(half, 1e-3), half)
    pulses = (torch.sin((count + 0.5) * phase) / half).clamp(-2 * count - 1, 2 * count + 1)
    pulses = pulses / pulses.square().mean(1, keepdim=True).sqrt()
    breath = torch.randn(n, SAMPLES, generator=g)
    voiced = VOICED[phone].float().repeat_interleave(HOP, 1)
    source = voiced * (pulses + 0.05 * breath) + (1 - voiced) * 0.6 * breath
    window = torch.hann_window(2 * HOP)
    f = torch.fft.rfftfreq(2 * HOP, 1 / RATE)
    centre = (FORMANTS[phone] * SCALE[speaker][:, None, None])[..., None]  # [n, 96, 3, 1]
    shape = GAINS[phone][..., None] / (1 + ((f - centre) / WIDTHS[phone][..., None]).square())
    shape = shape.sum(2) + 0.01  # [n, 96, 81]
    shape = torch.nn.functional.avg_pool1d(shape.mT, 3, 1, 1, count_include_pad=False).mT
    tilt = 10 ** (TILT[speaker][:, None] * torch.log2(f.clamp(min=500) / 500) / 20)
    spectrum = torch.stft(source, 2 * HOP, HOP, window=window, return_complex=True)  # [n, 81, 97]
    shape = torch.cat([shape, shape[:, -1:]], dim=1).mT * tilt[..., None]
    return torch.istft(spectrum * shape, 2 * HOP, HOP, window=window, length=SAMPLES)


def _noise(room: Tensor, g: torch.Generator) -> Tensor:
    """Steady noise in the colour of each room [n, 7680]: two humps over the frequencies, other ones in each room."""
    f = torch.fft.rfftfreq(SAMPLES, 1 / RATE)
    k = torch.arange(ROOMS, dtype=torch.float32)
    low, high = 300 + 450 * k, 3600 - 500 * k
    humps = torch.exp(-(((f - low[:, None]) / 250) ** 2)) + torch.exp(-(((f - high[:, None]) / 350) ** 2))
    white = torch.fft.rfft(torch.randn(len(room), SAMPLES, generator=g))
    return torch.fft.irfft(white * (humps + 0.15)[room], n=SAMPLES)
