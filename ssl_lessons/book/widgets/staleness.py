"""How long does a key keep?  Keys of slow and fast key encoders, compared with today's queries."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons import views
from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method, momentum_copy, momentum_update

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


def every_few_steps(method: Method, every: int, write: Callable[[Method], None]) -> None:
    """Have write(method) called now and after every `every`-th step of a training of `method` to come."""
    after_step, count = method.after_step, 0

    def hooked(progress: float) -> None:
        nonlocal count
        after_step(progress)
        count += 1
        if count % every == 0:
            write(method)

    method.after_step = hooked
    write(method)


class Camera:
    """Follows the encoder of a training with key encoders of several momenta, and films them all.

    method: with an encoder and a projector, not trained yet; its training is not changed.  images: uint8
    [n, 3, H, W], shown in two fixed views.  momenta: one follower each, beginning as a copy.  every: steps between two
    pictures, taken in training mode: with the statistics of the batch, as the loss sees the embeddings.
    """

    def __init__(self, method: Method, images: Tensor, policy, momenta: Sequence[float], every: int = 4):
        self.views = views.make_views(images, (policy, policy), torch.Generator().manual_seed(0))
        self.net = nn.Sequential(method.encoder, method.projector)
        self.followers = {m: momentum_copy(self.net) for m in momenta}
        self.queries, self.keys = [], {m: [] for m in momenta}
        self.every, self.count = every, 0
        every_few_steps(method, 1, self._look)

    def _look(self, method: Method) -> None:
        for m, follower in self.followers.items():
            follower.to(next(self.net.parameters()).device)
            momentum_update(self.net, follower, m)
        if self.count % self.every == 0:
            self.queries.append(_in_training(self.net, self.views[0]))
            for m, follower in self.followers.items():
                self.keys[m].append(_in_training(follower, self.views[1]))
        self.count += 1

    def film(self) -> Film:
        """What was filmed so far."""
        return Film(self.every, torch.stack(self.queries), {m: torch.stack(k) for m, k in self.keys.items()})


def _in_training(net: nn.Module, x: Tensor) -> Tensor:
    """Unit-length embeddings of views x with the statistics of the batch; the network stays as it is."""
    with torch.no_grad():
        return normalize(copy.deepcopy(net).train()(x.to(next(net.parameters()).device)), dim=1).cpu()


def age_clue(film: Film, momentum: float, age: int, moment: str = "middle") -> float:
    """How often a fresh key of one other image is closer to a query than an `age` steps old key of another image.

    0.5: closeness does not give age away.  1: it always does, and a query can tell its (fresh) positive from the (old)
    negatives of a queue without looking at the image.  All pairs of other images and queries count: it is the area
    under the ROC curve of "fresh or old?".  Arguments and errors as `compare`.
    """
    fresh, old = (compare(film, momentum, a, moment).others for a in (0, age))
    old = old.sort().values
    below = torch.searchsorted(old, fresh, side="left") + torch.searchsorted(old, fresh, side="right")
    return float(below.double().mean()) / (2 * len(old))


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


def brief_keys(age: int, momentum: float, moment: str, film: Film) -> str:
    """`describe_keys` in few words."""
    seen = compare(film, momentum, age, moment)
    own, others = float(seen.own.mean()), float(seen.others.mean())
    return f"own key closer in {100 * seen.wins:.0f} percent (cosine {own:.2f}, others {others:.2f})."
