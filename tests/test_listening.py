"""Sounds can be played, seen and read, and stay small."""

import base64
import io
import re
import wave

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_lessons.book import listening
from ssl_lessons.errors import InputError

RATE = 8000


def tone(hertz, seconds=1.0):
    return 0.1 * torch.sin(2 * torch.pi * hertz * torch.arange(int(RATE * seconds)) / RATE)


def parts(markup):
    return [io.BytesIO(base64.b64decode(data)) for data in re.findall(r"base64,([^\"]+)", markup)]


def test_a_sound_is_played_as_it_is_at_full_scale():
    played, _ = parts(listening.sound_html(tone(440), RATE, "a tone"))
    with wave.open(played) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert abs(samples.max() - 32767) <= 1 and np.allclose(samples / 32767, 10 * tone(440).numpy(), atol=1e-4)


def test_the_picture_is_dark_where_the_tone_is():
    """Frequency rises upwards, from 0 to half the rate."""
    for hertz in (500, 2000, 3500):
        _, picture = parts(listening.sound_html(tone(hertz), RATE, "a tone"))
        darkness = 255 - np.asarray(Image.open(picture).convert("L")).astype(float).mean(axis=1)
        row = (1 - hertz / (RATE / 2)) * len(darkness)
        assert abs(darkness.argmax() - row) < 0.03 * len(darkness)


def test_the_words_are_in_the_player_and_in_the_picture():
    markup = listening.sound_html(tone(440), RATE, "it says\n <mu>")
    assert markup.count("it says &lt;mu&gt;") == 2 and "aria-label=" in markup and "alt=" in markup
    assert 'alt="Spectrogram of a sound: silence"' in listening.sound_html(torch.zeros(400), RATE, "silence")


@pytest.mark.parametrize(
    "samples, alt, words",
    [
        (tone(440), " ", "alt text"),
        (tone(440)[None], "x", "float tensor"),
        (tone(440)[:100], "x", "at least 256"),
        (torch.zeros(500).int(), "x", "float tensor"),
        (tone(440, 7), "x", "112,044 bytes, more than 100,000"),
    ],
)
def test_bad_sounds_get_one_clear_error(samples, alt, words):
    with pytest.raises(InputError, match=words):
        listening.sound_html(samples, RATE, alt)
