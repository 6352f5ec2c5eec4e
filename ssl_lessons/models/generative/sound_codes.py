"""A sound as a sentence of codes: a VQ-VAE over short-time spectra, after one level of Jukebox; and back to samples."""

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.vq import VectorQuantizer

WINDOW, HOP = 256, 60  # samples of a spectrum (64 ms at 4 kHz) and from one to the next (15 ms)
BINS, FLOOR = WINDOW // 2 + 1, 1e-2
STRIDE = 2 * HOP  # samples a code: 30 ms


def spectra(wave: Tensor) -> Tensor:
    """wave [N, S] -> log amplitudes [N, 129, S / 60]; the phase is gone.  S must be a multiple of 120."""
    if wave.ndim != 2 or wave.shape[1] % STRIDE or wave.shape[1] < WINDOW:
        raise InputError(
            f"wave must be [clips, samples] with a multiple of {STRIDE} samples, at least {WINDOW}."
        )
    hann = torch.hann_window(WINDOW, device=wave.device)
    return (torch.stft(wave, WINDOW, HOP, window=hann, return_complex=True)[..., :-1].abs() + FLOOR).log()


def listen(logs: Tensor, rounds: int = 40) -> Tensor:
    """Log amplitudes [N, 129, T] -> samples [N, 60 T] whose spectra come near them: the phase is guessed.

    Griffin and Lim (1984): begin with any phase; go to samples and back; keep the new phase and the old amplitudes.
    """
    amplitude = (logs.exp() - FLOOR).clamp(min=0)
    amplitude = torch.cat([amplitude, amplitude[..., -1:]], dim=2)
    hann, length = torch.hann_window(WINDOW, device=logs.device), HOP * logs.shape[2]
    turn = torch.arange(amplitude.shape[2], device=logs.device) * HOP
    phase = 2 * torch.pi * turn * torch.arange(BINS, device=logs.device)[:, None] / WINDOW
    unit = torch.polar(torch.ones_like(phase), phase).expand_as(amplitude)
    for _ in range(rounds):
        wave = torch.istft(amplitude * unit, WINDOW, HOP, window=hann, length=length)
        again = torch.stft(wave, WINDOW, HOP, window=hann, return_complex=True)
        unit = again / again.abs().clamp(min=1e-8)
    return wave


class Residual(nn.Module):
    """x plus a convolution of three times, and a 1x1 one, of it; it may look ahead (no prediction here)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GELU(), nn.Conv1d(width, width, 3, padding=1), nn.GELU(), nn.Conv1d(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class SoundCodes(nn.Module):
    """Spectra [N, 129, T] -> codes [N, T / 2] -> spectra.  (Dhariwal et al. 2020, section 3.)

    Jukebox codes raw samples at three hops (8, 32, 128 of 44,100 a second) and decodes to samples; one hop here, and
    the spectra stand for what its spectral loss asks for.
    """

    def __init__(self, codes: int = 128, width: int = 64, dim: int = 16, beta: float = 0.25) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(BINS, width, 1), nn.GELU(), nn.Conv1d(width, width, 4, 2, 1), Residual(width),
            nn.Conv1d(width, dim, 1),
        )  # fmt: skip
        self.vq = VectorQuantizer(codes, dim, beta)
        self.decoder = nn.Sequential(
            nn.Conv1d(dim, width, 1), Residual(width), nn.ConvTranspose1d(width, width, 4, 2, 1), nn.GELU(),
            nn.Conv1d(width, BINS, 1),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(BINS, 1))
        self.register_buffer("std", torch.ones(()))

    def settle(self, x: Tensor) -> None:
        """Take mean (of each frequency) and deviation (of all) from x [N, 129, T], once, before training."""
        self.mean.copy_(x.mean((0, 2))[:, None])
        self.std.copy_((x - self.mean).std())

    def encode(self, x: Tensor) -> Tensor:
        """Vectors [N, dim, T / 2] before they are rounded to codes, each of mean 0 and variance 1."""
        z = self.encoder((x - self.mean) / self.std)
        return nn.functional.layer_norm(z.mT, z.shape[1:2]).mT

    def codes(self, x: Tensor) -> Tensor:
        """int64 [N, T / 2]."""
        return self.vq(self.encode(x))[2]

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, T / 2] -> log amplitudes [N, 129, T]."""
        return self.decoder(self.vq.look_up(codes)) * self.std + self.mean

    def loss(self, x: Tensor) -> Tensor:
        """Squared error of the log amplitudes, in units of their variance, and the two terms of the codebook."""
        quantised, extra, _ = self.vq(self.encode(x))
        return (self.decoder(quantised) - (x - self.mean) / self.std).square().mean() + extra
