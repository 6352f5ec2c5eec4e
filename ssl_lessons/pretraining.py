"""The training loop: schedule, mixed precision, progress, online measures, checkpoints, exact resume."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ssl_lessons import checkpoints
from ssl_lessons.data import ImageSet
from ssl_lessons.diagnostics import feature_std, rank_me
from ssl_lessons.encoders import save_encoder
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.evaluation import extract_features, knn_accuracy
from ssl_lessons.methods import Method
from ssl_lessons.optimizers import build_optimizer, warmup_cosine
from ssl_lessons.views import Policy, make_views


class Diverged(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint, if any, is kept."""


def pick_device() -> torch.device:
    """The GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_for(*parts) -> int:
    """A seed from a few words and numbers, the same on every machine (Python's own hash is not)."""
    return zlib.crc32("/".join(map(str, parts)).encode())


class Monitor:
    """Online kNN accuracy, spread and RankMe of the encoder, measured on held-out labelled images.

    `bank` holds the images that vote and `query` the ones that are classified; take both from the train split.
    """

    def __init__(self, bank: ImageSet, query: ImageSet, every: int):
        self.bank, self.query, self.every = bank, query, every

    def __call__(self, encoder: torch.nn.Module) -> dict[str, float]:
        bank, query = (extract_features(encoder, s.images) for s in (self.bank, self.query))
        return {
            "knn": knn_accuracy(bank, self.bank.labels, query, self.query.labels),
            "std": float(feature_std(query)),
            "rank": float(rank_me(query)),
        }


def default_monitor(train: ImageSet, steps: int, images: int = 1000) -> Monitor:
    """About ten measurements over a run, on random images of the train split: `images` as bank, as many as query."""
    images = min(images, len(train) // 2)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    return Monitor(train[order[:images]], train[order[images : 2 * images]], every=max(1, steps // 10))


def batch_indices(n: int, batch_size: int, step: int, seed: int) -> Tensor:
    """The images of batch `step`: epochs are shuffles of 0..n-1 without the incomplete last batch."""
    per_epoch = n // batch_size
    epoch, position = divmod(step, per_epoch)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(seed, "epoch", epoch)))
    return order[position * batch_size : (position + 1) * batch_size]


def _autocast(device: torch.device, amp: bool):
    # bfloat16 needs an Ampere card; older ones (a T4) only emulate it, slowly.
    modern = device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)
    dtype = torch.bfloat16 if modern else torch.float16
    return torch.autocast(device.type, dtype=dtype, enabled=amp), dtype


def _check(
    images: Tensor, policies, labels: Tensor | None, method: Method, steps: int, batch_size: int
) -> None:
    if isinstance(policies, Policy) or not len(policies):
        raise InputError("policies must be a tuple with one Policy per view, such as (policy, policy)")
    if batch_size < 2:
        raise InputError(f"batch_size must be at least 2 (the loss compares images), got {batch_size}")
    if len(images) < batch_size:
        raise InputError(f"{len(images)} images do not fill one batch of {batch_size}; lower batch_size")
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    if method.needs_labels and labels is None:
        raise InputError(f"{type(method).__name__} learns from labels: pass labels=")
    if labels is not None and (labels.shape != (len(images),) or int(labels.min()) < 0):
        raise InputError(
            f"labels must be [{len(images)}] class indices from 0, one per image and none missing (-1)"
        )


def pretrain(
    method: Method,
    images: Tensor,
    policies: tuple[Policy, ...],
    *,
    steps: int,
    batch_size: int = 256,
    optimizer: str = "adamw",
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    seed: int = 0,
    labels: Tensor | None = None,
    monitor: Monitor | None = None,
    device: torch.device | None = None,
    amp: bool | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 200,
    on_measure=None,
    progress: bool = True,
) -> list[dict]:
    """Train `method` for exactly `steps` optimiser steps and return its history.

    images: uint8 [N, 3, H, W], kept on the device when they fit.  policies: one per view.  warmup: fraction of the
    steps.  amp: mixed precision (default: on a GPU only; bfloat16 where the hardware has it, else float16 with loss
    scaling).  out: a folder for checkpoint.pt, history.json and the finished encoder; resume continues from its
    checkpoint.  monitor: online measures; on_measure(history) is called after each.

    Returns one row per step (step, epoch, loss, lr, seconds), with knn, std, rank on the measured ones.

    Batches and augmentations of step t depend on (seed, t) alone, so a run resumed after a kill ends with the very
    weights of an uninterrupted one on the CPU.  Raises InputError for unusable input and Diverged when the loss is
    not finite.
    """
    _check(images, policies, labels, method, steps, batch_size)
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}")
    if resume and out is None:
        raise InputError("resume needs out, the folder of the run to continue")
    device = device or pick_device()
    amp = device.type == "cuda" if amp is None else amp
    autocast, dtype = _autocast(device, amp)
    scaler = torch.amp.GradScaler(device.type, enabled=amp and dtype == torch.float16)
    method.to(device, memory_format=torch.channels_last).train()
    images = _resident(images, device)
    opt = build_optimizer(method, optimizer, lr, weight_decay)
    warmup_steps = round(warmup * steps)
    settings = {
        "steps": steps, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay,
        "warmup": warmup, "seed": seed, "images": _fingerprint(images), "policies": str(tuple(policies)),
        "method": _describe(method),
    }  # fmt: skip

    torch.manual_seed(seed_for(seed, "training"))
    history, start, before = [], 0, 0.0
    out = Path(out) if out is not None else None
    if resume and out is not None and (state := checkpoints.load(out)) is not None:
        history, start = _restore(state, settings, method, opt, scaler)
        before = history[-1]["seconds"] if history else 0.0
    elif out is not None and checkpoints.exists(out) and not resume:
        raise InputError(
            f"{out} already holds a run; continue it with resume (--resume) or choose another folder"
        )

    def save(step: int) -> None:
        if not all(bool(p.isfinite().all()) for p in method.parameters()):
            raise Diverged(
                f"the weights became NaN or infinite before step {step}: lower the learning rate (now {lr})"
            )
        checkpoints.save(_state(step, settings, history, method, opt, scaler), out)
        _write_history(out, settings, history)

    clock = time.perf_counter()
    generator = torch.Generator()
    bar = tqdm(
        range(start, steps), initial=start, total=steps, disable=not progress, file=sys.stdout, ncols=100
    )
    for step in bar:
        for group in opt.param_groups:
            group["lr"] = lr * warmup_cosine(step, steps, warmup_steps)
        index = batch_indices(len(images), batch_size, step, seed)
        if method.refresh_every and step % method.refresh_every == 0:
            method.refresh(partial(extract_features, images=images, device=device))
        generator.manual_seed(seed_for(seed, "views", step))
        views = make_views(images[index.to(images.device)].to(device), policies, generator)
        views = [v.contiguous(memory_format=torch.channels_last) for v in views]
        try:
            with autocast:
                batch = [views, None if labels is None else labels[index].to(device)]
                loss = method(*batch, index.to(device)) if method.needs_index else method(*batch)
            value = loss.item()
        except NotFiniteError:
            value = math.nan
        if not math.isfinite(value):
            kept = (
                f"; the checkpoint in {out} is from before"
                if out is not None and checkpoints.exists(out)
                else ""
            )
            raise Diverged(
                f"the loss became {value} at step {step + 1}: lower the learning rate (now {lr}){kept}"
            )
        opt.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        method.after_step((step + 1) / steps)

        row = {
            "step": step + 1,
            "epoch": (step + 1) * batch_size / len(images),
            "loss": value,
            "lr": opt.param_groups[0]["lr"],
            "seconds": before + time.perf_counter() - clock,
        }
        if monitor is not None and ((step + 1) % monitor.every == 0 or step + 1 == steps):
            row |= monitor(method.encoder)
            bar.set_postfix_str(f"loss {value:.2f} kNN {row['knn']:.0%} rank {row['rank']:.0f}")
        history.append(row)
        if "knn" in row and on_measure is not None:
            on_measure(history)
        if out is not None and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
            save(step + 1)
    method.eval()
    if out is not None:
        _write_history(out, settings, history)  # also when nothing was left to do
        save_encoder(method.encoder, out, policies[0].size)
    return history


def _write_history(out: Path, settings: dict, history: list[dict]) -> None:
    content = json.dumps({"settings": settings, "rows": history})
    checkpoints.write_atomically(out / "history.json", lambda path: path.write_text(content))


def _fingerprint(images: Tensor) -> str:
    """The number of images and a checksum over at most 64 of them: enough to notice other data."""
    sample = images[:: max(1, len(images) // 64)].contiguous().cpu().numpy()
    return f"{len(images)}, crc {zlib.crc32(sample.tobytes()):08x}"


def _describe(method: Method) -> str:
    """Name, architecture and plain settings of a method, as text: two runs that differ in it cannot be continued."""
    plain = {k: v for k, v in vars(method).items() if isinstance(v, (int, float, str)) and k != "training"}
    return f"{plain} {method}"


def _resident(images: Tensor, device: torch.device) -> Tensor:
    """The images on the device when they take less than half of its free memory, else where they are."""
    if device.type == "cuda" and images.numel() < torch.cuda.mem_get_info(device)[0] / 2:
        return images.to(device)
    return images


def _state(step, settings, history, method, opt, scaler) -> dict:
    state = {
        "step": step, "settings": settings, "history": history, "method": method.state_dict(),
        "optimizer": opt.state_dict(), "scaler": scaler.state_dict(), "rng": torch.get_rng_state(),
    }  # fmt: skip
    if torch.cuda.is_available():
        state["cuda_rng"] = torch.cuda.get_rng_state_all()
    return state


def _restore(state, settings, method, opt, scaler) -> tuple[list[dict], int]:
    old = state["settings"]
    changed = [
        k if max(len(str(v)), len(str(old.get(k)))) > 40 else f"{k} {old.get(k)} -> {v}"
        for k, v in settings.items()
        if old.get(k) != v
    ]
    if changed:
        raise InputError(
            f"cannot resume with other settings ({', '.join(changed)}); use the old ones or a new folder"
        )
    method.load_state_dict(state["method"])
    opt.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and "cuda_rng" in state:
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state["history"], state["step"]


def steps_that_fit(
    seconds: float, seconds_per_step: float, images: int, batch_size: int
) -> tuple[int, float]:
    """How many steps fit a time budget, and how many epochs that is."""
    steps = max(1, int(seconds / seconds_per_step))
    return steps, steps * batch_size / images


def time_steps(
    method: Method, images: Tensor, policies: tuple[Policy, ...], batch_size: int, steps: int = 8, **options
) -> float:
    """Median seconds of one training step here, measured on a copy: method and random state are left untouched.

    options: further arguments of `pretrain`, such as labels or device.
    """
    with torch.random.fork_rng():
        trial = copy.deepcopy(method)
        rows = pretrain(
            trial,
            images,
            policies,
            steps=steps + 3,
            batch_size=batch_size,
            lr=1e-5,
            progress=False,
            **options,
        )
    ends = torch.tensor([row["seconds"] for row in rows], dtype=torch.float64)[
        2:
    ]  # the first ones set things up
    return float(ends.diff().median())
