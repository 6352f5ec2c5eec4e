"""The checkers of chapter 03 against solutions in several styles, and wrong versions a reader would write."""

import itertools
import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch03


def forward_paths(start, transition, emission, x):
    total = 0.0
    for z in itertools.product(range(len(start)), repeat=len(x)):
        p = start[z[0]] * emission[z[0], x[0]]
        for t in range(1, len(x)):
            p = p * transition[z[t - 1], z[t]] * emission[z[t], x[t]]
        total += float(p)
    return math.log(total)


def forward_logs(start, transition, emission, x):
    a = start.log() + emission[:, x[0]].log()
    for symbol in x[1:]:
        a = (a[:, None] + transition.log()).logsumexp(dim=0) + emission[:, symbol].log()
    return a.logsumexp(dim=0)


def mask_loops(kernel, include_centre):
    mask = torch.zeros(kernel, kernel)
    half = kernel // 2
    for i in range(kernel):
        for j in range(kernel):
            if i < half or (i == half and (j < half or (j == half and include_centre))):
                mask[i, j] = 1
    return mask


def nade_loops(x, W, V, b, c):
    result = []
    total = c.clone()
    for d in range(len(x)):
        result.append(torch.sigmoid(b[d] + V[d] @ torch.sigmoid(total)))
        total = total + x[d] * W[d]
    return torch.stack(result)


def bits_loops(logits, x):
    total = 0.0
    for n in range(len(x)):
        for t in range(x.shape[1]):
            total -= math.log2(float(logits[n, :, t].softmax(0)[x[n, t]]))
    return total / x.numel()


CORRECT = {
    "check_forward": [forward_paths, forward_logs],
    "check_mask": [mask_loops, lambda k, c: torch.ones(k * k).cumsum(0).le(k * k // 2 + c).view(k, k)],
    "check_nade": [nade_loops, lambda *args: nade_loops(*(a.float() for a in args))],
    "check_bits": [
        bits_loops,
        lambda logits, x: torch.nn.functional.cross_entropy(logits.float(), x) / 0.6931471805599453,
    ],
}
WRONG = [
    ("check_forward", "transposed", lambda s, t, e, x: forward_logs(s, t.T, e, x)),
    ("check_forward", "negative log-likelihood", lambda *args: -forward_logs(*args)),
    ("check_mask", "swapped", lambda k, c: mask_loops(k, 1 - c)),
    ("check_mask", "nothing is masked", lambda k, c: torch.ones(k, k)),
    ("check_mask", "shape", lambda k, c: mask_loops(k, c).flatten()),
    ("check_nade", "probability of a 0", lambda *args: 1 - nade_loops(*args)),
    ("check_nade", "logits", lambda *args: torch.logit(nade_loops(*args))),
    ("check_bits", "nats", lambda logits, x: bits_loops(logits, x) * math.log(2)),
    ("check_bits", "per sequence", lambda logits, x: bits_loops(logits, x) * x.shape[1]),
]


TestCheckers = checker_tests(ch03, correct=CORRECT, wrong=WRONG)
