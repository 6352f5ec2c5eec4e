"""Chapters 13 and 13b: NT-Xent for two views and more, the bound, the temperature, losses that are nearly right.

Over 400 lines: the exercises of two notebooks, each of which can be read by itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.overrides import TorchFunctionMode

from ssl_lessons.losses import info_nce, nt_xent

from .core import Check, Exercise, Stop, call, failed


def check_nt_xent(fn) -> Check:
    """fn(z1 [N, D], z2 [N, D], temperature) -> scalar: the loss of SimCLR, mean over the 2N views."""
    return NT_XENT.check(fn)


def check_nt_xent_many(fn) -> Check:
    """fn(z [V, N, D], temperature) -> scalar: NT-Xent for V views, mean over all anchors and all their partners."""
    return NT_XENT_MANY.check(fn)


def check_candidates_needed(fn) -> Check:
    """fn(nats, loss) -> int: how many candidates certify that much information at that InfoNCE loss."""
    return CANDIDATES_NEEDED.check(fn)


def check_temperature_for(fn) -> Check:
    """fn(gap, ratio) -> temperature at which a negative closer by `gap` in cosine is pushed `ratio` times as hard."""
    return TEMPERATURE_FOR.check(fn)


def check_stable_cross_entropy(fn) -> Check:
    """fn(logits [N, K], target [N]) -> scalar: mean cross-entropy, finite for logits up to 1e4, from its parts."""
    watch = _Watch()

    def watched(*args):
        with watch:
            return fn(*args)

    check = CROSS_ENTROPY.check(watched if callable(fn) else fn)
    if check.passed and (used := sorted(watch.seen & FORBIDDEN)):
        return Check(
            False, f"right, but {' and '.join(used)} did the work: build it from exp, sum, log and max"
        )
    return check


def check_judge(fn) -> Check:
    """fn(loss) -> bool: whether loss(z1, z2, temperature) is NT-Xent; put before right losses and slips."""
    try:
        for what, loss, right in JUDGED:
            found = call(fn, (loss,))
            if not isinstance(found, bool | np.bool_) and not (
                isinstance(found, Tensor) and found.numel() == 1
            ):
                raise failed(f"your function returns {found!r}; it should return True or False")
            if bool(found) != right:
                raise failed(f"{'refuses' if right else 'lets pass'}: {what}")
    except Stop as stop:
        return stop.check
    slips = sum(not right for *_, right in JUDGED)
    return Check(True, f"correct: {slips} slips caught, {len(JUDGED) - slips} right losses accepted")


class _Watch(TorchFunctionMode):
    """Notes the names of the torch functions that are called."""

    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.seen.add(getattr(function, "__name__", ""))
        return function(*args, **(kwargs or {}))


FORBIDDEN = {
    "cross_entropy", "softmax", "log_softmax", "logsumexp", "nll_loss", "logcumsumexp", "logaddexp", "logaddexp2"
}  # fmt: skip


def _unit(x: Tensor, dim: int = 1) -> Tensor:
    return normalize(x, dim=dim)


def _pairs(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, temperature in [(5, 4, 0.2), (8, 3, 0.5), (6, 16, 0.1)]:
        z1 = torch.randn(n, d, generator=g).double() + 0.3
        cases.append((z1, z1 + 0.8 * torch.randn(n, d, generator=g).double(), temperature))
    return cases


def _diagonal_loss(logits: Tensor) -> Tensor:
    return cross_entropy(logits, torch.arange(len(logits)))


def _without_positive(logits: Tensor, target: Tensor) -> Tensor:
    """The loss when the positive is left out of the denominator."""
    own = logits.gather(1, target[:, None])
    others = logits.scatter(1, target[:, None], -math.inf)
    return (others.logsumexp(1) - own[:, 0]).mean()


def _view_logits(z1: Tensor, z2: Tensor, temperature: float, mask: bool = True, unit: bool = True) -> Tensor:
    """Cosine / temperature of all 2N views, the diagonal masked: [2N, 2N]."""
    z = torch.cat([z1, z2])
    z = _unit(z) if unit else z
    logits = z @ z.T / temperature
    return logits.fill_diagonal_(-math.inf) if mask else logits


def _partner(z1: Tensor) -> Tensor:
    return torch.arange(2 * len(z1)).roll(len(z1))


NT_XENT = Exercise(
    sample=_pairs,
    reference=nt_xent,
    mistakes=(
        (
            "the self-pair is not masked: every view meets itself with cosine 1; set the diagonal to -inf",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t, mask=False), _partner(a)),
        ),
        (
            "the self-pair is masked by 0: exp(0) = 1 still counts; set the diagonal to -inf",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t).fill_diagonal_(0), _partner(a)),
        ),
        (
            "one-sided: only the views in z1 are anchors; average over all 2N",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t)[: len(a)], _partner(a)[: len(a)]),
        ),
        (
            "negatives only from the other view, and only the views in z1 are anchors: this is info_nce",
            lambda a, b, t: info_nce(a, b, temperature=t),
        ),
        (
            "negatives only from the other view: those of the same view belong in the denominator too",
            lambda a, b, t: (info_nce(a, b, temperature=t) + info_nce(b, a, temperature=t)) / 2,
        ),
        (
            "wrong positive index: row i of z1 belongs with row i of z2, i + N in the stacked views, not i + 1",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a)).roll(-1)),
        ),
        (
            "wrong positive index: 2k and 2k + 1 are partners in interleaved views; here i belongs with i + N",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a)) ^ 1),
        ),
        (
            "wrong positive index: the target of a view is itself instead of its partner",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a))),
        ),
        (
            "wrong positive index: the target of a view is itself, and the self-pair is not masked",
            lambda a, b, t: _diagonal_loss(_view_logits(a, b, t, mask=False)),
        ),
        (
            "the embeddings are not normalized: divide every row by its length, so that the score is a cosine",
            lambda a, b, t: cross_entropy(_view_logits(a, b, t, unit=False), _partner(a)),
        ),
        (
            "normalized over the batch axis: each row (dim=1) must get length 1, not each column",
            lambda a, b, t: cross_entropy(_view_logits(*_halves(a, b), t, unit=False), _partner(a)),
        ),
        ("the temperature is missing: divide the cosines by it", lambda a, b, t: nt_xent(a, b, 1.0)),
        (
            "the cosines are multiplied by the temperature: divide, so that a small one sharpens",
            lambda a, b, t: nt_xent(a, b, 1 / t),
        ),
        ("the sum over the views: take the mean over all 2N", lambda a, b, t: 2 * len(a) * nt_xent(a, b, t)),
        (
            "the sum of the two directions: divide by all 2N views, not by N",
            lambda a, b, t: 2 * nt_xent(a, b, t),
        ),
        (
            "the positive is missing from the denominator: it belongs there with the 2N - 2 negatives",
            lambda a, b, t: _without_positive(_view_logits(a, b, t), _partner(a)),
        ),
        ("the sign is wrong: the loss is minus the log-probability", lambda a, b, t: -nt_xent(a, b, t)),
    ),
)


def _halves(z1: Tensor, z2: Tensor) -> tuple[Tensor, ...]:
    return _unit(torch.cat([z1, z2]), dim=0).chunk(2)


def _overflow(remedy: str):
    """A hint for answers that are right for tame inputs and not finite for large ones."""

    def hint(inputs: list[tuple], answers: list[Tensor]) -> str | None:
        if answers[0].isfinite().all() and not all(a.isfinite().all() for a in answers):
            return f"not finite for large inputs (overflow or log 0): {remedy}"
        return None

    return hint


def _many(g: torch.Generator) -> list[tuple]:
    sizes = [(2, 5, 4, 0.2), (3, 4, 3, 0.5), (4, 3, 8, 0.1)]
    return [(torch.randn(v, n, d, generator=g).double() + 0.3, t) for v, n, d, t in sizes]


def _many_log_p(z: Tensor, temperature: float, mask: bool = True, unit: bool = True) -> tuple[Tensor, Tensor]:
    """Log-shares of all pairs of V N views [VN, VN], and which of them are partners."""
    rows, n = z.flatten(0, 1), z.shape[1]
    rows = _unit(rows) if unit else rows
    logits, own = rows @ rows.T / temperature, torch.eye(len(rows), dtype=torch.bool)
    picture = torch.arange(len(rows)) % n
    partner = (picture[:, None] == picture) & ~own
    return (logits.masked_fill(own, -math.inf) if mask else logits).log_softmax(1), partner


def nt_xent_many(z: Tensor, temperature: float, **choices) -> Tensor:
    """z [V, N, D] -> scalar: -log share, averaged over all anchors and all their partners."""
    log_p, partner = _many_log_p(z, temperature, **choices)
    return -log_p[partner].mean()


def _over_pairs(z: Tensor, temperature: float, first_only: bool) -> Tensor:
    v = len(z)
    pairs = [(i, j) for i in range(1 if first_only else v) for j in range(i + 1, v)]
    return torch.stack([nt_xent(z[i], z[j], temperature) for i, j in pairs]).mean()


def _partners_left_out(z: Tensor, temperature: float) -> Tensor:
    """Every partner against the negatives alone, without the anchor's other partners."""
    log_p, partner = _many_log_p(z, temperature)
    own = torch.eye(len(partner), dtype=torch.bool)
    rest = log_p.masked_fill(partner | own, -math.inf).logsumexp(1, keepdim=True)
    return (torch.logaddexp(rest, log_p) - log_p)[partner].mean()


def _log_of_sum(z: Tensor, temperature: float) -> Tensor:
    log_p, partner = _many_log_p(z, temperature)
    return -log_p.masked_fill(~partner, -math.inf).logsumexp(1).mean()


NT_XENT_MANY = Exercise(
    sample=_many,
    reference=nt_xent_many,
    mistakes=(
        (
            "an anchor's other partners are missing from its softmax: here they belong there, as candidates",
            _partners_left_out,
        ),
        (
            "the logarithm of the partners' summed share: average minus log over the partners instead",
            _log_of_sum,
        ),
        (
            "the logarithm of the partners' mean share: average minus log over the partners instead",
            lambda z, t: _log_of_sum(z, t) + math.log(len(z) - 1),
        ),
        (
            "normalized over the pictures: each embedding, the last axis, must get length 1",
            lambda z, t: nt_xent_many(normalize(z, dim=1), t, unit=False),
        ),
        (
            "two views at a time: the softmax of an anchor runs over the other views of all V",
            lambda z, t: _over_pairs(z, t, first_only=False),
        ),
        (
            "only pairs with the first view: every view is an anchor and all other views of its picture are partners",
            lambda z, t: _over_pairs(z, t, first_only=True),
        ),
        (
            "the sum over an anchor's partners: take the mean, so that the loss does not grow with V",
            lambda z, t: (len(z) - 1) * nt_xent_many(z, t),
        ),
        (
            "the self-pair is not masked: every view meets itself with cosine 1; set the diagonal to -inf",
            lambda z, t: nt_xent_many(z, t, mask=False),
        ),
        (
            "the embeddings are not normalized: divide every row by its length, so that the score is a cosine",
            lambda z, t: nt_xent_many(z, t, unit=False),
        ),
        (
            "the partners are mixed up: row v N + n holds view v of picture n, so compare the indices modulo N",
            lambda z, t: nt_xent_many(z.flatten(0, 1).view(z.shape[1], z.shape[0], -1).transpose(0, 1), t),
        ),
        ("the temperature is missing: divide the cosines by it", lambda z, t: nt_xent_many(z, 1.0)),
        ("the sign is wrong: the loss is minus the log-share", lambda z, t: -nt_xent_many(z, t)),
        (
            "the sum over all pairs: take the mean over anchors and partners",
            lambda z, t: nt_xent_many(z, t) * z.shape[0] * z.shape[1] * (z.shape[0] - 1),
        ),
        (
            "the sum over the anchors: take the mean over them as well",
            lambda z, t: nt_xent_many(z, t) * z.shape[0] * z.shape[1],
        ),
    ),
    hint=lambda inputs, answers: (
        None
        if all(a.isfinite().all() for a in answers)
        else "NaN or infinite: 0 times minus infinity is NaN, so choose the partners by indexing, log_p[mask]"
    ),
    praise="(at best V - 1 partners share the softmax evenly: the loss of a perfect network is log(V - 1), not 0)",
)

CANDIDATES_NEEDED = Exercise(
    sample=lambda g: [(1.0, 0.0), (2.0, 0.5), (5.0, 0.1), (0.7, 2.0), (8.0, 1.3)],
    reference=lambda nats, loss: math.ceil(math.exp(nats + loss)),
    mistakes=(
        ("one too few: round up, and count the positive", lambda i, loss: int(math.exp(i + loss))),
        (
            "rounded to the nearest: it has to be enough, so round up",
            lambda i, loss: round(math.exp(i + loss)),
        ),
        ("a candidate cannot be split: round up to an int", lambda i, loss: math.exp(i + loss)),
        ("the loss has the wrong sign: log K - loss >= nats", lambda i, loss: math.ceil(math.exp(i - loss))),
        ("the loss is left out: log K alone is the ceiling", lambda i, loss: math.ceil(math.exp(i))),
        ("powers of 2 count bits: nats go with e", lambda i, loss: math.ceil(2 ** (i + loss))),
        ("powers of 10: nats go with e", lambda i, loss: math.ceil(10 ** (i + loss))),
        (
            "one too many: K already counts the positive",
            lambda i, loss: math.ceil(math.exp(i + loss)) + 1,
        ),
    ),
    praise="(20 nats: about 485 million candidates at a loss of 0)",
)

TEMPERATURE_FOR = Exercise(
    sample=lambda g: [(0.1, 2.0), (0.05, 10.0), (0.3, 1.5), (0.2, math.e)],
    reference=lambda gap, ratio: gap / math.log(ratio),
    mistakes=(
        ("upside down: that is 1 / temperature", lambda gap, ratio: math.log(ratio) / gap),
        (
            "the logarithm of the ratio is missing: the shares are exponentials",
            lambda gap, ratio: gap / ratio,
        ),
        ("log2: the shares are powers of e, so use the natural logarithm", lambda gap, r: gap / math.log2(r)),
        (
            "log10: the shares are powers of e, so use the natural logarithm",
            lambda gap, r: gap / math.log10(r),
        ),
        ("multiplied: solve exp(gap / tau) = ratio for tau", lambda gap, ratio: gap * math.log(ratio)),
        ("the sign is wrong: the nearer negative is pushed harder", lambda gap, r: -gap / math.log(r)),
    ),
    praise="(halve it, and the ratio is squared)",
)


def _logits(g: torch.Generator) -> list[tuple]:
    return [
        (scale * torch.randn(n, k, generator=g).double(), torch.randint(k, (n,), generator=g))
        for n, k, scale in [(4, 5, 1), (7, 3, 3), (6, 10, 1), (5, 8, 1e4)]
    ]


CROSS_ENTROPY = Exercise(
    sample=_logits,
    reference=cross_entropy,
    mistakes=(
        ("the sum over the rows: take the mean", lambda x, y: cross_entropy(x, y, reduction="sum")),
        (
            "the mean is over the wrong count: divide by the N rows, not by all N K entries",
            lambda x, y: cross_entropy(x, y) / x.shape[1],
        ),
        (
            "the mean is over the wrong count: divide by the N rows, not by the K classes",
            lambda x, y: cross_entropy(x, y, reduction="sum") / x.shape[1],
        ),
        ("no mean over the rows: return one number", lambda x, y: cross_entropy(x, y, reduction="none")),
        ("the sign is wrong: the loss is minus the log-probability", lambda x, y: -cross_entropy(x, y)),
        (
            "softmax over the wrong axis: the classes of a row compete, so reduce over dim=1",
            lambda x, y: -x.log_softmax(0)[torch.arange(len(x)), y].mean(),
        ),
        (
            "the row maximum is subtracted and never added back",
            lambda x, y: cross_entropy(x, y) - x.max(1).values.mean(),
        ),
        ("this is logsumexp alone: subtract the logit of the target", lambda x, y: x.logsumexp(1).mean()),
    ),
    hint=_overflow("subtract the row maximum and stay in logarithms: m + log sum exp(x - m)"),
)


def _in_loops(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent anchor by anchor."""
    z, n = _unit(torch.cat([z1, z2])), len(z1)
    terms = []
    for i in range(2 * n):
        candidates = torch.cat([z[:i], z[i + 1 :]])
        own = z[i] @ z[(i + n) % (2 * n)]
        terms.append((candidates @ z[i] / temperature).logsumexp(0) - own / temperature)
    return torch.stack(terms).mean()


def _slip(**choices):
    return lambda a, b, t: cross_entropy(_view_logits(a, b, t, **choices), _partner(a))


def _wrong_axis(a: Tensor, b: Tensor, t: float) -> Tensor:
    return cross_entropy(_view_logits(*_halves(a, b), t, unit=False), _partner(a))


def _squared(a: Tensor, b: Tensor, t: float) -> Tensor:
    z = _unit(torch.cat([a, b]))
    return cross_entropy(((z @ z.T) ** 2 / t).fill_diagonal_(-math.inf), _partner(a))


def _ratio(a: Tensor, b: Tensor, t: float) -> Tensor:
    return -_view_logits(a, b, 1.0).softmax(1).gather(1, _partner(a)[:, None]).mean()


def _positive_twice(a: Tensor, b: Tensor, t: float) -> Tensor:
    logits = _view_logits(a, b, t)
    return cross_entropy(torch.cat([logits, logits.gather(1, _partner(a)[:, None])], dim=1), _partner(a))


def _detached(a: Tensor, b: Tensor, t: float) -> Tensor:
    return nt_xent(a, b.detach(), t)


# (what it is, the loss, whether it is NT-Xent)
JUDGED = (
    ("NT-Xent as the package computes it", nt_xent, True),
    ("NT-Xent, anchor by anchor in a loop", _in_loops, True),
    ("the self-pair is not masked", _slip(mask=False), False),
    (
        "the self-pair is masked by 0 instead of minus infinity",
        lambda a, b, t: cross_entropy(_view_logits(a, b, t).fill_diagonal_(0), _partner(a)),
        False,
    ),
    ("the embeddings are not normalised", _slip(unit=False), False),
    ("normalised over dim=0: columns instead of rows", _wrong_axis, False),
    ("the temperature is ignored", lambda a, b, t: nt_xent(a, b, 1.0), False),
    ("only z1 searches, among z2 alone", lambda a, b, t: info_nce(a, b, temperature=t), False),
    (
        "both directions, but each view among the other set alone",
        lambda a, b, t: (info_nce(a, b, temperature=t) + info_nce(b, a, temperature=t)) / 2,
        False,
    ),
    (
        "the partner of a view is taken to be its neighbour in the batch",
        lambda a, b, t: cross_entropy(_view_logits(a, b, t), torch.arange(2 * len(a)).roll(-1)),
        False,
    ),
    (
        "the positive is missing from the denominator",
        lambda a, b, t: _without_positive(_view_logits(a, b, t), _partner(a)),
        False,
    ),
    ("the similarity is the square of the cosine", _squared, False),
    ("the ratio itself, without logarithm and temperature", _ratio, False),
    ("the positive is counted twice", _positive_twice, False),
    ("the second views are detached: the right value, half of the gradient", _detached, False),
    (
        "the sum over N pictures instead of the mean over 2N views",
        lambda a, b, t: 2 * nt_xent(a, b, t),
        False,
    ),
)
