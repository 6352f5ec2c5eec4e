"""How much of a hidden spectrogram its neighbours give away: bands against single cells."""

from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.modalities.audio import spectrogram, views, world

KINDS = ("bands", "single cells")
ROUNDS = 40  # of spreading what is seen into what is hidden


@cache
def clips() -> Tensor:
    """Forty log-mel spectrograms, each filter with mean 0 and deviation 1."""
    x = spectrogram.log_mel(world.sounds("train", 40).wave)
    return (x - x.mean((0, 1))) / x.std((0, 1))


def mask(kind: str, length: int, count: int) -> Tensor:
    """Bool [40, 96, 32]: `count` bands of time of that length and two of five filters, or as many single cells."""
    bands = views.bands(40, 96, 32, (int(count), int(length)), (2, 5), torch.Generator().manual_seed(0))
    return bands if kind == "bands" else views.cells_like(bands, torch.Generator().manual_seed(1))


def filled(x: Tensor, hidden: Tensor) -> Tensor:
    """x with hidden cells replaced by the mean of their known neighbours, spreading inwards; nothing is learned."""
    kernel = torch.ones(1, 1, 3, 3)
    value, known = (x * ~hidden)[:, None], (~hidden).float()[:, None]
    for _ in range(ROUNDS):
        total, n = conv2d(value, kernel, padding=1), conv2d(known, kernel, padding=1)
        value = torch.where(hidden[:, None] & (n > 0), total / n.clamp(min=1), value)
        known = torch.maximum(known, (n > 0).float())
    return value[:, 0]


def given_away(kind: str, length: int, count: int) -> float:
    """Share of the hidden variation that neighbours explain: 1 = all; 0 = no better than the mean of each filter."""
    x, hidden = clips(), mask(kind, length, count)
    error = (filled(x, hidden) - x)[hidden].square().mean()
    return float(1 - error / x[hidden].square().mean())


def heard(kind: str, length: int, count: int, fill: bool) -> Tensor:
    """The clip of `render` as a sound [samples], its hidden cells silent, or as loud as their neighbours say.

    Every frequency of its short-time Fourier transform is scaled by the mean of the filters that hear it.  The phases
    stay the true ones, which no spectrogram holds: so it sounds better than what a model could make of the picture.
    """
    wave, shift = world.sounds("train", 40).wave, world.HOP // 2  # a frame's place is its middle
    x, hidden = clips()[0], mask(kind, length, count)[0]
    louder = (filled(x[None], hidden[None])[0] - x) * spectrogram.log_mel(wave).std((0, 1))
    gain = torch.where(hidden, (louder / 2).exp() if fill else 0.0, 1.0)  # [frames, filters], of amplitudes
    filters = spectrogram.mel_filters()
    share = filters / filters.sum(dim=0).clamp(min=1e-6)
    over = torch.where(filters.sum(dim=0) > 0, gain @ share, 1.0).T  # [frequencies, frames]
    sizes = (spectrogram.BINS, world.HOP, spectrogram.WINDOW, torch.hann_window(spectrogram.WINDOW))
    spectrum = torch.stft(pad(wave[0], (-shift, shift)), *sizes, return_complex=True)
    scaled = torch.cat([spectrum[:, : over.shape[1]] * over, spectrum[:, over.shape[1] :]], dim=1)
    return pad(torch.istft(scaled, *sizes, length=wave.shape[1]), (shift, -shift))


def controls() -> dict[str, Slider | Choice]:
    """What hides, how long a band is, in frames of 10 ms, and how many there are."""
    return {
        "kind": Choice(KINDS, "single cells", "hide", live=True),
        "length": Slider(1, 30, 12, "length of a band", step=1, live=True),
        "count": Slider(1, 3, 2, "bands", step=1, live=True),
    }


def render(kind: str, length: int, count: int) -> Figure:
    """One clip hidden, and filled by its neighbours alone; the title says how much they give away over forty clips."""
    x, hidden = clips()[:1], mask(kind, length, count)[:1]
    fig, axes = plots.new_figure(6.4, 2.6, columns=2)
    for ax, picture, name in (
        (axes[0], x[0].masked_fill(hidden[0], float("nan")), f"{100 * hidden.float().mean():.0f} % hidden"),
        (axes[1], filled(x, hidden)[0], f"neighbours explain {100 * given_away(kind, length, count):.0f} %"),
    ):
        ax.imshow(picture.T, origin="lower", aspect="auto", cmap="viridis", vmin=-2, vmax=2)
        ax.set(title=name, xlabel="time (10 ms)", ylabel="mel filter")
    return fig


def describe(kind: str, length: int, count: int) -> str:
    """The picture of `render` in words."""
    share = mask(kind, length, count)[:1].float().mean()
    return (
        f"A spectrogram of which {100 * share:.0f} percent are hidden in {kind}, and the same filled by the mean of "
        f"neighbours; "
        f"over forty clips they explain {100 * given_away(kind, length, count):.0f} percent of what is hidden."
    )
