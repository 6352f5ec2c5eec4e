"""Encoder and probe as one ONNX file, in float32 or quantised to int8.

Needs the packages of `serve` (onnx, onnxscript, onnxruntime).  Why not torch's own int8:
torch.ao.quantization is deprecated in favour of torchao, whose int8 convolutions need a compiler where the model runs;
an ONNX file runs wherever onnxruntime does, and holds numbers and operations but no Python to execute.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssl_lessons.deployment import HOW_TO_GET
from ssl_lessons.deployment.bundle import Card, write_bundle
from ssl_lessons.deployment.quantization import fold
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import fit_probe
from ssl_lessons.views import MEAN, STD

PRECISIONS = ("float32", "int8")


class Classifier(nn.Module):
    """Pixels to logits: uint8 [N, 3, S, S] -> [N, classes].

    Normalisation is inside, so that no server can get it wrong.  `encoder` may be folded; `probe` is linear.
    """

    def __init__(self, encoder: nn.Module, probe: nn.Linear, mean=MEAN, std=STD):
        super().__init__()
        self.encoder, self.probe = encoder, probe
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.probe(self.encoder((images.float() * (1 / 255) - self.mean) / self.std))


def linear_layer(features: Tensor, labels: Tensor, seed: int = 0) -> nn.Linear:
    """The probe of `evaluation.linear_probe` as one linear layer [N, D] -> [N, classes].

    The standardisation of the features is folded into its weights: W (x - m) / s = (W / s) x - W m / s.
    features [N, D], labels int64 [N] with every class 0..C-1 present.  Raises InputError otherwise.
    """
    counts = torch.bincount(labels) if len(labels) and int(labels.min()) >= 0 else torch.zeros(1)
    if len(counts) < 2 or int(counts.min()) < 2:
        raise InputError(
            "the served probe needs at least two labels of every class, and at least two classes"
        )
    scaler, span, model, _ = fit_probe(features, labels, seed)
    weight, bias = model.coef_, model.intercept_
    if len(counts) == 2:  # scikit-learn fits one row for two classes
        weight, bias = np.stack([0 * weight[0], weight[0]]), np.array([0.0, bias[0]])
    weight = (weight if span is None else weight @ span.T) / scaler.scale_
    probe = nn.Linear(features.shape[1], len(counts))
    with torch.no_grad():
        probe.weight.copy_(torch.from_numpy(weight))
        probe.bias.copy_(torch.from_numpy(bias - weight @ scaler.mean_))
    return probe


def _need(*packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise InputError(f"{package} is missing: {HOW_TO_GET}") from None


def to_onnx(model: Classifier, size: int, path: Path) -> None:
    """Write the model as ONNX: input `images` uint8 [N, 3, size, size] with any N, output `logits` [N, classes]."""
    _need("onnx", "onnxscript")
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's notes on its own parts
        torch.onnx.export(
            model.eval(), (example,), str(path), dynamo=True, external_data=False, verbose=False,
            input_names=["images"], output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip


def quantize_onnx(source: Path, target: Path, calibration: Tensor, per_channel: bool = True) -> None:
    """Write the int8 version of an ONNX file: weights int8, activations uint8, ranges from `calibration`.

    calibration: uint8 [N, 3, S, S] without labels, the kind of picture the model will see; the smallest and largest
    value at every layer fix its grid.
    """
    _need("onnx", "onnxruntime")
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.batches = iter(calibration.split(64))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.numpy()}

    logging.getLogger().setLevel(max(logging.getLogger().level, logging.ERROR))
    quantization.quantize_static(
        str(source), str(target), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=per_channel,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def check_precision(name: str) -> None:
    """Raises InputError unless bundles can be made in that precision."""
    if name not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}")


def make_bundle(
    encoder: nn.Module,
    probe: nn.Linear,
    folder: str | Path,
    *,
    classes: tuple[str, ...],
    size: int,
    precision: str = "int8",
    calibration: Tensor | None = None,
    per_channel: bool = True,
) -> Path:
    """Fold, export, quantise, and write the bundle `folder` (see `bundle.load_bundle`).

    calibration: uint8 [N, 3, size, size], needed for int8.  per_channel: one scale for the weights of each
    output channel instead of one per layer.  Raises InputError for what does not fit together.
    """
    check_precision(precision)
    if probe.out_features != len(classes):
        raise InputError(
            f"the probe tells {probe.out_features} classes apart, but {len(classes)} names were given"
        )
    if precision == "int8" and (calibration is None or calibration.shape[1:] != (3, size, size)):
        raise InputError(f"int8 needs calibration images, uint8 [N, 3, {size}, {size}], without labels")
    model = Classifier(fold(encoder).cpu(), probe.cpu())
    with tempfile.TemporaryDirectory() as scratch:
        plain, small = Path(scratch, "float32.onnx"), Path(scratch, "int8.onnx")
        to_onnx(model, size, plain)
        if precision == "int8":
            quantize_onnx(plain, small, calibration, per_channel)
        content = (small if precision == "int8" else plain).read_bytes()
    return write_bundle(folder, content, Card(tuple(classes), size, tuple(MEAN), tuple(STD), precision))
