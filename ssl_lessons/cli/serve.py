"""`ssl-lessons export` and `serve`: from an encoder to a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssl_lessons.cli.options import (
    AT_MOST,
    Data,
    DataDir,
    Download,
    Folder,
    Labels,
    Mirror,
    NoCache,
    app,
    labelled,
    load_at_most,
    load_split,
    trained,
    where,
)  # fmt: skip
from ssl_lessons.errors import InputError

CALIBRATION = 512  # unlabelled images from which int8 takes the ranges of its activations


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle. Required.")] = None,
    data: Data = None,
    labels: Labels = None,
    precision: Annotated[str, typer.Option(help="int8 or float32.")] = "int8",
    train_images: Annotated[
        int | None,
        typer.Option(min=2, help=f"Labelled images for the probe. Default: all, {AT_MOST:,} at most."),
    ] = None,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    download: Download = False,
) -> None:
    """Make a bundle that `serve` can load: the encoder in DIR, a linear probe, and checksums.

    The probe learns from the train split; int8 takes the ranges of the activations from unlabelled images. Writes
    model.onnx, bundle.json and SHA256SUMS. Needs more packages: `uv run --group serve`, or without a
    repository the extra `serve` (README says how).

    Example:  ssl-lessons export runs/first --out runs/bundle
    """
    from ssl_lessons.deployment.export import check_precision, linear_layer, make_bundle
    from ssl_lessons.evaluation import extract_features

    if out is None:
        raise InputError("choose a folder for the bundle with --out")
    check_precision(precision)  # before minutes of work
    place = where(data_dir, mirror, download, labels=labels, cache=not no_cache)
    encoder, size, source, place = trained(folder, data, place)
    train = labelled(load_split(source, "train", size, train_images, place), "the probe of a bundle")
    calibration = load_at_most(CALIBRATION, source, "unlabeled", size, place).images
    print(f"a probe from {len(train):,} labelled images, then {precision} ...", file=sys.stderr)
    probe = linear_layer(extract_features(encoder, train.images, progress=True), train.labels)
    make_bundle(
        encoder, probe, out, classes=train.classes, size=size, precision=precision, calibration=calibration
    )
    kilobytes = (out / "model.onnx").stat().st_size / 1000
    print(f"{out}: {precision}, {len(train.classes)} classes, {kilobytes:,.0f} kB")


@app.command()
def serve(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A folder written by `ssl-lessons export`.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8000,
) -> None:
    """Answer pictures over HTTP on this machine: POST /predict with the bytes of a PNG or JPEG.

    Writes nothing. Needs more packages: `uv run --group serve`, or without a
    repository the extra `serve` (README says how). Ctrl-C stops it.

    Example:  ssl-lessons serve runs/bundle --port 8000
    """
    from ssl_lessons.deployment import HOW_TO_GET

    try:
        from ssl_lessons.deployment import server
    except ImportError as error:
        raise InputError(f"{error.name} is missing: {HOW_TO_GET}") from None
    server.main([str(bundle), "--port", str(port)])
