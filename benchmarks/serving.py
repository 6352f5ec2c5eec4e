"""int8 against float32, and two HTTP servers: accuracy, size and latency of an encoder with a linear probe.

    uv run --group serve python benchmarks/serving.py --parts quantize
    uv run --group serve --group torchserve python benchmarks/serving.py --parts serve

quantize: SimCLR encoders (`--seeds`, the quick recipe, `--steps` steps), a probe on 2,000 labels, exported to ONNX in
float32 and in int8 (ranges from 512 unlabeled images, weights per channel and per tensor), scored once on the test
split; milliseconds per call inside one process, one thread.  serve: both bundles of each encoder behind each server
on the loopback, `--requests` PNG pictures from `--clients` connections that each wait for their answer.  The clients
run on the machine they measure and take part of its time.  ResNet-18 has random weights: its rows are about time and
size only.  The parts can be run one after the other; rows are merged into data/results/serving.json.
"""

import argparse
import io
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch
from _record import machine, merge
from PIL import Image

from ssl_lessons import data, evaluation
from ssl_lessons.deployment import process, torchserve
from ssl_lessons.deployment.bundle import MODEL, load_bundle
from ssl_lessons.deployment.export import (
    PRECISIONS,
    linear_layer,
    make_bundle,
)
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain, recipes

CALIBRATION, LABELLED, TEST = 512, 2000, 2000
VARIANTS = {
    "float32": {"precision": "float32"},
    "int8": {"precision": "int8"},
    "int8, one scale per layer": {"precision": "int8", "per_channel": False},
}
KEY = ("part", "model", "precision", "server", "seed", "batch")
PACKAGES = ("torch", "onnx", "onnxruntime", "pillow", "starlette", "uvicorn")


def trained(seed: int, steps: int):
    """A SimCLR encoder of the quick recipe, its probe, and the splits: (encoder, probe, calibration, train, test)."""
    recipe = recipes.get_recipe("quick")
    unlabeled = data.shapes("unlabeled", 32, 8192, seed, world=1)
    method = recipe.build(seed)
    pretrain(
        method,
        unlabeled.images,
        (recipe.policy,) * 2,
        steps=steps,
        seed=seed,
        progress=False,
        **recipe.training(),
    )
    train, test = (
        data.shapes("train", 32, LABELLED, seed, world=1),
        data.shapes("test", 32, TEST, seed, world=1),
    )
    probe = linear_layer(evaluation.extract_features(method.encoder, train.images), train.labels)
    return method.encoder.eval(), probe, unlabeled.images[:CALIBRATION], train, test


def milliseconds(bundle, images, repeats: int) -> dict:
    """Median and 95th percentile of one call, after ten untimed ones."""
    pixels = images.numpy()
    times = []
    for i in range(repeats + 10):
        start = time.perf_counter()
        bundle.logits(pixels)
        if i >= 10:
            times.append(1000 * (time.perf_counter() - start))
    return {"p50_ms": round(statistics.median(times), 4), "p95_ms": round(percentile(times, 95), 4)}


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def quantize(seeds: list[int], steps: int, folder: Path) -> list[dict]:
    rows = []
    for seed in seeds:
        encoder, probe, calibration, train, test = trained(seed, steps)
        plain = evaluation.extract_features(encoder, test.images)
        float_says = probe(plain).argmax(1)
        row = {"part": "quantize", "model": "convnet", "seed": seed, "steps": steps}
        right = float((float_says == test.labels).float().mean())
        rows.append(row | {"precision": "torch float32", "accuracy": right})
        for precision, options in VARIANTS.items():
            place = make_bundle(
                encoder, probe, folder / f"{seed}-{precision}", classes=train.classes, size=32,
                calibration=calibration, **options,
            )  # fmt: skip
            bundle = load_bundle(place)
            says = torch.from_numpy(bundle.logits(test.images.numpy())).argmax(1)
            scores = {
                "precision": precision,
                "accuracy": float((says == test.labels).float().mean()),
                "agreement": float((says == float_says).float().mean()),
                "bytes": (place / MODEL).stat().st_size,
            }
            for batch, repeats in ((1, 500), (64, 100)):
                times = milliseconds(bundle, test.images[:batch], repeats)
                rows.append(row | scores | {"batch": batch} | times)
    return rows + resnet(folder)


def resnet_bundles(folder: Path, size: int = 96) -> dict[str, Path]:
    """ResNet-18 with random weights at the size of the published recipe, as two bundles."""
    torch.manual_seed(0)
    encoder, probe = build_encoder("resnet18").eval(), torch.nn.Linear(512, 10)
    images = data.shapes("unlabeled", size, 64)
    classes = data.shapes("train", 32, 10).classes
    places = {p: folder / f"resnet18-{p}" for p in PRECISIONS}
    for precision, place in places.items():
        make_bundle(
            encoder, probe, place, classes=classes, size=size, precision=precision, calibration=images.images
        )
    return places


def resnet(folder: Path) -> list[dict]:
    images = data.shapes("test", 96, 16).images
    rows = []
    for precision, place in resnet_bundles(folder).items():
        bundle = load_bundle(place)
        row = {"part": "quantize", "model": "resnet18, 96 px, random weights", "precision": precision}
        row["bytes"] = (place / MODEL).stat().st_size
        for batch, repeats in ((1, 100), (16, 20)):
            rows.append(row | {"batch": batch} | milliseconds(bundle, images[:batch], repeats))
    return rows


def png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def load(client: process.Client, bodies: list[bytes], requests: int, clients: int) -> dict:
    """`requests` POSTs from `clients` connections, each sending the next when the last is answered."""
    times, failed, lock = [], [], threading.Lock()

    def work(first: int) -> None:
        connection = client.connect()
        for i in range(first, requests, clients):
            start = time.perf_counter()
            status, _ = client.send(connection, bodies[i % len(bodies)], "image/png")
            took = 1000 * (time.perf_counter() - start)
            with lock:
                times.append(took)
                if status != 200:
                    failed.append(status)
        connection.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return {
        "requests": len(times), "clients": clients, "failed": len(failed), "p50_ms": round(statistics.median(times), 3),
        "p95_ms": round(percentile(times, 95), 3), "requests_per_second": round(len(times) / seconds, 1),
    }  # fmt: skip


def serve(steps: int, requests: int, clients: int, folder: Path) -> list[dict]:
    encoder, probe, calibration, train, test = trained(0, steps)
    small = {p: folder / f"small-{p}" for p in PRECISIONS}
    for precision, place in small.items():
        make_bundle(
            encoder,
            probe,
            place,
            classes=train.classes,
            size=32,
            precision=precision,
            calibration=calibration,
        )
    models = {
        "convnet": (small, [png(image) for image in test.images[:100]]),
        "resnet18, 96 px, random weights": (
            resnet_bundles(folder),
            [png(image) for image in data.shapes("test", 96, 50).images],
        ),
    }
    rows = []
    for kind in process.SERVERS:
        if kind == "torchserve" and (reason := torchserve.missing()):
            print(f"torchserve left out: {reason}")
            continue
        for model, (bundles, bodies) in models.items():
            for precision, place in bundles.items():
                work = folder / f"{kind}-{model[:8]}-{precision}"
                start = time.perf_counter()
                with process.serve(kind, place, work, patience=120) as client:
                    row = {"part": "serve", "server": kind, "model": model, "precision": precision}
                    row["start_seconds"] = round(time.perf_counter() - start, 2)
                    load(client, bodies, 50, clients)  # not counted: the first requests pay for the warm-up
                    for n in (1, clients):
                        rows.append(row | {"batch": n} | load(client, bodies, requests, n))
                        print(rows[-1], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=("quantize", "serve"), default=["quantize", "serve"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300, help="of pretraining")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    if min(options.steps, options.requests, options.clients) < 1 or options.requests > 10_000:
        parser.error("steps, requests and clients must be at least 1, requests at most 10,000")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "quantize" in options.parts:
            rows += quantize(options.seeds, options.steps, folder)
        if "serve" in options.parts:
            torch.set_num_threads(1)
            rows += serve(options.steps, options.requests, options.clients, folder)
    served = {row.get("server") for row in rows}
    packages = PACKAGES + (("torchserve",) if "torchserve" in served else ())
    for row in rows:
        print(row)
    path = merge("serving", rows, KEY, packages)
    groups = "--group serve --group torchserve"  # without which the recorded command does not run
    path.write_text(path.read_text().replace("uv run python", f"uv run {groups} python"))
    print("saved", path.name, "on", machine())


if __name__ == "__main__":
    main()
