"""BYOL with linear networks: why the predictor and the stop-gradient keep each direction of the embedding alive.

Data with unit covariance, views that add noise of variance `noise` per direction, student W, predictor P, teacher
W_a.  When P and F = W W^T share their eigenvectors, every direction evolves by itself (Tian et al. 2021,
https://arxiv.org/abs/2102.06810): s its eigenvalue of F, p the predictor's, tau the teacher's share of it,

    dp/dt   = speed s (tau - (1 + noise) p) - decay p
    ds/dt   = 2 p s (tau - (1 + noise) p) - 2 decay s
    dtau/dt = rate (1 - tau) - tau (ds/dt) / (2 s)
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError

PREDICTORS = ("learned", "none", "set to sqrt(s)")
STARTS = (0.02, 0.1, 0.3, 0.6, 1.2)  # p of the directions at the start


class Path(NamedTuple):
    """What the directions do, one row per time: time [T], p, s and tau [T, directions]."""

    time: Tensor
    p: Tensor
    s: Tensor
    tau: Tensor


def velocity(p, s, tau, predictor="learned", decay=0.01, speed=1.0, noise=0.25, rate=math.inf):
    """(dp/dt, ds/dt, dtau/dt) of the equations above, for numbers or tensors.

    predictor: "learned"; "none", p = 1 for ever; "set to sqrt(s)", DirectPred without its epsilon.  rate: how fast
    the teacher follows; infinite = the teacher is the student (tau = 1).
    """
    p = {"learned": p, "none": torch.ones_like(s), "set to sqrt(s)": s.clamp_min(0).sqrt()}[predictor]
    gap = tau - (1 + noise) * p
    ds = 2 * p * s * gap - 2 * decay * s
    dp = speed * s * gap - decay * p if predictor == "learned" else torch.zeros_like(s)
    dtau = torch.zeros_like(s)
    if math.isfinite(rate):
        dtau = rate * (1 - tau) - tau * (p * gap - decay)
    return dp, ds, dtau


def follow(p0, s0, seconds: float = 60.0, steps: int = 400, **options) -> Path:
    """The equations integrated from p0, s0 [directions] with tau = 1 at the start (fourth-order Runge-Kutta)."""
    p, s = (torch.as_tensor(x, dtype=torch.float64) for x in (p0, s0))
    if not seconds > 0 or bool((s <= 0).any()):
        raise InputError("seconds and every s0 must be above 0.")
    state = torch.stack([p, s, torch.ones_like(s)])
    dt, rows = seconds / steps, [state]

    def slope(state):
        p, s, tau = state
        return torch.stack(velocity(p, s, tau, **options))

    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + dt / 2 * k1)
        k3 = slope(state + dt / 2 * k2)
        k4 = slope(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        rows.append(state)
    p, s, tau = torch.stack(rows, dim=1)
    if options.get("predictor") == "set to sqrt(s)":
        p = s.clamp_min(0).sqrt()
    elif options.get("predictor") == "none":
        p = torch.ones_like(s)
    return Path(torch.linspace(0, seconds, steps + 1, dtype=torch.float64), p, s, tau)


def fixed_points(decay: float = 0.01, noise: float = 0.25, tau: float = 1.0) -> tuple[float, ...]:
    """Where dp/dt = 0 on the curve s = p^2 / speed: (0,), or (0, p-, p+) when decay < tau^2 / (4 (1 + noise)).

    0 and p+ attract, p- repels: a direction that starts below it dies.
    """
    room = tau**2 - 4 * decay * (1 + noise)
    if room <= 0:
        return (0.0,)
    low, high = ((tau + sign * math.sqrt(room)) / (2 * (1 + noise)) for sign in (-1, 1))
    return (0.0, low, high) if decay > 0 else (0.0, high)


def controls() -> dict[str, Slider | Choice]:
    """The widget's inputs."""
    return {
        "predictor": Choice(PREDICTORS, "learned", "predictor"),
        "decay": Slider(0.0, 0.25, 0.05, "weight decay", live=True),
        "speed": Slider(0.2, 5.0, 1.0, "predictor's learning rate", log=True, live=True),
        "noise": Slider(0.0, 1.0, 0.25, "view noise", live=True),
        "rate": Slider(0.1, 10.0, 10.0, "teacher's speed (10 = at once)", log=True, live=True),
    }


@lru_cache(maxsize=64)
def run(predictor="learned", decay=0.05, speed=1.0, noise=0.25, rate=10.0) -> Path:
    """The five directions of the picture: p from STARTS, s = p^2 / speed."""
    p0 = torch.tensor(STARTS, dtype=torch.float64)
    rate = math.inf if rate >= 10 else rate
    options = {"predictor": predictor, "decay": decay, "speed": speed, "noise": noise, "rate": rate}
    return follow(p0, p0**2 / speed, **options)


def render(predictor="learned", decay=0.05, speed=1.0, noise=0.25, rate=10.0) -> Figure:
    """Left: how fast p changes, and where it rests.  Right: the variance s of five directions over time."""
    path = run(predictor, decay, speed, noise, rate)
    fig, (left, right) = plots.new_figure(6.4, 3.1, 1, 2)
    _phase_line(left, predictor, decay, noise)
    for i, start in enumerate(STARTS):
        right.plot(path.time, path.s[:, i].clamp(1e-6, 10), color=plots.COLORS[i], label=f"{start:g}")
    right.set(yscale="log", ylim=(1e-6, 10), xlabel="time", ylabel="variance s of a direction (log)",
              title=f"{alive(path)} of {len(STARTS)} directions live")  # fmt: skip
    fig.legend(title="p at the start", loc="outside lower center", ncols=len(STARTS), fontsize=7)
    return fig


def _phase_line(ax, predictor: str, decay: float, noise: float) -> None:
    grid = torch.linspace(0, 1.3, 200, dtype=torch.float64)
    if predictor == "none":
        rate = torch.full_like(grid, -noise - decay)
        ax.plot(grid, rate, color=plots.COLORS[0])
        ax.set(xlabel="s (variance of the direction)", ylabel="growth rate of s, halved",
               title="Without predictor: it shrinks", ylim=(-1.4, 0.3))  # fmt: skip
        ax.axhline(0, color=plots.GRAY, linewidth=0.8)
        return
    ax.plot(grid, grid**2 * (1 - (1 + noise) * grid) - decay * grid, color=plots.COLORS[0])
    ax.axhline(0, color=plots.GRAY, linewidth=0.8)
    points = fixed_points(decay, noise)
    for p, stable in zip(points, (True, len(points) < 3, True), strict=False):
        ax.plot([p], [0], "o", color=plots.COLORS[2 if stable else 1], markersize=7,
                markerfacecolor=plots.COLORS[2] if stable else "white")  # fmt: skip
    title = f"p rests at 0 or {points[-1]:.2f}" if len(points) > 1 else "p can rest at 0 only"
    ax.set(xlabel="p (predictor, one direction)", ylabel="dp/dt", title=title, ylim=(-0.25, 0.15))


def alive(path: Path) -> int:
    """Directions whose variance ends above a hundredth of the largest possible one, 1."""
    return int((path.s[-1] > 0.01).sum())


def describe(predictor="learned", decay=0.05, speed=1.0, noise=0.25, rate=10.0) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    path = run(predictor, decay, speed, noise, rate)
    points = fixed_points(decay, noise)
    rest = (
        "only zero attracts"
        if len(points) == 1
        else f"directions that start high enough rest at {points[-1]:.2f}"
    )
    if predictor == "none":
        rest = "without a predictor every direction shrinks"
    return (
        f"Predictor {predictor}, weight decay {decay:.3g}, view noise {noise:.3g}: {rest}; "
        f"{alive(path)} of {len(STARTS)} directions keep their variance, which ends between "
        f"{float(path.s[-1].min()):.2g} and {float(path.s[-1].max()):.2g}."
    )
