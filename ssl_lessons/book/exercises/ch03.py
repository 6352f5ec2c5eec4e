"""Chapter 03: the forward recursion, the mask of a convolution, the conditionals of NADE, bits per symbol."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ssl_lessons.models.generative.hmm import HMM, log_likelihood

from .core import Check, Exercise


def check_forward(fn) -> Check:
    """fn(start [S], transition [S, S], emission [S, V], x [T] int64) -> scalar: log p(x) in nats."""
    return FORWARD.check(fn)


def check_mask(fn) -> Check:
    """fn(kernel, include_centre) -> [kernel, kernel] of zeros and ones: what a masked convolution may see."""
    return MASK.check(fn)


def check_nade(fn) -> Check:
    """fn(x [D], W [D, H], V [D, H], b [D], c [H]) -> [D]: p(x_d = 1 | x_<d) for d = 1..D."""
    return NADE.check(fn)


def check_bits(fn) -> Check:
    """fn(logits [N, V, T], x [N, T] int64) -> scalar: -log2 p(x) per symbol, averaged over everything."""
    return BITS.check(fn)


# ---- forward -----------------------------------------------------------------------------------------------


def _chains(g: torch.Generator) -> list[tuple]:
    cases = []
    for s, v, t in [(2, 3, 4), (3, 4, 6), (4, 2, 5)]:
        rows = [torch.rand(*shape, generator=g).double() ** 2 + 0.02 for shape in [(s,), (s, s), (s, v)]]
        rows = [r / r.sum(dim=-1, keepdim=True) for r in rows]
        cases.append((*rows, torch.randint(v, (t,), generator=g)))
    return cases


def _reference_forward(start: Tensor, transition: Tensor, emission: Tensor, x: Tensor) -> Tensor:
    return log_likelihood(HMM(start, transition, emission), x[None])[0]


def _recursion(
    start: Tensor,
    transition: Tensor,
    emission: Tensor,
    x: Tensor,
    step=lambda alpha, a: alpha @ a,
    first: bool = True,
    last=lambda alpha: alpha.sum().log(),
) -> Tensor:
    alpha = start * emission[:, x[0]] if first else start
    for symbol in x[1:]:
        alpha = step(alpha, transition) * emission[:, symbol]
    return last(alpha)


FORWARD = Exercise(
    sample=_chains,
    reference=_reference_forward,
    mistakes=(
        (
            "transposed: row i of the transition matrix is where state i goes, so alpha @ transition",
            lambda *args: _recursion(*args, step=lambda alpha, a: a @ alpha),
        ),
        (
            "the first symbol is not emitted: alpha_1 = start * emission[:, x_1]",
            lambda *args: _recursion(*args, first=False),
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
        ("the logarithm is missing", lambda *args: _recursion(*args, last=lambda alpha: alpha.sum())),
        (
            "the emissions are multiplied without a memory: the state is drawn anew at every step",
            lambda start, transition, emission, x: (start @ emission)[x].log().sum(),
        ),
        (
            "divided by the length: log p of the whole sequence is wanted",
            lambda *args: _reference_forward(*args) / len(args[3]),
        ),
        ("the sign: this is the negative log-likelihood", lambda *args: -_reference_forward(*args)),
    ),
)

# ---- mask --------------------------------------------------------------------------------------------------


def _mask(kernel: int, include_centre: int) -> Tensor:
    mask = torch.zeros(kernel * kernel, dtype=torch.float64)
    mask[: kernel * kernel // 2 + include_centre] = 1
    return mask.view(kernel, kernel)


def _square(kernel: int, rows_above: int, row: tuple[int, int]) -> Tensor:
    mask = torch.zeros(kernel, kernel, dtype=torch.float64)
    mask[:rows_above] = 1
    mask[kernel // 2, row[0] : row[1]] = 1
    return mask


MASK = Exercise(
    sample=lambda g: [(3, 0), (3, 1), (5, 0), (5, 1), (7, 0)],
    reference=_mask,
    mistakes=(
        (
            "the kinds are swapped: kind A (include_centre = 0) blocks the centre",
            lambda k, c: _mask(k, 1 - c),
        ),
        ("the centre is never blocked: kind A must not see the pixel it predicts", lambda k, c: _mask(k, 1)),
        ("the centre is always blocked: kind B may see it", lambda k, c: _mask(k, 0)),
        ("columns first: raster order runs along the row", lambda k, c: _mask(k, c).T),
        (
            "the whole row of the centre is open: pixels to the right come later",
            lambda k, c: _square(k, k // 2, (0, k)),
        ),
        (
            "the rows above are cut at the centre column: above, everything is earlier",
            lambda k, c: torch.cat(
                [
                    torch.cat([torch.ones(k // 2, k // 2 + 1), torch.zeros(k // 2, k // 2)], dim=1).double(),
                    _mask(k, c)[k // 2 :],
                ]
            ),
        ),
        ("the future is open and the past is blocked", lambda k, c: 1 - _mask(k, 1 - c)),
        ("nothing is masked", lambda k, c: torch.ones(k, k, dtype=torch.float64)),
    ),
)

# ---- NADE --------------------------------------------------------------------------------------------------


def _nades(g: torch.Generator) -> list[tuple]:
    cases = []
    for d, h in [(4, 3), (6, 2), (3, 5)]:
        W, V = (torch.randn(d, h, generator=g, dtype=torch.float64) for _ in range(2))
        b, c = torch.randn(d, generator=g).double(), torch.randn(h, generator=g).double()
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
        ("the visible bias b is missing", lambda x, W, V, b, c: _nade(x, W, V, 0 * b, c)),
        ("the hidden bias c is missing", lambda x, W, V, b, c: _nade(x, W, V, b, 0 * c)),
        (
            "these are the probabilities of the observed values: return p(x_d = 1)",
            lambda x, *args: torch.where(x > 0, _nade(x, *args), 1 - _nade(x, *args)),
        ),
        ("this is the probability of a 0: return p(x_d = 1)", lambda *args: 1 - _nade(*args)),
    ),
    praise="each conditional costs one addition more than the last",
)

# ---- bits --------------------------------------------------------------------------------------------------


def _bits(logits: Tensor, x: Tensor) -> Tensor:
    return cross_entropy(logits, x) / math.log(2)


BITS = Exercise(
    sample=lambda g: [
        (2 * torch.randn(n, v, t, generator=g).double(), torch.randint(v, (n, t), generator=g))
        for n, v, t in [(3, 2, 5), (2, 4, 7), (4, 6, 3)]
    ],
    reference=_bits,
    mistakes=(
        ("these are nats: divide by log 2", lambda logits, x: cross_entropy(logits, x)),
        ("multiplied by log 2: divide by it", lambda logits, x: cross_entropy(logits, x) * math.log(2)),
        ("bits per sequence: divide by the length as well", lambda logits, x: _bits(logits, x) * x.shape[1]),
        ("the sum over the batch: take the mean", lambda logits, x: _bits(logits, x) * x.numel()),
        ("the sign: bits are positive", lambda logits, x: -_bits(logits, x)),
        ("this is the perplexity: bits are its logarithm", lambda logits, x: cross_entropy(logits, x).exp()),
        (
            "normalised over the wrong dimension: the symbols are in dimension 1",
            lambda logits, x: -logits.log_softmax(dim=2).gather(1, x[:, None]).mean() / math.log(2),
        ),
        (
            "logits are not log-probabilities: apply log_softmax over the symbols",
            lambda logits, x: -logits.gather(1, x[:, None]).mean() / math.log(2),
        ),
    ),
)
