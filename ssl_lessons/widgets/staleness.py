"""How long does a key keep?  Keys of slow and fast key encoders, compared with today's queries."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons import plots
from ssl_lessons.errors import InputError
from ssl_lessons.widgets.core import Choice, Slider

MOMENTS = {"early": 0.3, "middle": 0.6, "late": 1.0}  # share of the training


class Film(NamedTuple):
    """Embeddings of the same n images, taken every `every` steps of one training.

    queries: [T, n, D], one view of each image by the encoder that learns.  keys: momentum -> [T, n, D], another view
    by a key encoder that followed with that momentum.
    """

    every: int
    queries: Tensor
    keys: dict[float, Tensor]


class Comparison(NamedTuple):
    """Queries of one moment against keys made `age` steps before.

    own: cosine with the key of the same image [n].  others: with all other keys [n (n - 1)].  found: share of the
    queries whose nearest key is their own.
    """

    own: Tensor
    others: Tensor
    found: float


def compare(film: Film, momentum: float, age: int, moment: str = "middle") -> Comparison:
    """The comparison at a moment of the training; `age` in steps is rounded down to what was filmed.

    Raises InputError for a momentum that was not filmed, an unknown moment, or an age from before the start.
    """
    if momentum not in film.keys:
        raise InputError(
            f"No key encoder with momentum {momentum}; there are {', '.join(map(str, film.keys))}."
        )
    if moment not in MOMENTS:
        raise InputError(f"The moment must be one of {', '.join(MOMENTS)}, not {moment!r}.")
    now = round(MOMENTS[moment] * (len(film.queries) - 1))
    then = now - age // film.every
    if age < 0 or then < 0:
        raise InputError(f"The age must be between 0 and {now * film.every} steps here, not {age}.")
    q, k = (normalize(z.double(), dim=1) for z in (film.queries[now], film.keys[momentum][then]))
    cosine = q @ k.T
    own = torch.eye(len(q), dtype=torch.bool)
    return Comparison(
        cosine[own], cosine[~own], float(cosine.argmax(dim=1).eq(torch.arange(len(q))).double().mean())
    )


def controls(film: Film, age: int = 32, momentum: float | None = None) -> dict[str, Slider | Choice]:
    """The widget's inputs: age of the keys in steps, momentum of their encoder, moment of the training."""
    oldest = round(min(MOMENTS.values()) * (len(film.queries) - 1)) * film.every
    momenta = tuple(sorted(film.keys))
    return {
        "age": Slider(0, oldest, min(age, oldest), "age of the keys (steps)", step=film.every, live=True),
        "momentum": Choice(momenta, momenta[0] if momentum is None else momentum, "momentum", live=True),
        "moment": Choice(tuple(MOMENTS), "middle", "moment", live=True),
    }


def render_keys(age: int, momentum: float, moment: str, film: Film) -> Figure:
    """Left: cosines of queries with old keys, own and other.  Right: how often the own key is nearest, by age."""
    seen = compare(film, momentum, age, moment)
    fig, (left, right) = plots.new_figure(8.0, 2.9, 1, 2)
    bins = torch.linspace(-1, 1, 41).numpy()
    for values, color, name in (
        (seen.others, plots.COLORS[0], "other images"),
        (seen.own, plots.COLORS[1], "same image"),
    ):
        left.hist(values.numpy(), bins=bins, density=True, color=color, alpha=0.6, label=name)
    left.set(
        title=f"Keys {age} steps old, momentum {momentum:g}",
        xlabel="cosine of query and key",
        ylabel="density",
    )
    left.legend(loc="upper left")
    ages = range(0, controls(film)["age"].high + 1, 2 * film.every)
    for (m, style), color in zip(
        zip(sorted(film.keys), ("-", "--", "-.", ":", "-"), strict=False), plots.COLORS, strict=False
    ):
        shares = [100 * compare(film, m, a, moment).found for a in ages]
        right.plot(ages, shares, style, color=color, linewidth=2.4 if m == momentum else 1.0, label=f"{m:g}")
    right.plot([age], [100 * seen.found], "o", color="black", zorder=4)
    right.set(title=f"Own key found: {seen.found:.0%} ({moment})", xlabel="age of the keys (steps)",
              ylabel="own key is the nearest (%)", ylim=(0, 102))  # fmt: skip
    right.legend(title="momentum", ncols=2)
    return fig


def describe_keys(age: int, momentum: float, moment: str, film: Film) -> str:
    """The picture of `render_keys` in words."""
    seen = compare(film, momentum, age, moment)
    return (
        f"Keys {age} steps old from a key encoder with momentum {momentum:g}, {moment} in the training: mean cosine "
        f"{float(seen.own.mean()):.2f} with the same image and {float(seen.others.mean()):.2f} with others; the own "
        f"key is the nearest for {100 * seen.found:.0f} percent of the queries."
    )
