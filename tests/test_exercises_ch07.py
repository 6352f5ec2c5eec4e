"""The checkers of chapter 07 against other right solutions and against wrong versions as readers write them."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch07


class _Through(torch.autograd.Function):
    """The straight-through estimator as an autograd function."""

    @staticmethod
    def forward(ctx, z, code):
        return code.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def posterior_by_precisions(x0, xt, alpha, a, before):
    """Two Gaussian opinions about x_{t-1}: from x_0 (mean sqrt(before) x0) and from x_t (mean xt / sqrt(alpha))."""
    if before == 1:
        return x0
    first, second = 1 / (1 - before), alpha / (1 - alpha)
    return (first * before**0.5 * x0 + second * xt / alpha**0.5) / (first + second)


CORRECT = {
    "check_best_critic": [lambda p, q: torch.sigmoid((p / q).log()), lambda p, q: 1 / (1 + q / p)],
    "check_straight_through": [
        lambda z, c: z + (c - z).detach(),
        _Through.apply,
        lambda z, c: c.detach() + z - z.detach(),
    ],
    "check_add_noise": [lambda x, e, a: torch.tensor(a).sqrt() * x + torch.tensor(1 - a).sqrt() * e],
    "check_predict_x0": [lambda x, e, a: x / a**0.5 - (1 / a - 1) ** 0.5 * e],
    "check_posterior_mean": [posterior_by_precisions],
}
WRONG = [
    ("check_best_critic", "generated", lambda p, q: q / (p + q)),
    ("check_best_critic", "sigmoid", lambda p, q: p.log() - q.log()),
    ("check_straight_through", "no gradient reaches z", lambda z, c: c.detach()),
    ("check_straight_through", "and not to z", lambda z, c: c),
    ("check_straight_through", "z comes out", lambda z, c: z),
    ("check_straight_through", "is not what it should be", lambda z, c: 2 * z + (c - 2 * z).detach()),
    ("check_add_noise", "roots are missing", lambda x, e, a: a * x + (1 - a) * e),
    ("check_add_noise", "variances add up", lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e),
    ("check_predict_x0", "shrunken", lambda x, e, a: x - (1 - a) ** 0.5 * e),
    ("check_posterior_mean", "exchanged", lambda x0, xt, al, a, b: ch07._posterior_mean(xt, x0, al, a, b)),
    ("check_posterior_mean", "forgets x_0", lambda x0, xt, al, a, b: xt / al**0.5),
]


TestCheckers = checker_tests(ch07, correct=CORRECT, wrong=WRONG)
