"""Exercises of chapter 19: a floor that never goes away, q of two modalities, the dual constant, a lowest loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_lessons.book.exercises.core import Check, Exercise, same


def check_floor_with_itself(fn) -> Check:
    """fn(n, tau) -> (lowest NT-Xent of n pictures whose others have cosine 0, the same with itself among the
    candidates)."""
    return FLOOR.check(fn)


def check_clip_scores(fn) -> Check:
    """fn(a [N, D], b [N, D], tau) -> scores [2N, 2N] whose softmax is CLIP's q among all pictures and texts."""
    return CLIP.check(fn)


def check_dual_constant(fn) -> Check:
    """fn(n, d, a) -> dimensions criterion minus pictures criterion, rows of length a and columns of equal length."""
    return DUAL.check(fn)


def check_best_spectral_loss(fn) -> Check:
    """fn(w [V, V], k) -> the lowest spectral loss of embeddings with k dimensions."""
    return SPECTRAL.check(fn)


def _floor(n: int, tau: float) -> tuple[float, float]:
    e = math.exp(1 / tau)
    return math.log((e + 2 * n - 2) / e), math.log((2 * e + 2 * n - 2) / e)


FLOOR = Exercise(
    sample=lambda g: [(2, 1.0), (16, 0.5), (128, 0.2), (128, 0.05)],
    reference=_floor,
    mistakes=(
        ("the order: (without itself, with itself)", lambda n, t: _floor(n, t)[::-1]),
        (
            "n pictures have two views each: 2n - 2 others stand beside the partner, not n - 1",
            lambda n, t: tuple(math.log((c * math.exp(1 / t) + n - 1) / math.exp(1 / t)) for c in (1, 2)),
        ),
        (
            "the partner stands in the denominator too: 2n - 2 others besides it",
            lambda n, t: tuple(math.log((c * math.exp(1 / t) + 2 * n - 2) / math.exp(1 / t)) for c in (0, 1)),
        ),
        (
            "a cosine of 0 gives exp(0) = 1, not 0: the others count",
            lambda n, t: (0.0, math.log(2)),
        ),
        (
            "the sign: a loss is minus the logarithm of a probability",
            lambda n, t: tuple(-v for v in _floor(n, t)),
        ),
        (
            "these are probabilities: take minus their logarithms",
            lambda n, t: tuple(math.exp(-v) for v in _floor(n, t)),
        ),
        (
            "scores are divided by tau, not multiplied",
            lambda n, t: _floor(n, 1 / t),
        ),
        (
            "among 2n - 1 others one is the partner: 2n - 2 are left",
            lambda n, t: tuple(math.log((c * math.exp(1 / t) + 2 * n - 1) / math.exp(1 / t)) for c in (1, 2)),
        ),
        (
            "the view itself is no stranger: its cosine with itself is 1, and the second sum has it beside the 2n - 2",
            lambda n, t: (_floor(n, t)[0], math.log(1 + (2 * n - 1) * math.exp(-1 / t))),
        ),
    ),
    praise="as tau falls the first goes to 0 and the second to log 2: a perfect encoder that still pays for a coin",
)


def _modalities(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, tau in ((2, 3, 1.0), (5, 4, 0.3), (7, 2, 0.1)):
        a, b = (
            torch.nn.functional.normalize(torch.randn(n, d, generator=g, dtype=torch.float64), dim=1)
            for _ in range(2)
        )
        cases.append((a, b, tau))
    return cases


def _clip(a: Tensor, b: Tensor, tau: float, forbid: str = "own", factor: float | None = None) -> Tensor:
    z = torch.cat([a, b])
    scores = z @ z.T / (tau if factor is None else factor)
    n = len(a)
    first = torch.arange(2 * n) < n
    mask = {
        "own": first[:, None] == first,
        "own, of pictures": first[:, None] & first,
        "all but the partner": ~torch.eye(2 * n, dtype=torch.bool).roll(n, dims=1),
        "itself": torch.eye(2 * n, dtype=torch.bool),
        "across": first[:, None] != first,
        "nothing": torch.zeros(2 * n, 2 * n, dtype=torch.bool),
    }[forbid]
    return scores.masked_fill(mask, -math.inf)


def _untransposed(a: Tensor, b: Tensor, tau: float) -> Tensor:
    scores, n = _clip(a, b, tau), len(a)
    scores[n:, :n] = scores[:n, n:]
    return scores


def _large_negative(inputs: list[tuple], answers: list[Tensor]) -> str | None:
    """The right scores, with some finite number below all scores for what is left out."""
    for args, got in zip(inputs, answers, strict=True):
        want = _clip(*args)
        if got.shape != want.shape:
            return None
        out = want.isinf()
        if not same(got.masked_fill(out, 0.0), want.masked_fill(out, 0.0)):
            return None
        if not (got[out].isfinite() & (got[out] < -100)).all():
            return None
    return "minus infinity, not a large negative number: what is left out has probability 0, however low the scores"


CLIP = Exercise(
    sample=_modalities,
    reference=_clip,
    mistakes=(
        (
            "this is SimCLR's: pictures compete with pictures; in CLIP only the other modality is on offer",
            lambda a, b, t: _clip(a, b, t, "itself"),
        ),
        (
            "text i competes with pictures: its row holds b_i . a_j, so the lower block is b @ a.T, not a @ b.T",
            _untransposed,
        ),
        (
            "only the partner is left, with probability 1 and nothing to lose: leave out a row's own modality, no more",
            lambda a, b, t: _clip(a, b, t, "all but the partner"),
        ),
        (
            "rows of texts have a modality of their own, too: leave it out",
            lambda a, b, t: _clip(a, b, t, "own, of pictures"),
        ),
        ("nothing is left out: a row's own modality must be", lambda a, b, t: _clip(a, b, t, "nothing")),
        (
            "the mask is the wrong way round: leave out a row's own modality, not the other one",
            lambda a, b, t: _clip(a, b, t, "across"),
        ),
        (
            "a score of 0 is not left out, it counts exp(0) = 1: use minus infinity",
            lambda a, b, t: _clip(a, b, t).nan_to_num(neginf=0.0),
        ),
        ("divide by tau", lambda a, b, t: _clip(a, b, t, factor=1.0)),
        (
            "divide by tau, do not multiply",
            lambda a, b, t: _clip(a, b, t, factor=1 / t) if t != 1 else _clip(a, b, t),
        ),
        ("return scores, not the logarithm of their softmax", lambda a, b, t: _clip(a, b, t).log_softmax(1)),
        ("return scores, not their softmax", lambda a, b, t: _clip(a, b, t).softmax(1)),
    ),
    hint=_large_negative,
    praise="with p = the partner, kl of this is CLIP's loss, both directions averaged",
)


def _dual(n: int, d: int, a: float) -> float:
    return a**4 * (n - n**2 / d)


DUAL = Exercise(
    sample=lambda g: [(8, 8, 1.0), (64, 8, 1.0), (256, 1024, 2.0), (10, 40, 0.5)],
    reference=_dual,
    mistakes=(
        ("the sign: dimensions minus pictures", lambda n, d, a: -_dual(n, d, a)),
        (
            "n - d would need columns of length a too; the entries' squares add up to n a^2, so a column has n a^2 / d",
            lambda n, d, a: a**4 * (n - d),
        ),
        ("fourth powers of lengths: a^4, not a^2", lambda n, d, a: a**2 * (n - n**2 / d)),
        ("the length a is forgotten: fourth powers of it", lambda n, d, a: n - n**2 / d),
        ("there are d columns: d (n a^2 / d)^2, and you have one", lambda n, d, a: a**4 * (n - (n / d) ** 2)),
        ("the lengths differ (unless n = d), so a constant is left", lambda n, d, a: 0.0),
        (
            "a column's squared length is n a^2 / d; square it once more",
            lambda n, d, a: n * a**4 - n * a**2,
        ),
        ("divide by d once: d (n / d)^2 = n^2 / d", lambda n, d, a: a**4 * (n - n**2)),
    ),
    praise="no weight of any network stands in it: with both lengths fixed the two criteria have one gradient",
)


def _graphs(g: torch.Generator) -> list[tuple]:
    cases = []
    for pictures, n_views, k in ((4, 6, 2), (8, 12, 3), (5, 20, 4)):
        turns = torch.rand(pictures, n_views, generator=g, dtype=torch.float64) ** 4
        turns = turns / turns.sum(dim=1, keepdim=True)
        cases.append((turns.T @ turns / pictures, k))
    return cases


def _normalized(w: Tensor) -> Tensor:
    total = w.sum(dim=1)
    return w / (total[:, None] * total).sqrt()


def _top(matrix: Tensor, k: int) -> Tensor:
    return torch.linalg.eigvalsh(matrix).flip(0)[:k]


SPECTRAL = Exercise(
    sample=_graphs,
    reference=lambda w, k: -_top(_normalized(w), k).clamp_min(0).square().sum(),
    mistakes=(
        (
            "what is left over is the distance to the matrix; the loss is less by the square of its norm",
            lambda w, k: _normalized(w).square().sum() - _top(_normalized(w), k).square().sum(),
        ),
        ("the sign", lambda w, k: _top(_normalized(w), k).square().sum()),
        ("squares of the eigenvalues", lambda w, k: -_top(_normalized(w), k).sum()),
        (
            "these are eigenvalues of w: normalise it first, by the square roots of both sums",
            lambda w, k: -_top(w, k).square().sum(),
        ),
        (
            "rows that sum to 1 are not symmetric, and eigvalsh reads one triangle: divide by both square roots",
            lambda w, k: -_top(w / w.sum(dim=1, keepdim=True), k).square().sum(),
        ),
        (
            "divide by the square root of w_a w_b, not by w_a w_b",
            lambda w, k: -_top(w / (w.sum(dim=1)[:, None] * w.sum(dim=1)), k).square().sum(),
        ),
        (
            "these are eigenvalues of the Laplacian, 1 minus those of the normalised w",
            lambda w, k: -(1 - _top(_normalized(w), k)).square().sum(),
        ),
        (
            "all eigenvalues: with k dimensions only the k largest can be had",
            lambda w, k: -_normalized(w).square().sum(),
        ),
        (
            "these are the k smallest: eigvalsh sorts from below",
            lambda w, k: -torch.linalg.eigvalsh(_normalized(w))[:k].square().sum(),
        ),
        (
            "the first eigenvector, constant as it is, counts too",
            lambda w, k: -_top(_normalized(w), k + 1)[1:].square().sum(),
        ),
        (
            "k eigenvalues, with the first: one is missing",
            lambda w, k: -_top(_normalized(w), k)[1:].square().sum(),
        ),
    ),
    praise="below it no network of that width can go, however long it trains",
)
