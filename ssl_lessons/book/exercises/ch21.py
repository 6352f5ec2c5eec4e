"""Chapter 21: tell a RankMe from its imitations, build two clouds that refute it, LiDAR of a planted cloud, and what
noise in the yardstick does to a perfect measure.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.diagnostics import rank_me

from .core import Check, Exercise, Stop, call, failed


def check_is_rank_me(fn) -> Check:
    """fn(measure) -> bool: whether measure(z [N, D] float64) is RankMe."""
    for name, measure, right in _CANDIDATES:
        try:
            said = call(fn, (measure,))
        except Stop as stop:
            if stop.check.passed is None:
                return stop.check
            return Check(False, f"with {name}: {stop.check.message}")
        said = said.item() if isinstance(said, Tensor) and said.numel() == 1 else said
        said = bool(said) if type(said).__name__ in ("bool_", "bool") else said
        if not (isinstance(said, bool | int | float) and said in (0, 1)):
            return Check(False, "return True or False")
        if bool(said) != right:
            verdict = (
                "is RankMe, and you refuse it: allow for rounding (0.1 %)"
                if right
                else "is not, and you pass it: which cloud tells them apart?"
            )
            return Check(False, f"{name} {verdict}")
    return Check(True, f"correct: {len(_CANDIDATES)} measures, told apart by clouds alone")


def check_two_clouds(fn) -> Check:
    """fn(images uint8 [N, 3, 8, 8]) -> (empty [N, 16], thin [N, 16]), each row made from its picture alone.

    The pictures are of two kinds: the left half brighter, or the right one.  empty: RankMe at least 14.4, and a linear
    probe for the kind finds nothing; thin: RankMe at most 1.5, and the probe is right for 95 %.
    """
    try:
        _judge_clouds(fn)
    except Stop as stop:
        return stop.check
    return Check(True, "correct: a full rank that knows nothing, and a rank of one that knows the answer")


def check_planted_lidar(fn) -> Check:
    """fn(signal [D], wobble [D], q, delta) -> LiDAR of infinitely many pictures with q views each."""
    return PLANTED_LIDAR.check(fn)


def check_two_taus(fn) -> Check:
    """fn(spread, noise) -> (tau of one seed's probe with another's, tau of the true order with one seed's probe)."""
    return TWO_TAUS.check(fn)


# --- 21.1: which one is RankMe? ------------------------------------------------------------------------------------


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum()


def _shares(z: Tensor) -> Tensor:
    s = torch.linalg.svdvals(z)
    return s / s.sum()


def _squared(z: Tensor) -> float:
    s = torch.linalg.svdvals(z).square()
    return float(_entropy(s / s.sum()).exp())


def _softmax(z: Tensor) -> float:
    return float(_entropy(torch.linalg.svdvals(z).softmax(0)).exp())


def _by_the_largest(z: Tensor) -> float:
    s = torch.linalg.svdvals(z)
    return float(_entropy(s / s[0]).exp())


def _threshold(z: Tensor) -> float:
    s = torch.linalg.svdvals(z)
    return float((s > 1e-2 * s[0]).sum())


def _participation(z: Tensor) -> float:
    s = torch.linalg.svdvals(z)
    return float(s.sum() ** 2 / s.square().sum())


_CANDIDATES = (
    ("the library's version", rank_me, True),
    ("a version without the exponential", lambda z: float(_entropy(_shares(z))), False),
    ("a version in float32", lambda z: _entropy(_shares(z.float())).exp(), True),
    ("a version that squares the singular values", _squared, False),
    ("a version that centres z", lambda z: float(_entropy(_shares(z - z.mean(0))).exp()), False),
    ("a version that divides by the largest singular value", _by_the_largest, False),
    ("a version with powers of two", lambda z: 2 ** float(_entropy(_shares(z)) / math.log(2)), True),
    ("a version with log2 under exp", lambda z: float((_entropy(_shares(z)) / math.log(2)).exp()), False),
    ("a version with a softmax instead of shares", _softmax, False),
    (
        "a version that sets the rows to length 1",
        lambda z: float(_entropy(_shares(z / z.norm(dim=1, keepdim=True).clamp_min(1e-12))).exp()),
        False,
    ),
    ("a count of singular values above a threshold", _threshold, False),
    ("the participation ratio of the singular values", _participation, False),
    ("a version that divides by the width", lambda z: rank_me(z) / z.shape[1], False),
)

# --- 21.2: two clouds ----------------------------------------------------------------------------------------------

N, WIDTH, RANK = 600, 16, 14.4


def _pictures(seed: int) -> tuple[Tensor, Tensor]:
    """uint8 [N, 3, 8, 8] with one half brighter, and which: 0 left, 1 right."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.arange(N) % 2
    light = 30.0 * (1 - 2 * kind)[:, None, None, None] * torch.tensor([1.0] * 4 + [-1.0] * 4)
    base = 128 + 20 * torch.randn(N, 1, 1, 1, generator=g) + 25 * torch.randn(N, 3, 8, 8, generator=g)
    order = torch.randperm(N, generator=g)
    return (base + light).clamp(0, 255).to(torch.uint8)[order], kind[order]


def _knows(z: Tensor, kind: Tensor) -> float:
    """Accuracy on the second half of ridge regression (standardised columns) fitted to the first."""
    z = (z - z[: N // 2].mean(0)) / z[: N // 2].std(0).clamp_min(1e-12)
    x = torch.cat([z, torch.ones(N, 1, dtype=z.dtype)], dim=1)
    y = 2.0 * kind.double() - 1
    a = x[: N // 2]
    w = torch.linalg.solve(a.T @ a + torch.eye(x.shape[1], dtype=z.dtype), a.T @ y[: N // 2])
    return float(((x[N // 2 :] @ w).sign() == y[N // 2 :]).double().mean())


def _two(fn, images: Tensor) -> list[Tensor]:
    value = call(fn, (images,))
    if not (isinstance(value, tuple | list) and len(value) == 2):
        raise failed("return a pair: empty, thin")
    for name, z in zip(("empty", "thin"), value, strict=True):
        if not isinstance(z, Tensor) or z.shape != (len(images), WIDTH) or not z.is_floating_point():
            raise failed(f"{name} must be a float tensor [{len(images)}, {WIDTH}], one row per picture")
        if not z.isfinite().all():
            raise failed(f"{name} holds NaN or infinity")
    return [z.detach().double() for z in value]


def _judge_clouds(fn) -> None:
    for seed in (0, 1):
        images, kind = _pictures(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            clouds = _two(fn, images)
            turned = _two(fn, images.flip(0))
        for name, z, other in zip(("empty", "thin"), clouds, turned, strict=True):
            if not torch.allclose(z, other.flip(0), rtol=1e-3, atol=1e-3 * float(z.abs().max())):
                raise failed(
                    f"{name}: the same picture gets another row when the pictures come in another order; no chance, "
                    "no place in the list, no statistics of the others: make a row from its picture alone"
                )
        empty, thin = clouds
        rank, knows = rank_me(empty), _knows(empty, kind)
        if rank < RANK:
            raise failed(
                f"empty: RankMe is {rank:.1f}, it takes {RANK}: all singular values about alike, mean 0"
            )
        if knows > 0.6:
            raise failed(f"empty: a linear probe is right for {knows:.0%}, so your cloud knows something")
        rank, knows = rank_me(thin), _knows(thin, kind)
        if rank > 1.5:
            raise failed(
                f"thin: RankMe is {rank:.1f}, it may be 1.5: let one direction have nearly everything"
            )
        if knows < 0.95:
            raise failed(
                f"thin: the probe is right for {knows:.0%}; put the answer into the direction you keep"
            )


# --- 21.3: LiDAR of a planted cloud --------------------------------------------------------------------------------


def _planted(g: torch.Generator) -> list[tuple]:
    cases = []
    for d, q, delta in [(5, 4, 0.05), (8, 10, 1e-3), (4, 2, 0.2)]:
        cases.append(
            (
                4 * torch.rand(d, generator=g, dtype=torch.float64),
                torch.rand(d, generator=g, dtype=torch.float64),
                q,
                delta,
            )
        )
    return cases


def _ratio(s: Tensor, w: Tensor, q: int, delta: float) -> Tensor:
    return (s + w / q) / ((1 - 1 / q) * w + delta)


def _count(values: Tensor) -> Tensor:
    return _entropy(values / values.sum()).exp()


PLANTED_LIDAR = Exercise(
    sample=_planted,
    reference=lambda s, w, q, d: _count(_ratio(s, w, q, d)),
    mistakes=(
        (
            "the mean of q views still wobbles: between pictures there is signal + wobble / q",
            lambda s, w, q, d: _count(s / ((1 - 1 / q) * w + d)),
        ),
        (
            "views are measured from their own mean, which takes its share: within there is (1 - 1/q) wobble",
            lambda s, w, q, d: _count((s + w / q) / (w + d)),
        ),
        (
            "this is the formula for infinitely many views: q is finite",
            lambda s, w, q, d: _count(s / (w + d)),
        ),
        ("delta is missing", lambda s, w, q, d: _count(_ratio(s, w, q, 0.0))),
        (
            "this is the entropy: LiDAR is its exponential",
            lambda s, w, q, d: _entropy(_ratio(s, w, q, d) / _ratio(s, w, q, d).sum()),
        ),
        (
            "roots of the eigenvalues: LiDAR takes the eigenvalues themselves",
            lambda s, w, q, d: _count(_ratio(s, w, q, d).sqrt()),
        ),
        ("the wobble is missing: this counts directions of signal", lambda s, w, q, d: _count(s)),
        (
            "upside down: signal over wobble, not wobble over signal",
            lambda s, w, q, d: _count(1 / _ratio(s, w, q, d)),
        ),
        (
            "signal and wobble are variances already: do not square them",
            lambda s, w, q, d: _count(_ratio(s**2, w**2, q, d)),
        ),
    ),
    praise="(and with signal 0 and delta 0 every ratio is 1 / (q - 1): full marks for nothing)",
)

# --- 21.4: what a noisy yardstick does ------------------------------------------------------------------------------


def _taus(spread: float, noise: float) -> tuple[float, float]:
    r = spread**2 / (spread**2 + noise**2)
    return 2 / math.pi * math.asin(r), 2 / math.pi * math.asin(math.sqrt(r))


def _shared(spread: float, noise: float) -> float:
    return spread**2 / (spread**2 + noise**2)


TWO_TAUS = Exercise(
    sample=lambda g: [(0.03, 0.015), (0.05, 0.05), (0.01, 0.03)],
    reference=_taus,
    mistakes=(
        (
            "these are correlations: tau is 2 / pi times their arcsine",
            lambda s, n: (_shared(s, n), math.sqrt(_shared(s, n))),
        ),
        (
            "spread and noise are standard deviations: variances add up",
            lambda s, n: (
                2 / math.pi * math.asin(s / (s + n)),
                2 / math.pi * math.asin(math.sqrt(s / (s + n))),
            ),
        ),
        (
            "the true order has no noise of its own: its correlation with a probe is larger than that of two probes",
            lambda s, n: (_taus(s, n)[0], _taus(s, n)[0]),
        ),
        (
            "two probes are noisy on both sides: their correlation is smaller than that with the truth",
            lambda s, n: (_taus(s, n)[1], _taus(s, n)[1]),
        ),
        (
            "the true order has no noise, but the probe it is compared with has: its tau is below 1",
            lambda s, n: (_taus(s, n)[0], 1.0),
        ),
        ("the right two numbers in the wrong order: probe with probe first", lambda s, n: _taus(s, n)[::-1]),
        (
            "the square root belongs to the second: the two probes share variance r, so they correlate by r",
            lambda s, n: (
                2 / math.pi * math.asin(_shared(s, n) ** 2),
                2 / math.pi * math.asin(_shared(s, n)),
            ),
        ),
        (
            "the shares of noise and truth are exchanged",
            lambda s, n: _taus(n, s) if s != n else (0.0, 0.0),
        ),
    ),
    praise="- so a perfect measure can pass what one seed tells about another",
)
