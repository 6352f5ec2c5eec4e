"""Chapter 12b: how suspicious a cell may be, how many change, whose mean to subtract, what a linear eye sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .core import Check, Exercise


def check_suspicion(fn) -> Check:
    """fn(joint [A, B], rate) -> [A, B]: the chance that the second cell was drawn for replacement, given both cells."""
    return SUSPICION.check(fn)


def check_changed(fn) -> Check:
    """fn(p [K], rate) -> the share of cells of a column that end up with another value."""
    return CHANGED.check(fn)


def check_standardise(fn) -> Check:
    """fn(train [N, D], new [M, D]) -> new [M, D], standardised as the train rows are."""
    return STANDARDISE.check(fn)


def check_class_means(fn) -> Check:
    """fn(places, classes, angle) -> [classes]: the mean of a ring's column within each class."""
    return CLASS_MEANS.check(fn)


# --- 12b.1: how suspicious? ----------------------------------------------------------------------------------------


def _joints(g: torch.Generator) -> list[tuple]:
    drawn = [torch.rand(a, b, generator=g).double() + 0.05 for a, b in ((2, 2), (3, 2), (2, 4))]
    return [(p / p.sum(), rate) for p, rate in zip(drawn, (0.3, 0.5, 0.15), strict=True)]


def _product(p: Tensor) -> Tensor:
    return p.sum(1, keepdim=True) * p.sum(0, keepdim=True)


def _suspicion(p: Tensor, rate: float) -> Tensor:
    return rate * _product(p) / (rate * _product(p) + (1 - rate) * p)


SUSPICION = Exercise(
    sample=_joints,
    reference=_suspicion,
    mistakes=(
        ("this is the chance that the cell is original: take it from 1", lambda p, r: 1 - _suspicion(p, r)),
        (
            "most cells are original: weigh the two cases by rate and 1 - rate",
            lambda p, r: _product(p) / (_product(p) + p),
        ),
        (
            "the fill comes from the column's own distribution, not evenly from its values",
            lambda p, r: (q := r * p.sum(1, keepdim=True) / p.shape[1]) / (q + (1 - r) * p),
        ),
        (
            "you see the first cell, too: a replaced pair has probability p(a) p(b), not p(b)",
            lambda p, r: (q := r * p.sum(0, keepdim=True)) / (q + (1 - r) * p),
        ),
        ("this is the ratio of the two cases; a chance divides by their sum",
         lambda p, r: r * _product(p) / ((1 - r) * p)),
        ("this is the rate, before looking; use the joint distribution", lambda p, r: torch.full_like(p, r)),
    ),
    praise="and with independent columns it is the rate, whatever you see",
)  # fmt: skip

# --- 12b.2: how many change? ---------------------------------------------------------------------------------------


def _columns(g: torch.Generator) -> list[tuple]:
    drawn = [torch.rand(k, generator=g).double() ** 2 + 0.02 for k in (2, 5, 9)]
    return [(p / p.sum(), rate) for p, rate in zip(drawn, (0.3, 0.6, 1.0), strict=True)]


CHANGED = Exercise(
    sample=_columns,
    reference=lambda p, rate: rate * (1 - p.square().sum()),
    mistakes=(
        ("a cell may be replaced by the value that it had: take these off", lambda p, r: r + 0 * p.sum()),
        ("this is the share that is replaced by an equal value", lambda p, r: r * p.square().sum()),
        (
            "frequent values meet themselves more often than rare ones: not 1 / K",
            lambda p, r: r * (1 - 1 / len(p)) + 0 * p.sum(),
        ),
        (
            "what was there is drawn from p as well: sum over it, not its most frequent value alone",
            lambda p, r: r * (1 - p.max()),
        ),
        ("only cells that are drawn can change: multiply by the rate", lambda p, r: 1 - p.square().sum()),
    ),
    praise="a column with one frequent value hardly changes, whatever the rate",
)

# --- 12b.3: whose mean? --------------------------------------------------------------------------------------------


def _tables(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, m, d in ((12, 5, 3), (30, 7, 4)):
        scale = 1 + 4 * torch.rand(d, generator=g).double()
        train, new = (scale * torch.randn(k, d, generator=g).double() + 3 for k in (n, m))
        cases.append((train, new + 1))
    return cases


def _standardised(by: Tensor, x: Tensor) -> Tensor:
    return (x - by.mean(0)) / by.std(0)


STANDARDISE = Exercise(
    sample=_tables,
    reference=_standardised,
    mistakes=(
        ("the new rows' own mean and deviation: one new row alone would always be zero",
         lambda t, x: _standardised(x, x)),
        ("all rows together: the new rows leak into what the network is trained on",
         lambda t, x: _standardised(torch.cat([t, x]), x)),
        ("these are the train rows: return the new ones", lambda t, x: _standardised(t, t)),
        ("divide by the deviation, not by the variance", lambda t, x: (x - t.mean(0)) / t.var(0)),
        ("the deviation is missing", lambda t, x: x - t.mean(0)),
        ("one mean and deviation for each column, not one for the table",
         lambda t, x: (x - t.mean()) / t.std()),
        ("use the deviation of a sample (divide by N - 1), as `std` does by default",
         lambda t, x: (x - t.mean(0)) / t.std(0, correction=0)),
    ),
    praise="a single new row can be standardised so, and no new row had a say",
)  # fmt: skip

# --- 12b.4: what a linear eye sees ---------------------------------------------------------------------------------


def _means(places: int, classes: int, angle: float, pick=None, total=Tensor.mean) -> Tensor:
    p = torch.arange(places, dtype=torch.float64)
    column = math.sqrt(2) * (2 * math.pi * p / places - angle).cos()
    own = (p % classes if pick is None else pick(p)).long()
    return torch.stack([total(column[own == c]) for c in range(classes)])


def _radians(places: int, classes: int, angle: float) -> Tensor:
    column = math.sqrt(2) * (torch.arange(places).double() - angle).cos()
    return torch.stack([column[c::classes].mean() for c in range(classes)])


CLASS_MEANS = Exercise(
    sample=lambda g: [(8, 4, 0.3), (8, 3, 1.0), (9, 3, 2.0), (10, 4, 0.7), (6, 6, 0.2)],
    reference=_means,
    mistakes=(
        (
            "the label is the place modulo the number of classes, not an arc of neighbours",
            lambda p, c, a: _means(p, c, a, lambda x: x // (p // c)),
        ),
        (
            "these are sums: a mean divides by the number of places in the class",
            lambda p, c, a: _means(p, c, a, total=Tensor.sum),
        ),
        ("the column has the factor sqrt(2)", lambda p, c, a: _means(p, c, a) / math.sqrt(2)),
        ("the angle is subtracted", lambda p, c, a: _means(p, c, -a)),
        ("a place is 2 pi / places of a full turn, not one radian", _radians),
    ),
    praise="a class of two places or more that stand evenly round the ring has mean zero",
)
