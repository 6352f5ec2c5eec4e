"""What temperature does to one anchor and its crowd of candidates: similarities, weights, share of the push."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError

TENTHS = 10


class Crowd(NamedTuple):
    """One anchor's cosine similarities: to its positive (a number) and to its negatives [K]."""

    positive: float
    negatives: Tensor


class Weights(NamedTuple):
    """What NT-Xent makes of a crowd at one temperature.

    positive: the softmax weight p+ of the positive.  negatives: the weights p_j of the negatives [K].
    share: each negative's share of the push, [K], sums to 1.  pull: (1 - p+) / temperature, the length of the
    gradient on the positive similarity, which equals the summed gradient on the negatives.
    """

    positive: float
    negatives: Tensor
    share: Tensor
    pull: float


def crowds(z1: Tensor, z2: Tensor) -> dict[str, Crowd]:
    """Two anchors of a batch: the one whose partner stands out most ("easy") and least ("hard").

    z1, z2: [N, D], two views of the same N images in the same order, N >= 10.  An anchor is a row of z1; its 2N - 2
    negatives are all views of the other images.  A partner stands out by the difference between its similarity and
    the mean similarity of the closest tenth of the negatives.
    """
    if z1.ndim != 2 or z1.shape != z2.shape or len(z1) < TENTHS:
        raise InputError(f"crowds() needs two views [N, D] of the same N >= {TENTHS} images.")
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]).detach().double(), dim=1)
    similarity = z[:n] @ z.T  # [N, 2N]
    own = torch.eye(n, dtype=torch.bool).repeat(1, 2)
    negatives = similarity[~own].view(n, 2 * n - 2)
    closest = negatives.topk(max(1, (2 * n - 2) // TENTHS), dim=1).values.mean(dim=1)
    margin = similarity[torch.arange(n), torch.arange(n, 2 * n)] - closest
    chosen = {"easy": int(margin.argmax()), "hard": int(margin.argmin())}
    return {name: Crowd(float(similarity[i, n + i]), negatives[i]) for name, i in chosen.items()}


def weigh(crowd: Crowd, tau: float) -> Weights:
    """The softmax over a crowd at temperature `tau`, and how the push is shared among the negatives.

    For the loss -log p+ the gradient with respect to the similarity s_j of a negative is p_j / tau, and with respect
    to the positive's -(1 - p+) / tau (Wang & Liu 2021, section 3, https://arxiv.org/abs/2012.09740).
    """
    if not tau > 0:
        raise InputError(f"The temperature must be a positive number such as 0.1, not {tau!r}.")
    positive = torch.tensor([crowd.positive], dtype=torch.float64)
    p = F.softmax(torch.cat([positive, crowd.negatives.double()]) / tau, dim=0)
    # Not p[1:] / p[1:].sum(): at a low temperature every negative's p may be zero, its share is not.
    share = F.softmax(crowd.negatives.double() / tau, dim=0)
    return Weights(float(p[0]), p[1:], share, float(p[1:].sum() / tau))


def tenths(crowd: Crowd, tau: float) -> Tensor:
    """Share of the push that falls on each tenth of the negatives, the most similar tenth first: [10], sums to 1."""
    order = crowd.negatives.argsort(descending=True)
    share = weigh(crowd, tau).share[order]
    return torch.stack([part.sum() for part in share.tensor_split(TENTHS)])


def effective_negatives(crowd: Crowd, tau: float) -> float:
    """How many negatives the push is spread over: exp of the entropy of the shares, from 1 to K."""
    share = weigh(crowd, tau).share
    return float(torch.special.entr(share).sum().exp())


def controls(tau: float = 0.2, names: tuple[str, ...] = ("easy", "hard")) -> dict[str, Slider | Choice]:
    """The widget's inputs: temperature from 0.005 to 2, and which anchor."""
    return {
        "tau": Slider(0.005, 2.0, tau, "temperature", log=True, live=True),
        "anchor": Choice(names, names[-1], "anchor", live=True),
    }


def render_weights(tau: float, anchor: str, batch: Mapping[str, Crowd]) -> Figure:
    """Three panels over one crowd: its similarities, their softmax weights, the share of the push per tenth.

    batch: name -> Crowd, as `crowds` returns it.
    """
    if anchor not in batch:
        raise InputError(f"There is no anchor {anchor!r}; there are {', '.join(batch)}.")
    crowd, w = batch[anchor], weigh(batch[anchor], tau)
    fig, (left, middle, right) = plots.new_figure(9.0, 2.7, 1, 3)
    _similarities(left, crowd, anchor)
    middle.plot(crowd.negatives.numpy(), w.negatives.numpy(), ".", color=plots.COLORS[0], markersize=4)
    middle.plot([crowd.positive], [w.positive], "^", color=plots.COLORS[1], markersize=7)
    middle.set(xlim=(-1.02, 1.05), yscale="log", ylim=(1e-8, 3), xlabel="cosine similarity to the anchor",
               ylabel="softmax weight p (log)", title=f"Positive's weight: p+ = {w.positive:.2g}")  # fmt: skip
    shares = (100 * tenths(crowd, tau)).tolist()
    right.bar(range(1, TENTHS + 1), shares, color=[plots.COLORS[5], *[plots.COLORS[0]] * (TENTHS - 1)])
    right.axhline(100 / TENTHS, color=plots.GRAY, linestyle=":")
    right.set(ylim=(0, 105), xticks=[1, 5, 10], xlabel="tenth of the negatives (1: nearest)",
               ylabel="share of the push (%)", title=f"Hardest tenth: {shares[0]:.0f} % of the push")  # fmt: skip
    return fig


def _similarities(ax, crowd: Crowd, anchor: str) -> None:
    ax.hist(crowd.negatives.numpy(), bins=40, range=(-1, 1), color=plots.COLORS[0], label="negatives")
    ax.axvline(crowd.positive, color=plots.COLORS[1], label="positive")
    ax.set(xlim=(-1.02, 1.05), xlabel="cosine similarity to the anchor", ylabel="candidates",
           title=f"Who is near ({anchor} anchor)")  # fmt: skip
    ax.legend(loc="upper left")


def describe_weights(tau: float, anchor: str, batch: Mapping[str, Crowd]) -> str:
    """The picture of `render_weights` in words, for readers who do not see it."""
    crowd, w = batch[anchor], weigh(batch[anchor], tau)
    shares = 100 * tenths(crowd, tau)
    return (
        f"{anchor.capitalize()} anchor at temperature {tau:.3g}: the positive has cosine {crowd.positive:.2f} and "
        f"softmax weight {w.positive:.2g}; the hardest tenth of {len(crowd.negatives)} negatives takes "
        f"{shares[0]:.0f} percent of the push and the easiest half {shares[TENTHS // 2 :].sum():.0f} percent; the "
        f"push is spread over about {effective_negatives(crowd, tau):.0f} negatives."
    )


def brief_weights(tau: float, anchor: str, batch: Mapping[str, Crowd]) -> str:
    """`describe_weights` in few words."""
    share = 100 * tenths(batch[anchor], tau)[0]
    return f"the hardest tenth takes {share:.0f} percent of the push."
