"""The loop for what is no set of pictures: words, sounds, clips, graphs.  The caller brings the loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.progress import progress as progress_bar
from ssl_lessons.training.loop import Diverged
from ssl_lessons.training.optimizers import build_optimizer, warmup_cosine


def fit(
    module: nn.Module, loss: Callable[[torch.Generator], Tensor], steps: int, *, lr: float = 2e-3,
    weight_decay: float = 1e-4, warmup: float = 0.1, seed: int = 0, after: Callable[[int], object] | None = None,
    progress: bool | str = False,
) -> list[float]:  # fmt: skip
    """Lower `loss` by AdamW over the trainable parameters of `module`; returns the loss of each step.

    loss(generator): the scalar loss of one fresh batch, all chance from the generator (a CPU one, seeded with `seed`),
    so that two runs of one seed see the same.  What the module draws itself (dropout) is seeded as well, and the
    caller's own random state comes back untouched.  warmup: share of the steps, then half a cosine to 0.  after(step):
    called with 1 .. steps after each step, for moving averages and measurements.  The module is in training mode
    while it learns and in evaluation mode afterwards.  progress: a bar, under the name of the module's class or, for
    one of several runs of a cell, the name given.

    Raises InputError for fewer than one step, Diverged (the weights of the step before are kept) when the loss is not
    finite.
    """
    if steps < 1:
        raise InputError(f"fit needs at least one step, not {steps}")
    optimizer = build_optimizer(module, "adamw", lr, weight_decay)
    generator, losses = torch.Generator().manual_seed(seed), []
    module.train()
    name = progress if isinstance(progress, str) else type(module).__name__
    with torch.random.fork_rng(), progress_bar(total=steps, desc=f"{name}: ", disable=not progress) as bar:
        torch.manual_seed(seed)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * warmup_cosine(step, steps, int(warmup * steps))
            value = loss(generator)
            losses.append(value.item())
            if not torch.isfinite(value):
                raise Diverged(
                    f"the loss is {losses[-1]} at step {step + 1} of {steps}; try a smaller lr than {lr:g}"
                )
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            if after is not None:
                after(step + 1)
            bar.update()
    module.eval()
    return losses
