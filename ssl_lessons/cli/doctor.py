"""`ssl-lessons doctor`: what this machine is good for."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from ssl_lessons.cli.options import DataDir, Json, Labels, app, stdout_for
from ssl_lessons.data.names import check_known

FOLDER_SIZE = 64  # px; what `pretrain` reads a folder at for views of up to that size


@app.command()
def doctor(
    data: Annotated[
        str | None,
        typer.Option(help="A folder of pictures: what is in it, and what an epoch would cost here."),
    ] = None,
    labels: Labels = None,
    size: Annotated[
        int, typer.Option(min=1, help="With --data: side of the decoded pictures.")
    ] = FOLDER_SIZE,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Look at this machine: what is missing, what a minute buys; and at a folder of pictures.

    Times a few real training steps, and the decoding of a few pictures, which takes some seconds. Writes nothing.
    Every problem comes with what to do.

    Examples:
      ssl-lessons doctor
      ssl-lessons doctor --data photos/ --size 96
    """
    if data is not None:
        check_known(data)  # before the machine is timed
    with stdout_for(as_json):
        report = _examine(data_dir)
        if data is not None:
            report["folder"] = _examine_folder(data, labels, size, report["one_minute"]["quick"])
        if not as_json:
            _print_examination(report)
    if as_json:
        print(json.dumps(report, indent=2))


def _examine(data_dir: str | None) -> dict:
    import platform
    import shutil
    from importlib.metadata import requires
    from importlib.util import find_spec

    import torch
    import torchvision

    import ssl_lessons
    from ssl_lessons.data.cache import cache_bytes, cache_folder
    from ssl_lessons.data.download import downloads
    from ssl_lessons.models import pick_device

    gpu = pick_device().type == "cuda"
    device = {"type": "cpu", "name": platform.processor() or platform.machine(), "memory_gb": None}
    if gpu:
        properties = torch.cuda.get_device_properties(0)
        device = {"type": "cuda", "name": properties.name, "memory_gb": properties.total_memory / 2**30}
    place = downloads(data_dir).absolute()
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
        "cache": {"folder": str(cache_folder()), "gb": cache_bytes() / 2**30},
        "data_dir": str(place),
        "data": {
            "stl10": (place / torchvision.datasets.STL10.base_folder).is_dir(),
            "cifar10": (place / torchvision.datasets.CIFAR10.base_folder).is_dir(),
        },
        "one_minute": {name: _one_minute(name) for name in (["quick", "recommended"] if gpu else ["quick"])},
    }
    if not gpu:
        report["precision"] = _precision()
    report["torch_wanted"] = torch_wanted(requires("torchvision"), torch.__version__)
    report["problems"] = _problems(report, psutil=find_spec("psutil") is not None)
    return report


def _examine_folder(folder: str, labels: str | None, size: int, minute: dict) -> dict:
    """What a folder of pictures holds, and what decoding it and one epoch of the quick recipe cost here."""
    from ssl_lessons.data.estimate import estimate
    from ssl_lessons.data.layout import understand
    from ssl_lessons.training.recipes import get_recipe

    layout = understand(folder, labels)
    found = estimate(layout.entries, size)
    batch = get_recipe("quick").batch_size
    seconds = minute["seconds_per_step"] * len(layout.rows.get("unlabeled", layout.rows["train"])) / batch
    return {"sentence": layout.sentence, "size": size, **found, "minutes_per_epoch": seconds / 60}


def _precision() -> dict:
    """Seconds of a step of the quick recipe on this CPU in float32 and in bfloat16: does half precision pay?"""
    from ssl_lessons import data
    from ssl_lessons.training import time_steps
    from ssl_lessons.training.recipes import get_recipe

    recipe = get_recipe("quick").with_(encoder="resnet18", encoder_options={})
    images, policies = data.shapes("unlabeled", 32, 64).images, (recipe.policy,) * 2
    seconds = {
        precision: time_steps(recipe.build(), images, policies, 8, precision=precision)
        for precision in ("float32", "bfloat16")
    }
    return seconds | {"ratio": seconds["float32"] / seconds["bfloat16"]}


def torch_wanted(requirements: list[str] | None, torch: str) -> str | None:
    """What torchvision's metadata say of torch, such as "torch==2.0.0", where the installed `torch` is not that.

    None where it is, or where nothing is said of it (a torchvision that was built from source).
    """
    from packaging.requirements import Requirement

    for wanted in map(Requirement, requirements or []):
        if wanted.name == "torch" and not wanted.specifier.contains(torch, prereleases=True):
            return f"torch{wanted.specifier}"
    return None


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
    from ssl_lessons.training import time_steps
    from ssl_lessons.training.plan import SHAPES_IMAGES, steps_that_fit
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
    if report.get("torch_wanted"):
        found.append(
            f"torchvision {report['torchvision']} asks for {report['torch_wanted']}, and torch {report['torch']} is "
            "here: they come in pairs, so install both in one command, `pip install --upgrade torch torchvision`"
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


def _print_folder(f: dict) -> None:
    print(f"\n{f['sentence']}")
    if f["seconds"] is None:
        print(f"none of {f['sampled']} pictures that were tried can be read: {', '.join(f['unreadable'])}")
        return
    sides = "{min:,} to {max:,} (half below {median:,.0f})"
    print(f"pixels       width {sides.format(**f['width'])}, height {sides.format(**f['height'])}")
    for name in ("modes", "formats"):
        print(
            f"{name:12} {', '.join(f'{key} {count}' for key, count in f[name].items())} of {f['sampled']} tried"
        )
    for reason, found in f["unreadable"].items():
        print(f"unreadable   {found['count']} of {f['sampled']} tried: {reason} (such as {found['first']})")
    when = "once; then they are kept" if f["kept"] else "each time: so few are not kept"
    print(f"to decode    {f['seconds']:,.0f} s on {f['cores']} cores, {when}")
    print(f"at {f['size']} px     {f['memory_bytes'] / 1e9:.2f} GB, in memory or in the cache folder")
    print(f"one epoch    {f['minutes_per_epoch']:.1f} minutes of the quick recipe")


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
        "cache": f"{r['cache']['folder']} ({r['cache']['gb']:.1f} GB of decoded pictures; may be deleted)",
        "downloads": f"{r['data_dir']} ({there}; the embedded images need none)",
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
    for name, minute in r["one_minute"].items():
        print(
            f"{name + ' recipe:':12} one minute = {minute['steps']:,} steps = {minute['epochs']:.1f} epochs "
            f"of {minute['images']:,} embedded images ({1000 * minute['seconds_per_step']:.0f} ms per step)"
        )
    if "precision" in r:
        ratio = r["precision"]["ratio"]
        advice = "pays: --precision bfloat16" if ratio > 1.2 else "does not pay: stay with float32"
        print(f"{'bfloat16':12} a ResNet-18's step is {ratio:.1f} times as fast as in float32; it {advice}")
    if "folder" in r:
        _print_folder(r["folder"])
    for problem in r["problems"]:
        print(f"! {problem}")
    if not r["problems"]:
        print("No problem found. Next: ssl-lessons lab")
