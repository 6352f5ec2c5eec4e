"""Chapter 09: what the room alone is worth, mixing powers, codes in use, units against chance."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Check, Exercise


def check_room_alone(fn) -> Check:
    """fn(room int64 [B]) -> the lowest InfoNCE among the clips, in nats, of an encoder that keeps the room and nothing
    else."""
    return ROOM_ALONE.check(fn)


def check_mix(fn) -> Check:
    """fn(x [T, M], y [T, M], a) -> the log-mel spectrogram of the powers (1 - a) of x and a of y."""
    return MIX.check(fn)


def check_codes_in_use(fn) -> Check:
    """fn(codes int64 [N], V) -> the perplexity of the codes, from 1 to V."""
    return CODES.check(fn)


def check_above_chance(fn) -> Check:
    """fn(units int64 [N], phones int64 [N]) -> phone purity minus that of one unit for all."""
    return ABOVE.check(fn)


def _rooms(g: torch.Generator) -> list[tuple]:
    return [(torch.randint(r, (n,), generator=g),) for r, n in ((2, 7), (4, 12), (6, 32))]


def _room_alone(room: Tensor) -> Tensor:
    return room.bincount()[room].double().log().mean()


ROOM_ALONE = Exercise(
    sample=_rooms,
    reference=_room_alone,
    mistakes=(
        ("log B is the loss of an encoder that keeps nothing", lambda r: torch.tensor(len(r)).double().log()),
        (
            "the number of rooms is not asked: how many candidates share the room of the right one?",
            lambda r: torch.tensor(len(r.unique())).double().log(),
        ),
        (
            "the mean of logarithms, clip by clip, not the logarithm of the mean",
            lambda r: r.bincount()[r].double().mean().log(),
        ),
        (
            "every clip counts once, not every room: large rooms hold more clips",
            lambda r: (lambda c: c[c > 0].double().log().mean())(r.bincount()),
        ),
        (
            "the right one is a candidate too: do not take it out of the count",
            lambda r: (r.bincount()[r] - 1).clamp(min=1).double().log().mean(),
        ),
        (
            "this is what the room saves against log B: return the loss that is left",
            lambda r: torch.tensor(len(r)).double().log() - _room_alone(r),
        ),
        ("nats: the natural logarithm", lambda r: r.bincount()[r].double().log2().mean()),
    ),
    praise="so far below log B a loss may fall without one word learned",
)


def _spectrograms(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(4, 3, generator=g).double(), torch.randn(4, 3, generator=g).double(), a)
        for a in (0.1, 0.5, 0.8)
    ]


def _mix(x: Tensor, y: Tensor, a: float) -> Tensor:
    return ((1 - a) * x.exp() + a * y.exp()).log()


MIX = Exercise(
    sample=_spectrograms,
    reference=_mix,
    mistakes=(
        ("this mixes the logarithms: powers add", lambda x, y, a: (1 - a) * x + a * y),
        ("these are powers: take the logarithm at the end", lambda x, y, a: _mix(x, y, a).exp()),
        ("the shares are the wrong way round: a belongs to y", lambda x, y, a: _mix(y, x, a)),
        ("x keeps a share of 1 - a", lambda x, y, a: (x.exp() + a * y.exp()).log()),
        (
            "the values are log powers already, not log amplitudes: no halving",
            lambda x, y, a: 2 * ((1 - a) * (x / 2).exp() + a * (y / 2).exp()).log(),
        ),
    ),
    praise="the louder one wins in every cell, as in the air",
)


def _drawn_codes(g: torch.Generator) -> list[tuple]:
    cases = [(torch.randint(v, (n,), generator=g), v + extra) for v, n, extra in ((3, 20, 2), (8, 50, 0))]
    return [*cases, (torch.zeros(6, dtype=torch.long), 4)]


def _share(codes: Tensor, v: int) -> Tensor:
    return codes.bincount(minlength=v).double() / len(codes)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum()


CODES = Exercise(
    sample=_drawn_codes,
    reference=lambda codes, v: _entropy(_share(codes, v)).exp(),
    mistakes=(
        ("this is the entropy: its exponential is a number of codes", lambda c, v: _entropy(_share(c, v))),
        (
            "a code used once counts as much as one used always: weigh by how often",
            lambda c, v: torch.tensor(float(len(c.unique()))),
        ),
        ("divided by V: return a number of codes", lambda c, v: _entropy(_share(c, v)).exp() / v),
        (
            "the entropy is in bits and the exponential is not",
            lambda c, v: (_entropy(_share(c, v)) / 0.6931472).exp(),
        ),
        ("the sign: p log p is negative", lambda c, v: (-_entropy(_share(c, v))).exp()),
    ),
    praise="1 says that the codebook has collapsed, however low the loss",
)


def _units(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, k, c in ((30, 3, 4), (60, 8, 5), (40, 2, 6)):
        units = torch.randint(k, (n,), generator=g)
        noise = torch.randint(c, (n,), generator=g)
        cases.append((units, torch.where(torch.rand(n, generator=g) < 0.5, units % c, noise)))
    return cases


def _purity(units: Tensor, phones: Tensor) -> Tensor:
    table = torch.zeros(int(units.max()) + 1, int(phones.max()) + 1, dtype=torch.float64)
    table.index_put_((units, phones), torch.ones(len(units), dtype=torch.float64), accumulate=True)
    return table.amax(1).sum() / len(units)


ABOVE = Exercise(
    sample=_units,
    reference=lambda u, p: _purity(u, p) - _purity(0 * u, p),
    mistakes=(
        ("this is the purity: subtract what one unit for all would have", _purity),
        (
            "rows and columns: the best phone of every unit, not the best unit of every phone",
            lambda u, p: _purity(p, u) - _purity(0 * p, u),
        ),
        (
            "the best phone of each unit, then the best unit of each phone: these are two purities",
            lambda u, p: _purity(p, u) - _purity(0 * u, p),
        ),
        (
            "one unit for all names the most frequent phone, which is more than 1 over their number",
            lambda u, p: _purity(u, p) - 1 / len(p.unique()),
        ),
        (
            "units weigh as many frames as they have",
            lambda u, p: (
                torch.stack([p[u == k].bincount().max() / (u == k).sum() for k in u.unique()]).double().mean()
                - _purity(0 * u, p)
            ),
        ),
    ),
    praise="and compare at equal numbers of units, as more units can only raise it",
)
