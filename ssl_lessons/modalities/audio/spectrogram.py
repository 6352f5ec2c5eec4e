"""The log-mel spectrogram written out: frames, window, Fourier transform, mel filters, logarithm; and its cosines."""

import math

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio.world import HOP, RATE

WINDOW, BINS, MELS = 200, 256, 32  # samples in a frame (25 ms); length of the transform; filters


def mel(hertz: Tensor) -> Tensor:
    """Frequency on the mel scale: 2595 log10(1 + f / 700)."""
    return 2595 * torch.log10(1 + torch.as_tensor(hertz, dtype=torch.float64) / 700)


def mel_filters(mels: int = MELS, bins: int = BINS, rate: int = RATE) -> Tensor:
    """Triangles [mels, bins / 2 + 1] equally wide on the mel scale from 0 Hz to rate / 2; peaks of height 1."""
    if mels < 1 or bins < 2 * mels:
        raise InputError(f"{mels} filters need a transform of at least {2 * mels} samples, not {bins}.")
    edges = 700 * (10 ** (torch.linspace(0, float(mel(rate / 2)), mels + 2, dtype=torch.float64) / 2595) - 1)
    f = torch.fft.rfftfreq(bins, 1 / rate, dtype=torch.float64)
    left, centre, right = (edges[i : i + mels, None] for i in range(3))
    up, down = (f - left) / (centre - left), (right - f) / (right - centre)
    return torch.minimum(up, down).clamp(min=0).float()


def frames(wave: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """wave [N, S] cut into S // hop overlapping frames [N, S // hop, window], each around its place; zeros outside."""
    if wave.ndim != 2 or wave.shape[1] < hop:
        raise InputError(f"wave must be [clips, samples] with at least {hop} samples.")
    before = (window - hop) // 2
    padded = torch.nn.functional.pad(wave, (before, window - hop - before))
    return padded.unfold(1, window, hop)[:, : wave.shape[1] // hop]


def log_mel(wave: Tensor, mels: int = MELS) -> Tensor:
    """wave [N, S] at 8 kHz -> [N, S // 80, mels]: the natural log of the power that each filter lets through + 1e-4."""
    hann = torch.hann_window(WINDOW, device=wave.device, dtype=wave.dtype)
    power = torch.fft.rfft(frames(wave) * hann, n=BINS).abs().square()
    return (power @ mel_filters(mels).to(power).T + 1e-4).log()


def cosines(logmel: Tensor, count: int = 13) -> Tensor:
    """MFCC: the first `count` coefficients of an orthonormal cosine transform over the filters, [..., count].

    Low ones are the envelope of the spectrum (the phone), high ones its ripples (the pitch).
    """
    m = logmel.shape[-1]
    if not 1 <= count <= m:
        raise InputError(f"count must lie between 1 and the {m} filters, not {count}.")
    k, j = torch.arange(count).float(), torch.arange(m).float()
    basis = torch.cos(math.pi * k[:, None] * (j + 0.5) / m) * math.sqrt(2 / m)
    basis[0] /= math.sqrt(2)
    return logmel @ basis.to(logmel).T
