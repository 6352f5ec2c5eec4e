"""The training loop: schedule, mixed precision, progress, online measures, checkpoints, exact resume."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ssl_lessons.data import ImageSet
from ssl_lessons.diagnostics import (
    CollapseReport,
    assignment_information,
    cluster_usage_entropy,
    diagnose,
    feature_std,
    norm_statistics,
    rank_me,
    teacher_distance,
)
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.evaluation import extract_features, knn_accuracy
from ssl_lessons.methods import Method
from ssl_lessons.models import save_encoder
from ssl_lessons.training import checkpoints, distributed
from ssl_lessons.training.optimizers import build_optimizer, warmup_cosine
from ssl_lessons.views import Policy, apply, draw, normalize


class Diverged(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint, if any, is kept."""


def pick_device() -> torch.device:
    """The GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_for(*parts) -> int:
    """A seed from a few words and numbers, the same on every machine (Python's own hash is not)."""
    return zlib.crc32("/".join(map(str, parts)).encode())


class Monitor:
    """Measures a method on held-out labelled images every `every` steps: is it learning, is it collapsing?

    `bank` holds the images that vote and `query` the ones that are classified; take both from the train split.
    The embeddings of the first `sample` query images are diagnosed together with the history of the run; the last
    report is kept in `report`.
    """

    def __init__(self, bank: ImageSet, query: ImageSet, every: int, sample: int = 256):
        self.bank, self.query, self.every, self.sample = bank, query, every, sample
        self.report: CollapseReport | None = None

    def __call__(
        self, method: Method, history: Sequence[Mapping] = (), batch_size: int | None = None
    ) -> dict[str, float | str]:
        """One measurement of a method, as entries for the history row.

        knn, std, rank: kNN accuracy, feature std and RankMe of the features h.  spread_z, rank_z: spread and RankMe
        of the embeddings z.  norm_h, norm_z: mean lengths.  usage, information: of the cluster assignments, if the
        method makes any.  teacher_distance: of its momentum pairs, if it has any.  chance_loss: at `batch_size`, if
        that says something.  verdict: of `diagnose`, in view of `history`, the rows so far.  Where weights or
        embeddings are no longer finite, the verdict is all there is.  Random states and modes stay as they were.
        """
        with _undisturbed(method) as device:
            bank, query = (extract_features(method.encoder, s.images) for s in (self.bank, self.query))
            images = normalize(self.query.images[: self.sample].to(device))
            z = method.embed(images).float().cpu()
            assignments = method.assign(images)
        if not all(bool(x.isfinite().all()) for x in (bank, query, z)):
            self.report = diagnose(z * math.nan)
            return {"verdict": self.report.verdict}
        row = {
            "knn": knn_accuracy(bank, self.bank.labels, query, self.query.labels),
            "std": feature_std(query),
            "rank": rank_me(query),
            "norm_h": norm_statistics(query)["mean"],
        }
        if assignments is not None:
            assignments = assignments.float().cpu()
            row["usage"] = cluster_usage_entropy(assignments)
            row["information"] = assignment_information(assignments)
        if pairs := method.momentum_pairs():
            row["teacher_distance"] = teacher_distance(pairs)
        if batch_size is not None and (chance := method.chance_loss(batch_size)) is not None:
            row["chance_loss"] = chance
        *before, now = history or [{}]
        # The row of this step belongs to the history that is judged: its loss with these measures.
        rows = [*before, {**now, **row}] if history else None
        self.report = diagnose(z, history=rows)
        found = self.report.evidence
        row |= {"spread_z": found["spread"], "rank_z": found["rank_me"], "norm_z": found["mean_norm"]}
        return row | {"verdict": self.report.verdict}


@contextmanager
def _undisturbed(method: Method):
    """Evaluation mode without gradients; modes and random states are put back.  Gives the method's device."""
    device = next(method.parameters()).device
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield device
    finally:
        for module, training in modes:
            module.training = training


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


def _views(images: Tensor, policies, n: int, rows: slice, generator: torch.Generator) -> list[Tensor]:
    """The views of `images`, which are the `rows` of a batch of n: the same ones whoever else sees the other rows.

    The random numbers are drawn for all n images, 38 each, which costs next to nothing; the views of other rows are
    never made.
    """
    views = []
    for policy in policies:
        parameters = draw(policy, n, images.shape[2:], generator)
        views.append(apply(images, policy, {name: value[rows] for name, value in parameters.items()}))
    return [v.contiguous(memory_format=torch.channels_last) for v in views]


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
    compiled: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    checkpoint_minutes: float = 5.0,
    on_measure=None,
    on_alarm=None,
    progress: bool = True,
) -> list[dict]:
    """Train `method` for exactly `steps` optimiser steps and return its history.

    images: uint8 [N, 3, H, W], kept on the device when they fit.  policies: one per view.  warmup: fraction of the
    steps.  amp: mixed precision (default: on a GPU only; bfloat16 where the hardware has it, else float16 with loss
    scaling).  compiled: torch.compile the encoder, which may pay in a long run (time it with `throughput.time_parts`);
    its sums are taken in another order.  out: a folder for checkpoint.pt, history.json, log.txt and the finished
    encoder; resume continues from its checkpoint.  A checkpoint is written when `checkpoint_minutes` have passed since
    the last one, after every `checkpoint_every` steps if that is given, and at the end; the newest two are kept.
    monitor: measures after the first step, every `monitor.every` steps and after the last; on_measure(history) is
    called after each.  on_alarm(report) is called the first time a measurement gets an unhealthy verdict, once per
    verdict; without it, the verdict and what to try first are printed beside the bar.

    Returns one row per step (step, epoch, loss, lr, seconds); the measured ones also hold what `Monitor` returns.

    Batches and augmentations of step t depend on (seed, t) alone, so a run resumed after a kill ends with the very
    weights of an uninterrupted one on the CPU.  Raises InputError for unusable input and Diverged when the loss is
    not finite.

    Inside `distributed.process_group`, under torchrun, every rank calls this with the same arguments.  batch_size then
    counts the images of all ranks, which see together what one process would see and share BatchNorm statistics and
    loss; rank 0 alone measures, writes and shows progress.  With another number of ranks, also when a run is resumed
    by one, the loss differs by the order of summation; with the same number a resumed run is exact as above.
    """
    _check(images, policies, labels, method, steps, batch_size)
    if checkpoint_every is not None and checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}")
    if not checkpoint_minutes >= 0:
        raise InputError(f"checkpoint_minutes must be 0 or more, got {checkpoint_minutes}")
    if resume and out is None:
        raise InputError("resume needs out, the folder of the run to continue")
    if distributed.launched() and distributed.world_size() == 1:
        raise InputError(
            "torchrun started several processes: call pretrain inside distributed.process_group(device)"
        )
    ranks, main = distributed.world_size(), distributed.is_main()
    method.refuse_ranks(ranks)
    mine = distributed.my_rows(batch_size)
    device = device or pick_device()
    amp = device.type == "cuda" if amp is None else amp
    autocast, dtype = _autocast(device, amp)
    scaler = torch.amp.GradScaler(device.type, enabled=amp and dtype == torch.float16)
    method.to(device, memory_format=torch.channels_last).train()
    if compiled:
        _compile(method.encoder, device)
    images = _resident(images, device)
    description = _describe(method)
    distributed.synchronise_batch_norm(method, device)
    opt = build_optimizer(method, optimizer, lr, weight_decay)
    warmup_steps = round(warmup * steps)
    settings = {
        "steps": steps, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay,
        "warmup": warmup, "seed": seed, "images": _fingerprint(images), "policies": str(tuple(policies)),
        "method": description,
    }  # fmt: skip

    torch.manual_seed(seed_for(seed, "training"))
    history, start, before = [], 0, 0.0
    out = Path(out) if out is not None else None
    state = None
    if resume:
        state = distributed.from_main(lambda: checkpoints.load(out))
    elif out is not None and distributed.from_main(lambda: checkpoints.exists(out)):
        raise InputError(
            f"{out} already holds a run; continue it with resume (--resume) or choose another folder"
        )
    if state is not None:
        history, start = _restore(state, settings, method, opt, scaler)
        before = history[-1]["seconds"] if history else 0.0
    log = partial(checkpoints.note, out) if out is not None and main else lambda event: None
    log(_started(settings, method, device, ranks) if state is None else _resumed(state, ranks))
    model = distributed.data_parallel(method, device)

    def stop(what: str, step: int):
        message = _diverged(what, step, lr, out)
        log(f"diverged: {message}")
        raise Diverged(message)

    def save(step: int) -> None:
        if not all(bool(p.isfinite().all()) for p in method.parameters()):
            stop("the weights became NaN or infinite", step)
        if main:
            checkpoints.save(_state(step, settings, history, method, opt, scaler), out)
            _write_history(out, settings, history)
            log(f"step {step}: checkpoint")

    clock = saved = time.perf_counter()
    generator = torch.Generator()
    hidden = not (progress and main)
    bar = tqdm(range(start, steps), initial=start, total=steps, disable=hidden, file=sys.stdout, ncols=100)
    for step in bar:
        for group in opt.param_groups:
            group["lr"] = lr * warmup_cosine(step, steps, warmup_steps)
        index = batch_indices(len(images), batch_size, step, seed)
        if method.refresh_every and step % method.refresh_every == 0:
            method.refresh(partial(extract_features, images=images, device=device))
        generator.manual_seed(seed_for(seed, "views", step))
        index = index[mine]
        views = _views(images[index.to(images.device)].to(device), policies, batch_size, mine, generator)
        try:
            with autocast:
                batch = [views, None if labels is None else labels[index].to(device)]
                loss = model(*batch, index.to(device)) if method.needs_index else model(*batch)
            value = loss.item()
        except NotFiniteError:
            value = math.nan
        # Rank 0's clock alone decides when it is time to save, and no rank goes on with a loss that one cannot use.
        late = main and time.perf_counter() - saved >= 60 * checkpoint_minutes
        value, due = distributed.mean(value, late)
        if not math.isfinite(value):
            stop(f"the loss became {value}", step + 1)
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
        measured = monitor is not None and ((step + 1) % monitor.every == 0 or step + 1 in (1, steps))
        if measured:
            row |= distributed.from_main(lambda: monitor(method, [*history, row], batch_size))  # noqa: B023
            last = next((r["verdict"] for r in reversed(history) if "verdict" in r), None)
            if row["verdict"] != last:
                log(f"step {step + 1}: verdict {row['verdict']}" + (f" (was {last})" if last else ""))
            if row["verdict"] == "not finite":
                stop("the weights or embeddings became NaN or infinite", step + 1)
            bar.set_postfix_str(_postfix(row))
            first = all(r.get("verdict") != row["verdict"] for r in history)
            if main and first and row["verdict"] != "healthy":
                _alarm(monitor.report, step + 1, bar, on_alarm)
        history.append(row)
        if measured and main and on_measure is not None:
            on_measure(history)
        every = checkpoint_every is not None and (step + 1) % checkpoint_every == 0
        if out is not None and (due or every or step + 1 == steps):
            save(step + 1)
            saved = time.perf_counter()
    method.eval()
    if out is not None and main:
        _write_history(out, settings, history)  # also when nothing was left to do
        save_encoder(method.encoder, out, policies[0].size)
        log(
            f"finished: {steps} steps, loss {history[-1]['loss']:.4f}, {history[-1]['seconds'] / 60:.1f} minutes"
        )
    distributed.barrier()  # the files are there when any rank returns
    return history


def _compile(encoder: torch.nn.Module, device: torch.device) -> None:
    """torch.compile, in place: parameters and their names stay what they are.  InputError where it does not work."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # noqa: BLE001 - a missing compiler shows itself in many ways
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"torch.compile does not work here ({reason}); train without it") from None
    encoder.compile()


def _started(settings: dict, method: Method, device: torch.device, ranks: int) -> str:
    """The log's first line about a run."""
    s, name = settings, torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return (
        f"started: {type(method).__name__}, {s['steps']} steps of {s['batch_size']} images (of {s['images']}), "
        f"{s['optimizer']}, learning rate {s['lr']:g}, weight decay {s['weight_decay']:g}, warm-up {s['warmup']:g}, "
        f"seed {s['seed']}, on {name}, {_processes(ranks)}"
    )


def _resumed(state: dict, ranks: int) -> str:
    """How a continued run stands: where it goes on, how old that is, and what another number of ranks changes."""
    event = f"resumed at step {state['step']} of {state['settings']['steps']}"
    if "time" in state:
        event += f", {(time.time() - state['time']) / 60:.1f} minutes after its checkpoint"
    if (old := state.get("ranks", 1)) == ranks:
        return f"{event}, {_processes(ranks)} as before"
    return (
        f"{event}, {_processes(ranks)} instead of {old}: every step sees the same images and augmentations and has "
        "the same loss up to the order of summation, but the weights are not the same to the last bit"
    )


def _processes(ranks: int) -> str:
    return "1 process" if ranks == 1 else f"{ranks} processes"


def _diverged(what: str, step: int, lr: float, out: Path | None) -> str:
    kept = f"; the checkpoint in {out} is from before" if out is not None and checkpoints.exists(out) else ""
    return f"{what} at step {step}: lower the learning rate (now {lr}){kept}"


def _postfix(row: Mapping) -> str:
    """What the progress bar says after a measurement."""
    numbers = f"loss {row['loss']:.2f} kNN {row['knn']:.0%} rank {row['rank']:.0f}"
    return numbers if row["verdict"] == "healthy" else f"{numbers} {row['verdict'].upper()}"


def _alarm(report: CollapseReport, step: int, bar: tqdm, on_alarm) -> None:
    if on_alarm is not None:
        on_alarm(report)
    elif not bar.disable:
        bar.write(
            f"Step {step}: {report.verdict}. {report.explanation} Try first: {report.try_first}.",
            file=sys.stdout,
        )


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
        "time": time.time(), "ranks": distributed.world_size(),
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
        torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
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
    # On several ranks everyone plans with the same number.
    return distributed.from_main(lambda: float(ends.diff().median()))
