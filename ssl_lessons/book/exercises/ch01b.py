"""Chapter 01b: the price at which a patch uses no atom, and a slip in the shrinking of ISTA."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, softshrink

from ssl_lessons.models.generative.autoencoders import sparse_codes

from .core import Check, Exercise


def check_silent_price(fn) -> Check:
    """fn(x [N, P], B [K, P]) -> [N]: the smallest penalty at which the sparse code of a patch is zero."""
    return SILENT_PRICE.check(fn)


def check_repaired_ista(fn) -> Check:
    """fn(x [N, P], B [K, P], penalty, steps) -> [N, K]: ISTA from zero."""
    return REPAIRED_ISTA.check(fn)


def _patches(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, p, k in [(5, 4, 3), (6, 8, 12), (4, 3, 3)]:
        x = torch.randn(n, p, generator=g).double()
        cases.append((x, normalize(torch.randn(k, p, generator=g).double(), dim=1)))
    return cases


SILENT_PRICE = Exercise(
    sample=_patches,
    reference=lambda x, B: (x @ B.T).abs().max(dim=1).values,
    mistakes=(
        (
            "an atom may also be subtracted: take the size of the product, not its value",
            lambda x, B: (x @ B.T).max(dim=1).values,
        ),
        (
            "at this price some atoms are silent, not all: the most useful atom decides",
            lambda x, B: (x @ B.T).abs().min(dim=1).values,
        ),
        (
            "half of it: the derivative of half a square has no factor one half",
            lambda x, B: (x @ B.T).abs().max(dim=1).values / 2,
        ),
        (
            "the length of the patch is an upper bound; only atoms that point along it reach it",
            lambda x, B: x.norm(dim=1),
        ),
        (
            "divided by the largest eigenvalue: the step size does not move the minimum",
            lambda x, B: (x @ B.T).abs().max(dim=1).values / torch.linalg.eigvalsh(B @ B.T)[-1],
        ),
        (
            "these are sums over the atoms: each is worth its price or not by itself",
            lambda x, B: (x @ B.T).abs().sum(dim=1),
        ),
        (
            "one price for all patches: one number per patch is wanted",
            lambda x, B: (x @ B.T).abs().max(),
        ),
        (
            "one price per atom: one number per patch is wanted",
            lambda x, B: (x @ B.T).abs().max(dim=0).values,
        ),
    ),
)


def _problems(g: torch.Generator) -> list[tuple]:
    return [(x, B, penalty, steps) for (x, B), penalty, steps in
            zip(_patches(g), (0.3, 0.1, 0.5), (30, 60, 5), strict=True)]  # fmt: skip


def _ista(x: Tensor, B: Tensor, steps: int, shrink, speed: float = 1.0) -> Tensor:
    step = speed / torch.linalg.eigvalsh(B @ B.T)[-1]
    s = torch.zeros(len(x), len(B), dtype=x.dtype)
    for _ in range(steps):
        s = shrink(s + step * (x - s @ B) @ B.T, float(step))
    return s


REPAIRED_ISTA = Exercise(
    sample=_problems,
    reference=sparse_codes,
    mistakes=(
        (
            "both slips are still there",
            lambda x, B, p, n: _ista(x, B, n, lambda u, _: (u - p).clamp(min=0)),
        ),
        (
            "one slip is left: negative entries vanish; they too are shrunk towards zero",
            lambda x, B, p, n: _ista(x, B, n, lambda u, step: (u - step * p).clamp(min=0)),
        ),
        (
            "one slip is left: an entry is shrunk by step * penalty, not by the whole penalty in every step",
            lambda x, B, p, n: _ista(x, B, n, lambda u, _: softshrink(u, p)),
        ),
        (
            "nothing is shrunk: this is least squares",
            lambda x, B, p, n: _ista(x, B, n, lambda u, _: u),
        ),
        (
            "small entries vanish, but the others are not shrunk: the price is paid by every entry in use",
            lambda x, B, p, n: _ista(x, B, n, lambda u, step: u * (u.abs() > step * p)),
        ),
        (
            "shrunk once at the end: both moves belong into every step",
            lambda x, B, p, n: softshrink(_ista(x, B, n, lambda u, _: u), p),
        ),
    ),
)
