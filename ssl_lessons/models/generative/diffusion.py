"""Diffusion (DDPM): noise added in small steps, a network that takes it out, and the score that connects both."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError


class Schedule(NamedTuple):
    """How fast the noise comes: beta, alpha = 1 - beta and alpha_bar = product of alphas, [T] each.

    Index t = 0 .. T-1 is the paper's step t + 1.
    """

    beta: Tensor
    alpha: Tensor
    alpha_bar: Tensor


def schedule(beta: Tensor) -> Schedule:
    """The schedule of given betas [T].  Raises InputError unless all lie strictly between 0 and 1."""
    if beta.ndim != 1 or not bool(((beta > 0) & (beta < 1)).all()):
        raise InputError("every beta must lie strictly between 0 and 1, in a vector with one per step")
    return Schedule(beta, 1 - beta, (1 - beta).cumprod(dim=0))


def linear_schedule(steps: int, low: float = 1e-4, high: float = 0.02) -> Schedule:
    """Betas from low to high in equal steps (Ho et al. 2020, section 4: 1e-4 to 0.02 over 1,000).

    For fewer steps both ends are scaled by 1000 / steps (and capped at 0.999), so that alpha_bar ends at about the
    same value.
    """
    _check_steps(steps)
    scale = 1000 / steps
    return schedule(torch.linspace(low * scale, high * scale, steps).clamp(max=0.999))


def cosine_schedule(steps: int, offset: float = 0.008) -> Schedule:
    """alpha_bar along a squared cosine (Nichol and Dhariwal 2021, eq. 17), betas capped at 0.999."""
    _check_steps(steps)
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = torch.cos((t + offset) / (1 + offset) * math.pi / 2).square()
    return schedule((1 - f[1:] / f[:-1]).clamp(max=0.999).float())


def _check_steps(steps: int) -> None:
    if steps < 2:
        raise InputError(f"a diffusion needs at least two steps, got {steps}")


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values [T] at the steps t [N], shaped [N, 1, ...] to multiply `like` [N, ...]."""
    return values[t].view(-1, *[1] * (like.ndim - 1)).to(like.dtype)


def add_noise(x0: Tensor, t: Tensor, noise: Tensor, s: Schedule) -> Tensor:
    """A draw of q(x_t | x_0): sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise (Ho et al. 2020, eq. 4).

    x0, noise [N, ...]; t long [N] in 0..T-1.
    """
    a = at(s.alpha_bar, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def predict_x0(xt: Tensor, t: Tensor, epsilon: Tensor, s: Schedule) -> Tensor:
    """The clean x_0 that x_t and a guess of the noise imply (Ho et al. 2020, eq. 15)."""
    a = at(s.alpha_bar, t, xt)
    return (xt - (1 - a).sqrt() * epsilon) / a.sqrt()


def score(epsilon: Tensor, t: Tensor, s: Schedule) -> Tensor:
    """The slope of log q(x_t) that a guess of the noise implies: -epsilon / sqrt(1 - alpha_bar).

    (Song et al. 2021, section 3; a denoiser's slope, Vincent 2011.)
    """
    return -epsilon / (1 - at(s.alpha_bar, t, epsilon)).sqrt()


def posterior(x0: Tensor, xt: Tensor, t: Tensor, s: Schedule) -> tuple[Tensor, Tensor]:
    """Mean [N, ...] and variance [N, 1, ...] of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 6 and 7).

    At t = 0 the previous picture is x_0 itself: its alpha_bar is 1, the variance 0.
    """
    before = torch.cat([torch.ones_like(s.alpha_bar[:1]), s.alpha_bar[:-1]])
    beta, alpha, a, b = (at(v, t, xt) for v in (s.beta, s.alpha, s.alpha_bar, before))
    mean = (b.sqrt() * beta * x0 + alpha.sqrt() * (1 - b) * xt) / (1 - a)
    return mean, beta * (1 - b) / (1 - a)


def epsilon_loss(
    model: nn.Module,
    x0: Tensor,
    s: Schedule,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """mean (noise - model(x_t, t))^2 with t uniform, one per example (Ho et al. 2020, eq. 14, L_simple).

    model(x_t, t) or model(x_t, t, condition) returns a guess of the noise, shaped like x_t.
    """
    t = torch.randint(len(s.beta), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    xt = add_noise(x0, t, noise, s)
    return F.mse_loss(model(xt, t) if condition is None else model(xt, t, condition), noise)


@torch.no_grad()
def sample(
    model: nn.Module,
    shape: tuple[int, ...],
    s: Schedule,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
    steps: int | None = None,
    clip: float | None = None,
) -> Tensor:
    """Pictures [N, ...] from noise.  steps=None: every step with fresh noise (Ho et al. 2020, algorithm 2).

    steps=k: k of the steps, evenly spaced, without noise in between (DDIM, Song et al. 2021, eq. 12, sigma = 0).
    clip: keep the guessed x_0 within [-clip, clip].  condition [N, C] is passed to the model.
    """
    x, total = torch.randn(shape, generator=generator), len(s.beta)
    times = (
        list(range(total))
        if steps is None
        else torch.linspace(0, total - 1, steps).round().long().unique().tolist()
    )
    for i in reversed(range(len(times))):
        t = torch.full((shape[0],), times[i])
        epsilon = model(x, t) if condition is None else model(x, t, condition)
        x0 = predict_x0(x, t, epsilon, s)
        if clip is not None:
            x0 = x0.clamp(-clip, clip)
        if i == 0:
            return x0
        if steps is None:
            mean, variance = posterior(x0, x, t, s)
            x = mean + variance.sqrt() * torch.randn(shape, generator=generator)
        else:
            a = at(s.alpha_bar, t, x)
            epsilon = (x - a.sqrt() * x0) / (1 - a).sqrt()  # consistent with the clipped guess
            x = add_noise(x0, torch.full((shape[0],), times[i - 1]), epsilon, s)
    raise AssertionError("the loop returns at its last step")


# ---- a small network ----


def time_features(t: Tensor, dim: int, steps: int) -> Tensor:
    """Sines and cosines [N, dim] of t / steps at frequencies 1 to 1,000 (as in Vaswani et al. 2017, section 3.5)."""
    frequency = torch.logspace(0, 3, dim // 2)
    angle = (t.float() / steps)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class _Block(nn.Module):
    """Norm, SiLU, convolution, plus what the time (and the condition) says per channel, added to the input."""

    def __init__(self, channels: int, context: int):
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.told = nn.Linear(context, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.first(F.silu(self.norm(x))) + self.told(context)[:, :, None, None]
        return x + self.second(F.silu(h))


class UNet(nn.Module):
    """A small U-Net that guesses the noise in x_t [N, 3, S, S] at steps t [N]; S a multiple of 8.

    The image is halved at once (the price of two cores), then twice more, and back up; `width` channels at S/2, twice
    that at S/4, four times at S/8.  steps: T of the schedule.
    condition: length of a vector [N, condition] that is told to every block, and drawn as a map onto the first one, for
    which S must be given as `size`.
    """

    LAYERS = ("down S/2", "down S/4", "middle S/8", "up S/4", "up S/2")

    def __init__(self, steps: int, width: int = 16, condition: int = 0, size: int = 32, context: int = 64):
        super().__init__()
        self.steps, self.context = steps, context
        widths = (width, 2 * width, 4 * width)
        self.told_time = nn.Sequential(nn.Linear(context, context), nn.SiLU(), nn.Linear(context, context))
        self.told_condition = nn.Linear(condition, context) if condition else None
        self.told_map = nn.Linear(condition, width * (size // 2) ** 2) if condition else None
        self.stem = nn.Conv2d(3, width, 4, 2, 1)
        self.down = nn.ModuleList(_Block(w, context) for w in widths)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.up = nn.ModuleList(_Block(w, context) for w in widths[-2::-1])
        self.enlarge = nn.ModuleList(nn.Conv2d(b, a, 3, 1, 1) for a, b in reversed(pairs))
        self.out = nn.ConvTranspose2d(width, 3, 4, 2, 1)
        nn.init.zeros_(self.out.weight)

    def features(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The output of each of LAYERS, [N, C, H, W] each; the last one makes the guess."""
        context = self.told_time(time_features(t, self.context, self.steps))
        x = self.stem(x)
        if self.told_condition is not None:
            if condition is None:
                raise InputError("this network was built with a condition: pass one row per example")
            context = context + self.told_condition(condition)
            x = x + self.told_map(condition).view_as(x)
        context, outputs = F.silu(context), []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else self.halve[i - 1](x), context)
            outputs.append(x)
        for i, block in enumerate(self.up):
            skip = outputs[len(self.down) - 2 - i]
            x = block(self.enlarge[i](F.interpolate(x, scale_factor=2)) + skip, context)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.out(F.silu(self.features(x, t, condition)[-1]))
