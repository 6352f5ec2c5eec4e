"""The sentences of a run's log.txt and of its alarms."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ssl_lessons.methods import Method
from ssl_lessons.training import checkpoints


def started(settings: Mapping, method: Method, device: torch.device, precision: str, ranks: int) -> str:
    """The log's first line about a run."""
    s, name = settings, torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return (
        f"started: {type(method).__name__}, {s['steps']} steps of {s['batch_size']} images (of {s['images']}), "
        f"{s['optimizer']}, learning rate {s['lr']:g}, weight decay {s['weight_decay']:g}, warm-up {s['warmup']:g}, "
        f"seed {s['seed']}, on {name} in {precision}, {_processes(ranks)}"
    )


def resumed(state: Mapping, precision: str, ranks: int) -> str:
    """How a continued run stands: where it goes on, how old that is, and what other hardware changes."""
    event = f"resumed at step {state['step']} of {state['settings']['steps']}"
    if "time" in state:
        event += f", {(time.time() - state['time']) / 60:.1f} minutes after its checkpoint"
    was = state.get("precision", precision)
    if was != precision:
        event += f", in {precision} instead of {was}"
    if (old := state.get("ranks", 1)) == ranks:
        return f"{event}, {_processes(ranks)} as before"
    return (
        f"{event}, {_processes(ranks)} instead of {old}: every step sees the same images and augmentations and has "
        "the same loss up to the order of summation, but the weights are not the same to the last bit"
    )


def _processes(ranks: int) -> str:
    return "1 process" if ranks == 1 else f"{ranks} processes"


def diverged(what: str, step: int, lr: float, out: Path | None) -> str:
    """Why a run stopped, and what to do."""
    kept = f"; the checkpoint in {out} is from before" if out is not None and checkpoints.exists(out) else ""
    return f"{what} at step {step}: lower the learning rate (now {lr}){kept}"


def postfix(row: Mapping) -> str:
    """What the progress bar says after a measurement."""
    knn = f"kNN {row['knn']:.0%} " if "knn" in row else ""
    numbers = f"loss {row['loss']:.2f} {knn}rank {row['rank']:.0f}"
    return numbers if row["verdict"] == "healthy" else f"{numbers} {row['verdict'].upper()}"
