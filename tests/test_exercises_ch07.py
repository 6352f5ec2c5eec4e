"""The checkers of chapter 07 against other right solutions and against wrong versions as readers write them."""

import math

import numpy as np
import pytest
import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch07
from ssl_lessons.models.generative import diffusion


class _Through(torch.autograd.Function):
    """The straight-through estimator as an autograd function."""

    @staticmethod
    def forward(ctx, z, code):
        return code.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def by_precisions(x0, xt, alpha, a, before):
    """Two Gaussian opinions about x_{t-1}: from x_0 (mean sqrt(before) x0) and from x_t (mean xt / sqrt(alpha))."""
    first, second = 1 / (1 - before), alpha / (1 - alpha)
    return (first * before**0.5 * x0 + second * xt / alpha**0.5) / (first + second)


def by_variances(x0, xt, alpha, before):
    first, second = 1 - before, (1 - alpha) / alpha
    return (first * before**0.5 * x0 + second * xt / alpha**0.5) / (first + second)


def by_numpy(counts):
    share = counts.numpy()[counts.numpy() > 0] / counts.numpy().sum()
    return np.exp(-(share * np.log(share)).sum())


def by_small_number(counts):
    share = counts / counts.sum()
    return math.exp(-(share * (share + 1e-5).log()).sum())


def overwritten(z, code):
    z.data.copy_(code)
    return z


def fresh_noise(xt, x0, a, before):
    return before**0.5 * x0 + (1 - before) ** 0.5 * torch.randn_like(x0)


CORRECT = {
    "check_perplexity": [
        by_numpy,
        lambda c: torch.special.entr(c / c.sum()).sum().exp(),
        lambda c: 2 ** sum(-s * math.log2(s) for s in (c / c.sum()).tolist() if s),
        lambda c: torch.distributions.Categorical(c.float()).entropy().exp(),
    ],
    "check_straight_through": [
        lambda z, c: z + (c - z).detach(),
        _Through.apply,
        lambda z, c: c.detach() + z - z.detach(),
    ],
    "check_posterior_mean": [
        lambda x0, xt, al, a, b: x0 if b == 1 else by_precisions(x0, xt, al, a, b),
        lambda x0, xt, al, a, b: (b**0.5 * (1 - al) * x0.float() + al**0.5 * (1 - b) * xt.float()) / (1 - a),
        lambda x0, xt, al, a, b: ch07._posterior_mean(x0.numpy(), xt.numpy(), al, a, b),
        lambda x0, xt, al, a, b: ch07._posterior_mean(x0, xt, al, a, b).tolist(),
    ],
    "check_ddim_step": [
        lambda xt, x0, a, b: ch07._ddim(xt.numpy(), x0.numpy(), a, b),
        lambda xt, x0, a, b: ((1 - b) / (1 - a)) ** 0.5 * (xt - a**0.5 * x0) + b**0.5 * x0,
        lambda xt, x0, a, b: (
            math.sqrt(b) * x0 + math.sqrt(1 - b) * (xt - math.sqrt(a) * x0) / math.sqrt(1 - a)
        ),
    ],
}
WRONG = [
    ("check_perplexity", "is the entropy", lambda c: torch.special.entr(c / c.sum()).sum()),
    ("check_perplexity", "this is nan", lambda c: (-(c / c.sum()) * (c / c.sum()).log()).sum().exp()),
    ("check_perplexity", "however seldom", lambda c: int((c > 0).sum())),
    ("check_perplexity", "base 2 and base e", lambda c: 2 ** torch.special.entr(c / c.sum()).sum()),
    ("check_straight_through", "no gradient reaches z", lambda z, c: c.detach()),
    ("check_straight_through", "and not to z", lambda z, c: c),
    ("check_straight_through", "z comes out", lambda z, c: z),
    ("check_perplexity", "leave the zeros out", lambda c: by_small_number(c)),
    ("check_straight_through", "overwritten in place", lambda z, c: overwritten(z, c)),
    ("check_straight_through", "wrong sign", lambda z, c: z + (z - c).detach()),
    ("check_straight_through", "is not what it should be", lambda z, c: 2 * z + (c - 2 * z).detach()),
    ("check_posterior_mean", "except at the first step", by_precisions),
    ("check_posterior_mean", "exchanged", lambda x0, xt, al, a, b: ch07._posterior_mean(xt, x0, al, a, b)),
    ("check_posterior_mean", "forgets x_0", lambda x0, xt, al, a, b: xt / al**0.5),
    ("check_posterior_mean", "by the variances", lambda x0, xt, al, a, b: by_variances(x0, xt, al, b)),
    ("check_posterior_mean", "plain average", lambda x0, xt, al, a, b: (b**0.5 * x0 + xt / al**0.5) / 2),
    ("check_ddim_step", "fresh noise", fresh_noise),
    ("check_ddim_step", "only rescales", lambda xt, x0, a, b: xt * math.sqrt(b / a)),
    ("check_ddim_step", "at both places", lambda xt, x0, a, b: ch07._ddim(xt, x0, a, a)),
    ("check_ddim_step", "two levels are exchanged", lambda xt, x0, a, b: ch07._ddim(xt, x0, b, a)),
    ("check_ddim_step", "without its noise", lambda xt, x0, a, b: b**0.5 * x0),
]


TestCheckers = checker_tests(ch07, correct=CORRECT, wrong=WRONG)


@pytest.mark.parametrize("t", [1, 40])
def test_the_solutions_are_what_the_package_does(t):
    s = diffusion.linear_schedule(60)
    x0, xt = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    values = s.alpha[t].item(), s.alpha_bar[t].item(), s.alpha_bar[t - 1].item()
    mean, _ = diffusion.posterior(x0, xt, torch.full((3,), t), s)
    assert torch.allclose(ch07._posterior_mean(x0, xt, *values), mean, atol=1e-5)
