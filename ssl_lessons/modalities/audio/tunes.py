"""Short tunes, made from a seed: instrument, key, mode, tempo and the order of the notes are known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio import spectrogram

RATE, SAMPLES = 4000, 3840  # samples a second; samples a clip (0.96 s)
INSTRUMENTS = ("flute", "reed", "string", "pluck")
HARMONICS = torch.tensor(
    [[1.0, 0.12, 0.04, 0.0], [1.0, 0.05, 0.7, 0.05], [1.0, 0.8, 0.6, 0.4], [1.0, 0.5, 0.2, 0.1]]
)
ATTACK = torch.tensor([0.016, 0.006, 0.010, 0.002])  # seconds until a note is there
DECAY = torch.tensor([0.45, 0.45, 0.3, 0.06])  # seconds in which it falls to 1/e
KEYS, LOWEST = 5, 220.0  # tonics, a semitone apart, and the lowest of them in Hz
SCALES = torch.tensor([[0, 2, 4, 5, 7, 9], [0, 2, 3, 5, 7, 8]])  # semitones: major, minor
TUNES = torch.tensor(  # steps of the scale: the same eight notes, in six orders
    [
        [0, 1, 2, 3, 4, 2, 4, 5], [0, 4, 2, 4, 5, 3, 1, 2], [2, 4, 5, 4, 3, 2, 1, 0],
        [4, 2, 0, 1, 2, 3, 5, 4], [5, 4, 4, 3, 2, 2, 1, 0], [2, 2, 1, 3, 0, 5, 4, 4],
    ]
)  # fmt: skip
FACTORS = {"instrument": len(INSTRUMENTS), "key": KEYS, "mode": 2, "tempo": 2, "tune": len(TUNES)}
SPLITS = {"unlabeled": 0, "train": 1, "test": 2}


class Tunes(NamedTuple):
    """N clips of 0.96 s at 4 kHz and what they were made from: wave float32 [N, 3840], the rest int64 [N].

    tempo: 0 = the tune once, a note every 120 ms; 1 = twice, a note every 60 ms.
    """

    wave: Tensor
    instrument: Tensor
    key: Tensor
    mode: Tensor
    tempo: Tensor
    tune: Tensor

    def pitch(self) -> Tensor:
        """Semitones above 220 Hz at every sample [N, 3840], int64 (before each clip is put out of tune a little)."""
        return self.notes().gather(1, _place(self.tempo)[0])

    def since(self) -> Tensor:
        """How many samples ago the note began, at every sample [N, 3840], int64."""
        return _place(self.tempo)[1]

    def notes(self) -> Tensor:
        """The eight notes of each clip's tune in semitones above 220 Hz [N, 8], int64."""
        return self.key[:, None] + SCALES[self.mode].gather(1, TUNES[self.tune])


def tunes(split: str, n: int, seed: int = 0) -> Tunes:
    """n clips of a split, "unlabeled", "train" or "test"; all factors independent and uniform.

    All tunes hold the same steps of the scale, as often: only their order tells them apart.  Each clip begins with
    the first note, has its own loudness (within 12 dB), is out of tune by up to 20 cents, and has a little noise.
    Raises InputError for an unknown split or n < 1.
    """
    if split not in SPLITS or n < 1:
        raise InputError(f"tunes needs a split out of {', '.join(SPLITS)} and n >= 1, not {split!r}, {n}.")
    g = torch.Generator().manual_seed(1000 * seed + 500 + SPLITS[split])
    drawn = {name: torch.randint(size, (n,), generator=g) for name, size in FACTORS.items()}
    clips = Tunes(torch.empty(0), **drawn)
    cents = 40 * torch.rand(n, 1, generator=g) - 20
    pitch = LOWEST * 2 ** ((clips.pitch() + cents / 100) / 12)
    phase = 2 * math.pi * ((pitch / RATE).cumsum(1) + torch.rand(n, 1, generator=g))
    kind = drawn["instrument"]
    wave = torch.zeros_like(phase)
    before, now, twice = torch.zeros_like(phase), phase.sin(), 2 * phase.cos()
    for k, loud in enumerate(HARMONICS[kind].T, start=1):
        wave += loud[:, None] * (pitch * k < 0.48 * RATE) * now
        before, now = now, twice * now - before  # sin (k + 1) x = 2 cos x sin k x - sin (k - 1) x
    wave = wave / HARMONICS[kind].square().sum(1).sqrt()[:, None]
    since = clips.since()
    t = since / RATE
    wave = wave * (t / ATTACK[kind][:, None]).clamp(max=1) * torch.exp(-t / DECAY[kind][:, None])
    left = torch.where(drawn["tempo"] == 1, 240, 480)[:, None] - since
    wave = wave * (left / 20).clamp(max=1)  # a note ends within 5 ms: no click
    level = 10 ** ((12 * torch.rand(n, 1, generator=g) - 12) / 20)
    wave = 0.5 * level * (wave + 0.01 * torch.randn(n, SAMPLES, generator=g))
    return clips._replace(wave=wave.clamp(-1, 1))


def _place(tempo: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the eight notes each sample belongs to, and how many samples ago it began: [N, 3840] each, int64."""
    length = torch.where(tempo == 1, 240, 480)[:, None]
    time = torch.arange(SAMPLES)[None]
    return time // length % 8, time % length


def log_mel(wave: Tensor, mels: int = 32) -> Tensor:
    """wave [N, 3840] at 4 kHz -> [N, 48, mels]: log power in windows of 50 ms, one every 20 ms."""
    hann = torch.hann_window(spectrogram.WINDOW, device=wave.device)
    power = torch.fft.rfft(spectrogram.frames(wave) * hann, n=spectrogram.BINS).abs().square()
    return (power @ spectrogram.mel_filters(mels, rate=RATE).to(power).T + 1e-3).log()


class PitchReader:
    """Names the pitch of every spectrum: a linear discriminant analysis of spectra whose pitch is known.

    x: log amplitudes [N, F, T] (see `codes.spectra`); pitch: semitones at every sample, int64 [N, S]; spectrum t stands
    for sample t S / T.  It is an instrument of measurement, as good as what it reads from clips it has not seen.
    """

    def __init__(self, x: Tensor, pitch: Tensor) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        if len(x) != len(pitch) or pitch.shape[1] % x.shape[2]:
            raise InputError(
                "PitchReader needs spectra and pitches of the same clips, whole samples to a spectrum."
            )
        y = pitch[:, :: pitch.shape[1] // x.shape[2]].flatten()
        rows = x.mT.flatten(0, 1)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        self.model = model.fit(rows.numpy(), y.numpy())

    def __call__(self, x: Tensor) -> Tensor:
        """Log amplitudes [N, F, T] -> semitones [N, T]."""
        found = self.model.predict(x.detach().cpu().mT.flatten(0, 1).numpy())
        return torch.as_tensor(found).view(len(x), x.shape[2])
