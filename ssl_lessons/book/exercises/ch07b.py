"""Chapter 07b: a game of pairs and its gap, the circles with a penalty, and a painter that may be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .core import Check, Exercise


def check_shrink(fn) -> Check:
    """fn(gamma, lr) -> by what factor the slowest part of the Dirac-GAN's distance changes per step, near the end."""
    return SHRINK.check(fn)


def check_gap(fn) -> Check:
    """fn(E [K, M], G [M, K], p [K], prior [M]) -> JSD in nats of p(x) E(z|x) and prior(z) G(x|z)."""
    return GAP.check(fn)


def check_trust(fn) -> Check:
    """fn(drawn [N, R, D], truth [N, D]) -> the drawings' error over that of honest drawings: about 1 if honest."""
    return TRUST.check(fn)


def _radius(gamma: float, lr: float, slope: float = 0.5) -> float:
    step = torch.tensor([[1 - lr * gamma, -lr * slope], [lr * slope, 1.0]], dtype=torch.float64)
    return float(torch.linalg.eigvals(step).abs().max())


SHRINK = Exercise(
    sample=lambda g: [(0.3, 0.2), (0.0, 0.2), (2.0, 0.2), (0.02, 0.2), (1.0, 0.5)],
    reference=_radius,
    mistakes=(
        (
            "s is missing: near the equilibrium it is sigmoid(0) = 1/2, in front of both players' steps",
            lambda c, lr: _radius(c, lr, 1.0),
        ),
        (
            "the penalty is gamma / 2 psi^2; its gradient is gamma psi, without the half",
            lambda c, lr: _radius(c / 2, lr),
        ),
        (
            "this is the determinant, the product of both factors",
            lambda c, lr: 1 - lr * c + lr * lr / 4,
        ),
        (
            "the square root of the determinant is the factor only while the path turns; "
            "with a strong penalty the two eigenvalues are real and differ",
            lambda c, lr: math.sqrt(1 - lr * c + lr * lr / 4),
        ),
        (
            "this is the faster of the two factors; the slower one decides",
            lambda c, lr: _smallest(c, lr),
        ),
        (
            "this is the flow, with steps of no size: a step of size lr adds lr^2 / 4",
            lambda c, lr: _flow(c, lr),
        ),
        ("the penalty acts on the critic alone, not on the generator", lambda c, lr: _both(c, lr)),
    ),
    praise="and beyond a certain penalty more of it makes the game slower",
)


def _smallest(gamma: float, lr: float) -> float:
    step = torch.tensor([[1 - lr * gamma, -lr / 2], [lr / 2, 1.0]], dtype=torch.float64)
    return float(torch.linalg.eigvals(step).abs().min())


def _flow(gamma: float, lr: float) -> float:
    rate = torch.tensor([[-gamma, -0.5], [0.5, 0.0]], dtype=torch.float64)
    return math.exp(lr * float(torch.linalg.eigvals(rate).real.max()))


def _both(gamma: float, lr: float) -> float:
    step = torch.tensor([[1 - lr * gamma, -lr / 2], [lr / 2, 1.0 - lr * gamma]], dtype=torch.float64)
    return float(torch.linalg.eigvals(step).abs().max())


def _games(g: torch.Generator) -> list[tuple]:
    def rows(n: int, m: int) -> Tensor:
        return (2 * torch.randn(n, m, generator=g).double()).softmax(dim=1)

    cases = [(rows(k, m), rows(m, k), rows(1, k)[0], rows(1, m)[0]) for k, m in [(3, 3), (4, 6), (5, 2)]]
    # two maps, with zeros: the encoder inverts the generator nowhere
    eye = torch.eye(3, dtype=torch.float64)
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    return [*cases, (eye[[1, 2, 0]], eye[[1, 2, 0]], third, third)]


def _kl(a: Tensor, b: Tensor) -> Tensor:
    return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum()


def _jsd(a: Tensor, b: Tensor) -> Tensor:
    m = (a + b) / 2
    return (_kl(a, m) + _kl(b, m)) / 2


def _joints(E: Tensor, G: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    return p[:, None] * E, (q[:, None] * G).T


def _one_sided(E: Tensor, G: Tensor, p: Tensor, q: Tensor) -> Tensor:
    a, b = _joints(E, G, p, q)
    return _kl(a, (a + b) / 2)


def _marginals(E: Tensor, G: Tensor, p: Tensor, q: Tensor, codes: bool) -> Tensor:
    a, b = _joints(E, G, p, q)
    axis = 0 if codes else 1
    return _jsd(a.sum(dim=axis), b.sum(dim=axis))


GAP = Exercise(
    sample=_games,
    reference=lambda E, G, p, q: _jsd(*_joints(E, G, p, q)),
    mistakes=(
        (
            "this compares the pictures alone; the critic sees pairs",
            lambda E, G, p, q: _marginals(E, G, p, q, codes=False),
        ),
        (
            "this compares the codes alone; the critic sees pairs",
            lambda E, G, p, q: _marginals(E, G, p, q, codes=True),
        ),
        (
            "this is the value of the game, 2 JSD - 2 log 2: solve it for the JSD",
            lambda E, G, p, q: 2 * _jsd(*_joints(E, G, p, q)) - 2 * math.log(2),
        ),
        (
            "twice too large: the mean of the two divergences",
            lambda E, G, p, q: 2 * _jsd(*_joints(E, G, p, q)),
        ),
        ("only the encoder's pairs are measured: take the mean of both divergences", _one_sided),
        (
            "in bits: use the natural logarithm",
            lambda E, G, p, q: _jsd(*_joints(E, G, p, q)) / math.log(2),
        ),
        (
            "p and prior are missing: a pair is as frequent as its picture (or code) times the choice",
            lambda E, G, p, q: _jsd(E / len(p), G.T / len(q)),
        ),
    ),
    hint=lambda inputs, answers: (
        "NaN where a pair never occurs: 0 log 0 is 0 (torch.special.entr, torch.xlogy)"
        if any(a.isnan().any() for a in answers)
        else None
    ),
    praise="zero exactly when the best critic has to shrug",
)


def _portfolio(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, r, d, honest in [(6, 4, 3, 1.0), (10, 2, 5, 0.3), (8, 5, 1, 2.0)]:
        truth = torch.randn(n, d, generator=g).double()
        cases.append((honest * torch.randn(n, r, d, generator=g).double(), truth))
    return cases


def _made_up(drawn: Tensor, correction: int = 1) -> Tensor:
    return drawn.var(dim=1, correction=correction).mean()


def _error(drawn: Tensor, truth: Tensor) -> Tensor:
    return (drawn - truth[:, None]).square().mean()


TRUST = Exercise(
    sample=_portfolio,
    reference=lambda drawn, truth: _error(drawn, truth) / (2 * _made_up(drawn)),
    mistakes=(
        (
            "twice too large: truth and drawing are two independent draws, their distance has twice the variance",
            lambda x, t: _error(x, t) / _made_up(x),
        ),
        (
            "upside down: return the error divided by what it should be",
            lambda x, t: 2 * _made_up(x) / _error(x, t),
        ),
        (
            "the variance among R drawings needs R - 1 in the denominator",
            lambda x, t: _error(x, t) / (2 * _made_up(x, 0)),
        ),
        (
            "this is the error of the mean of the drawings: take the error of a single one",
            lambda x, t: (x.mean(dim=1) - t).square().mean() / (2 * _made_up(x)),
        ),
        (
            "this is the variance over all drawings; take it among those of one code",
            lambda x, t: _error(x, t) / (2 * x.flatten(0, 1).var(dim=0).mean()),
        ),
        (
            "the mean of ratios, a small denominator rules it: divide the means",
            lambda x, t: ((x - t[:, None]).square().mean(dim=(1, 2)) / (2 * x.var(dim=1).mean(dim=1))).mean(),
        ),
    ),
    praise="far above 1: a painter surer than it may be; 1 is necessary for an honest one, not sufficient",
)
