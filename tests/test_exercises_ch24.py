"""The checkers of chapter 24 against solutions in several styles, and wrong versions a reader would write."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch24


def gather_loops(gradients, rank):
    ranks, rows, d = gradients.shape
    n = rows // ranks
    out = torch.zeros(n, d)
    for i in range(n):
        for r in range(ranks):
            out[i] += gradients[r, rank * n + i].float()
    return out


def streaming(blocks):
    top, total = torch.full((blocks.shape[1],), -math.inf).double(), torch.zeros(blocks.shape[1]).double()
    for block in blocks:
        new = torch.maximum(top, block.max(dim=1).values)
        total = total * torch.exp(top - new) + torch.exp(block - new[:, None]).sum(dim=1)
        top = new
    return top + torch.log(total)


def streaming_logaddexp(blocks):
    total = torch.logsumexp(blocks[0], dim=1)
    for block in blocks[1:]:
        total = torch.logaddexp(total, torch.logsumexp(block, dim=1))
    return total


CORRECT = {
    "check_speedup": [lambda s, k: 1 / (1 - s + s / k), lambda s, k: k / (k * (1 - s) + s)],
    "check_gather_backward": [
        gather_loops,
        lambda g, rank: g.sum(0).chunk(len(g))[rank],
        lambda g, rank: torch.einsum("wnd->nd", g).view(len(g), -1, g.shape[2])[rank],
    ],
    "check_streaming_logsumexp": [streaming, streaming_logaddexp],
    "check_overhead": [
        lambda t, c, r, m: c / t + (t / 2 + r) / m,
        lambda t, c, r, m: c / t + t / (2 * m) + r / m,
    ],
}
WRONG = [
    ("check_speedup", "of the part", lambda s, k: k),
    ("check_speedup", "the new time", lambda s, k: s / k + 1 - s),
    ("check_speedup", "infinite factor", lambda s, k: 1 / (1 - s)),
    ("check_gather_backward", "famous bug", lambda g, rank: g[rank].chunk(len(g))[rank]),
    ("check_gather_backward", "divided out twice", lambda g, rank: g.mean(0).chunk(len(g))[rank]),
    ("check_gather_backward", "own ones", lambda g, rank: g.sum(0)),
    ("check_gather_backward", "consecutive", lambda g, rank: g.sum(0)[rank :: len(g)]),
    (
        "check_streaming_logsumexp",
        "overflows",
        lambda b: torch.stack([x.exp().sum(1) for x in b]).sum(0).log(),
    ),
    ("check_streaming_logsumexp", "last block", lambda b: torch.logsumexp(b[-1], 1)),
    ("check_streaming_logsumexp", "are added", lambda b: torch.logsumexp(b, 2).sum(0)),
    ("check_overhead", "half way", lambda t, c, r, m: c / t + (t + r) / m),
    ("check_overhead", "writing", lambda t, c, r, m: (t / 2 + r) / m),
]


TestCheckers = checker_tests(ch24, correct=CORRECT, wrong=WRONG)
