"""Chapters 16 and 16b: a correlation spread over machines, the stable point, whitening, VICReg's covariance term
without a covariance; a white cloud of no use, a judge of losses, SIGReg as an alarm.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ssl_lessons.losses import correlation, gaussian, nt_xent, rate_reduction, second_moment
from ssl_lessons.losses.correlation import vicreg_covariance

from .core import Check, Exercise, Stop, answer, call, failed, judge


def check_cross_correlation(fn) -> Check:
    """fn(z1 [machines, n, D], z2 [machines, n, D]) -> [D, D]: the cross-correlation of the whole batch."""
    return CROSS_CORRELATION.check(fn)


def check_stable_point(fn) -> Check:
    """fn(invariance, rho, eps) -> the variance weight below which deviation 0 is a minimum."""
    return STABLE_POINT.check(fn)


def check_zca_whiten(fn) -> Check:
    """fn(z [N, D]) -> [N, D]: zero mean, identity covariance (divided by N - 1), by the symmetric C^-1/2."""
    return ZCA_WHITEN.check(fn)


def check_covariance_term(fn) -> Check:
    """fn(z [N, D]) -> scalar: VICReg's covariance term, with no matrix of D x D entries on the way."""
    small = COVARIANCE_TERM.check(fn)
    if not small.passed:
        return small
    z = torch.randn(4, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with _Watch(300 * 300) as watch:
        call(fn, (z,))
    if watch.seen:
        return Check(
            False,
            f"right, but you formed a tensor {watch.seen} from z [4, 300]: compare images, not dimensions",
        )
    return small


# --- 16.1: a batch over machines ------------------------------------------------------------------------


def _machines(g: torch.Generator) -> list[tuple]:
    """Machines whose pictures have different means, so that the mean of correlations is not the correlation."""
    cases = []
    for machines, n, d in [(2, 6, 3), (3, 5, 4), (4, 8, 2)]:
        base = torch.randn(machines, n, d, generator=g).double() * torch.linspace(0.4, 1.6, d).double()
        base = base + 1.5 * torch.randn(machines, 1, d, generator=g).double()
        cases.append((base, base + 0.5 * torch.randn(machines, n, d, generator=g).double()))
    return cases


def _standard(z: Tensor, correction: int = 0) -> Tensor:
    return (z - z.mean(dim=0)) / z.std(dim=0, correction=correction)


def _cross(z1: Tensor, z2: Tensor, correction: int = 0) -> Tensor:
    return _standard(z1, correction).T @ _standard(z2, correction) / len(z1)


def _whole(z1: Tensor, z2: Tensor, correction: int = 0) -> Tensor:
    return _cross(z1.flatten(0, 1), z2.flatten(0, 1), correction)


def _averaged(z1: Tensor, z2: Tensor, correction: int = 0) -> Tensor:
    return torch.stack([_cross(a, b, correction) for a, b in zip(z1, z2, strict=True)]).mean(dim=0)


def _covariance(z1: Tensor, z2: Tensor) -> Tensor:
    a, b = z1.flatten(0, 1), z2.flatten(0, 1)
    return (a - a.mean(dim=0)).T @ (b - b.mean(dim=0)) / len(a)


CROSS_CORRELATION = Exercise(
    sample=_machines,
    reference=_whole,
    mistakes=(
        (
            "this is the colleague's matrix: the mean of the machines' correlations is not the correlation of the "
            "batch, and std() divides by n - 1",
            lambda a, b: _averaged(a, b, 1),
        ),
        (
            "the mean of the machines' correlations is not the correlation of the batch: the machines have "
            "different means and deviations; put all pictures together first",
            _averaged,
        ),
        (
            "std() divides by N - 1, the mean of the products by N, so a perfect correlation is (N - 1) / N; use "
            "std(correction=0)",
            lambda a, b: _whole(a, b, 1),
        ),
        (
            "transposed: rows belong to view 1 and columns to view 2, so z1 comes first in the product",
            lambda a, b: _whole(b, a),
        ),
        ("this is a covariance: divide each dimension by its standard deviation", _covariance),
        (
            "the products are summed: divide by the number of pictures",
            lambda a, b: _whole(a, b) * a.shape[0] * a.shape[1],
        ),
        ("correlates view 1 with itself: the second factor is view 2", lambda a, b: _whole(a, a)),
    ),
    praise="whatever the machines got; a perfect pair of views has ones on the diagonal",
)

# --- 16.2: the stable point -----------------------------------------------------------------------------

STABLE_POINT = Exercise(
    sample=lambda g: [(25.0, 0.8, 1e-4), (25.0, 0.3, 1e-4), (10.0, 0.5, 1e-6), (1.0, 0.0, 1e-2)],
    reference=lambda inv, rho, eps: 4 * inv * (1 - rho) * eps**0.5,
    mistakes=(
        (
            "eps stands under a root: near 0 the hinge falls by sigma^2 / (2 sqrt(eps))",
            lambda inv, rho, eps: 4 * inv * (1 - rho) * eps,
        ),
        (
            "a factor of 2: partners lie 2 sigma^2 (1 - rho) apart, and the root has a 2 in its denominator",
            lambda inv, rho, eps: 2 * inv * (1 - rho) * eps**0.5,
        ),
        (
            "both factors of 2 are missing: partners lie 2 sigma^2 (1 - rho) apart, and the root has a 2 in its "
            "denominator",
            lambda inv, rho, eps: inv * (1 - rho) * eps**0.5,
        ),
        ("the pull grows with 1 - rho, not with rho", lambda inv, rho, eps: 4 * inv * rho * eps**0.5),
        (
            "this is where the hinge's slope without eps equals the pull's at deviation 1; at 0 compare the "
            "factors of sigma^2",
            lambda inv, rho, eps: 4 * inv * (1 - rho),
        ),
        (
            "without eps the point is never a minimum; with it, it is one for small weights",
            lambda inv, rho, eps: 0.0,
        ),
    ),
    praise="for every weight; the paper's variance weight is far above",
)

# --- 16.3: ZCA ------------------------------------------------------------------------------------------


def _sets(g: torch.Generator) -> list[tuple]:
    """Mixtures that are tame enough for float32: condition numbers of the covariance below about 20."""
    cases = []
    for n, d in [(20, 3), (30, 5), (40, 2)]:
        turn, _ = torch.linalg.qr(torch.randn(d, d, generator=g).double())
        z = torch.randn(n, d, generator=g).double() @ torch.diag(torch.linspace(0.6, 1.6, d).double()) @ turn
        cases.append((z + 0.4,))
    return cases


def _root(z: Tensor, power: float, n: int = 1) -> tuple[Tensor, Tensor]:
    """z minus its mean, and Cov^power as a symmetric matrix; the covariance is divided by N - n."""
    z = z - z.mean(dim=0)
    values, vectors = torch.linalg.eigh(z.T @ z / (len(z) - n))
    return z, vectors @ torch.diag(values**power) @ vectors.T


def _zca(z: Tensor, power: float = -0.5, n: int = 1) -> Tensor:
    centred, root = _root(z, power, n)
    return centred @ root


def _is_white(inputs: list[tuple], answers: list[Tensor]) -> str | None:
    """For the many right ways to whiten that are not the symmetric one."""
    for (z,), w in zip(inputs, answers, strict=True):
        if w.shape != z.shape or not torch.allclose(
            torch.cov(w.T), torch.eye(w.shape[1]).double(), atol=1e-4
        ):
            return None
    return (
        "white, but rotated: this is a valid whitening with another root of the inverse covariance; "
        "ZCA turns back by the eigenvectors, V diag(1 / sqrt(lambda)) V^T"
    )


ZCA_WHITEN = Exercise(
    sample=_sets,
    reference=_zca,
    mistakes=(
        ("the mean is not subtracted: centre z first", lambda z: z @ _root(z, -0.5)[1]),
        ("the covariance is divided by N: divide by N - 1", lambda z: _zca(z, n=0)),
        ("multiplied by the square root of the covariance: whitening divides by it", lambda z: _zca(z, 0.5)),
        (
            "multiplied by the inverse covariance: take the square root of the inverse",
            lambda z: _zca(z, -1.0),
        ),
        (
            "each dimension has unit variance, but they still correlate: whitening also decorrelates",
            lambda z: _standard(z, 1),
        ),
        (
            "each dimension has unit variance, but they still correlate: whitening also decorrelates",
            _standard,
        ),
    ),
    hint=_is_white,
)

# --- 16.4: the covariance term from the images -----------------------------------------------------------


class _Watch(TorchFunctionMode):
    """Remembers the shape of the first tensor with at least `limit` entries that a torch function returns."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit, self.seen = limit, None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor) and self.seen is None and value.numel() >= self.limit:
                self.seen = list(value.shape)
        return result


def _by_images(z: Tensor, centre: bool = True, less: str = "columns", n: int = 1) -> Tensor:
    """What the duality gives with the named fourth powers taken away, and (N - n)^2 as divisor."""
    z = z - z.mean(dim=0) if centre else z
    lengths = {"columns": z.square().sum(dim=0), "rows": z.square().sum(dim=1)}
    taken = sum(lengths[name].square().sum() for name in less.split())
    return ((z @ z.T).square().sum() - taken) / ((len(z) - n) ** 2 * z.shape[1])


COVARIANCE_TERM = Exercise(
    sample=lambda g: [
        (torch.randn(n, d, generator=g).double() * torch.linspace(0.4, 1.5, d).double() + 0.5,)
        for n, d in [(5, 9), (8, 20), (6, 7)]
    ],
    reference=vicreg_covariance,
    mistakes=(
        (
            "the mean of each dimension has to be taken away before images are compared",
            lambda z: _by_images(z, centre=False),
        ),
        (
            "nothing is taken away: the squares of the variances are still in it",
            lambda z: _by_images(z, less=""),
        ),
        (
            "the fourth powers of the rows' lengths are taken away: those are the diagonal of Z Z^T; the variances "
            "are the columns'",
            lambda z: _by_images(z, less="rows"),
        ),
        (
            "both are taken away: |Z Z^T|^2 with its diagonal is |Z^T Z|^2 with its diagonal, so take away the "
            "columns' only",
            lambda z: _by_images(z, less="rows columns"),
        ),
        ("the covariance divides by N - 1, not by N", lambda z: _by_images(z, n=0)),
        (
            "C divides by N - 1, so its squares divide by (N - 1)^2",
            lambda z: _by_images(z) * (len(z) - 1),
        ),
        ("c divides by D as well", lambda z: _by_images(z) * z.shape[1]),
    ),
    praise="and from N x N numbers alone",
)

# --- 16b.1: a white cloud of no use ----------------------------------------------------------------------


def check_useless_cloud(fn) -> Check:
    """fn(n, d) -> [n, d]: mean 0, covariance I, at least three quarters of the rows equal."""
    try:
        for n, d in [(64, 8), (100, 5), (256, 16)]:
            z = answer(fn, (n, d), like=torch.zeros(n, d))
            if fault := _useless_fault(z, n, d):
                raise failed(f"{fault} (n = {n}, d = {d})")
    except Stop as stop:
        return stop.check
    return Check(
        True, "correct: VICReg and Barlow Twins would pay you nothing for telling most pictures apart"
    )


def _useless_fault(z: Tensor, n: int, d: int) -> str | None:
    if z.shape != (n, d):
        return f"shape {list(z.shape)} instead of [{n}, {d}]"
    if not z.isfinite().all():
        return "the result holds NaN or infinite values"
    if z.mean(dim=0).abs().max() > 1e-4:
        return "the mean is not 0: put the outliers of a dimension on opposite sides"
    covariance = torch.cov(z.T).reshape(d, d)
    variances = covariance.diagonal()
    if (variances - 1).abs().max() > 1e-3:
        by_n = torch.allclose(variances, torch.full_like(variances, n / (n - 1)), atol=1e-4)
        hint = "; divide the squares by n - 1, not by n" if by_n else ""
        return f"the variances are not 1 but {variances.min():.4g} to {variances.max():.4g}{hint}"
    if (covariance - torch.eye(d)).abs().max() > 1e-3:
        return "the dimensions correlate: give each its own outliers"
    alike = max(int(((z - row).abs().max(dim=1).values < 1e-9).sum()) for row in z)
    if alike < 0.75 * n:
        return f"white, but only {alike} of {n} rows are equal"
    return None


# --- 16b.2: the judge -------------------------------------------------------------------------------------


def check_rewards_the_point(fn) -> Check:
    """fn(loss) -> bool: whether loss(views) is no larger for a collapsed batch than for a perfect cloud."""
    cases = [(name, partial(_exactly, loss), yes) for name, loss, yes in _JUDGED]
    ask = "compare a point with a cloud whose views agree perfectly"
    return judge(fn, cases, "prefers a point", ask)


def _exactly(loss, views: list[Tensor]) -> Tensor:
    """The loss in float64 and to ten digits, so that equal means equal."""
    return loss([z.double() for z in views]).round(decimals=10)


def _flipped_rate(views: list[Tensor]) -> Tensor:
    rate = sum(rate_reduction.coding_rate(_unit(z), 0.2) for z in views) / len(views)
    return rate_reduction.emp_ssl(views) + 2 * rate


def _unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=1, keepdim=True)


def _tico(views: list[Tensor], center: bool) -> Tensor:
    both = torch.cat(list(views)) if center else views[0]
    dim = both.shape[1]
    memory = second_moment.tico_covariance(torch.zeros(dim, dim), both, 0.0, center)
    return second_moment.tico(views[0], views[1], memory, 10.0)


def _lejepa(views: list[Tensor], weight: float) -> Tensor:
    directions = gaussian.random_directions(views[0].shape[1], 64, torch.Generator().manual_seed(0))
    return gaussian.lejepa(views, directions.to(views[0].dtype), weight)


_JUDGED = (
    ("VICReg", lambda v: correlation.vicreg(*v), False),
    ("the pull alone", lambda v: (v[0] - v[1]).square().mean(), True),
    ("NT-Xent", lambda v: nt_xent(*v, 0.2), False),
    ("the cosine alone", lambda v: -torch.cosine_similarity(*v).mean(), True),
    ("VICReg without the variance term", lambda v: correlation.vicreg(*v, variance_weight=0.0), True),
    ("Barlow Twins", lambda v: correlation.barlow_twins(*v), False),
    ("EMP-SSL", lambda v: rate_reduction.emp_ssl(v), False),
    ("EMP-SSL with the coding rate added", _flipped_rate, True),
    ("MMCR", lambda v: second_moment.mmcr(v), False),
    ("MMCR with the other sign", lambda v: -second_moment.mmcr(v), True),
    ("FroSSL", lambda v: second_moment.frossl(v), False),
    ("TiCo", lambda v: _tico(v, center=False), False),
    ("TiCo with a centred memory", lambda v: _tico(v, center=True), True),
    ("LeJEPA", lambda v: _lejepa(v, 0.05), False),
    ("LeJEPA without SIGReg", lambda v: _lejepa(v, 0.0), True),
)

# --- 16b.3: the threshold of the alarm ---------------------------------------------------------------------

# SIGReg of 1,200 samples of N(0, I) for each N and D: the values that 12 %, and that 1 %, exceed.
_NULL = {(48, 2): (1.73, 3.31), (48, 12): (1.32, 1.64), (96, 6): (1.38, 1.90)}


def check_threshold(fn) -> Check:
    """fn(n, d) -> the value of SIGReg that 5 % of the normal samples [n, d] exceed; 1 to 12 % pass."""
    try:
        for (n, d), (low, high) in _NULL.items():
            found = answer(fn, (n, d), like=0.0)
            if found.numel() != 1 or not found.isfinite().all():
                raise failed(f"return one finite number (n = {n}, d = {d})")
            found = found.item()
            if found < low:
                raise failed(
                    f"{found:.3g} is too low for n = {n}, d = {d}: more than 12 % of normal samples ring"
                )
            if found > high:
                raise failed(
                    f"{found:.3g} is too high for n = {n}, d = {d}: fewer than 1 % of normal samples ring"
                )
    except Stop as stop:
        return stop.check
    return Check(True, "correct: it keeps its promise in few dimensions and in many; no constant does")
