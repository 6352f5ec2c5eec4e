"""`ssl-lessons pretrain`: plan a run, train, say what came out."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssl_lessons.cli.options import (
    INTERRUPTED,
    NATIVE,
    RUN_FILE,
    Data,
    DataDir,
    Device,
    Download,
    Json,
    Labels,
    Mirror,
    NoCache,
    Unlabeled,
    app,
    fail,
    labelled,
    load,
    load_at_most,
    read_run,
    resized,
    stdout_for,
    where,
)  # fmt: skip
from ssl_lessons.data.names import check_known
from ssl_lessons.errors import InputError
from ssl_lessons.training.launch import ignored_ranks, is_other_rank

MONITORED = 2_000  # images that the online measures look at, half of them as neighbours

# What is written and how long, then what is learned from, then how.
Out = Annotated[Path | None, typer.Option(help="Folder to write to. Required.")]
Method = Annotated[
    str | None,
    typer.Option(
        help="How to learn: simclr, simclr_v2, dcl, spectral, directclr, supcon, nnclr, instdisc, pirl, moco_v1, "
        "moco_v2, moco_v3, mochi, diet, densecl, insloc, essl, equimod, looc; byol, simsiam, dino, ibot, dinov2, msf, "
        "simdino, selfpatch; "
        "barlow_twins, vicreg, vicregl, w_mse, tico, mmcr, frossl, emp_ssl, lejepa, visreg; deepcluster, "
        "online_deepcluster, sela, swav, pcl, msn; mae, simmim, beit, data2vec, ijepa, crossmae, salt; "
        "context_encoder, colorization, split_brain, rotation, relative_position, jigsaw, counting, exemplar;"
        " or supervised, the baseline. Default: simclr."
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="quick (a minute on two cores), published (the source page's) or recommended (ours for "
        "STL-10 on a GPU). Fills in whatever you leave out. Default: quick."
    ),
]
Epochs = Annotated[float | None, typer.Option(help="Passes over the images. Default: the recipe's.")]
Minutes = Annotated[
    float | None, typer.Option(help="Instead of --epochs: times a few steps, then trains for what fits.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of --epochs: optimizer steps.")]
Size = Annotated[int | None, typer.Option(min=1, help="Side of the augmented views in pixels.")]
Images = Annotated[
    int | None,
    typer.Option(min=2, help="How many images to train on. Default: 8,192 of shapes, else all."),
]
LabelsPerClass = Annotated[
    int | None, typer.Option(min=1, help="With --method supervised: labels per class. Default: all.")
]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images per step.")]
Temperature = Annotated[float | None, typer.Option(help="Temperature of the contrastive loss.")]
Optimizer = Annotated[str | None, typer.Option(help="adamw, sgd or lars.")]
Rate = Annotated[
    float | None, typer.Option(help="Peak learning rate; not scaled with the batch without --lr-rule.")
]
Rule = Annotated[
    str | None,
    typer.Option(
        help="linear or sqrt: multiply the learning rate by batch size / 256 or its square root. The recipe's own "
        "rate counts from the recipe's batch size."
    ),
]
Decay = Annotated[float | None, typer.Option(help="Weight decay.")]
Encoder = Annotated[str | None, typer.Option(help="convnet, resnet18, resnet18_3x3 or vit; lab or split.")]
Strength = Annotated[
    float | None, typer.Option(help="Multiplies the recipe's colour jitter: 0 = none, 1 = as it is.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed of weights, batches, views and label draw. Default: 0.")
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16. Default: half precision on a GPU, float32 elsewhere; `doctor` says "
        "whether bfloat16 pays on this CPU."
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out with the options it was started with.")
]
CheckpointMinutes = Annotated[
    float, typer.Option(min=0, help="Write a checkpoint at least this often. It may differ when you resume.")
]
Compiled = Annotated[
    bool,
    typer.Option("--compile", help="torch.compile the encoder: for long runs on a GPU. Needs a compiler."),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]


@app.command()
def pretrain(
    out: Out = None, data: Data = None, labels: Labels = None, unlabeled: Unlabeled = None, method: Method = None,
    recipe: Recipe = None, epochs: Epochs = None, minutes: Minutes = None, steps: Steps = None, size: Size = None,
    images: Images = None, labels_per_class: LabelsPerClass = None, batch_size: BatchSize = None,
    temperature: Temperature = None, optimizer: Optimizer = None, lr: Rate = None, lr_rule: Rule = None,
    weight_decay: Decay = None, encoder: Encoder = None, policy_strength: Strength = None, seed: Seed = None,
    precision: Precision = None, resume: Resume = False, checkpoint_minutes: CheckpointMinutes = 5.0,
    compiled: Compiled = False, no_cache: NoCache = False, data_dir: DataDir = None, mirror: Mirror = None,
    download: Download = False, device: Device = None, no_progress: NoProgress = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Pretrain an encoder on images without their labels.

    Writes into the folder --out: checkpoint.pt (to resume), encoder.safetensors and encoder.json (the
    encoder), history.json (loss, learning rate and online measures per step), log.txt (what happened when), run.json
    (all options and the result). The pictures of a folder are decoded once and kept in $SSL_LESSONS_CACHE.

    \b
    Examples:
      ssl-lessons pretrain --minutes 1 --out runs/first
      ssl-lessons pretrain --data photos/ --size 64 --epochs 50 --out runs/photos
      ssl-lessons pretrain --data stl10 --download --recipe recommended --out runs/stl10
      ssl-lessons pretrain --resume --out runs/stl10
      torchrun --nproc-per-node=4 -m ssl_lessons pretrain --batch-size 1024 --lr-rule sqrt --out runs/four
    """
    asked = dict(locals())
    place = where(data_dir, mirror, download, cache=not no_cache)
    how = {
        "checkpoint_minutes": checkpoint_minutes, "compiled": compiled, "progress": not no_progress, "resume": resume,
    }  # fmt: skip
    for name in ("out", "resume", "checkpoint_minutes", "compiled", "no_cache", "data_dir", "mirror", "download",
                 "device", "no_progress", "as_json"):  # fmt: skip
        del asked[name]
    asked = {name: value for name, value in asked.items() if value is not None}
    if out is None:
        raise InputError("say where to write with --out DIR, e.g. --out runs/first")
    if data is not None:
        check_known(data)
    from ssl_lessons.models import pick_device
    from ssl_lessons.training import distributed

    if is_other_rank():
        sys.stdout = open(os.devnull, "w")
    if note := ignored_ranks():
        print(note, file=sys.stderr)
    chosen = pick_device(device)
    with stdout_for(as_json and not is_other_rank()), distributed.process_group(chosen):
        result = _pretrain(asked, out, place, chosen, how)
    if as_json:
        print(json.dumps(result, indent=2))


def _pretrain(asked: dict, out: Path, place: dict, device, how: dict) -> dict | None:
    """`how`: arguments of the training loop that may differ when a run is resumed."""
    from ssl_lessons import training
    from ssl_lessons.training import distributed
    from ssl_lessons.training.plan import Plan

    stored = distributed.from_main(lambda: _planned(asked, out, how["resume"], place["data_dir"]))
    plan = Plan.from_dict(stored)
    if how["resume"] and "result" in stored and distributed.from_main((out / "encoder.safetensors").is_file):
        print(f"The run in {out} is complete ({plan.steps:,} steps); nothing was changed.")
        return stored["result"] | {"already_complete": True}

    place = place | {"data_dir": place["data_dir"] or plan.data_dir, "labels": plan.labels}
    with distributed.one_per_machine_first():  # what has to be downloaded or decoded is so once
        train, labels, others = _training_images(plan, place)
    if len(train) < 2:
        raise InputError(f"pretraining compares pictures, and {len(train)} is left to train on; give at least three")
    if plan.batch_size > len(train) and "batch_size" not in asked:
        print(f"{len(train):,} images do not fill a batch of {plan.batch_size}: the batch is all of them.")
        plan = replace(plan, batch_size=len(train))
    model = plan.build(n_images=len(train), n_classes=len(train.classes))
    policies = model.views(plan.policy)
    model.refuse_ranks(distributed.world_size())
    distributed.my_rows(plan.batch_size)  # refuses a batch that the ranks cannot share

    keywords = {"labels": labels, "device": device}
    plan = _fitted(plan, model, train.images, policies, keywords)
    if distributed.is_main():
        _write_run(out, plan.as_dict())
    if plan.lr_rule is not None:
        print(
            f"learning rate {plan.peak_lr:.4g}: {plan.lr:g} at batch {plan.lr_batch}, {plan.lr_rule} rule, for batch "
            f"{plan.batch_size}"
        )
    monitor = None if others is None else training.default_monitor(others, plan.steps)
    _announce(plan, train, device, distributed.world_size(), monitor)
    try:
        history = training.pretrain(
            model, train.images, policies, steps=plan.steps, monitor=monitor, out=out,
            checkpoint_every=max(1, plan.steps // 10), **how, **plan.training(), **keywords,
        )  # fmt: skip
    except KeyboardInterrupt:
        fail(f"interrupted; continue with: ssl-lessons pretrain --resume --out {out}", INTERRUPTED)
    if not distributed.is_main():
        return None
    result = _result(plan, out, history, model.encoder, monitor, train)
    _write_run(out, plan.as_dict() | {"result": result})
    _print_result(result, len(train.classes))
    return result | {"already_complete": False}


def _write_run(out: Path, content: dict) -> None:
    from ssl_lessons.storage import write_atomically

    write_atomically(out / RUN_FILE, lambda path: path.write_text(json.dumps(content, indent=2) + "\n"))


def _announce(plan, train, device, ranks: int, monitor) -> None:
    print(
        f"{plan.method} on {len(train):,} images of {train.name}, {plan.size} px, {plan.encoder}: "
        f"{plan.steps:,} steps of {plan.batch_size} "
        f"({plan.steps * plan.batch_size / len(train):.1f} epochs) on {device.type}"
        + (f", {ranks} processes with {plan.batch_size / ranks:g} images each" if ranks > 1 else ""),
        flush=True,
    )
    if monitor is None:
        print("Too few images are left over to measure anything on the way; the loss alone is shown.")
    elif not monitor.labelled:
        print(
            "The images have no labels: measured on the way are loss, spread and rank, not the kNN accuracy."
        )


def _planned(asked: dict, out: Path, resume: bool, data_dir: str | None) -> dict:
    """The plan as it stands in run.json: the stored one for a resumed run, else the recipe's with `asked`."""
    from ssl_lessons.training.checkpoints import exists
    from ssl_lessons.training.plan import check, make

    check(asked)
    for name in (
        "data",
        "unlabeled",
    ):  # absolute, so that `probe` and `--resume` find the images from any folder
        if (
            name in asked
            and asked[name] not in ("shapes", *NATIVE)
            and Path(asked[name]).expanduser().exists()
        ):
            asked[name] = str(Path(asked[name]).expanduser().resolve())
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out a folder")
    if exists(out) and not resume:
        raise InputError(f"{out} already holds a run; continue it with --resume or choose another folder")
    stored = read_run(out) if resume else {}
    if not stored:
        if resume and not asked:
            raise InputError(
                f"{out} holds no {RUN_FILE} to resume from; leave out --resume to start a run there"
            )
        return make(
            asked | {"data_dir": data_dir}
        ).as_dict()  # one command line both starts and continues a run
    known = stored | stored["method_options"]
    changed = [
        f"--{name.replace('_', '-')} {known.get(name)} -> {value}"
        for name, value in asked.items()
        if known.get(name) != value
        and name != "precision"  # of another card
        and not (name in ("data", "unlabeled") and _moved(known.get(name), value))
    ]
    if changed:
        raise InputError(
            f"the run in {out} was started with other options ({', '.join(changed)}); "
            "leave them out or choose another folder"
        )
    return stored | {name: asked[name] for name in ("data", "unlabeled", "precision") if name in asked}


def _moved(old: str | None, new: str) -> bool:
    """Whether the images may be the same ones in another place."""
    return old is not None and os.path.isabs(old) and os.path.isabs(new) and Path(old).name == Path(new).name


def _training_images(plan, place: dict):
    """The images to train on, their labels (or None), and others for the online measures (or None)."""
    import torch

    from ssl_lessons import data

    source, size = plan.data, plan.size
    # Crops are cut from the data set's own resolution; the embedded world is drawn at the view's.
    load_size = size if source == "shapes" else max(size, NATIVE.get(source, 64))
    if not plan.supervised:
        beside = place | ({"unlabeled": plan.unlabeled} if plan.unlabeled else {})
        train = load(source, "unlabeled", load_size, beside, plan.images)
        return train, None, load_at_most(MONITORED, source, "train", size, place)
    train = labelled(load(source, "train", load_size, place, plan.images), "--method supervised")
    if plan.labels_per_class is None:
        return train, train.labels, None
    chosen = data.label_subset(train.labels, plan.labels_per_class, seed=plan.seed)
    unused = torch.ones(len(train), dtype=torch.bool)
    unused[chosen] = False
    rest = unused.nonzero().flatten()
    rest = train[rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(0))[:MONITORED]]]
    seen = replace(rest, images=resized(rest.images, size)) if len(rest) >= 100 else None
    return train[chosen], train.labels[chosen], seen


def _fitted(plan, model, images, policies, keywords: dict):
    """The plan with its steps; a budget in minutes is turned into steps by timing a few of them here."""
    from ssl_lessons import training

    if plan.steps is not None or plan.minutes is None:
        return plan.fitted(len(images))
    seconds = training.time_steps(
        model, images, policies, plan.batch_size, precision=plan.precision, **keywords
    )
    plan = plan.fitted(len(images), seconds)
    print(
        f"{1000 * seconds:.0f} ms per step here: {plan.minutes:g} min fit {plan.steps:,} steps = "
        f"{plan.steps * plan.batch_size / len(images):.1f} epochs"
    )
    return plan


def _result(plan, out: Path, history: list[dict], encoder, monitor, train) -> dict:
    """The end of a run in numbers, ready for JSON."""
    from ssl_lessons.diagnostics import diagnose
    from ssl_lessons.evaluation import extract_features

    seen = resized(train.images[:1_000], plan.size) if monitor is None else monitor.query.images
    features = extract_features(encoder, seen)
    report = diagnose(features) if len(features) > 1 else None
    last = history[-1]
    written = ("checkpoint.pt", "encoder.safetensors", "encoder.json", "history.json", "log.txt", RUN_FILE)
    evidence = report.evidence if report else {}
    return {
        "out": str(out), "method": plan.method, "data": plan.data, "size": plan.size,
        "steps": plan.steps, "epochs": last["epoch"], "seconds": last["seconds"], "loss": last["loss"],
        "knn": last.get("knn"), "feature_std": evidence.get("feature_std"),
        "rank_me": evidence.get("rank_me"), "dimensions": features.shape[1],
        "verdict": report.verdict if report else None, "report": str(report) if report else "one image says nothing",
        "files": [str(out / name) for name in written],
    }  # fmt: skip


def _print_result(r: dict, classes: int) -> None:
    print(f"\n{r['steps']:,} steps ({r['epochs']:.1f} epochs) in {r['seconds']:.0f} s")
    print(f"  loss         {r['loss']:.3f}")
    if r["knn"] is not None:
        print(f"  kNN          {r['knn']:.1%} of images it has no label of (chance {1 / classes:.1%})")
    if r["feature_std"] is not None:
        print(f"  feature std  {r['feature_std']:.3f} (0 = collapsed, 1 = the most there can be)")
        print(f"  RankMe       {r['rank_me']:.1f} of {r['dimensions']} dimensions")
    print(f"  verdict      {r['report']}")
    print(f"  files        {r['out']}: {', '.join(Path(f).name for f in r['files'])}")
    print(f"Next: ssl-lessons {'probe' if classes > 1 else 'diagnose'} {r['out']}")
