"""The training loop: schedule, mixed precision, progress, online measures, checkpoints, exact resume."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.evaluation import extract_features
from ssl_lessons.methods import Method
from ssl_lessons.models import save_encoder
from ssl_lessons.models.devices import pick_device
from ssl_lessons.progress import progress as progress_bar
from ssl_lessons.storage import write_atomically
from ssl_lessons.training import checkpoints, distributed, launch, log
from ssl_lessons.training.batches import Batch, Batches, resident, seed_for, views_of
from ssl_lessons.training.monitor import Monitor
from ssl_lessons.training.optimizers import build_optimizer, warmup_cosine
from ssl_lessons.views import Policy

READ_EVERY = 20  # steps between two looks at the loss on a GPU, which each time has to finish its work first
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Diverged(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint, if any, is kept."""


def pretrain(
    method: Method, images: Tensor | StoredPictures, policies: tuple[Policy, ...], *, steps: int, batch_size: int = 256,
    optimizer: str = "adamw", lr: float = 2e-3, weight_decay: float = 1e-4, warmup: float = 0.1, seed: int = 0,
    labels: Tensor | None = None, monitor: Monitor | None = None, device: torch.device | None = None,
    precision: str | None = None, compiled: bool = False, keep_on_device: bool = False, read_every: int | None = None,
    out: str | Path | None = None, resume: bool = False, checkpoint_every: int | None = None,
    checkpoint_minutes: float = 5.0, on_measure: Callable | None = None, on_alarm: Callable | None = None,
    progress: bool = True,
) -> list[dict]:  # fmt: skip
    """Train `method` for exactly `steps` optimiser steps and return its history.

    images: uint8 [N, 3, H, W], on the device if they fit, else read on the way.  policies: one per view.  warmup: share
    of the steps.  precision: "float32", "bfloat16" or "float16" (None: on a GPU bfloat16 where the hardware has it,
    else float16 with loss scaling; float32 elsewhere).  compiled: torch.compile the encoder; its sums are taken in
    another order.  out: a folder for checkpoint.pt, history.json, log.txt and the finished encoder; resume continues
    from its checkpoint, on whatever hardware.  A checkpoint is written when `checkpoint_minutes` have passed since the
    last, every `checkpoint_every` steps if given, and at the end; the newest two are kept.  monitor: measures after the
    first step, every `monitor.every` steps and after the last; then on_measure(history) is called.  on_alarm(report):
    called at the first unhealthy verdict of each kind; without it, the verdict and what to try first are printed.

    Returns one row per step (step, epoch, loss, lr, seconds); the measured ones also hold what `Monitor` returns.  The
    method comes back to the CPU unless keep_on_device.

    Batches and augmentations of step t depend on (seed, t) alone: a run resumed after a kill ends with the very
    weights of an uninterrupted one on the CPU.  A loss that is not finite raises Diverged, before the step that would
    use it; on a GPU, which is looked at every `read_every` steps (20), up to so many steps later.

    Under torchrun every rank calls this with the same arguments inside `distributed.process_group`.  batch_size counts
    the images of all ranks, which share BatchNorm statistics and loss; rank 0 alone measures and writes.
    """
    _check(images, policies, labels, method, steps, batch_size)
    _check_checkpoints(out, resume, checkpoint_every, checkpoint_minutes)
    choices = {
        "steps": steps, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay,
        "warmup": warmup, "seed": seed,
    }  # fmt: skip
    run = _Run(method, images, policies, labels, choices, device, precision, compiled, read_every)
    run.begin(out, resume, checkpoint_minutes)
    name = f"{type(method).__name__}: "  # several runs of one cell are told apart
    with progress_bar(total=steps, initial=run.start, desc=name, disable=not (progress and run.main)) as bar:
        for step, batch in run.batches(run.start, steps):
            row, last = run.step(step, batch), step + 1 == steps
            if monitor is not None and (step == 0 or last or (step + 1) % monitor.every == 0):
                run.measure(row, monitor, bar, on_alarm)
                if run.main and on_measure is not None:
                    on_measure(run.history)
            if last or run.late or (checkpoint_every is not None and (step + 1) % checkpoint_every == 0):
                run.save(step + 1)
            bar.update()
    return run.finish(keep_on_device)


class _Run:
    """What one call of `pretrain` keeps from step to step, and what it does: a step, a measurement, a save."""

    def __init__(
        self, method, images, policies, labels, choices: dict, device, precision, compiled: bool, read_every
    ):
        if launch.launched() and distributed.world_size() == 1:
            raise InputError(
                "torchrun started several processes: call pretrain inside distributed.process_group(device)"
            )
        self.method, self.policies, self.choices = method, tuple(policies), choices
        self.steps, self.batch_size, self.seed = choices["steps"], choices["batch_size"], choices["seed"]
        self.ranks, self.main = distributed.world_size(), distributed.is_main()
        method.refuse_ranks(self.ranks)
        self.rows = distributed.my_rows(self.batch_size)
        self.device = device = device or pick_device()
        self.precision = precision or usual_precision(device)
        if self.precision not in PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "float16")
        self.read_every = read_every or (READ_EVERY if device.type == "cuda" else 1)
        method.to(device, memory_format=torch.channels_last).train()
        if compiled:
            _compile(method.encoder, device)
        self.images = resident(images, device)
        description = _describe(method)
        distributed.synchronise_batch_norm(method, device)
        self.optimizer = build_optimizer(method, choices["optimizer"], choices["lr"], choices["weight_decay"])
        self.warmup_steps = round(choices["warmup"] * self.steps)
        self.settings = choices | {
            "images": _fingerprint(self.images), "policies": str(self.policies), "method": description,
        }  # fmt: skip
        torch.manual_seed(seed_for(self.seed, "training"))
        self.batches = Batches(self.images, labels, self.batch_size, self.seed, self.rows, device)
        self.generator = torch.Generator()

    def begin(self, out: str | Path | None, resume: bool, checkpoint_minutes: float) -> None:
        """Start anew, or where the checkpoint in `out` stands."""
        self.out, self.checkpoint_minutes = Path(out) if out is not None else None, checkpoint_minutes
        self.history, self.start, self.before, self.late = [], 0, 0.0, False
        self.unread: list[tuple[dict, Tensor]] = []  # rows whose loss is still on its way
        state = None
        if resume:
            state = distributed.from_main(lambda: checkpoints.load(self.out))
        elif self.out is not None and distributed.from_main(lambda: checkpoints.exists(self.out)):
            raise InputError(
                f"{out} already holds a run; continue it with resume (--resume) or choose another folder"
            )
        if state is None:
            event = log.started(self.settings, self.method, self.device, self.precision, self.ranks)
        else:
            self._restore(state)
            event = log.resumed(state, self.precision, self.ranks)
        self.note(event)
        self.model = distributed.data_parallel(self.method, self.device)
        self.clock = self.saved = time.perf_counter()

    def step(self, step: int, batch: Batch) -> dict:
        """One optimiser step on one batch; its row of the history."""
        method, opt = self.method, self.optimizer
        for group in opt.param_groups:
            group["lr"] = self.choices["lr"] * warmup_cosine(step, self.steps, self.warmup_steps)
        if method.refresh_every and step % method.refresh_every == 0:
            method.refresh(partial(extract_features, images=self.images, device=self.device))
        self.generator.manual_seed(seed_for(self.seed, "views", step))
        views, used = views_of(batch.images, self.policies, self.batch_size, self.rows, self.generator)
        inputs = (views, batch.labels, *[batch.index] * method.needs_index, *[used] * method.needs_parameters)
        row = {
            "step": step + 1, "epoch": (step + 1) * self.batch_size / len(self.images), "loss": math.nan,
            "lr": opt.param_groups[0]["lr"], "seconds": 0.0,
        }  # fmt: skip
        self.history.append(row)
        try:
            with torch.autocast(self.device.type, PRECISIONS[self.precision], self.precision != "float32"):
                loss = self.model(*inputs)
        except NotFiniteError:
            loss = torch.tensor(math.nan)
        self.unread.append((row, loss.detach()))
        if self.read_every == 1 or not loss.requires_grad:
            self.read()  # before the step that a loss which is not finite would spoil
        opt.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(opt)
        self.scaler.update()
        method.after_step((step + 1) / self.steps)
        row["seconds"] = self.before + time.perf_counter() - self.clock
        if len(self.unread) >= self.read_every:
            self.read()
        return row

    def read(self) -> None:
        """Fetch the losses of the steps since the last look, and stop the run where one is not finite."""
        if not self.unread:
            return
        rows, losses = zip(*self.unread, strict=True)
        self.unread = []
        late = self.main and time.perf_counter() - self.saved >= 60 * self.checkpoint_minutes
        # Rank 0's clock alone decides when it is time to save, and no rank goes on with a loss that one cannot use.
        *values, late = distributed.mean(*torch.stack(losses).tolist(), late)
        self.late = bool(late)
        for row, value in zip(rows, values, strict=True):
            row["loss"] = value
            if not math.isfinite(value):
                self.stop(f"the loss became {value}", row["step"])

    def measure(self, row: dict, monitor: Monitor, bar, on_alarm) -> None:
        """Add the monitor's measures to the row of this step; log and show what they say."""
        self.read()
        row |= distributed.from_main(lambda: monitor(self.method, self.history, self.batch_size))
        verdict, step = row["verdict"], row["step"]
        before = [r["verdict"] for r in self.history[:-1] if "verdict" in r]
        if not before or verdict != before[-1]:
            self.note(f"step {step}: verdict {verdict}" + (f" (was {before[-1]})" if before else ""))
        if verdict == "not finite":
            self.stop("the weights or embeddings became NaN or infinite", step)
        bar.set_postfix_str(log.postfix(row))
        if not self.main or verdict == "healthy" or verdict in before:
            return
        if on_alarm is not None:
            on_alarm(monitor.report)
        elif not bar.disable:
            report = monitor.report
            words = f"Step {step}: {report.verdict}. {report.explanation} Try first: {report.try_first}."
            bar.write(words, file=sys.stdout)

    def save(self, step: int) -> None:
        """Write a checkpoint after `step` steps, unless the run keeps nothing."""
        self.read()
        if self.out is None:
            return
        tensors = [*self.method.parameters(), *(b for b in self.method.buffers() if b.is_floating_point())]
        if not all(bool(t.isfinite().all()) for t in tensors):
            self.stop("the weights or running statistics became NaN or infinite", step)
        if self.main:
            checkpoints.save(self._state(step), self.out)
            self._write_history()
            self.note(f"step {step}: checkpoint")
        self.saved, self.late = time.perf_counter(), False

    def finish(self, keep_on_device: bool) -> list[dict]:
        """Write what remains, bring the method home, and hand over the history."""
        self.method.eval()
        if self.out is not None and self.main:
            self._write_history()  # also when nothing was left to do
            save_encoder(self.method.encoder, self.out, self.policies[0].size)
            last = self.history[-1]
            self.note(
                f"finished: {self.steps} steps, loss {last['loss']:.4f}, {last['seconds'] / 60:.1f} minutes"
            )
        if not keep_on_device:
            self.method.to("cpu")
        distributed.barrier()  # the files are there when any rank returns
        return self.history

    def note(self, event: str) -> None:
        """A line in the log, from the rank that writes."""
        if self.out is not None and self.main:
            checkpoints.note(self.out, event)

    def stop(self, what: str, step: int) -> None:
        message = log.diverged(what, step, self.choices["lr"], self.out)
        self.note(f"diverged: {message}")
        raise Diverged(message)

    def _write_history(self) -> None:
        content = json.dumps({"settings": self.settings, "rows": self.history})
        write_atomically(self.out / "history.json", lambda path: path.write_text(content))

    def _state(self, step: int) -> dict:
        state = {
            "step": step, "settings": self.settings, "history": self.history, "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "rng": torch.get_rng_state(),
            "time": time.time(), "ranks": self.ranks, "precision": self.precision,
        }  # fmt: skip
        if torch.cuda.is_available():
            state["cuda_rng"] = torch.cuda.get_rng_state_all()
        return state

    def _restore(self, state: dict) -> None:
        old = state["settings"]
        changed = [
            k if max(len(str(v)), len(str(old.get(k)))) > 40 else f"{k} {old.get(k)} -> {v}"
            for k, v in self.settings.items()
            if old.get(k) != v
        ]
        if changed:
            raise InputError(
                f"cannot resume with other settings ({', '.join(changed)}); use the old ones or a new folder"
            )
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if (
            self.scaler.is_enabled() and state["scaler"]
        ):  # empty when it was written where no scaling is needed
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        if torch.cuda.is_available() and "cuda_rng" in state:
            torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
        self.history, self.start = state["history"], state["step"]
        self.before = self.history[-1]["seconds"] if self.history else 0.0


def usual_precision(device: torch.device) -> str:
    """What `pretrain` computes in unless told otherwise."""
    if device.type != "cuda":
        return "float32"
    # bfloat16 needs an Ampere card; older ones (a T4) only emulate it, slowly.
    return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"


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


def _check_checkpoints(out, resume: bool, every: int | None, minutes: float) -> None:
    if every is not None and every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, got {every}")
    if not minutes >= 0:
        raise InputError(f"checkpoint_minutes must be 0 or more, got {minutes}")
    if resume and out is None:
        raise InputError("resume needs out, the folder of the run to continue")


def _compile(encoder: torch.nn.Module, device: torch.device) -> None:
    """torch.compile, in place: parameters and their names stay what they are.  InputError where it does not work."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # noqa: BLE001 - a missing compiler shows itself in many ways
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"torch.compile does not work here ({reason}); train without it") from None
    encoder.compile()


def _fingerprint(images: Tensor) -> str:
    """The number of images and a checksum over at most 64 of them: enough to notice other data."""
    sample = images[:: max(1, len(images) // 64)].contiguous().cpu().numpy()
    return f"{len(images)}, crc {zlib.crc32(sample.tobytes()):08x}"


def _describe(method: Method) -> str:
    """Name, architecture and plain settings of a method, as text: two runs that differ in it cannot be continued."""
    plain = {k: v for k, v in vars(method).items() if isinstance(v, (int, float, str)) and k != "training"}
    return f"{plain} {method}"


def time_steps(
    method: Method, images: Tensor, policies: tuple[Policy, ...], batch_size: int, steps: int = 8, **options
) -> float:
    """Median seconds of one training step here, measured on a copy: method and random state are left untouched.

    options: further arguments of `pretrain`, such as labels or device.
    """
    options = {
        "lr": 1e-5,
        "progress": False,
        "read_every": 1,
    } | options  # the clock is read when a step is done
    with torch.random.fork_rng():
        rows = pretrain(
            copy.deepcopy(method), images, policies, steps=steps + 3, batch_size=batch_size, **options
        )
    # The first ones set things up.
    ends = torch.tensor([row["seconds"] for row in rows], dtype=torch.float64)[2:]
    # On several ranks everyone plans with the same number.
    return distributed.from_main(lambda: float(ends.diff().median()))
