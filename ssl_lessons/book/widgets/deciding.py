"""A painter between the mean and a decision: what deciding costs in squared error, and when it convinces a critic."""

from __future__ import annotations

from functools import lru_cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError

SIDE, NOISE, DRAWS = 15, 0.35, 600
SEES = {"one pixel": 1, "5 x 5 pixels": 5, "the whole patch": SIDE}  # side of what the critic looks at
LOWEST = 0.05  # of the slider: at 0 every painting is the same and no density is left


@lru_cache
def pictures() -> Tensor:
    """The two patches that fit the context, a plus and a cross: [2, SIDE, SIDE], zeros and ones."""
    line = torch.arange(SIDE)
    half = SIDE // 2
    plus = (line[:, None] == half) | (line[None] == half)
    cross = (line[:, None] == line[None]) | (line[:, None] + line[None] == SIDE - 1)
    return torch.stack([plus, cross]).double()


def _check(decided: float, share: float, critic: str) -> None:
    if critic not in SEES:
        raise InputError(f"critic must be one of {', '.join(SEES)}, not {critic!r}")
    if not (0 < decided <= 1 and 0 < share < 1):
        raise InputError(
            f"decided lies above 0 and at most at 1, the share between 0 and 1: not {decided}, {share}"
        )


def samples(decided: float, share: float, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """True patches and painted ones, each [n, SIDE, SIDE].

    A true patch is the plus with probability `share`, else the cross, plus noise of deviation NOISE.  The painter draws
    such a patch of its own, independently of the true one, and goes from the mean of all of them a part `decided` of
    the way to it.
    """
    g = torch.Generator().manual_seed(seed)
    which = (torch.rand(2, n, generator=g) >= share).long()
    drawn = pictures()[which] + NOISE * torch.randn(2, n, SIDE, SIDE, generator=g, dtype=torch.float64)
    mean = share * pictures()[0] + (1 - share) * pictures()[1]
    return drawn[0], mean + decided * (drawn[1] - mean)


def error(decided: float) -> float:
    """Expected squared error of the painting over that of the mean, the floor: 1 + decided^2.

    Truth and draw are independent and have the same variance v per pixel, so the error is v + decided^2 v.
    """
    return 1 + decided**2


def caught(decided: float, share: float, critic: str, n: int = DRAWS) -> float:
    """How often the best critic is right about a patch that is true or painted with equal chances.

    It knows both densities (mixtures of two Gaussians) and says which is higher; estimated on n patches of each kind.
    Raises InputError for an unknown critic, `decided` outside (0, 1] or a share outside (0, 1).
    """
    _check(decided, share, critic)
    true, painted = (_seen(x, critic) for x in samples(decided, share, n))
    centres = _seen(pictures(), critic)
    weights = torch.tensor([share, 1 - share], dtype=torch.float64)
    mean = weights @ centres

    def log_ratio(x: Tensor) -> Tensor:
        return _log_density(x, centres, weights, NOISE) - _log_density(
            x, mean + decided * (centres - mean), weights, decided * NOISE
        )

    right = (_score(log_ratio(true)) + 1 - _score(log_ratio(painted))) / 2
    return float(right)


def _seen(x: Tensor, critic: str) -> Tensor:
    """What the critic sees of patches [n, SIDE, SIDE]: the middle, or one pixel in which plus and cross differ."""
    if critic == "one pixel":
        return x[:, SIDE // 2, SIDE // 4, None]
    start = (SIDE - SEES[critic]) // 2
    middle = slice(start, start + SEES[critic])
    return x[:, middle, middle].flatten(1)


def _score(ratio: Tensor) -> Tensor:
    """How often a log ratio says "true"; where it is 0 the critic tosses a coin."""
    ratio = torch.where(ratio.abs() < 1e-9, 0.0, ratio)
    return (ratio.sign() / 2 + 0.5).mean()


def _log_density(x: Tensor, centres: Tensor, weights: Tensor, deviation: float) -> Tensor:
    """Log density [n] of points [n, D] under Gaussians of one deviation around `centres` [2, D]."""
    square = (x[:, None] - centres).square().sum(dim=2)
    spread = x.shape[1] * torch.tensor(deviation, dtype=torch.float64).log()
    return (weights.log() - square / (2 * deviation**2)).logsumexp(dim=1) - spread


@lru_cache(maxsize=64)
def _curve(share: float, critic: str, points: int = 15) -> tuple[tuple[float, float], ...]:
    steps = torch.linspace(LOWEST, 1, points).tolist()
    return tuple((s, caught(s, share, critic)) for s in steps)


def controls() -> dict[str, Slider | Choice]:
    """How far the painter goes to its own draw, the probability of the plus, and what the critic sees."""
    return {
        "decided": Slider(LOWEST, 1.0, 0.5, "decided", step=0.05),
        "share": Slider(0.5, 0.95, 0.6, "probability of the plus", step=0.05),
        "critic": Choice(tuple(SEES), "the whole patch", "the critic sees"),
    }


def render(decided: float, share: float, critic: str) -> Figure:
    """Left: three true patches over three painted ones.  Right: the error and the critic's score over `decided`."""
    now = caught(decided, share, critic)
    true, painted = samples(decided, share, 3)
    fig, (left, right) = plots.new_figure(6.4, 2.5, 1, 2, width_ratios=(1, 1.25))
    gap = torch.ones(SIDE, 2, dtype=torch.float64)
    rows = [torch.cat([p for x in row for p in (x, gap)][:-1], dim=1) for row in (true, painted)]
    sheet = torch.cat([rows[0], torch.ones(2, rows[0].shape[1], dtype=torch.float64), rows[1]])
    left.imshow(sheet.numpy(), cmap="gray", vmin=-0.5, vmax=1.5)
    left.set(xticks=[], yticks=[SIDE // 2, SIDE + 2 + SIDE // 2])
    left.set_yticklabels(["true", "painted"])
    left.set_title(f"Decided by {decided:.2f}")
    steps, scores = zip(*_curve(round(share, 3), critic), strict=True)
    right.plot(steps, [100 * s for s in scores], color=plots.COLORS[0], label="critic is right")
    right.plot(
        steps,
        [100 * (error(s) - 1) for s in steps],
        "--",
        color=plots.COLORS[1],
        label="extra error",
    )
    right.plot([decided], [100 * now], "o", color=plots.COLORS[0])
    right.plot([decided], [100 * (error(decided) - 1)], "s", color=plots.COLORS[1])
    right.axhline(50, color=plots.GRAY, linestyle=":")
    right.set(
        xlim=(0, 1.03),
        ylim=(0, 105),
        xlabel="decided (0: the mean, 1: a draw)",
        ylabel="percent",
    )
    right.set_title(f"Error {error(decided):.2f} floors, caught {now:.0%}")
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(0, 0.32), framealpha=1)
    return fig


def describe(decided: float, share: float, critic: str) -> str:
    """The picture of `render` in words."""
    return (
        f"The plus is true with probability {share:.2f}. A painter that goes {decided:.2f} of the way from the mean to "
        f"a draw of its own has {error(decided):.2f} times the smallest squared error; the best critic that sees "
        f"{critic} is right about {caught(decided, share, critic):.0%} of the patches, where a coin gets 50%."
    )
