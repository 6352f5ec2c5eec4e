"""Chapters 20 and 20b: clusters in use, an alarm that never rings, safeguards fooled, directions that survive;
directions that no gradient reaches, an interaction, DirectCLR.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.diagnostics import diagnose
from ssl_lessons.evaluation.evidence import interval
from ssl_lessons.losses import nt_xent

from .core import Check, Exercise, Stop, call, failed


def check_clusters_in_use(fn) -> Check:
    """fn(p [N, K]) -> exp(entropy of the mean assignment): from 1 (one cluster) to K (all alike)."""
    return CLUSTERS.check(fn)


def check_lowest_alarm(fn) -> Check:
    """fn(n, d) -> the least 1 - |mean row|^2 of z [n, d] whose columns have length 1."""
    return LOWEST_ALARM.check(fn)


def check_surviving_directions(fn) -> Check:
    """fn(x [N, D], noise [N, D], push) -> how many directions of a linear encoder grow: a whole number."""
    return SURVIVORS.check(fn)


def check_blind_directions(fn) -> Check:
    """fn(projector, h [d]) -> how many directions at h change nothing in projector(h)."""
    return BLIND.check(fn)


def check_interaction(fn) -> Check:
    """fn(none, oracle_none, mlp, oracle_mlp), each [S] -> mean, low, high of the gain without less that with MLP."""
    return INTERACTION.check(fn)


def check_direct_clr(fn) -> Check:
    """fn(h1 [N, d], h2 [N, d], d0, temperature) -> NT-Xent of the first d0 channels."""
    return DIRECT.check(fn)


SIZES = ((64, 8), (128, 16), (200, 30))  # of the embeddings that shall fool the safeguards


def check_fool(fn) -> Check:
    """fn(n, d) -> z [n, d] with deviations of 1 and a spread above 0.9, and an effective rank below 1.5."""
    try:
        for n, d in SIZES:
            if wrong := _not_fooled(call(fn, (n, d)), n, d):
                raise failed(f"{wrong} (n = {n}, d = {d})")
    except Stop as stop:
        return stop.check
    return Check(True, "correct: deviations and spread see nothing, the spectrum does")


def _not_fooled(z, n: int, d: int) -> str | None:
    """What is wrong with z, or None."""
    if isinstance(z, np.ndarray):
        z = torch.as_tensor(z)
    if not isinstance(z, Tensor) or not z.is_floating_point() or z.shape != (n, d):
        got = f"a tensor {list(z.shape)}, {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        return f"return a float tensor [{n}, {d}], not {got}"
    if not z.isfinite().all():
        return "some numbers are not finite"
    z = z.detach().cpu().double()
    deviation, found = z.std(dim=0, correction=0), diagnose(z).evidence
    if (deviation - 1).abs().max() > 0.01:
        return (
            f"the deviations of the dimensions run from {deviation.min():.3g} to {deviation.max():.3g}, not 1"
        )
    if found["spread"] <= 0.9:
        return f"the spread is {found['spread']:.2f}: the rows share a direction, so centre them"
    if found["effective_rank"] >= 1.5:
        return (
            f"the effective rank is {found['effective_rank']:.1f}: the dimensions still say different things, so "
            "make them copies of one (a little noise in each already counts)"
        )
    return None


LOWEST_ALARM = Exercise(
    sample=lambda g: [(500, 16), (64, 8), (1000, 3)],
    reference=lambda n, d: 1 - d / n,
    mistakes=(
        ("0 is the least of the right formula; she divides by the length of the columns", lambda n, d: 0.0),
        (
            "that is for one column: the squares of the means of all columns are summed",
            lambda n, d: 1 - 1 / n,
        ),
        (
            "the mean of a column of length 1 is at most 1 / sqrt(n): its square is 1 / n",
            lambda n, d: 1 - d / n**2,
        ),
        (
            "the mean of a column is at most 1 / sqrt(n), and it is squared before it is summed",
            lambda n, d: 1 - d / math.sqrt(n),
        ),
        ("rows and columns are exchanged: there are d columns, each with n entries", lambda n, d: 1 - n / d),
        ("that is what she loses: subtract it from 1", lambda n, d: d / n),
        ("that is the most: it is reached by centred columns", lambda n, d: 1.0),
    ),
)


def _assignments(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, k, sharp in [(30, 4, 3.0), (10, 8, 1.0), (12, 3, 8.0)]:
        logits = sharp * torch.randn(n, k, generator=g).double() + torch.linspace(1, 0, k).double()
        cases.append((logits.softmax(dim=1),))
    empty = cases[0][0].clone()
    empty[:, 1] = 0  # a cluster that no image uses, and images that use one alone
    empty[:3] = torch.eye(4).double()[[0, 2, 3]]
    return [*cases, (empty / empty.sum(dim=1, keepdim=True),)]


def _perplexity(p: Tensor) -> Tensor:
    return torch.exp(-torch.special.xlogy(p, p).sum(dim=-1))


CLUSTERS = Exercise(
    sample=_assignments,
    reference=lambda p: _perplexity(p.mean(dim=0)),
    mistakes=(
        (
            "the entropy of each image, averaged: that says how unsure the assignments are. "
            "Average the assignments first",
            lambda p: _perplexity(p).mean(),
        ),
        (
            "the entropies of the images are averaged before the exponential: average the assignments first",
            lambda p: torch.exp(_perplexity(p).log().mean()),
        ),
        ("that is the entropy: take its exponential", lambda p: _perplexity(p.mean(dim=0)).log()),
        (
            "the mean runs over the clusters: average over the images (dim=0)",
            lambda p: _perplexity(p.mean(dim=1)),
        ),
        (
            "the assignments are summed, not averaged: the shares must add up to 1",
            lambda p: _perplexity(p.sum(dim=0)),
        ),
        (
            "clusters that are some image's favourite are counted: a cluster with one image counts as much as one "
            "with a thousand",
            lambda p: torch.tensor(float(len(p.argmax(dim=1).unique()))),
        ),
        ("the sign of the entropy is wrong", lambda p: 1 / _perplexity(p.mean(dim=0))),
        (
            "a cluster that nobody uses makes this NaN: 0 log 0 counts as 0 (torch.special.xlogy)",
            lambda p: torch.exp(-(p.mean(dim=0) * p.mean(dim=0).log()).sum()),
        ),
    ),
)


def _shaken(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, push in [(200, 6, 1.0), (300, 8, 0.3), (150, 5, 2.0), (100, 4, 0.01)]:
        x = torch.randn(n, d, generator=g).double() * torch.linspace(2, 0.3, d).double() + 1.5
        shake = 0.6 * torch.randn(n, d, generator=g).double() * torch.linspace(0.5, 1.6, d).double()
        rotation = torch.linalg.qr(torch.randn(d, d, generator=g).double())[0]
        cases.append((x @ rotation, shake @ rotation, push))
    return cases


def _covariance(x: Tensor) -> Tensor:
    return torch.cov(x.T, correction=0)


def _positive(matrix: Tensor) -> Tensor:
    return (torch.linalg.eigvalsh(matrix) > 0).sum()


def _second_moment(x: Tensor) -> Tensor:
    return x.T @ x / len(x)


SURVIVORS = Exercise(
    sample=_shaken,
    reference=lambda x, noise, push: _positive(push * _covariance(x) - _second_moment(noise)),
    mistakes=(
        (
            "the push is missing: it weighs the covariance of the data",
            lambda x, noise, push: _positive(_covariance(x) - _second_moment(noise)),
        ),
        (
            "the push weighs the noise here: it belongs to the covariance of the data",
            lambda x, noise, push: _positive(_covariance(x) - push * _second_moment(noise)),
        ),
        (
            "the data are not centred: their mean is no spread",
            lambda x, noise, push: _positive(push * _second_moment(x) - _second_moment(noise)),
        ),
        (
            "the sign is wrong: these are the directions that die",
            lambda x, noise, push: _positive(_second_moment(noise) - push * _covariance(x)),
        ),
        (
            "the axes are compared one by one: the directions that matter are eigenvectors, so take eigenvalues of the "
            "difference of the two matrices",
            lambda x, noise, push: (push * _covariance(x).diag() > _second_moment(noise).diag()).sum(),
        ),
        (
            "the eigenvalues of the two matrices are compared in order: subtract the matrices first",
            lambda x, noise, push: (
                push * torch.linalg.eigvalsh(_covariance(x)) > torch.linalg.eigvalsh(_second_moment(noise))
            ).sum(),
        ),
        (
            "all directions are counted: only positive eigenvalues grow",
            lambda x, noise, push: torch.tensor(float(x.shape[1])),
        ),
    ),
)


# ---- the companion ---------------------------------------------------------------------------------------


class Narrow(nn.Module):
    """[..., d] -> [..., out] through `width` units, with a ReLU between."""

    def __init__(self, d: int, width: int, out: int, g: torch.Generator):
        super().__init__()
        self.first, self.last = nn.Linear(d, width).double(), nn.Linear(width, out).double()
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g).double())

    def forward(self, h: Tensor) -> Tensor:
        return self.last(self.first(h).relu())


def _projectors(g: torch.Generator) -> list[tuple]:
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global state
        matrix = nn.Linear(7, 4, bias=False).double().requires_grad_(False)
        narrow = [Narrow(*sizes, g) for sizes in ((9, 6, 8), (6, 30, 10), (12, 8, 3))]
    matrix.weight.copy_(torch.randn(4, 7, generator=g).double())
    return [
        (p, torch.randn(d, generator=g).double())
        for p, d in zip((matrix, *narrow), (7, 9, 6, 12), strict=True)
    ]


def _jacobian(projector, h: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(projector, h)  # [out, d]


def _rank(projector, h: Tensor) -> int:
    return int(torch.linalg.matrix_rank(_jacobian(projector, h)))


def _widths(projector, h: Tensor) -> float:
    """What the widths of the layers alone say."""
    layers = [m for m in projector.modules() if isinstance(m, nn.Linear)]
    return float(max(0, len(h) - min(layer.out_features for layer in layers)))


BLIND = Exercise(
    sample=_projectors,
    reference=lambda projector, h: torch.tensor(float(len(h) - _rank(projector, h))),
    mistakes=(
        ("those are the directions that z does see: subtract them from the length of h", _rank),
        (
            "the widths alone are counted: a unit whose ReLU is off at h passes nothing on, so ask the Jacobian at h",
            _widths,
        ),
        (
            "rank and output are subtracted: it is directions of h that are counted",
            lambda projector, h: len(projector(h)) - _rank(projector, h),
        ),
        (
            "entries of h that no output depends on are counted: a direction is a combination of entries",
            lambda projector, h: float((_jacobian(projector, h).abs().amax(dim=0) < 1e-9).sum()),
        ),
    ),
)


def _gains(g: torch.Generator) -> list[tuple]:
    cases = []
    for s in (3, 5):
        level = 0.4 + 0.2 * torch.rand(s, generator=g).double()  # of the seed, common to all arms
        shifts = (0.0, 0.06, 0.03, 0.05)
        cases.append(tuple(level + a + 0.02 * torch.rand(s, generator=g).double() for a in shifts))
    return cases


def _between(differences: Tensor) -> tuple[float, float, float]:
    return interval(differences.tolist())


def _unpaired(none, oracle_none, mlp, oracle_mlp):
    """An interval from four separate variances, as if nothing were paired by seed."""
    mean, low, _ = _between(oracle_none - none - (oracle_mlp - mlp))
    spread = (oracle_none - none - (oracle_mlp - mlp)).std()
    apart = torch.stack([x.var() for x in (none, oracle_none, mlp, oracle_mlp)]).sum().sqrt()
    half = float((mean - low) * apart / spread)
    return mean, mean - half, mean + half


INTERACTION = Exercise(
    sample=_gains,
    reference=lambda none, oracle_none, mlp, oracle_mlp: _between(oracle_none - none - (oracle_mlp - mlp)),
    mistakes=(
        (
            "the sign is turned: the gain without projector comes first",
            lambda none, oracle_none, mlp, oracle_mlp: _between(oracle_mlp - mlp - (oracle_none - none)),
        ),
        (
            "that is the gain without projector alone: subtract the gain with the MLP",
            lambda none, oracle_none, mlp, oracle_mlp: _between(oracle_none - none),
        ),
        (
            "only the filtered runs are compared: without their own control a gain is a level",
            lambda none, oracle_none, mlp, oracle_mlp: _between(oracle_none - oracle_mlp),
        ),
        (
            "the gains are added: an interaction is their difference",
            lambda none, oracle_none, mlp, oracle_mlp: _between(oracle_none - none + (oracle_mlp - mlp)),
        ),
        (
            "the four arms are treated as if other seeds had made them: take differences seed by seed first",
            _unpaired,
        ),
    ),
)


def _features(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, d0, temperature in ((12, 9, 4, 0.1), (20, 16, 5, 0.5), (8, 6, 3, 1.0)):
        h1 = torch.randn(n, d, generator=g).double()
        cases.append((h1, h1 + 0.4 * torch.randn(n, d, generator=g).double(), d0, temperature))
    return cases


DIRECT = Exercise(
    sample=_features,
    reference=lambda h1, h2, d0, t: nt_xent(h1[:, :d0], h2[:, :d0], t),
    mistakes=(
        ("the loss sees all channels: cut out the first d0", lambda h1, h2, d0, t: nt_xent(h1, h2, t)),
        ("the first d0 pictures are cut out: channels are columns", lambda h1, h2, d0, t: nt_xent(h1[:d0], h2[:d0], t)),
        ("those are the last d0 channels", lambda h1, h2, d0, t: nt_xent(h1[:, -d0:], h2[:, -d0:], t)),
        ("those are the channels that shall go free", lambda h1, h2, d0, t: nt_xent(h1[:, d0:], h2[:, d0:], t)),
        (
            "the rows got length 1 before the cut: then the other channels still move the loss; cut first",
            lambda h1, h2, d0, t: _scaled(normalize(h1, dim=1)[:, :d0], normalize(h2, dim=1)[:, :d0], t),
        ),
    ),
)  # fmt: skip


def _scaled(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent of rows whose length is left as it is."""
    z = torch.cat([z1, z2])
    s = (z @ z.T / temperature).fill_diagonal_(-math.inf)
    return nn.functional.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))
