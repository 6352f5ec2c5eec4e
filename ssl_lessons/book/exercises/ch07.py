"""Chapter 07: the best critic, the straight-through gradient, noise at once, and the step back."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.models.generative.vq import straight_through

from .core import Check, Exercise


def check_best_critic(fn) -> Check:
    """fn(p [K], q [K]) -> [K]: the best D(x) against data p and a generator q over K pictures."""
    return BEST_CRITIC.check(fn)


def check_straight_through(fn) -> Check:
    """fn(z [N, D], code [N, D]) -> [N, D]: equals the code; its gradient goes to z unchanged."""
    return STRAIGHT_THROUGH.check(_with_gradient(fn) if callable(fn) else fn)


def check_add_noise(fn) -> Check:
    """fn(x0 [N, D], noise [N, D], alpha_bar) -> [N, D]: a draw of q(x_t | x_0)."""
    return ADD_NOISE.check(fn)


def check_predict_x0(fn) -> Check:
    """fn(xt [N, D], epsilon [N, D], alpha_bar) -> [N, D]: the clean picture that a guess of the noise implies."""
    return PREDICT_X0.check(fn)


def check_posterior_mean(fn) -> Check:
    """fn(x0 [N, D], xt [N, D], alpha, alpha_bar, alpha_bar_before) -> [N, D]: the mean of q(x_{t-1} | x_t, x_0)."""
    return POSTERIOR_MEAN.check(fn)


def _distributions(g: torch.Generator) -> list[tuple]:
    return [tuple(torch.rand(k, generator=g).double().softmax(0) for _ in range(2)) for k in (3, 5, 8)]


BEST_CRITIC = Exercise(
    sample=_distributions,
    reference=lambda p, q: p / (p + q),
    mistakes=(
        (
            "this is the chance that it was generated: D is the chance that it is data",
            lambda p, q: q / (p + q),
        ),
        ("this is the ratio of the two: D is a probability, p / (p + q)", lambda p, q: p / q),
        ("this is the log-ratio, the logit of the answer: apply the sigmoid", lambda p, q: (p / q).log()),
        ("divide by the sum, not by the mean", lambda p, q: 2 * p / (p + q)),
        ("the generator does not enter: divide by p + q, picture by picture", lambda p, q: p),
        (
            "normalised over the pictures: D(x) is a probability for each picture on its own",
            lambda p, q: (p / (p + q)) / (p / (p + q)).sum(),
        ),
    ),
    praise="wherever p = q it is one half: the critic can say nothing",
)


def _with_gradient(fn):
    """The reader's function, answering with its output and the gradient that reaches z: [2, N, D]."""

    def wrapped(z: Tensor, code: Tensor):
        # copies: what the reader does to them in place must not pass for a gradient
        z, code = z.clone().requires_grad_(), code.clone().requires_grad_()
        out = fn(z, code)
        if not isinstance(out, Tensor) or out.shape != z.shape:
            return out
        upstream = torch.linspace(-1, 2, z.numel(), dtype=z.dtype).view(z.shape)
        reached = [None, None]
        if out.requires_grad:
            reached = torch.autograd.grad((out * upstream).sum(), [z, code], allow_unused=True)
        reached = [torch.zeros_like(z) if r is None else r for r in reached]
        return torch.stack([out.detach().to(z.dtype), *reached])

    return wrapped


STRAIGHT_THROUGH = Exercise(
    sample=lambda g: [
        tuple(torch.randn(n, d, generator=g).double() for _ in range(2)) for n, d in [(3, 2), (4, 5)]
    ],
    reference=_with_gradient(straight_through),
    mistakes=(
        (
            "right values, but no gradient reaches z: add the code to z in a way that only forwards sees",
            _with_gradient(lambda z, c: c.detach()),
        ),
        (
            "right values, but the gradient goes to the code and not to z: detach what must not carry it",
            _with_gradient(lambda z, c: c),
        ),
        (
            "the gradient is right, but forwards z comes out: the value must be the code",
            _with_gradient(lambda z, c: z),
        ),
        (
            "the gradient reaches the code as well: detach the whole difference",
            _with_gradient(lambda z, c: z + c - z.detach()),
        ),
        (
            "the detach is around z alone with the wrong sign: z + (code - z).detach()",
            _with_gradient(lambda z, c: z + (z - c).detach()),
        ),
    ),
    hint=lambda inputs, answers: (
        "the values are those of the code; the gradient that reaches z or the code is not what it should be"
        if all(a.ndim == 3 and torch.allclose(a[0], c) for a, (_, c) in zip(answers, inputs, strict=True))
        else None
    ),
    praise="forwards the code, backwards the identity",
)


def _noised(g: torch.Generator) -> list[tuple]:
    return [
        (*(torch.randn(n, d, generator=g).double() for _ in range(2)), a)
        for n, d, a in [(3, 2, 0.81), (4, 5, 0.2), (2, 3, 0.999)]
    ]


ADD_NOISE = Exercise(
    sample=_noised,
    reference=lambda x0, e, a: a**0.5 * x0 + (1 - a) ** 0.5 * e,
    mistakes=(
        (
            "the square roots are missing: alpha_bar is a share of variance",
            lambda x0, e, a: a * x0 + (1 - a) * e,
        ),
        (
            "1 - sqrt(alpha_bar) is not sqrt(1 - alpha_bar): the variances add up to 1, the factors do not",
            lambda x0, e, a: a**0.5 * x0 + (1 - a**0.5) * e,
        ),
        (
            "signal and noise are exchanged: alpha_bar near 1 means a nearly clean picture",
            lambda x0, e, a: (1 - a) ** 0.5 * x0 + a**0.5 * e,
        ),
        (
            "the picture is not shrunk: multiply it by sqrt(alpha_bar), or the variance grows with t",
            lambda x0, e, a: x0 + (1 - a) ** 0.5 * e,
        ),
        ("the noise needs its square root: sqrt(1 - alpha_bar)", lambda x0, e, a: a**0.5 * x0 + (1 - a) * e),
    ),
)

PREDICT_X0 = Exercise(
    sample=_noised,
    reference=lambda xt, e, a: (xt - (1 - a) ** 0.5 * e) / a**0.5,
    mistakes=(
        (
            "divide at the end by sqrt(alpha_bar): x_t holds a shrunken picture",
            lambda xt, e, a: xt - (1 - a) ** 0.5 * e,
        ),
        ("subtract sqrt(1 - alpha_bar) times the noise, not the noise", lambda xt, e, a: (xt - e) / a**0.5),
        (
            "the square roots are missing",
            lambda xt, e, a: (xt - (1 - a) * e) / a,
        ),
        (
            "the sign is wrong: take the noise out",
            lambda xt, e, a: (xt + (1 - a) ** 0.5 * e) / a**0.5,
        ),
        ("divided by alpha_bar: divide by its root", lambda xt, e, a: (xt - (1 - a) ** 0.5 * e) / a),
    ),
)


def _steps(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, alpha, before in [(3, 2, 0.9, 0.7), (4, 5, 0.5, 0.3), (2, 3, 0.99, 1.0)]:
        x0, xt = (torch.randn(n, d, generator=g).double() for _ in range(2))
        cases.append((x0, xt, alpha, alpha * before, before))
    return cases


def _posterior_mean(x0: Tensor, xt: Tensor, alpha: float, a: float, before: float) -> Tensor:
    return (before**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - before) * xt) / (1 - a)


POSTERIOR_MEAN = Exercise(
    sample=_steps,
    reference=_posterior_mean,
    mistakes=(
        (
            "the two weights are exchanged: when the step is small (alpha near 1), x_t counts most",
            lambda x0, xt, alpha, a, before: _posterior_mean(xt, x0, alpha, a, before),
        ),
        (
            "not divided by 1 - alpha_bar: precisions add up, and their sum normalises",
            lambda x0, xt, alpha, a, before: (1 - a) * _posterior_mean(x0, xt, alpha, a, before),
        ),
        (
            "the square roots are missing: each source is scaled by the root of its alpha",
            lambda x0, xt, alpha, a, before: (
                (before * (1 - alpha) * x0 + alpha * (1 - before) * xt) / (1 - a)
            ),
        ),
        (
            "this uses alpha_bar of step t where that of step t - 1 belongs",
            lambda x0, xt, alpha, a, before: (
                (a**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - a) * xt) / (1 - a)
            ),
        ),
        (
            "this is the mean of q(x_{t-1} | x_0): it forgets x_t",
            lambda x0, xt, alpha, a, before: before**0.5 * x0,
        ),
        (
            "this undoes the shrinking of x_t and forgets x_0",
            lambda x0, xt, alpha, a, before: xt / alpha**0.5,
        ),
    ),
    praise="and at the first step (alpha_bar_before = 1) it is x_0 itself",
)
