"""`ssl-lessons probe` and `diagnose`: what a trained encoder knows, and whether it has collapsed."""

from __future__ import annotations

import json
import math
import time
from typing import Annotated

import typer

from ssl_lessons.cli.options import (
    AT_MOST,
    Data,
    DataDir,
    Device,
    Download,
    Folder,
    Json,
    Labels,
    Mirror,
    NoCache,
    app,
    labelled,
    load_at_most,
    load_split,
    read_run,
    resized,
    stdout_for,
    trained,
    where,
)  # fmt: skip
from ssl_lessons.errors import InputError

FINE_TUNE_STEPS = 300

FineTune = Annotated[
    bool,
    typer.Option(
        "--fine-tune", help="Also train the whole network on the labels, pretrained and from scratch."
    ),
]
FineTuneSteps = Annotated[
    int | None,
    typer.Option(min=1, help=f"With --fine-tune: steps of 100 images. Default: {FINE_TUNE_STEPS}."),
]


@app.command()
def probe(
    folder: Folder,
    data: Data = None,
    labels: Labels = None,
    labels_per_class: Annotated[
        int, typer.Option(min=1, help="Labels per class that the probe learns from.")
    ] = 10,
    draws: Annotated[int, typer.Option(min=1, help="Repetitions, each with other labels.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first draw; the next ones follow.")] = 0,
    train_images: Annotated[
        int | None, typer.Option(min=2, help=f"Train images to draw from. Default: all, {AT_MOST:,} at most.")
    ] = None,
    test_images: Annotated[
        int | None, typer.Option(min=1, help=f"Test images to score on. Default: all, {AT_MOST:,} at most.")
    ] = None,
    fine_tune: FineTune = False,
    fine_tune_steps: FineTuneSteps = None,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    download: Download = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure what a frozen encoder knows, beside two baselines.

    A linear probe on a few labels, for the encoder in DIR, for the same network untrained and for the raw
    pixels (shrunk to 32 px, to 16 px with over 50 classes), all on the same draws of labels; the spread is
    the standard deviation over the draws. kNN uses the labels of all train images looked at. Prints a table
    and writes nothing. --data defaults to what the encoder was trained on.

    With --fine-tune the encoder and the same network from scratch are also trained on the labels of each
    draw, on the random views of the run (without run.json: of the quick recipe). Minutes, with many draws.

    \b
    Examples:
      ssl-lessons probe runs/first --labels-per-class 10 --draws 10
      ssl-lessons probe runs/first --labels-per-class 10 --draws 3 --fine-tune
    """
    from ssl_lessons.models import pick_device

    if fine_tune_steps is not None and not fine_tune:
        raise InputError("--fine-tune-steps says how long to fine-tune; give --fine-tune too")
    place = where(data_dir, mirror, download, labels=labels, cache=not no_cache)
    with stdout_for(as_json):
        encoder, size, source, place = trained(folder, data, place)
        train = labelled(load_split(source, "train", size, train_images, place), "a probe")
        test = labelled(load_split(source, "test", size, test_images, place), "a probe")
        chosen = pick_device(device)
        result = _probe(folder, encoder, train, test, labels_per_class, draws, seed, chosen)
        if fine_tune:
            steps = fine_tune_steps or FINE_TUNE_STEPS
            result["fine_tuning"] = _fine_tuned(
                folder, encoder, train, test, labels_per_class, draws, seed, chosen, steps
            )
    if as_json:
        print(json.dumps(result, indent=2))


def _probe(folder, encoder, train, test, per_class: int, draws: int, seed: int, device) -> dict:
    from ssl_lessons.data import label_subset
    from ssl_lessons.evaluation import extract_features, knn_accuracy, label_efficiency, pixels
    from ssl_lessons.models import untrained

    try:
        label_subset(train.labels, per_class, seed)  # refused now, not after minutes of work
    except InputError as error:
        raise InputError(
            f"{error} (of {len(train):,} train images); lower --labels-per-class or raise --train-images"
        ) from None
    classes = len(train.classes)
    side = min(train.size, 32 if classes <= 50 else 16)  # else minutes per draw, for a baseline

    def learned(network):
        network = network.to(device)
        return lambda images: extract_features(network, images, progress=True)

    def raw(images):
        return pixels(resized(images, side))

    print(
        f"{train.name}, {train.size} px, {classes} classes: {len(train):,} train and {len(test):,} test "
        f"images; {draws} draws of {per_class} labels per class"
    )
    print(f"{'':20} {'linear probe':>16} {'kNN':>8}")
    rows = []
    for name, features in (
        ("encoder", learned(encoder)),
        ("untrained encoder", learned(untrained(encoder, images=train.images))),
        (f"pixels ({side} px)", raw),
    ):
        start = time.perf_counter()
        train_x, test_x = features(train.images), features(test.images)
        knn = knn_accuracy(train_x, train.labels, test_x, test.labels)
        scores = label_efficiency(
            train_x, train.labels, test_x, test.labels, (per_class,), draws=draws, seed=seed, progress=True
        )[0]
        seconds = time.perf_counter() - start
        rows.append(
            {
                "features": name.split(" (")[0], "dimensions": train_x.shape[1], "mean": scores["mean"],
                "std": scores["std"], "accuracies": scores["accuracies"], "knn": knn, "seconds": seconds,
            }
        )  # fmt: skip
        print(f"{name:20} {scores['mean']:8.1%} ± {scores['std']:5.1%} {knn:8.1%}", flush=True)
    print(f"{'chance':20} {1 / classes:8.1%} {'':7} {1 / classes:8.1%}")
    return {
        "folder": str(folder), "data": train.name, "size": train.size, "classes": classes,
        "labels_per_class": per_class, "labels": per_class * classes, "draws": draws, "seed": seed,
        "train_images": len(train), "test_images": len(test), "pixel_size": side, "chance": 1 / classes,
        "rows": rows,
    }  # fmt: skip


def _fine_tuned(
    folder, encoder, train, test, per_class: int, draws: int, seed: int, device, steps: int
) -> dict:
    from ssl_lessons.evaluation import fine_tune_efficiency
    from ssl_lessons.models import untrained
    from ssl_lessons.training.plan import Plan
    from ssl_lessons.training.recipes import get_recipe

    run = read_run(folder)
    policy = Plan.from_dict(run).policy if run else get_recipe("quick").policy.replace(size=train.size)
    print(f"\nThe whole network, trained for {steps:,} steps on the same labels, {2 * draws} times in all:")
    rows = []
    for name, start in (("fine-tuned", encoder), ("from scratch", untrained(encoder))):
        begin = time.perf_counter()
        (scores,) = fine_tune_efficiency(
            start, train.images, train.labels, test.images, test.labels, (per_class,), draws, seed,
            policy=policy, steps=steps, device=device, progress=True,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        measured = {key: scores[key] for key in ("mean", "std", "accuracies")}
        rows.append({"network": name, **measured, "seconds": seconds})
        print(f"{name:20} {scores['mean']:8.1%} ± {scores['std']:5.1%}", flush=True)
    print("Compare frozen with frozen (above), and fine-tuned with from scratch.")
    return {"steps": steps, "rows": rows}


@app.command()
def diagnose(
    folder: Folder,
    data: Data = None,
    labels: Labels = None,
    images: Annotated[int, typer.Option(min=2, help="Test images to look at, if there are as many.")] = 2_000,
    no_cache: NoCache = False,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    download: Download = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say whether an encoder has collapsed, without labels.

    Prints every measure of the book and a verdict with likely causes. They describe the features, not the
    projector's outputs, which are not exported. Writes nothing. --data defaults to what it was trained on.

    Example:  ssl-lessons diagnose runs/first
    """
    from ssl_lessons.models import pick_device

    place = where(data_dir, mirror, download, labels=labels, cache=not no_cache)
    with stdout_for(as_json):
        encoder, size, source, place = trained(folder, data, place)
        result = _diagnose(
            folder, encoder.to(pick_device(device)), load_at_most(images, source, "test", size, place)
        )
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))


MEASURES = {
    "feature_std": "0 = collapsed, 1 = the most there can be",
    "spread": "share of the squared length off the common direction, 0 to 1",
    "rank_me": "effective rank of the features (RankMe)",
    "effective_rank": "the same around their mean",
    "directions": "directions above noise",
    "directions_possible": "the most these images and dimensions can show",
    "participation_ratio": "directions counted by variance",
    "largest_share": "share of the variance in the first direction",
    "alpha_req": "decay of the spectrum (alpha-ReQ), healthy near 1",
    "alignment": "squared distance of two views of an image; 0 = the same",
    "alignment_unrelated": "the same for views of different images",
    "uniformity": "0 = all in one point, -4 = all over the sphere",
    "mean_norm": "mean length of a feature",
}


def _diagnose(folder, encoder, images) -> dict:
    import torch

    from ssl_lessons import diagnostics
    from ssl_lessons.evaluation import extract_features
    from ssl_lessons.progress import patient
    from ssl_lessons.training.recipes import get_recipe
    from ssl_lessons.views import make_views

    features = extract_features(encoder, images.images, progress=True)
    report = diagnostics.diagnose(features).as_dict()
    if report["verdict"] != "not finite":
        policy = get_recipe("quick").policy.replace(size=images.size)
        generator, device = torch.Generator().manual_seed(0), next(encoder.parameters()).device
        pairs = []
        with torch.no_grad():
            for batch in patient(
                images.images.split(256), "two views of each", total=math.ceil(len(images) / 256)
            ):
                views = make_views(batch.to(device), (policy, policy), generator)
                pairs.append(torch.stack([encoder(view).float().cpu() for view in views]))
        first, second = torch.cat(pairs, dim=1)
        report["evidence"]["alignment"] = diagnostics.alignment(first, second)
        report["evidence"]["alignment_unrelated"] = diagnostics.alignment(first, second.roll(1, dims=0))
        report["singular_values"] = diagnostics.singular_values(features).tolist()
    n, d = features.shape
    print(f"features of {n:,} test images of {images.name}, {images.size} px, {d} dimensions\n")
    for name, meaning in MEASURES.items():
        value = report["evidence"].get(name)
        if name in report["evidence"]:
            print(f"{name:20} {'undefined' if value is None else format(value, '.3f'):>10}   {meaning}")
    words = [report["explanation"]]
    if report["causes"]:
        words.append(f"Likely causes, in order: {'; '.join(report['causes'])}.")
    if report["try_first"]:
        words.append(f"Try first: {report['try_first']}.")
    if report["blind"]:
        words.append(f"Blind spots: {' '.join(report['blind'])}")
    print(f"\n{report['verdict'].capitalize()}. {' '.join(words)}")
    return {
        "folder": str(folder),
        "data": images.name,
        "size": images.size,
        "images": n,
        "dimensions": d,
    } | report
