"""The spoken digits: an archive in the exact format, from a server on this machine."""

import hashlib
import io
import tarfile
import wave

import numpy as np
import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio import spoken

TOP = "free-spoken-digit-dataset-1.0.9"


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(f"{TOP}/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


@pytest.fixture
def published(server, monkeypatch):
    def put(files: dict[str, bytes]) -> None:
        body = packed(files)
        server.files["v1.0.9.tar.gz"] = body
        address = f"{server.base}/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz"
        monkeypatch.setattr(spoken, "ARCHIVE", (address, hashlib.sha256(body).hexdigest()))

    return put


def test_digits_come_from_the_archive_in_order_and_split_by_take(server, published, tmp_path):
    short, long = np.arange(-100, 100), np.full(10_000, 2**14)
    published(
        {"README.md": b"text", "recordings/notes.txt": b"none"}
        | {
            f"recordings/{d}_{s}_{t}.wav": wav(short)
            for d in (3, 0)
            for s in ("theo", "lucas")
            for t in (12, 4)
        }
        | {"recordings/9_lucas_49.wav": wav(long)}
    )
    with pytest.raises(InputError, match="spoken digits was looked for in .*1.0.9.tar.gz and is not there"):
        spoken.spoken_digits(data_dir=tmp_path)
    train = spoken.spoken_digits("train", data_dir=tmp_path, download=True)
    assert train.digit.tolist() == [0, 0, 3, 3, 9] and train.speaker.tolist() == [0, 1, 0, 1, 0]
    assert train.take.tolist() == [12] * 4 + [49] and train.speakers == ("lucas", "theo")
    assert train.wave.shape == (5, 7680) and train.wave.dtype == torch.float32
    assert (
        torch.equal(train.wave[0, :200] * 2**15, torch.arange(-100.0, 100.0))
        and not train.wave[0, 200:].any()
    )
    assert (train.wave[4] == 0.5).all()
    server.status = 500  # from now on it lies there
    test, both = (spoken.spoken_digits(split, data_dir=tmp_path) for split in ("test", "all"))
    assert test.take.tolist() == [4] * 4 and len(both.digit) == 9


def test_what_is_not_the_published_format_is_named(published, tmp_path):
    published({"recordings/1_theo_7.wav": wav(np.zeros(10), rate=16_000)})
    with pytest.raises(InputError, match="1_theo_7.wav is not one channel of 16 bits at 8000 Hz"):
        spoken.spoken_digits(data_dir=tmp_path, download=True)
    with pytest.raises(InputError, match="train, test and all, not 'dev'"):
        spoken.spoken_digits("dev")
