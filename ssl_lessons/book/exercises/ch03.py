"""Chapter 03: what a PixelCNN sees, NADE's conditionals, what a label is worth, looking ahead.

Chapter 03b: the forward recursion with a gap, and the expected moves of Baum-Welch.

Over 400 lines: the exercises of two notebooks, each of which can be read by itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.models.generative import autoregressive as ar
from ssl_lessons.models.generative.hmm import HMM, messages

from .core import Check, Exercise, Stop, answer


def check_pixels_seen(fn) -> Check:
    """fn(kernel, depth) -> int: on how many pixels one output of a PixelCNN depends, far from all borders."""
    return PIXELS_SEEN.check(fn)


def check_nade(fn) -> Check:
    """fn(x [D], W [D, H], V [D, H], b [D], c [H]) -> [D]: p(x_d = 1 | x_<d) for d = 1..D."""
    return NADE.check(fn)


def check_label_worth(fn) -> Check:
    """fn(log_p [N, C] nats, prior [C], y [N] int64) -> scalar: mean of log2 p(x|y) - log2 p(x)."""
    return LABEL_WORTH.check(fn)


def check_forward_with_gap(fn) -> Check:
    """fn(start [S], transition [S, S], emission [S, V], x [T] int64, -1: not observed) -> scalar: log p in nats."""
    return FORWARD.check(fn)


def check_moves(fn) -> Check:
    """fn(start [S], transition [S, S], emission [S, V], x [T] int64) -> [S, S]: expected moves from i to j."""
    return MOVES.check(fn)


# ---- what a PixelCNN sees ----------------------------------------------------------------------------------


def _seen(kernel: int, depth: int) -> int:
    r = kernel // 2
    return r * depth + sum(r * depth + 1 + r * min(a, depth) for a in range(1, r * depth + 1))


def _half_plane(kernel: int, depth: int) -> int:
    reach = kernel // 2 * depth
    return reach + reach * (2 * reach + 1)


PIXELS_SEEN = Exercise(
    sample=lambda g: [(3, 1), (3, 3), (5, 1), (5, 2), (3, 6), (7, 4)],
    reference=_seen,
    mistakes=(
        ("there is a blind spot: a layer that goes right must also go up", _half_plane),
        (
            "in row -a it gets further right with a larger kernel: kernel // 2 pixels for each layer that goes up",
            lambda k, n: (
                k // 2 * n + sum(k // 2 * n + 1 + min(a, k // 2 * n) for a in range(1, k // 2 * n + 1))
            ),
        ),
        (
            "right by kernel // 2 for each ROW would need a layer per row: there are only `depth` layers",
            lambda k, n: k // 2 * n + sum(k // 2 * n + 1 + k // 2 * a for a in range(1, k // 2 * n + 1)),
        ),
        (
            "the first layer has mask A: the pixel itself does not count",
            lambda k, n: _seen(k, n) + 1,
        ),
        (
            "the pixels to the left in the same row are missing",
            lambda k, n: _seen(k, n) - k // 2 * n,
        ),
        (
            "this is one layer only: every layer adds its reach",
            lambda k, n: (k * k - 1) // 2,
        ),
    ),
    praise="a wedge is missing, at any depth",
)

# ---- NADE --------------------------------------------------------------------------------------------------


def _nades(g: torch.Generator) -> list[tuple]:
    cases = []
    for d, h in [(4, 3), (6, 2), (3, 5)]:
        W, V = (torch.randn(d, h, generator=g, dtype=torch.float64) for _ in range(2))
        b, c = (
            torch.randn(d, generator=g).double(),
            torch.randn(h, generator=g).double(),
        )
        x = torch.ones(d, dtype=torch.float64)
        x[torch.randint(d, (1,), generator=g)] = 0
        cases.append((x, W, V, b, c))
    return cases


def _sums(x: Tensor, W: Tensor) -> Tensor:
    """Row d: the sum over k < d of x_k W_k."""
    return (x[:, None] * W).cumsum(dim=0) - x[:, None] * W


def _nade(x: Tensor, W: Tensor, V: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return (b + (V * (c + _sums(x, W)).sigmoid()).sum(dim=1)).sigmoid()


NADE = Exercise(
    sample=_nades,
    reference=_nade,
    mistakes=(
        (
            "x_d itself is in the sum: the conditional of x_d may only use x_1 .. x_d-1",
            lambda x, W, V, b, c: (
                b + (V * (c + (x[:, None] * W).cumsum(dim=0)).sigmoid()).sum(dim=1)
            ).sigmoid(),
        ),
        (
            "all dimensions are in every sum: that is an autoencoder",
            lambda x, W, V, b, c: (b + V @ (c + x @ W).sigmoid()).sigmoid(),
        ),
        (
            "the hidden sigmoid is missing",
            lambda x, W, V, b, c: (b + (V * (c + _sums(x, W))).sum(dim=1)).sigmoid(),
        ),
        ("these are logits: apply the sigmoid", lambda *args: _nade(*args).logit()),
        (
            "the visible bias b is missing",
            lambda x, W, V, b, c: _nade(x, W, V, 0 * b, c),
        ),
        (
            "the hidden bias c is missing",
            lambda x, W, V, b, c: _nade(x, W, V, b, 0 * c),
        ),
        (
            "these are the probabilities of the observed values: return p(x_d = 1)",
            lambda x, *args: torch.where(x > 0, _nade(x, *args), 1 - _nade(x, *args)),
        ),
        (
            "this is the probability of a 0: return p(x_d = 1)",
            lambda *args: 1 - _nade(*args),
        ),
    ),
    praise="each conditional costs one addition more than the last",
)

# ---- what a label is worth ---------------------------------------------------------------------------------


def _worths(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, c in [(6, 3), (9, 4), (5, 2)]:
        prior = torch.rand(c, generator=g).double() + 0.2
        y = torch.randint(c, (n,), generator=g)
        log_p = 3 * torch.randn(n, c, generator=g).double() - 20
        cases.append((log_p, prior / prior.sum(), y))
    return cases


def _told(log_p: Tensor, y: Tensor) -> Tensor:
    return log_p.gather(1, y[:, None])[:, 0]


def _worth(log_p: Tensor, prior: Tensor, y: Tensor) -> Tensor:
    return (_told(log_p, y) - (log_p + prior.log()).logsumexp(dim=1)).mean() / math.log(2)


LABEL_WORTH = Exercise(
    sample=_worths,
    reference=_worth,
    mistakes=(
        ("these are nats: divide by log 2", lambda *a: _worth(*a) * math.log(2)),
        ("the sign: log p(x | y) minus log p(x), not the other way round", lambda *a: -_worth(*a)),
        (
            "the sum over pictures: take the mean",
            lambda q, p, y: _worth(q, p, y) * len(y),
        ),
        (
            "the prior is missing: p(x) = sum_c prior_c p(x | c)",
            lambda q, p, y: (_told(q, y) - q.logsumexp(dim=1)).mean() / math.log(2),
        ),
        (
            "all classes count alike here: use the prior, not 1 / C",
            lambda q, p, y: (_told(q, y) - q.logsumexp(dim=1) + math.log(len(p))).mean() / math.log(2),
        ),
        (
            "this averages the logarithms: take the logarithm of the average",
            lambda q, p, y: (_told(q, y) - q @ p).mean() / math.log(2),
        ),
        (
            "the best class only: p(x) sums over all classes",
            lambda q, p, y: (_told(q, y) - (q + p.log()).amax(dim=1)).mean() / math.log(2),
        ),
        (
            "this is log p(y | x): the prior of the true class does not belong into p(x | y)",
            lambda q, p, y: (_told(q + p.log(), y) - (q + p.log()).logsumexp(dim=1)).mean() / math.log(2),
        ),
    ),
    praise="never more than the bits of the label",
)

# ---- the inspector -----------------------------------------------------------------------------------------

SIDE = 6


class _Peeking:
    """An honest PixelCNN whose output at each place also gets the pixel `ahead` places on, where `when(x)` says so."""

    def __init__(
        self,
        ahead: int | None,
        when=lambda x: torch.ones_like(x),
        only: int | slice | None = None,
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.honest = ar.PixelCNN(width=4, depth=2).double()
        self.ahead, self.when, self.only = ahead, when, only

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.honest(x).flatten(2).clone()
        if self.ahead is not None:
            flat = x.flatten(1)
            seen = flat.roll(-self.ahead, dims=1).double() * self.when(flat)
            seen[:, flat.shape[1] - self.ahead :] = 0
            if self.only is not None:
                keep = torch.zeros_like(seen)
                keep[:, self.only] = seen[:, self.only]
                seen = keep
            logits[:, 1] = logits[:, 1] + seen
        return logits.view(len(x), 2, *x.shape[1:])


def _rarely(x: Tensor) -> Tensor:
    """1 below a first row with at most one black pixel, which one random picture in nine has."""
    return (x[:, :SIDE].sum(dim=1, keepdim=True) < 2).double().expand(-1, x.shape[1])


def _where_black(x: Tensor) -> Tensor:
    """1 where the third pixel of the picture is black."""
    return x[:, 2:3].double().expand(-1, x.shape[1])


CASES = (  # the model, the answer, what a wrong answer on it means
    (
        _Peeking(None),
        -1,
        "an honest model is accused: no output there depends on its own pixel or a later one",
    ),
    (
        _Peeking(0),
        0,
        "mask B in the first layer is missed or misjudged: it sees exactly its own pixel, which is 0",
    ),
    (_Peeking(1), 1, "a model that sees the next pixel: s - t is 1"),
    (
        _Peeking(SIDE),
        SIDE,
        "a model that sees the pixel below: that is a whole row later, s - t is 6",
    ),
    (
        _Peeking(2, only=31),
        2,
        "a leak at one single place (31) is missed or misjudged: try every pixel s",
    ),
    (
        _Peeking(3, _rarely, slice(SIDE, None)),
        3,
        "a leak that shows in few pictures is missed or misjudged: flip in hundreds",
    ),
    (
        _Peeking(2, _where_black, slice(SIDE, None)),
        2,
        "a leak that shows only where a certain pixel is black is missed: white paper is not enough",
    ),
)


def check_worst_look_ahead(fn) -> Check:
    """fn(model: int64 [N, 6, 6] -> logits [N, 2, 6, 6]) -> int: the largest s - t of a look ahead, -1 for none."""
    try:
        for model, right, message in CASES:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                value = answer(fn, (model,), like=1)
            if value.ndim:
                return Check(False, f"shape {list(value.shape)} instead of one number")
            if value.item() != right:
                return Check(False, f"{message}; you say {value.item():g} instead of {right}")
    except Stop as stop:
        return stop.check
    return Check(True, "correct all seven models are judged right")


# ---- 03b: the forward recursion ----------------------------------------------------------------------------


def _chains(g: torch.Generator) -> list[tuple]:
    cases = []
    for s, v, t in [(2, 3, 4), (3, 4, 6), (4, 3, 5)]:
        rows = [torch.rand(*shape, generator=g).double() ** 2 + 0.02 for shape in [(s,), (s, s), (s, v)]]
        rows = [r / r.sum(dim=-1, keepdim=True) for r in rows]
        cases.append((*rows, torch.randint(v, (t,), generator=g)))
    return cases


def _gapped(g: torch.Generator) -> list[tuple]:
    """The first without a gap, the second with one inside, the third with gaps at the start and inside."""
    cases = _chains(g)
    cases[1][3][2] = -1
    cases[2][3][0] = cases[2][3][3] = -1
    return cases


def _emitted(emission: Tensor, symbol: Tensor) -> Tensor:
    return emission[:, symbol] if symbol >= 0 else torch.ones_like(emission[:, 0])


def _recursion(
    start: Tensor,
    transition: Tensor,
    emission: Tensor,
    x: Tensor,
    step=lambda alpha, a: alpha @ a,
    first=lambda start, a, e: start * e,
    last=lambda alpha: alpha.sum().log(),
    emitted=_emitted,
    stop: int | None = None,
) -> Tensor:
    alpha = first(start, transition, emitted(emission, x[0]))
    for symbol in x[1:stop]:
        alpha = step(alpha, transition) * emitted(emission, symbol)
    return last(alpha)


FORWARD = Exercise(
    sample=_gapped,
    reference=_recursion,
    mistakes=(
        (
            "transposed: row i of the transition matrix is where state i goes, so alpha @ transition",
            lambda *args: _recursion(*args, step=lambda alpha, a: a @ alpha),
        ),
        (
            "the first symbol is not emitted: alpha_1 = start * emission[:, x_1]",
            lambda *args: _recursion(*args, first=lambda start, a, e: start),
        ),
        (
            "the last symbol is dropped: the loop must run to the end of x",
            lambda *args: _recursion(*args, stop=-1),
        ),
        (
            "it starts with a transition: z_1 is drawn from `start`, and moves only afterwards",
            lambda *args: _recursion(*args, first=lambda start, a, e: (start @ a) * e),
        ),
        (
            "-1 is used as an index and takes the LAST symbol: at a gap nothing is emitted",
            lambda *args: _recursion(*args, emitted=lambda e, symbol: e[:, symbol]),
        ),
        (
            "the gap is cut out: time passes there, and the state moves",
            lambda s, a, e, x: _recursion(s, a, e, x[x >= 0]),
        ),
        (
            "at a gap all symbols are equally likely here: the factor is their sum, 1, not 1 / V",
            lambda s, a, e, x: _recursion(s, a, e, x) - int((x < 0).sum()) * math.log(e.shape[1]),
        ),
        (
            "the best path only: this is Viterbi's maximum, the likelihood sums over all paths",
            lambda *args: _recursion(
                *args,
                step=lambda alpha, a: (alpha[:, None] * a).max(dim=0).values,
                last=lambda alpha: alpha.max().log(),
            ),
        ),
        (
            "only the most probable last state is counted: sum alpha over the states",
            lambda *args: _recursion(*args, last=lambda alpha: alpha.max().log()),
        ),
        (
            "the logarithm is missing",
            lambda *args: _recursion(*args, last=lambda alpha: alpha.sum()),
        ),
        (
            "divided by the length: log p of the whole sequence is wanted",
            lambda *args: _recursion(*args) / len(args[3]),
        ),
        (
            "the sign: this is the negative log-likelihood",
            lambda *args: -_recursion(*args),
        ),
    ),
    praise="a gap costs nothing but a move",
)

# ---- 03b: the expected moves -------------------------------------------------------------------------------


def _moves(start: Tensor, transition: Tensor, emission: Tensor, x: Tensor) -> Tensor:
    hmm = HMM(start, transition, emission)
    m = messages(hmm, x[None])
    after = emission.T[x][1:] * m.backward[0, 1:] / m.scale[0, 1:, None]
    return transition * torch.einsum("ti,tj->ij", m.filtered[0, :-1], after)


def _gamma(start: Tensor, transition: Tensor, emission: Tensor, x: Tensor) -> Tensor:
    m = messages(HMM(start, transition, emission), x[None])
    return (m.filtered * m.backward)[0]


MOVES = Exercise(
    sample=_chains,
    reference=_moves,
    mistakes=(
        (
            "transposed: row i, column j counts moves from i to j",
            lambda *a: _moves(*a).T,
        ),
        (
            "these are shares: the expected NUMBER of moves is wanted, they add up to T - 1",
            lambda *a: _moves(*a) / _moves(*a).sum(dim=1, keepdim=True),
        ),
        ("the mean over time: take the sum", lambda *a: _moves(*a) / (len(a[3]) - 1)),
        (
            "states are treated as independent: gamma_t(i) gamma_t+1(j) forgets the move itself",
            lambda *a: _gamma(*a)[:-1].T @ _gamma(*a)[1:],
        ),
        (
            "p(x) is missing: divide the joint probability by it",
            lambda *a: _moves(*a) * _recursion(*a).exp(),
        ),
        (
            "the symbols that follow are missing: this is what the past alone expects",
            lambda *a: a[1] * messages(HMM(*a[:3]), a[3][None]).filtered[0, :-1].sum(dim=0)[:, None],
        ),
    ),
    praise="their row sums are the visits of each state before the end",
)
