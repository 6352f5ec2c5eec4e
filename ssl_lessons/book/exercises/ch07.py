"""Chapter 07: words in use, the straight-through gradient, the step back, and a step without dice."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssl_lessons.models.generative.vq import straight_through

from .core import Check, Exercise


def check_perplexity(fn) -> Check:
    """fn(counts [K]) -> float: the exponential of the entropy of the shares; counts may be zero."""
    return PERPLEXITY.check(fn)


def check_straight_through(fn) -> Check:
    """fn(z [N, D], code [N, D]) -> [N, D]: equals the code; its gradient goes to z unchanged."""
    return STRAIGHT_THROUGH.check(_with_gradient(fn) if callable(fn) else fn)


def check_posterior_mean(fn) -> Check:
    """fn(x0 [N, D], xt [N, D], alpha, alpha_bar, alpha_bar_before) -> [N, D]: the mean of q(x_{t-1} | x_t, x_0)."""
    return POSTERIOR_MEAN.check(_tolerant(fn) if callable(fn) else fn)


def check_ddim_step(fn) -> Check:
    """fn(xt [N, D], x0 [N, D], alpha_bar, alpha_bar_before) -> [N, D]: the same noise, one level before."""
    verdict = DDIM_STEP.check(_tolerant(fn) if callable(fn) else fn)
    if verdict.passed is False and callable(fn) and _restless(fn):
        return Check(False, "this draws fresh noise: DDIM keeps the noise that the guess implies")
    return verdict


def _restless(fn) -> bool:
    """Whether two calls with the same inputs answer differently."""
    x, guess, *levels = DDIM_STEP.inputs()[0]
    try:
        one, two = (torch.as_tensor(fn(x.clone(), guess.clone(), *levels)) for _ in range(2))
        return bool((one != two).any())
    except Exception:  # noqa: BLE001 - the verdict on what fails is there already
        return False


def _counts(g: torch.Generator) -> list[tuple]:
    half = torch.cat([torch.tensor([32.0]), torch.ones(32), torch.zeros(31)])
    return [(c.double(),) for c in (half, torch.tensor([5.0, 0, 1, 2]), 3 * torch.ones(7))]


def _entropy(counts: Tensor) -> Tensor:
    return torch.special.entr(counts / counts.sum()).sum()


def _naive(counts: Tensor) -> float:
    share = counts / counts.sum()
    return math.exp(-(share * share.log()).sum())


PERPLEXITY = Exercise(
    sample=_counts,
    reference=lambda counts: math.exp(_entropy(counts)),
    mistakes=(
        ("this is the entropy: take its exponential", lambda counts: float(_entropy(counts))),
        (
            "this is nan: a share of zero times its logarithm must count as zero",
            _naive,
        ),
        (
            "this counts the codes in use, however seldom each is used",
            lambda counts: float((counts > 0).sum()),
        ),
        (
            "base 2 and base e are mixed: exp belongs to the natural logarithm, 2 ** to log2",
            lambda counts: 2 ** float(_entropy(counts)),
        ),
        (
            "base 2 and base e are mixed: exp belongs to the natural logarithm, 2 ** to log2",
            lambda counts: math.exp(_entropy(counts) / math.log(2)),
        ),
        (
            "this is one over the sum of squared shares, another effective number (Simpson's)",
            lambda counts: float(1 / (counts / counts.sum()).square().sum()),
        ),
        ("the sign: entropy is minus the sum of share times log share", lambda c: math.exp(-_entropy(c))),
        ("this is the number of all codes: the counts do not enter", lambda counts: float(len(counts))),
    ),
    hint=lambda inputs, answers: (
        "nearly: leave the zeros out, instead of adding a small number inside the logarithm"
        if all(
            a.ndim == 0 and abs(a - math.exp(_entropy(c))) < 0.02 * a
            for a, (c,) in zip(answers, inputs, strict=True)
        )
        else None
    ),
    praise="the first case: sqrt(2 * 64) = 11.3 of 33 words in use",
)


def _with_gradient(fn):
    """The reader's function, answering with its output and the gradient that reaches z: [2, N, D]."""

    def wrapped(z: Tensor, code: Tensor):
        # copies: what the reader does to them in place must not pass for a gradient
        given = z.clone(), code.clone()
        z, code = z.clone().requires_grad_(), code.clone().requires_grad_()
        out = fn(z, code)
        if not (torch.equal(z, given[0]) and torch.equal(code, given[1])):
            raise ValueError("z or code is overwritten in place; return a new tensor instead")
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
            "the detached difference has the wrong sign: forwards the code must come out",
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


def _tolerant(fn):
    """The reader's function; where it divides by zero its answer is nan, which the tables of mistakes name.  An array
    or a list of lists will do as an answer."""

    def wrapped(x0: Tensor, *rest):
        try:
            value = fn(x0, *rest)
        except ZeroDivisionError:
            return torch.full_like(x0, torch.nan)
        if isinstance(value, np.ndarray | list):
            try:
                return torch.as_tensor(np.asarray(value, dtype=float))
            except (TypeError, ValueError):
                return value
        return value

    return wrapped


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
            "right, except at the first step: there alpha_bar_before is 1, a variance of 0.  Multiply top and "
            "bottom by both variances, and nothing is divided by zero",
            lambda x0, xt, alpha, a, before: (
                _posterior_mean(x0, xt, alpha, a, before) if before < 1 else torch.full_like(x0, torch.nan)
            ),
        ),
        (
            "the two weights are exchanged: when the step is small (alpha near 1), x_t counts most",
            lambda x0, xt, alpha, a, before: _posterior_mean(xt, x0, alpha, a, before),
        ),
        (
            "not divided by 1 - alpha_bar: precisions add up, and their sum normalises",
            lambda x0, xt, alpha, a, before: (1 - a) * _posterior_mean(x0, xt, alpha, a, before),
        ),
        (
            "weighed by the variances: the surer opinion must count more, so weigh by one over them",
            lambda x0, xt, alpha, a, before: (
                ((1 - before) * before**0.5 * x0 + (1 - alpha) / alpha * xt / alpha**0.5)
                / ((1 - before) + (1 - alpha) / alpha)
            ),
        ),
        (
            "this is the plain average of the two means: the surer opinion must count more",
            lambda x0, xt, alpha, a, before: (before**0.5 * x0 + xt / alpha**0.5) / 2,
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


def _ddim(xt: Tensor, x0: Tensor, a: float, before: float) -> Tensor:
    return before**0.5 * x0 + (1 - before) ** 0.5 * (xt - a**0.5 * x0) / (1 - a) ** 0.5


DDIM_STEP = Exercise(
    sample=lambda g: [
        (*(torch.randn(n, d, generator=g).double() for _ in range(2)), a, before)
        for n, d, a, before in [(3, 2, 0.3, 0.5), (4, 5, 0.9, 0.95), (2, 3, 0.6, 1.0)]
    ],
    reference=_ddim,
    mistakes=(
        (
            "this uses alpha_bar at both places: the last line belongs to the level before",
            lambda xt, x0, a, before: _ddim(xt, x0, a, a),
        ),
        (
            "the two levels are exchanged: the noise comes out of x_t at alpha_bar",
            lambda xt, x0, a, before: _ddim(xt, x0, before, a),
        ),
        (
            "the picture without its noise: add sqrt(1 - alpha_bar_before) times the noise again",
            lambda xt, x0, a, before: before**0.5 * x0,
        ),
        (
            "the noise is not divided by sqrt(1 - alpha_bar): solve the jump for it",
            lambda xt, x0, a, before: before**0.5 * x0 + (1 - before) ** 0.5 * (xt - a**0.5 * x0),
        ),
        (
            "the noise is x_t less the picture as it is: the picture in x_t is shrunk by sqrt(alpha_bar)",
            lambda xt, x0, a, before: before**0.5 * x0 + (1 - before) ** 0.5 * (xt - x0) / (1 - a) ** 0.5,
        ),
        (
            "the square roots are missing: alpha_bar is a share of variance",
            lambda xt, x0, a, before: before * x0 + (1 - before) * (xt - a * x0) / (1 - a),
        ),
        (
            "this only rescales x_t: keep its noise, but give picture and noise the shares of the level before",
            lambda xt, x0, a, before: xt * (before / a) ** 0.5,
        ),
    ),
    praise="at alpha_bar_before = 1 it is the guess itself",
)
