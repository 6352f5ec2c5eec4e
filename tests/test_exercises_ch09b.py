"""The checkers of chapter 9b against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch09b


def reach_loop(dilations, taps):
    seen = 1
    for d in dilations:
        seen += d * (taps - 1)
    return seen


def there_and_back(x, mu):
    f = torch.sign(x) * torch.log(1 + mu * x.abs()) / math.log(1 + mu)
    f = 2 * torch.round((f + 1) / 2 * mu) / mu - 1
    return torch.sign(f) * ((1 + mu) ** f.abs() - 1) / mu


def bits_loop(logits, x):
    p = logits.softmax(1)
    n, _, t = logits.shape
    return sum(-math.log2(p[i, x[i, j], j]) for i in range(n) for j in range(t)) / (n * t)


CORRECT = {
    "check_reach": [reach_loop, lambda d, k: torch.tensor(d).sum() * (k - 1) + 1],
    "check_there_and_back": [there_and_back, lambda x, mu: there_and_back(x.float(), mu)],
    "check_bits": [
        bits_loop,
        lambda s, x: -s.log_softmax(1).gather(1, x[:, None]).mean() / math.log(2),
        lambda s, x: torch.nn.functional.cross_entropy(s.float(), x).item() / math.log(2),
    ],
}
WRONG = [
    ("check_reach", "one more", lambda d, k: sum(d) * (k - 1)),
    ("check_reach", "number of taps", lambda d, k: 1 + sum(d)),
    ("check_reach", "not multiplied", lambda d, k: k ** len(d)),
    ("check_there_and_back", "nothing was rounded", lambda x, mu: x.clone()),
    ("check_there_and_back", "linear scale", lambda x, mu: 2 * ((x + 1) / 2 * mu).round() / mu - 1),
    ("check_bits", "nats", lambda s, x: torch.nn.functional.cross_entropy(s, x)),
    ("check_bits", "do not shift", lambda s, x: bits_loop(s[..., :-1], x[:, 1:])),
]
TestCheckers = checker_tests(ch09b, correct=CORRECT, wrong=WRONG)
