"""Optimisers by name, LARS, the warm-up + cosine schedule, and the learning rate of a larger batch."""

from __future__ import annotations

import math

import torch
from torch import nn

from ssl_lessons.errors import InputError


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling with momentum (You et al. 2017, https://arxiv.org/abs/1708.03888).

    Every tensor w takes the step  v <- momentum v + lr * ratio * (g + weight_decay w),  w <- w - v,
    with  ratio = trust |w| / |g + weight_decay w|  (1 for biases and normalisation weights, which are also
    spared the decay, as SimCLR does; and 1 where a norm is zero).  The paper's own denominator is
    |g| + weight_decay |w|; SimCLR's and most later code takes the norm of the sum, as here.
    """

    def __init__(
        self, params, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ):
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for w in (p for p in group["params"] if p.grad is not None):
                update = w.grad
                if w.ndim > 1:
                    update = update + group["weight_decay"] * w
                    w_norm, u_norm = w.norm(), update.norm()
                    adapted = (w_norm > 0) & (u_norm > 0)
                    update = update * torch.where(adapted, group["trust"] * w_norm / u_norm, 1.0)
                v = self.state[w].setdefault("momentum", torch.zeros_like(w))
                v.mul_(group["momentum"]).add_(update, alpha=group["lr"])
                w.sub_(v)


OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "sgd": lambda groups, **kw: torch.optim.SGD(groups, momentum=0.9, **kw),
    "lars": LARS,
}


def build_optimizer(module: nn.Module, name: str, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """ "adamw", "sgd" (momentum 0.9) or "lars" (momentum 0.9) over the module's trainable parameters.

    Biases and normalisation weights (one-dimensional tensors) are not decayed.
    Raises InputError for an unknown name, lr <= 0 or weight_decay < 0.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}")
    if not (lr > 0 and math.isfinite(lr)) or not weight_decay >= 0:
        raise InputError(f"need lr > 0 and weight_decay >= 0, got lr={lr}, weight_decay={weight_decay}")
    params = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused steps undo the loss scaling themselves; other ones make the host wait to hear whether a gradient overflowed.
    fused = name != "lars" and all(p.device.type == "cuda" for p in params)
    options = {"fused": True} if fused else {}
    return OPTIMIZERS[name]([g for g in groups if g["params"]], lr=lr, **options)


def warmup_cosine(step: int, steps: int, warmup_steps: int) -> float:
    """Factor on the peak learning rate at `step` of 0 .. steps - 1: linear warm-up, then one half cosine to 0.

    The warm-up reaches 1 at step `warmup_steps` (Goyal et al. 2017); the decay has no restarts
    (Loshchilov & Hutter 2017, eq. 5, first period).
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


LR_RULES = {"linear": lambda ratio: ratio, "sqrt": math.sqrt}


def scaled_lr(base_lr: float, batch_size: int, rule: str = "linear", base_batch: int = 256) -> float:
    """The learning rate for `batch_size` when `base_lr` suits `base_batch`; batches count the images of all ranks.

    "linear": base_lr * batch_size / base_batch (Goyal et al. 2017, section 2.1, https://arxiv.org/abs/1706.02677).
    "sqrt": base_lr * sqrt(batch_size / base_batch).  SimCLR's square-root rule (Chen et al. 2020, appendix B.1) is
    0.075 * sqrt(batch_size), which is base_lr = 1.2 here; its linear rule has base_lr = 0.3, and the two agree at 4096.
    Raises InputError for an unknown rule or numbers that are not positive.
    """
    if rule not in LR_RULES:
        raise InputError(f"unknown learning-rate rule {rule!r}; choose from {', '.join(LR_RULES)}")
    if not (base_lr > 0 and math.isfinite(base_lr)) or batch_size < 1 or base_batch < 1:
        raise InputError(
            f"need base_lr > 0 and batches of 1 or more, got {base_lr}, {batch_size}, {base_batch}"
        )
    return base_lr * LR_RULES[rule](batch_size / base_batch)
