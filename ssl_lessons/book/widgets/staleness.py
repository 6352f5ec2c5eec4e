"""How long does a key keep?  Keys of slow and fast key encoders, compared with today's queries."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError

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

    own: cosine with the key of the same image [n].  others: with all other keys [n (n - 1)].  wins: how often the own
    key is closer than another one, from 0 to 1 (0.5: no better than a guess).  steady: mean cosine of an old key with
    the key that the same encoder makes of the same view now.
    """

    own: Tensor
    others: Tensor
    wins: float
    steady: float


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
    keys = film.keys[momentum]
    q, old, new = (normalize(z.double(), dim=1) for z in (film.queries[now], keys[then], keys[now]))
    cosine = q @ old.T
    itself = torch.eye(len(q), dtype=torch.bool)
    wins = (cosine < cosine[itself][:, None])[~itself].double().mean()
    return Comparison(cosine[itself], cosine[~itself], float(wins), float((old * new).sum(dim=1).mean()))


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
    """Left: cosines of queries with old keys, own and other.  Right: how often the own key is closer, by age."""
    seen = compare(film, momentum, age, moment)
    fig, (left, right) = plots.new_figure(6.6, 2.6, 1, 2)
    groups = ((seen.others, plots.COLORS[0], "other images"), (seen.own, plots.COLORS[1], "same image"))
    for values, color, name in groups:
        left.hist(values.numpy(), bins=40, range=(-1, 1), density=True, color=color, alpha=0.6, label=name)
    left.set(
        title=f"Keys {age} steps old, momentum {momentum:g}",
        xlabel="cosine of query and key",
        ylabel="density",
    )
    left.legend(loc="upper left")
    ages = range(0, controls(film)["age"].high + 1, 2 * film.every)
    for i, m in enumerate(sorted(film.keys)):
        wins = [100 * compare(film, m, a, moment).wins for a in ages]
        style, width = ("-", "--", "-.", ":")[i % 4], 2.6 if m == momentum else 1.0
        right.plot(ages, wins, style, color=plots.COLORS[i % 7], linewidth=width, label=f"{m:g}")
    right.plot([age], [100 * seen.wins], "o", color="black", zorder=4)
    right.set(title=f"The own key is closer: {seen.wins:.0%} ({moment})", xlabel="age of the keys (steps)",
              ylabel="closer than another key (%)", ylim=(45, 102))  # fmt: skip
    right.legend(title="momentum", ncols=2)
    return fig


def describe_keys(age: int, momentum: float, moment: str, film: Film) -> str:
    """The picture of `render_keys` in words."""
    seen = compare(film, momentum, age, moment)
    return (
        f"Keys {age} steps old from a key encoder with momentum {momentum:g}, {moment} in the training: mean cosine "
        f"{float(seen.own.mean()):.2f} with the same image and {float(seen.others.mean()):.2f} with others; the own "
        f"key is closer than another one in {100 * seen.wins:.0f} percent of the comparisons."
    )
