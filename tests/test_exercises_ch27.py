"""The checkers of chapter 27 against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch27


def push_by_autograd(z, crowd, t):
    z = z.clone().requires_grad_()
    (crowd @ z / t).logsumexp(0).backward()
    return z.grad - (z.grad @ z.detach()) * z.detach()


def push(z, crowd, t):
    slope = (crowd @ z / t).softmax(0) @ crowd / t
    return slope - (slope @ z) * z


def chooser_loop(early, final):
    gains = []
    for d in range(len(final)):
        rest = torch.cat([final[:d], final[d + 1 :]])
        gains.append(final[d, early[d].argmax()] - final[d, rest.mean(0).argmax()])
    return sum(gains) / len(gains)


CORRECT = {
    "check_push": [push, push_by_autograd, lambda z, u, t: push(z.float(), u.float(), t)],
    "check_regret": [
        lambda s, p: p.max() - p[s.argmax()],
        lambda s, p: float(max(p)) - float(p[int(s.argmax())]),
    ],
    "check_chooser": [chooser_loop],
}
WRONG = [
    ("check_push", "along z", lambda z, u, t: (u @ z / t).softmax(0) @ u / t),
    ("check_push", "factor 1 / t", lambda z, u, t: t * push(z, u, t)),
    ("check_push", "softmax", lambda z, u, t: u.mean(0) / t - (u.mean(0) @ z) * z / t),
    ("check_regret", "smallest score", lambda s, p: p.max() - p[s.argmin()]),
    ("check_regret", "sign", lambda s, p: p[s.argmax()] - p.max()),
    (
        "check_chooser",
        "over the other domains",
        lambda e, f: f.gather(1, e.argmax(1, True)).mean() - f.mean(0).max(),
    ),
    (
        "check_chooser",
        "final numbers",
        lambda e, f: e.max(1).values.mean() + chooser_loop(f, f) - f.max(1).values.mean(),
    ),
]
TestCheckers = checker_tests(ch27, correct=CORRECT, wrong=WRONG)
