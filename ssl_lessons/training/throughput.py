"""How long will it take?  Count the work of a step, time its parts, and turn a measured rate into minutes per epoch."""

from __future__ import annotations

import copy
import math
import statistics
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssl_lessons.errors import InputError
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods import SimCLR
from ssl_lessons.training.optimizers import build_optimizer
from ssl_lessons.views import Policy, make_views

PARTS = ("augmentation", "forward", "loss", "backward", "optimizer")
WARM_UP = 2  # first steps that set things up (kernels, optimiser state) and are not counted


class Work(NamedTuple):
    """What one training step has to do: floating-point operations, and activations written (float32 numbers)."""

    flops: float
    activations: float


class Machine(NamedTuple):
    """Two rates: floating-point operations per second, and activations per second (read, normalised, written back)."""

    flops: float
    activations: float = math.inf


class Accelerator(NamedTuple):
    """Published dense peaks in operations per second: float32 (plain cores) and half precision (tensor cores)."""

    single: float
    half: float


# NVIDIA's data sheets: https://www.nvidia.com/en-us/data-center/tesla-t4/, /v100/, /a100/, /h100/ (SXM).  Where a sheet
# doubles the number "with sparsity", this is the other one: a dense network cannot use it.
ACCELERATORS = {
    "T4": Accelerator(8.1e12, 65e12),
    "V100": Accelerator(15.7e12, 125e12),
    "A100": Accelerator(19.5e12, 312e12),
    "H100": Accelerator(67e12, 989e12),
}
EFFICIENCY = (
    0.08,
    0.15,
    0.25,
)  # low, assumed, high: the share of the half-precision peak that a small ResNet gets


# ---- counting ------------------------------------------------------------------------------------


def count(method: SimCLR, size: int, batch_size: int) -> Work:
    """The work of one step of SimCLR on `batch_size` images, two views of `size` pixels each.

    A multiply-add counts as 2 operations.  Forward and backward passes of encoder and projector and the similarities
    of all views are counted; the optimiser and the augmentation are not.  Only shapes are computed (the "meta"
    device), so a ResNet-50 at batch 4,096 costs nothing.
    """
    _check(method, batch_size)
    twin = copy.deepcopy(method).to("meta").train()
    written = []
    leaves = [m for m in twin.modules() if not list(m.children())]
    hooks = [m.register_forward_hook(lambda m, i, out: written.append(out.numel())) for m in leaves]
    with FlopCounterMode(display=False) as counter:
        z = twin.projector(twin.encoder(torch.empty(2 * batch_size, 3, size, size, device="meta")))
        (z @ z.T).sum().backward()
    for hook in hooks:
        hook.remove()
    return Work(float(counter.get_total_flops()), float(sum(written)))


# ---- timing --------------------------------------------------------------------------------------


class _Laps:
    """Seconds between calls, by name; waits for the GPU, which otherwise works on while the clock is read."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, {}
        self.last = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __call__(self, name: str) -> None:
        now = self._now()
        self.seconds[name], self.last = now - self.last, now


def time_parts(
    method: SimCLR,
    images: Tensor,
    policy: Policy,
    batch_size: int,
    *,
    steps: int = 5,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    channels_last: bool = True,
    compiled: bool = False,
    optimizer: str = "adamw",
) -> dict[str, float]:
    """Median seconds per step of each of PARTS, on a copy of the method; random states are left untouched.

    images: uint8 [N, 3, H, W], on the CPU or on the device.  dtype: of autocast (None: float32 throughout; float16
    brings a GradScaler).  channels_last: memory layout of weights and views.  compiled: torch.compile the network
    (the first steps then take long; they are not counted).  "loss" holds the loss with its own backward pass down to
    the embeddings, in float32; "backward" is the network's.
    """
    _check(method, batch_size)
    device = device or images.device
    layout = torch.channels_last if channels_last else torch.contiguous_format
    rows = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        trial = copy.deepcopy(method).to(device, memory_format=layout).train()
        network = nn.Sequential(trial.encoder, trial.projector)
        run = torch.compile(network) if compiled else network
        opt = build_optimizer(trial, optimizer, 1e-5, 1e-4)
        scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        generator = torch.Generator().manual_seed(0)
        for _ in range(WARM_UP + steps):
            lap = _Laps(device)
            index = torch.randint(len(images), (batch_size,), generator=generator).to(images.device)
            views = make_views(images[index].to(device), (policy, policy), generator)
            x = torch.cat(views).contiguous(memory_format=layout)
            lap("augmentation")
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                z = run(x)
            lap("forward")
            leaf = z.detach().float().requires_grad_()
            scaler.scale(nt_xent(*leaf.chunk(2), trial.temperature)).backward()
            lap("loss")
            z.backward(leaf.grad.to(z.dtype))
            lap("backward")
            scaler.step(opt)
            scaler.update()
            opt.zero_grad(set_to_none=True)
            lap("optimizer")
            rows.append(lap.seconds)
    return {part: statistics.median(row[part] for row in rows[WARM_UP:]) for part in PARTS}


# ---- predicting ----------------------------------------------------------------------------------


def seconds_per_step(work: Work, machine: Machine) -> float:
    """Time to compute plus time to move: flops / rate + activations / rate."""
    return work.flops / machine.flops + work.activations / machine.activations


def fit(works: list[Work], seconds: list[float]) -> Machine:
    """The two rates that explain measured seconds per step best, in relative squared error, neither negative.

    Needs two works or more with different ratios of operations to activations; with one, all time is put down to the
    operations.
    """
    if not works or len(works) != len(seconds) or min(seconds) <= 0:
        raise InputError("fit needs as many positive times as works, and at least one")
    if len(works) == 1:
        return Machine(works[0].flops / seconds[0])
    from scipy.optimize import nnls

    design = torch.tensor(works, dtype=torch.float64) / torch.tensor(seconds, dtype=torch.float64)[:, None]
    scale = design.amax(dim=0)
    cost, _ = nnls((design / scale).numpy(), torch.ones(len(works)).numpy())
    return Machine(*(1 / c if c > 0 else math.inf for c in (cost / scale.numpy()).tolist()))


def minutes_per_epoch(seconds: float, images: int, batch_size: int) -> float:
    """Minutes of one pass over `images` images at `seconds` per step, the incomplete last batch dropped."""
    if images < batch_size:
        raise InputError(f"{images} images do not fill one batch of {batch_size}")
    return images // batch_size * seconds / 60


def published(name: str, efficiency: float = EFFICIENCY[1]) -> Machine:
    """An estimate, not a measurement: a GPU's half-precision peak times an assumed efficiency.

    Raises InputError for an unknown GPU or an efficiency outside (0, 1].
    """
    if name not in ACCELERATORS:
        raise InputError(f"unknown GPU {name!r}; choose from {', '.join(ACCELERATORS)}")
    if not 0 < efficiency <= 1:
        raise InputError(f"efficiency is a share of the peak, above 0 and at most 1, not {efficiency!r}")
    return Machine(efficiency * ACCELERATORS[name].half)


# ---- losing the machine --------------------------------------------------------------------------


def overhead(interval: float, writing: float, restart: float, between: float) -> float:
    """Share of the time that checkpoints and lost connections cost, to first order (Young 1974).

    interval: work between two checkpoints; writing: one checkpoint; restart: coming back, before the first new step;
    between: mean time between two losses.  All in the same unit.  A loss finds the run, on average, in the middle of an
    interval: it costs interval / 2 + restart.
    """
    if min(interval, between) <= 0 or min(writing, restart) < 0:
        raise InputError("interval and between must be above 0, writing and restart at least 0")
    return writing / interval + (interval / 2 + restart) / between


def best_interval(writing: float, between: float) -> float:
    """The interval with the least overhead, sqrt(2 writing between) (Young 1974, https://doi.org/10.1145/361147.361115)."""
    if writing <= 0 or between <= 0:
        raise InputError("writing and between must be above 0")
    return math.sqrt(2 * writing * between)


def _check(method, batch_size: int) -> None:
    if not isinstance(method, SimCLR):
        raise InputError(f"the parts of a step are those of SimCLR, not of {type(method).__name__}")
    if batch_size < 2:
        raise InputError(f"batch_size must be at least 2 (the loss compares images), got {batch_size}")
