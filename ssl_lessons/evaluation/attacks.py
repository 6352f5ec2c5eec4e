"""How little must change for a network to fail?  Pictures moved, within a radius, to where a loss is largest."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_positive


def pgd(
    loss: Callable[[Tensor], Tensor], x: Tensor, radius: float, steps: int = 10, step: float | None = None,
    low: Tensor | float | None = None, high: Tensor | float | None = None, generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Projected gradient ascent in the box of half-width `radius` around every number of x.

        x' <- clip(x' + step * sign(gradient of loss(x')), x - radius, x + radius),   from a random point of the box

    Madry et al. (2018, section 2.1), there for the cross-entropy of the true class.

    loss: views [N, ...] -> a scalar; a sum over pictures or a mean, only the sign of the gradient counts.  It decides
    whether BatchNorm takes the statistics of the attacked pictures: call it with a network in the mode that you mean.
    x [N, ...]; radius and step (default: radius / 4, four steps from the middle to the wall) in its units.
    low, high: the values that a picture can have, numbers or [3, 1, 1]; None: any.  generator: of the first point, on
    the CPU.  Returns the attacked pictures, without gradient; parameters collect none.
    Raises InputError for radius, steps or step <= 0, and where x has values outside of low and high.
    """
    step = radius / 4 if step is None else step
    check_positive(radius=radius, steps=steps, step=step)
    x = x.detach()
    inside = _clip(x, low, high)
    if not torch.equal(inside, x):
        raise InputError(f"{int((inside != x).sum())} values of x are outside of low and high: clip x first")
    start = x + radius * (2 * torch.rand(x.shape, generator=generator).to(x) - 1)
    moved = _clip(start, low, high)
    for _ in range(int(steps)):
        moved.requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(loss(moved), moved)
        moved = moved.detach() + step * slope.sign()
        moved = _clip(torch.minimum(torch.maximum(moved, x - radius), x + radius), low, high)
    return moved


def _clip(x: Tensor, low, high) -> Tensor:
    for bound, limit in ((low, torch.maximum), (high, torch.minimum)):
        if bound is not None:
            x = limit(x, torch.as_tensor(bound, dtype=x.dtype, device=x.device))
    return x
