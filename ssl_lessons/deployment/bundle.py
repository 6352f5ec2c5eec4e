"""One folder that holds all a server needs, and can be checked.  Without torch.

model.onnx    uint8 pixels [N, 3, size, size] -> logits [N, classes]: normalisation, encoder and probe
bundle.json   class names, image size, normalisation, precision
SHA256SUMS    the checksums of both, in the format of `sha256sum --check`
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_lessons.deployment import HOW_TO_GET
from ssl_lessons.deployment.pictures import decode
from ssl_lessons.errors import InputError
from ssl_lessons.storage import write_together

MODEL, CARD, SUMS = "model.onnx", "bundle.json", "SHA256SUMS"


class Card(NamedTuple):
    """What must be known about the model to use it.  mean, std: already applied inside the model."""

    classes: tuple[str, ...]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str


def _sums(contents: dict[str, bytes]) -> str:
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())


def write_bundle(folder: str | Path, model: bytes, card: Card) -> Path:
    """Write the three files, the checksums last: a bundle that was cut off half way does not load.

    Raises InputError where the folder cannot be written.
    """
    folder = Path(folder)
    contents = {MODEL: model, CARD: (json.dumps(card._asdict(), indent=2) + "\n").encode()}
    contents[SUMS] = _sums(contents).encode()
    write_together({folder / k: lambda path, v=v: path.write_bytes(v) for k, v in contents.items()})
    return folder


class Bundle:
    """A loaded bundle: `card`, `digest` (SHA-256 of its checksum file), and the model, ready to be asked."""

    def __init__(self, card: Card, digest: str, session):
        self.card, self.digest, self._session = card, digest, session

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [N, 3, size, size] -> float32 [N, classes]."""
        return self._session.run(["logits"], {"images": pixels})[0]

    def classify(self, body: bytes) -> dict:
        """The answer to one picture in PNG or JPEG: class, probability, all probabilities, the bundle's digest.

        Raises pictures.Refused for bytes that are no such picture.
        """
        logits = self.logits(decode(body, self.card.size)[None])[0].astype(np.float64)
        odds = np.exp(logits - logits.max())
        probability = odds / odds.sum()
        best = int(probability.argmax())
        return {
            "class": self.card.classes[best],
            "probability": float(probability[best]),
            "probabilities": dict(zip(self.card.classes, probability.tolist(), strict=True)),
            "model": self.digest[:12],
        }


def load_bundle(folder: str | Path, threads: int = 1) -> Bundle:
    """The bundle in `folder`, with its checksums verified.  threads: how many cores one request may use.

    The checksums tell of damage, not of malice: whoever can write the folder can write them too.  Raises InputError
    when the folder holds no bundle, a damaged one or one that may not be read, and when onnxruntime is missing.
    """
    folder = Path(folder)
    missing = [name for name in (MODEL, CARD, SUMS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is no whole bundle, it lacks {' and '.join(missing)}: export it again")
    try:
        sums = (folder / SUMS).read_bytes()
        contents = {name: (folder / name).read_bytes() for name in (MODEL, CARD)}
    except OSError as error:
        raise InputError(
            f"the bundle in {folder} cannot be read: {error.strerror}; check the permissions of its files"
        ) from None
    if _sums(contents).encode() != sums:
        raise InputError(f"the bundle in {folder} is damaged (its SHA-256 does not match): export it again")
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"onnxruntime is missing: {HOW_TO_GET}") from None
    fields = json.loads(contents[CARD])
    card = Card(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without VNNI instructions onnxruntime adds products of int8 up in 16 bits, which overflow: the answers go wrong.
    # This makes it widen them first; on processors with VNNI it changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(contents[MODEL], options, providers=["CPUExecutionProvider"])
    return Bundle(card, hashlib.sha256(sums).hexdigest(), session)
