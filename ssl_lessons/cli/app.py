"""The command line: `ssl-lessons lab, run, build, doctor, pretrain, probe, diagnose, export, serve`.

torch and everything that needs it is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from ssl_lessons.errors import InputError

BAD_INPUT, DIVERGED, INTERRUPTED = 2, 3, 130
RUN_FILE = "run.json"
SHAPES_IMAGES = 8_192  # images of the embedded world that `pretrain` draws unless told otherwise
NATIVE = {"digits": 8, "cifar10": 32, "stl10": 96}  # a folder is read at 64 px or more
CALIBRATION = 512  # unlabelled images from which int8 takes the ranges of its activations
AT_MOST = 5_000  # images of a split that `probe` looks at unless told otherwise
TRAINING = ("batch_size", "optimizer", "lr", "weight_decay", "warmup", "seed")  # go to the training loop
BATCH_256_LR = {"adamw": 3e-3, "sgd": 0.06, "lars": 0.3}  # our recipes' values; LARS: SimCLR, appendix B.6


class _Group(TyperGroup):
    """Errors meant for the reader are printed as one message; any other keeps its traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except InputError as error:
            _fail(error, BAD_INPUT)
        except RuntimeError as error:
            # Only a process that imported the training loop can have seen a run diverge.
            diverged = getattr(sys.modules.get("ssl_lessons.training.loop"), "Diverged", ())
            if not isinstance(error, diverged):
                raise
            _fail(error, DIVERGED)


def _fail(message, code: int):
    if not _is_other_rank():
        print(message, file=sys.stderr)
    raise typer.Exit(code) from None


def _is_other_rank() -> bool:
    """Whether torchrun started this process beside the one that speaks for all, rank 0."""
    return os.environ.get("RANK", "0") != "0"


app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the `ssl-lessons` command."""
    app(prog_name="ssl-lessons")


def _show_version(wanted: bool) -> None:
    if wanted:
        import ssl_lessons

        print(f"ssl-lessons {ssl_lessons.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """A course on self-supervised learning that runs on your own machine.

    Begin with `ssl-lessons lab`, which opens the first chapter in JupyterLab.
    """


Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NN", help="Chapter numbers such as 00 13 25; all when left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Data = Annotated[
    str | None,
    typer.Option(help="shapes, digits, stl10, cifar10, or a folder with one sub-folder of images per class."),
]
DataDir = Annotated[
    str | None,
    typer.Option(help="Where STL-10 and CIFAR-10 lie or go. Default: $SSL_LESSONS_DATA, else data/cache."),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        help="Download from this address instead, e.g. one laptop of the classroom. Implies --download."
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Download STL-10 or CIFAR-10 when it is not there.")
]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. Default: the GPU when there is one.")]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder written by `ssl-lessons pretrain --out`.")
]


# ---- the book ----------------------------------------------------------------------------------------------


@app.command()
def lab(
    number: Annotated[str, typer.Argument(metavar="NN", help="The chapter to open.")] = "00",
    port: Annotated[
        int | None, typer.Option(help="Port of the JupyterLab server. Default: the first free.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address instead of opening it.")
    ] = False,
) -> None:
    """Open a chapter in JupyterLab; Ctrl-C in the terminal stops it.

    Writes the chapter's notebook (chapters/NN_name.ipynb) if it is not there yet, and what you save in it.

    Example:  ssl-lessons lab 13
    """
    from ssl_lessons.book.lab import open_chapter

    raise typer.Exit(open_chapter(number, browser=not no_browser, port=port))


@app.command()
def run(numbers: Numbers = None, as_json: Json = False) -> None:
    """Execute chapters without a browser and say how each went.

    Prints one line per chapter as it finishes: seconds, peak memory, "ok" or what failed in which cell.
    Writes no notebook. The exit code is 1 when a chapter failed.

    Example:  ssl-lessons run 00 13
    """
    from ssl_lessons import book

    _chapters(book.run, numbers, as_json)


@app.command()
def build(numbers: Numbers = None, as_json: Json = False) -> None:
    """Execute chapters and save them as notebooks (for authors).

    Writes chapters/NN_name.ipynb from chapters/NN_name.py, outputs included, without what changes from build
    to build; then data/results/claims.json. A chapter that fails keeps its old notebook, and
    the exit code is 1.

    Example:  ssl-lessons build 13
    """
    from ssl_lessons import book

    _chapters(book.build, numbers, as_json)


def _chapters(work, numbers, as_json: bool) -> None:
    results = []

    def started(source: Path) -> None:
        if sys.stderr.isatty():
            print(f"{source.stem} ...", end="\r", file=sys.stderr, flush=True)

    def finished(result) -> None:
        results.append(result)
        if not as_json:
            print(
                f"{result.name:30} {result.seconds:6.1f} s {result.peak_mib:7,.0f} MiB  {result.verdict}",
                flush=True,
            )

    try:
        work(numbers or (), started=started, finished=finished)
    except InputError as error:
        if all(result.ok for result in results):  # not about a chapter that failed
            raise
        print(error, file=sys.stderr)
    ok = all(result.ok for result in results)
    if as_json:
        rows = [
            {
                "chapter": r.number, "name": r.name, "seconds": r.seconds, "peak_mib": r.peak_mib,
                "verdict": r.verdict, "ok": r.ok,
            }
            for r in results
        ]  # fmt: skip
        print(json.dumps({"ok": ok, "chapters": rows}, indent=2))
    raise typer.Exit(0 if ok else 1)


# ---- doctor ------------------------------------------------------------------------------------------------


@app.command()
def doctor(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Look at this machine: what is missing, what a minute buys.

    Times a few real training steps, which takes some seconds. Writes nothing. Every problem comes
    with what to do.

    Example:  ssl-lessons doctor
    """
    with _stdout_for(as_json):
        report = _examine(data_dir)
        if not as_json:
            _print_examination(report)
    if as_json:
        print(json.dumps(report, indent=2))


def _examine(data_dir: str | None) -> dict:
    import platform
    import shutil
    from importlib.util import find_spec

    import torch
    import torchvision

    import ssl_lessons
    from ssl_lessons.training import pick_device

    gpu = pick_device().type == "cuda"
    device = {"type": "cpu", "name": platform.processor() or platform.machine(), "memory_gb": None}
    if gpu:
        properties = torch.cuda.get_device_properties(0)
        device = {"type": "cuda", "name": properties.name, "memory_gb": properties.total_memory / 2**30}
    place = (
        Path(data_dir or os.environ.get("SSL_LESSONS_DATA") or Path("data", "cache")).expanduser().absolute()
    )
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    total, available = _memory_gb()
    report = {
        "ssl_lessons": ssl_lessons.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "device": device,
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": total,
        "memory_available_gb": available,
        "disk_free_gb": shutil.disk_usage(existing).free / 2**30,
        "jupyterlab": _version("jupyterlab"),
        "jupytext": _version("jupytext"),
        "data_dir": str(place),
        "data": {
            "stl10": (place / torchvision.datasets.STL10.base_folder).is_dir(),
            "cifar10": (place / torchvision.datasets.CIFAR10.base_folder).is_dir(),
        },
        "one_minute": {name: _one_minute(name) for name in (["quick", "recommended"] if gpu else ["quick"])},
    }
    report["problems"] = _problems(report, psutil=find_spec("psutil") is not None)
    return report


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> tuple[float | None, float | None]:
    """Memory of the machine and the part that is available, in GiB; None where the system does not say."""
    try:
        import psutil

        memory = psutil.virtual_memory()
        return memory.total / 2**30, memory.available / 2**30
    except ImportError:
        pass
    try:
        pages = (os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # AttributeError: Windows
        return None, None
    total, available = (n * os.sysconf("SC_PAGE_SIZE") / 2**30 for n in pages)
    return total, available


def _one_minute(name: str) -> dict:
    """What 60 seconds of SimCLR with this recipe buy here, from a few steps on embedded images."""
    from ssl_lessons import data
    from ssl_lessons.training import steps_that_fit, time_steps
    from ssl_lessons.training.recipes import get_recipe

    recipe = get_recipe(name)
    images = data.shapes("unlabeled", recipe.policy.size, 2 * recipe.batch_size).images
    seconds = time_steps(recipe.build(), images, (recipe.policy, recipe.policy), recipe.batch_size)
    steps, epochs = steps_that_fit(60, seconds, SHAPES_IMAGES, recipe.batch_size)
    return {"seconds_per_step": seconds, "steps": steps, "epochs": epochs, "images": SHAPES_IMAGES}


def _problems(report: dict, psutil: bool) -> list[str]:
    """One sentence for each thing that will get in the way, with what to do about it."""
    import shutil

    found = []
    if report["threads"] < report["cores"]:
        found.append(
            f"torch uses {report['threads']} of {report['cores']} cores: unset OMP_NUM_THREADS first"
        )
    if report["device"]["type"] == "cpu" and shutil.which("nvidia-smi"):
        found.append(
            "there is an NVIDIA driver, but this torch cannot use the GPU: install a CUDA build of torch "
            "(https://pytorch.org/get-started) and see what `nvidia-smi` says"
        )
    available = report["memory_available_gb"]
    if available is not None and available < 2:
        found.append(
            f"only {available:.1f} GB of memory are free: close other programs, a chapter needs up to 2 GB"
        )
    if report["disk_free_gb"] < 1:
        found.append(f"only {report['disk_free_gb']:.1f} GB of disk are free: make room before you pretrain")
    elif report["disk_free_gb"] < 6 and not report["data"]["stl10"]:
        found.append(
            f"{report['disk_free_gb']:.1f} GB of disk are too few for STL-10 (6 GB): choose another disk "
            "with --data-dir, or stay with the embedded images, which need none"
        )
    missing = [name for name in ("jupyterlab", "jupytext") if report[name] is None]
    missing += [] if psutil else ["psutil"]
    if missing:
        found.append(
            f"{' and '.join(missing)} missing: start the book with `uv run ssl-lessons lab`, or "
            f"`pip install {' '.join(missing)}`"
        )
    quick = report["one_minute"]["quick"]
    if quick["steps"] < 300:
        found.append(
            f"one minute of the quick recipe is {quick['steps']} steps here, and about 600 are needed to see "
            "it work: close other programs, or give `pretrain` more with --minutes"
        )
    return found


def _print_examination(r: dict) -> None:
    device = r["device"]
    memory = (
        "unknown"
        if r["memory_gb"] is None
        else f"{r['memory_gb']:.1f} GB, {r['memory_available_gb']:.1f} GB free"
    )
    place = "GPU " + device["name"] + f", {device['memory_gb']:.0f} GB" if device["type"] == "cuda" else "CPU"
    there = ", ".join(f"{name} {'there' if r['data'][name] else 'not there'}" for name in r["data"])
    rows = {
        "ssl-lessons": r["ssl_lessons"],
        "python": f"{r['python']} on {r['platform']}",
        "torch": f"{r['torch']}, torchvision {r['torchvision']}",
        "device": place,
        "cores": f"{r['cores']}, torch uses {r['threads']}",
        "memory": memory,
        "disk": f"{r['disk_free_gb']:.0f} GB free",
        "notebooks": f"jupyterlab {r['jupyterlab'] or 'missing'}, jupytext {r['jupytext'] or 'missing'}",
        "downloads": f"{r['data_dir']} ({there}; the embedded images need none)",
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
    for name, minute in r["one_minute"].items():
        print(
            f"{name + ' recipe:':12} one minute = {minute['steps']:,} steps = {minute['epochs']:.1f} epochs "
            f"of {minute['images']:,} embedded images ({1000 * minute['seconds_per_step']:.0f} ms per step)"
        )
    for problem in r["problems"]:
        print(f"! {problem}")
    if not r["problems"]:
        print("No problem found. Next: ssl-lessons lab")


# ---- pretrain ----------------------------------------------------------------------------------------------


@app.command()
def pretrain(
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Required.")] = None,
    data: Data = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="How to learn: simclr, simclr_v2, dcl, spectral, directclr, supcon, nnclr, instdisc, pirl, moco_v1, "
            "moco_v2, moco_v3, mochi; byol, simsiam, dino, ibot, msf; barlow_twins, vicreg, w_mse; deepcluster, "
            "online_deepcluster, sela, swav, pcl, msn; mae, simmim, beit, data2vec, ijepa; context_encoder, "
            "colorization, split_brain, rotation, relative_position, jigsaw, counting, exemplar; or supervised, "
            "the baseline. Default: simclr."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="quick (a minute on two cores), published (the source page's) or recommended (ours for "
            "STL-10 on a GPU). Fills in whatever you leave out. Default: quick."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the images. Default: the recipe's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Instead of --epochs: times a few steps, then trains for what fits.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of --epochs: optimizer steps.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the augmented views in pixels.")] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=2, help=f"How many images to train on. Default: {SHAPES_IMAGES:,} of shapes, else all."
        ),
    ] = None,
    labels_per_class: Annotated[
        int | None, typer.Option(min=1, help="With --method supervised: labels per class. Default: all.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images per step.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the contrastive loss.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, sgd or lars.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate; not scaled with the batch without --lr-rule.")
    ] = None,
    lr_rule: Annotated[
        str | None,
        typer.Option(
            help="linear or sqrt: multiply the learning rate by batch size / 256 or its square root. The recipe's own "
            "rate counts from the recipe's batch size."
        ),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="convnet, resnet18, resnet18_3x3 or vit; lab or split.")
    ] = None,
    policy_strength: Annotated[
        float | None, typer.Option(help="Multiplies the recipe's colour jitter: 0 = none, 1 = as it is.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of weights, batches, views and label draw. Default: 0.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the run in --out with the options it was started with."),
    ] = False,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(min=0, help="Write a checkpoint at least this often. It may differ when you resume."),
    ] = 5.0,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile", help="torch.compile the encoder: for long runs on a GPU. Needs a compiler."
        ),
    ] = False,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    download: Download = False,
    device: Device = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Pretrain an encoder on images without their labels.

    Writes into the folder --out: checkpoint.pt (to resume), encoder.safetensors and encoder.json (the
    encoder), history.json (loss, learning rate and online measures per step), log.txt (what happened when), run.json
    (all options and the result).

    \b
    Examples:
      ssl-lessons pretrain --minutes 1 --out runs/first
      ssl-lessons pretrain --data photos/ --size 64 --epochs 50 --out runs/photos
      ssl-lessons pretrain --data stl10 --download --recipe recommended --out runs/stl10
      ssl-lessons pretrain --resume --out runs/stl10
      torchrun --nproc-per-node=4 -m ssl_lessons pretrain --batch-size 1024 --lr-rule sqrt --out runs/four
    """
    asked = {
        "data": data, "method": method, "recipe": recipe, "epochs": epochs, "minutes": minutes,
        "steps": steps, "size": size, "images": images, "labels_per_class": labels_per_class,
        "batch_size": batch_size, "temperature": temperature, "optimizer": optimizer, "lr": lr,
        "weight_decay": weight_decay, "encoder": encoder, "policy_strength": policy_strength, "seed": seed,
        "lr_rule": lr_rule,
    }  # fmt: skip
    asked = {name: value for name, value in asked.items() if value is not None}
    place = {"data_dir": data_dir, "mirror": mirror, "download": download or mirror is not None}
    if out is None:
        raise InputError("say where to write with --out DIR, e.g. --out runs/first")
    _check_asked(asked)
    from ssl_lessons.training import distributed

    if _is_other_rank():
        sys.stdout = open(os.devnull, "w")
    chosen = _device(device)
    with _stdout_for(as_json and not _is_other_rank()), distributed.process_group(chosen):
        how = {
            "checkpoint_minutes": checkpoint_minutes,
            "compiled": compiled,
            "progress": not no_progress,
        }
        result = _pretrain(asked, out, resume, place, chosen, how)
    if as_json:
        print(json.dumps(result, indent=2))


def _pretrain(asked: dict, out: Path, resume: bool, place: dict, device, how: dict) -> dict | None:
    """`how`: arguments of the training loop that may differ when a run is resumed."""
    from ssl_lessons.training import distributed

    plan = distributed.from_main(lambda: _plan_for(asked, out, resume, place))
    complete = resume and "result" in plan
    if complete and distributed.from_main((out / "encoder.safetensors").is_file):
        print(f"The run in {out} is complete ({plan['steps']:,} steps); nothing was changed.")
        return plan["result"] | {"already_complete": True}

    from ssl_lessons import training
    from ssl_lessons.training.checkpoints import write_atomically

    place = place | {"data_dir": place["data_dir"] or plan["data_dir"]}
    with distributed.one_per_machine_first():  # what has to be downloaded is downloaded once
        train, labels, labelled = _training_images(plan, place)
    policy = _policy(plan["policy"])
    if plan["batch_size"] > len(train) and "batch_size" not in asked:
        print(f"{len(train):,} images do not fill a batch of {plan['batch_size']}: the batch is all of them.")
        plan["batch_size"] = len(train)
    model = _build(plan, n_images=len(train), n_classes=len(train.classes))
    policies = model.views(policy)
    model.refuse_ranks(distributed.world_size())
    distributed.my_rows(plan["batch_size"])  # refuses a batch that the ranks cannot share

    keywords = {"labels": labels, "device": device}
    if plan["steps"] is None:
        plan["steps"] = _steps(plan, model, train.images, policies, keywords)
    if distributed.is_main():
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / RUN_FILE, lambda path: path.write_text(json.dumps(plan, indent=2) + "\n"))

    choices = {name: plan[name] for name in TRAINING} | {"lr": _peak_lr(plan)}
    ranks = distributed.world_size()
    monitor = None if labelled is None else training.default_monitor(labelled, plan["steps"])
    print(
        f"{plan['method']} on {len(train):,} images of {train.name}, {policy.size} px, {plan['encoder']}: "
        f"{plan['steps']:,} steps of {plan['batch_size']} "
        f"({plan['steps'] * plan['batch_size'] / len(train):.1f} epochs) on {device.type}"
        + (f", {ranks} processes with {plan['batch_size'] / ranks:g} images each" if ranks > 1 else ""),
        flush=True,
    )
    try:
        history = training.pretrain(
            model, train.images, policies, steps=plan["steps"],
            monitor=monitor, out=out, resume=resume, checkpoint_every=max(1, plan["steps"] // 10),
            **how, **choices, **keywords,
        )  # fmt: skip
    except KeyboardInterrupt:
        _fail(f"interrupted; continue with: ssl-lessons pretrain --resume --out {out}", INTERRUPTED)
    if not distributed.is_main():
        return None
    result = _result(plan, out, history, model.encoder, monitor, train)
    finished = plan | {"result": result}
    write_atomically(out / RUN_FILE, lambda path: path.write_text(json.dumps(finished, indent=2) + "\n"))
    _print_result(result, len(train.classes))
    return result | {"already_complete": False}


def _peak_lr(plan: dict) -> float:
    """The learning rate for the plan's batch size; with a rule, prints how it came about."""
    from ssl_lessons.training.optimizers import scaled_lr

    if plan.get("lr_rule") is None:
        return plan["lr"]
    lr = scaled_lr(plan["lr"], plan["batch_size"], plan["lr_rule"], plan["lr_batch"])
    print(
        f"learning rate {lr:.4g}: {plan['lr']:g} at batch {plan['lr_batch']}, {plan['lr_rule']} rule, for batch "
        f"{plan['batch_size']}"
    )
    return lr


def _check_asked(asked: dict) -> None:
    budgets = [f"--{name}" for name in ("epochs", "minutes", "steps") if name in asked]
    if len(budgets) > 1:
        raise InputError(f"{' and '.join(budgets)} each say how long to train; give one of them")
    for name in ("epochs", "minutes", "temperature", "lr"):
        if name in asked and not (asked[name] > 0 and math.isfinite(asked[name])):
            raise InputError(f"--{name} must be a number above 0, got {asked[name]:g}")
    # An absolute path, so that `probe` and `--resume` find the images from any folder.
    if (
        "data" in asked
        and Path(asked["data"]).expanduser().is_dir()
        and asked["data"] not in ("shapes", *NATIVE)
    ):
        asked["data"] = str(Path(asked["data"]).expanduser().resolve())


def _plan_for(asked: dict, out: Path, resume: bool, place: dict) -> dict:
    """The effective options: those stored in `out` for a resumed run, else the recipe's with `asked`."""
    from ssl_lessons.training.checkpoints import CURRENT, PREVIOUS

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out a folder")
    started = [name for name in (CURRENT, PREVIOUS) if (out / name).exists()]
    if started and not resume:
        raise InputError(f"{out} already holds a run; continue it with --resume or choose another folder")
    if not resume:
        return _plan(asked, place)
    if not (out / RUN_FILE).is_file():
        if not asked:
            raise InputError(
                f"{out} holds no {RUN_FILE} to resume from; leave out --resume to start a run there"
            )
        return _plan(asked, place)  # so that one command line both starts a run and continues it
    plan = _read_run(out)
    stored = plan | plan["method_options"]
    changed = [
        f"--{name.replace('_', '-')} {stored.get(name)} -> {value}"
        for name, value in asked.items()
        if stored.get(name) != value and not (name == "data" and _moved(stored["data"], value))
    ]
    if changed:
        raise InputError(
            f"the run in {out} was started with other options ({', '.join(changed)}); "
            "leave them out or choose another folder"
        )
    plan["data"] = asked.get("data", plan["data"])
    return plan


def _moved(old: str, new: str) -> bool:
    """Whether the images may be the same ones in another place."""
    return os.path.isabs(old) and os.path.isabs(new) and Path(old).name == Path(new).name


def _read_run(folder: Path) -> dict:
    """What `pretrain` wrote about a run; empty when there is none (an encoder exported from Python)."""
    path = folder / RUN_FILE
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged; delete it and give the options again") from None


def _plan(asked: dict, place: dict) -> dict:
    """Every choice of a new run, ready for JSON.  `steps` stays None until the images are counted."""
    from dataclasses import asdict

    from ssl_lessons.methods import METHODS, takes
    from ssl_lessons.models import ENCODERS
    from ssl_lessons.training.optimizers import LR_RULES, OPTIMIZERS
    from ssl_lessons.training.recipes import get_recipe

    name = asked.get("recipe", "quick")
    recipe = get_recipe(name, asked.get("method"))
    method, encoder = recipe.method, asked.get("encoder", recipe.encoder)
    optimizer = asked.get("optimizer", recipe.optimizer)
    for kind, value, known in (
        ("encoder", encoder, ENCODERS),
        ("optimizer", optimizer, OPTIMIZERS),
        ("learning-rate rule", asked.get("lr_rule", "linear"), LR_RULES),
    ):
        if value not in known:
            raise InputError(f"unknown {kind} {value!r}; choose from {', '.join(known)}")
    if "temperature" in asked and not takes(method, "temperature"):
        raise InputError(f"--method {method} has no temperature; leave out --temperature")
    if "labels_per_class" in asked and not METHODS[method].needs_labels:
        raise InputError(f"--method {method} uses no labels; leave out --labels-per-class")
    if optimizer != recipe.optimizer and "lr" not in asked:
        usual = ", ".join(f"{k} {v:g}" for k, v in BATCH_256_LR.items())
        raise InputError(
            f"the recipe's learning rate {recipe.lr:g} is meant for {recipe.optimizer}: with --optimizer "
            f"{optimizer} give --lr too (usual at batch 256: {usual})"
        )
    options = dict(recipe.options)
    if "temperature" in asked:
        options["temperature"] = asked["temperature"]
    policy = recipe.policy.scaled(asked.get("policy_strength", 1.0))
    policy = policy.replace(size=asked.get("size", policy.size))
    source = asked.get("data", "shapes")
    draw = source == "shapes" and not METHODS[method].needs_labels
    timed = any(budget in asked for budget in ("minutes", "steps"))
    return {
        "method": method,
        "data": source,
        "size": policy.size,
        "recipe": name,
        "seed": asked.get("seed", 0),
        "images": asked.get("images", SHAPES_IMAGES if draw else None),
        "labels_per_class": asked.get("labels_per_class"),
        "encoder": encoder,
        "encoder_options": recipe.encoder_options if encoder == recipe.encoder else {},
        "method_options": options,
        "policy": asdict(policy),
        "policy_strength": asked.get("policy_strength", 1.0),
        "batch_size": asked.get("batch_size", recipe.batch_size),
        "optimizer": optimizer,
        "lr": asked.get("lr", recipe.lr),
        "lr_rule": asked.get("lr_rule"),
        "lr_batch": 256 if "lr" in asked else recipe.batch_size,
        "weight_decay": asked.get("weight_decay", recipe.weight_decay),
        "warmup": recipe.warmup,
        "epochs": asked.get("epochs", None if timed else recipe.epochs),
        "minutes": asked.get("minutes"),
        "steps": asked.get("steps"),
        "data_dir": place["data_dir"],
    }


def _policy(fields: dict):
    from ssl_lessons.views import Policy

    return Policy(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def _build(plan: dict, **facts):
    """The untrained method of a plan; facts: what is known about the data."""
    from ssl_lessons.training.recipes import get_recipe

    recipe = get_recipe(plan["recipe"], plan["method"]).with_(
        encoder=plan["encoder"], encoder_options=plan["encoder_options"], options=plan["method_options"]
    )
    return recipe.build(plan["seed"], **facts)


def _device(name: str | None):
    import torch

    from ssl_lessons.training import pick_device

    if name not in (None, "cpu", "cuda"):
        raise InputError(f"--device must be cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("torch finds no GPU here; leave out --device or ask `ssl-lessons doctor`")
    return pick_device() if name is None else torch.device(name)


def _training_images(plan: dict, place: dict):
    """The images to train on, their labels (or None), and labelled ones for the online measures (or None)."""
    from dataclasses import replace

    import torch

    from ssl_lessons import data
    from ssl_lessons.methods import METHODS

    source, size = plan["data"], plan["size"]
    # Crops are cut from the data set's own resolution; the embedded world is drawn at the view's.
    load_size = size if source == "shapes" else max(size, NATIVE.get(source, 64))
    supervised = METHODS[plan["method"]].needs_labels
    if not supervised:
        train = data.load(source, "unlabeled", size=load_size, n=plan["images"], **place)
        return train, None, _at_most(2_000, source, "train", size, place)
    train = data.load(source, "train", size=load_size, n=plan["images"], **place)
    if plan["labels_per_class"] is None:
        return train, train.labels, None
    chosen = data.label_subset(train.labels, plan["labels_per_class"], seed=plan["seed"])
    unused = torch.ones(len(train), dtype=torch.bool)
    unused[chosen] = False
    rest = unused.nonzero().flatten()
    rest = train[rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(0))[:2_000]]]
    labelled = replace(rest, images=_resized(rest.images, size)) if len(rest) >= 100 else None
    return train[chosen], train.labels[chosen], labelled


def _resized(images, side: int):
    """uint8 [N, 3, H, W] -> uint8 [N, 3, side, side], antialiased."""
    from torch.nn.functional import interpolate

    if images.shape[-1] == side:
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True)


def _at_most(n: int, source: str, split: str, size: int, place: dict):
    """A random subset of n images of a split, or all when it has fewer."""
    from ssl_lessons import data

    try:
        return data.load(source, split, size=size, n=n, **place)
    except InputError:
        if source in ("shapes", "stl10", "cifar10"):  # large enough: something else is wrong
            raise
        return data.load(source, split, size=size, **place)


def _steps(plan: dict, model, images, policies, keywords: dict) -> int:
    per_epoch = max(1, len(images) // plan["batch_size"])
    if plan["minutes"] is None:
        return max(1, round(plan["epochs"] * per_epoch))
    from ssl_lessons.training import steps_that_fit, time_steps

    seconds = time_steps(model, images, policies, plan["batch_size"], **keywords)
    steps, epochs = steps_that_fit(60 * plan["minutes"], seconds, len(images), plan["batch_size"])
    print(
        f"{1000 * seconds:.0f} ms per step here: {plan['minutes']:g} min fit {steps:,} steps = "
        f"{epochs:.1f} epochs"
    )
    return steps


def _result(plan: dict, out: Path, history: list[dict], encoder, monitor, train) -> dict:
    """The end of a run in numbers, ready for JSON."""
    from ssl_lessons.diagnostics import diagnose
    from ssl_lessons.evaluation import extract_features

    seen = _resized(train.images[:1_000], plan["size"]) if monitor is None else monitor.query.images
    features = extract_features(encoder, seen)
    report = diagnose(features)
    last = history[-1]
    written = ("checkpoint.pt", "encoder.safetensors", "encoder.json", "history.json", "log.txt", RUN_FILE)
    return {
        "out": str(out), "method": plan["method"], "data": plan["data"], "size": plan["size"],
        "steps": plan["steps"], "epochs": last["epoch"], "seconds": last["seconds"], "loss": last["loss"],
        "knn": last.get("knn"), "feature_std": report.evidence.get("feature_std"),
        "rank_me": report.evidence.get("rank_me"), "dimensions": features.shape[1],
        "verdict": report.verdict, "report": str(report), "files": [str(out / name) for name in written],
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
    print(f"Next: ssl-lessons probe {r['out']}")


# ---- probe and diagnose ------------------------------------------------------------------------------------


@app.command()
def probe(
    folder: Folder,
    data: Data = None,
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

    Example:  ssl-lessons probe runs/first --labels-per-class 10 --draws 10
    """
    place = {"data_dir": data_dir, "mirror": mirror, "download": download or mirror is not None}
    with _stdout_for(as_json):
        encoder, size, source, place = _trained(folder, data, place)
        train = _split(source, "train", size, train_images, place)
        test = _split(source, "test", size, test_images, place)
        result = _probe(folder, encoder, train, test, labels_per_class, draws, seed, _device(device))
    if as_json:
        print(json.dumps(result, indent=2))


def _trained(folder: Path, source: str | None, place: dict):
    """The encoder in `folder`, its image size, the data to measure it on and where they lie."""
    from ssl_lessons.models import load_encoder

    encoder, size = load_encoder(folder)
    stored = _read_run(folder)
    source = source or stored.get("data")
    if source is None:
        raise InputError(f"{folder} does not say what it was trained on; choose images with --data")
    return encoder, size, source, place | {"data_dir": place["data_dir"] or stored.get("data_dir")}


def _split(source: str, split: str, size: int, n: int | None, place: dict):
    from ssl_lessons import data

    if n is not None:
        return data.load(source, split, size=size, n=n, **place)
    return _at_most(AT_MOST, source, split, size, place)


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
        return lambda images: extract_features(network, images)

    def raw(images):
        return pixels(_resized(images, side))

    print(
        f"{train.name}, {train.size} px, {classes} classes: {len(train):,} train and {len(test):,} test "
        f"images; {draws} draws of {per_class} labels per class"
    )
    print(f"{'':20} {'linear probe':>16} {'kNN':>8}")
    rows = []
    for name, features in (
        ("encoder", learned(encoder)),
        ("untrained encoder", learned(untrained(encoder))),
        (f"pixels ({side} px)", raw),
    ):
        start = time.perf_counter()
        train_x, test_x = features(train.images), features(test.images)
        knn = knn_accuracy(train_x, train.labels, test_x, test.labels)
        scores = label_efficiency(
            train_x, train.labels, test_x, test.labels, (per_class,), draws=draws, seed=seed
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


@app.command()
def diagnose(
    folder: Folder,
    data: Data = None,
    images: Annotated[int, typer.Option(min=2, help="Test images to look at, if there are as many.")] = 2_000,
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
    place = {"data_dir": data_dir, "mirror": mirror, "download": download or mirror is not None}
    with _stdout_for(as_json):
        encoder, size, source, place = _trained(folder, data, place)
        result = _diagnose(folder, encoder.to(_device(device)), _at_most(images, source, "test", size, place))
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
    from ssl_lessons.training.recipes import get_recipe
    from ssl_lessons.views import make_views

    features = extract_features(encoder, images.images)
    report = diagnostics.diagnose(features).as_dict()
    if report["verdict"] != "not finite":
        policy = get_recipe("quick").policy.replace(size=images.size)
        generator, device = torch.Generator().manual_seed(0), next(encoder.parameters()).device
        pairs = []
        with torch.no_grad():
            for batch in images.images.split(256):
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
    print(f"\n{report['verdict'].capitalize()}. {' '.join(words)}")
    return {
        "folder": str(folder),
        "data": images.name,
        "size": images.size,
        "images": n,
        "dimensions": d,
    } | report


def _stdout_for(as_json: bool):
    """With --json whatever is printed on the way goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


# ---- a service ---------------------------------------------------------------------------------------------


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle. Required.")] = None,
    data: Data = None,
    precision: Annotated[str, typer.Option(help="int8 or float32.")] = "int8",
    train_images: Annotated[
        int | None,
        typer.Option(min=2, help=f"Labelled images for the probe. Default: all, {AT_MOST:,} at most."),
    ] = None,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    download: Download = False,
) -> None:
    """Make a bundle that `serve` can load: the encoder in DIR, a linear probe, and checksums.

    The probe learns from the train split; int8 takes the ranges of the activations from unlabelled images. Writes
    model.onnx, bundle.json and SHA256SUMS. Needs the packages of the dependency group `serve`.

    Example:  uv run --group serve ssl-lessons export runs/first --out runs/bundle
    """
    from ssl_lessons.deployment.export import linear_layer, make_bundle
    from ssl_lessons.evaluation import extract_features

    if out is None:
        raise InputError("choose a folder for the bundle with --out")
    place = {"data_dir": data_dir, "mirror": mirror, "download": download or mirror is not None}
    encoder, size, source, place = _trained(folder, data, place)
    train = _split(source, "train", size, train_images, place)
    calibration = _at_most(CALIBRATION, source, "unlabeled", size, place).images
    probe = linear_layer(extract_features(encoder, train.images), train.labels)
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

    Writes nothing. Needs the packages of the dependency group `serve`. Ctrl-C stops it.

    Example:  uv run --group serve ssl-lessons serve runs/bundle --port 8000
    """
    try:
        from ssl_lessons.deployment import server
    except ImportError as error:
        raise InputError(f"{error.name} is missing: run this with `uv run --group serve`") from None
    server.main([str(bundle), "--port", str(port)])
