"""Spoken digits, recorded: the Free Spoken Digit Dataset (Jackson et al. 2018), an optional download of 12 MB."""

import io
import tarfile
import wave
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.data.download import published
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio.world import RATE, SAMPLES

ARCHIVE = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
    "8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
)
NAME = "free-spoken-digit-dataset-1.0.9.tar.gz"
TEST = 5  # of the 50 takes of a digit by a speaker, takes 0 to 4 are the test split


class Spoken(NamedTuple):
    """N recordings of 0.96 s at 8 kHz, cut at the end or filled with silence.

    wave: float32 [N, 7680], from -1 to 1.  digit, speaker, take: int64 [N].  speakers: their names, in order.
    """

    wave: Tensor
    digit: Tensor
    speaker: Tensor
    take: Tensor
    speakers: tuple[str, ...]


def spoken_digits(
    split: str = "train", *, data_dir=None, mirror: str | None = None, download: bool = False
) -> Spoken:
    """The digits 0 to 9 in 2,500 recordings by 5 speakers; "train" (takes 5 to 49), "test" (0 to 4) or "all".

    data_dir, mirror, download: see `data.download.published`.  Sorted by digit, speaker and take.
    Raises InputError for another split, or when the archive is absent or is not what it should be.
    """
    if split not in ("train", "test", "all"):
        raise InputError(f"the splits of the spoken digits are train, test and all, not {split!r}")
    archive = published("the spoken digits", *ARCHIVE, "12 MB", data_dir, mirror, download, name=NAME)
    takes = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            folder, _, file = member.name.rpartition("/")
            if folder.endswith("/recordings") and file.endswith(".wav"):
                digit, speaker, take = file.removesuffix(".wav").split("_")
                if split == "all" or (int(take) < TEST) == (split == "test"):
                    takes[int(digit), speaker, int(take)] = _samples(tar.extractfile(member).read(), file)
    keys = sorted(takes)
    speakers = tuple(sorted({speaker for _, speaker, _ in keys}))
    digit, speaker, take = torch.tensor([(d, speakers.index(s), t) for d, s, t in keys]).T
    return Spoken(torch.stack([takes[k] for k in keys]), digit, speaker, take, speakers)


def _samples(content: bytes, name: str) -> Tensor:
    with wave.open(io.BytesIO(content)) as sound:
        if (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) != (1, 2, RATE):
            raise InputError(f"{name} is not one channel of 16 bits at {RATE} Hz")
        samples = np.frombuffer(sound.readframes(SAMPLES), dtype="<i2")
    return torch.nn.functional.pad(torch.from_numpy(samples / np.float32(2**15)), (0, SAMPLES - len(samples)))
