"""A short sound in a notebook: to be played, with a picture of it, and in words for whoever does not hear it."""

import base64
import html
import io
import wave as wav

import torch
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.errors import InputError

LARGEST = 100_000  # bytes of a sound
RANGE = 9.0  # of the picture, in natural logarithms of power (39 dB): what is softer is white


def show_sound(samples: Tensor, rate: int, alt: str) -> None:
    """A player above a spectrogram; nothing outside the notebook is needed.

    samples: float [S], scaled so that the loudest is full scale; rate: samples a second; alt: what is to be heard, such
    as the words that are said or the notes that are played.  Raises InputError for other samples, without alt text, and
    above LARGEST bytes.
    """
    markup = sound_html(samples, rate, alt)
    plots.display_bundle({"text/html": markup, "text/plain": f"[Sound: {' '.join(alt.split())}]"})


def sound_html(samples: Tensor, rate: int, alt: str) -> str:
    """The `<audio>` and `<img>` that `show_sound` shows."""
    if samples.ndim != 1 or len(samples) < 256 or not samples.is_floating_point():
        raise InputError("a sound must be a float tensor [S] of at least 256 samples")
    if not alt.strip():
        raise InputError("a sound needs alt text that says what is to be heard")
    samples = samples.detach().float().cpu()
    played = _wav(samples, rate)
    if len(played) > LARGEST:
        raise InputError(f"the sound has {len(played):,} bytes, more than {LARGEST:,}: take fewer samples")
    sound, picture = (base64.b64encode(data).decode() for data in (played, _spectrogram(samples)))
    text = html.escape(" ".join(alt.split()))
    return (
        f'<audio controls aria-label="{text}" src="data:audio/wav;base64,{sound}"></audio><br>'
        f'<img src="data:image/webp;base64,{picture}" alt="Spectrogram of a sound: {text}" width="300" height="96">'
    )


def _wav(samples: Tensor, rate: int) -> bytes:
    """16 bits, one channel."""
    whole = (samples / samples.abs().max().clamp(min=1e-9) * 32767).round().to(torch.int16)
    file = io.BytesIO()
    with wav.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(whole.numpy().astype("<i2").tobytes())
    return file.getvalue()


def _spectrogram(samples: Tensor) -> bytes:
    """A WebP: time to the right, frequency upwards, the louder the darker."""
    from PIL import Image

    window = torch.hann_window(256)
    power = torch.stft(samples, 256, 64, window=window, return_complex=True).abs().square()
    level = (power + 1e-9).log()
    gray = ((level.max() - level) / RANGE).clamp(0, 1).flip(0).mul(255).byte()
    picture = Image.fromarray(gray.numpy()).resize((600, 192), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, format="webp", quality=60)
    return file.getvalue()
