"""The checkers of chapters 24 and 24b against solutions in several styles, and wrong versions a reader would write."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch24, ch24b


def factor_needed(share, target):
    rest = 1 - share
    return math.inf if target * rest >= 1 else target * share / (1 - target * rest)


def streaming(blocks):
    top = total = None
    for block in blocks:
        new = block.max(dim=1).values if top is None else torch.maximum(top, block.max(dim=1).values)
        old = 0 if top is None else total * torch.exp(top - new)
        total, top = old + torch.exp(block - new[:, None]).sum(dim=1), new
    return top + torch.log(total)


def streaming_logaddexp(blocks):
    total = torch.logsumexp(next(blocks), dim=1)
    for block in blocks:
        total = torch.logaddexp(total, torch.logsumexp(block, dim=1))
    return total


def two_passes(blocks):
    top = torch.full((5,), -math.inf).double()
    for block in blocks:
        top = torch.maximum(top, block.amax(dim=1))
    return top + sum(((block - top[:, None]).exp().sum(dim=1) for block in blocks), torch.zeros(5)).log()


def cached(embed, loss, w, x1, x2, pieces):
    w = w.requires_grad_()
    with torch.no_grad():
        z = [torch.cat([embed(x, w) for x in side.chunk(pieces)]) for side in (x1, x2)]
    leaves = [t.requires_grad_() for t in z]
    loss(*leaves).backward()
    for side, leaf in zip((x1, x2), leaves, strict=True):
        for x, g in zip(side.chunk(pieces), leaf.grad.chunk(pieces), strict=True):
            embed(x, w).backward(g)
    return w.grad


def cached_by_detaching(embed, loss, w, x1, x2, pieces):
    """The first pass with a graph that is thrown away, both views of a piece together, autograd.grad."""
    live, pairs = w.clone().requires_grad_(), list(zip(x1.chunk(pieces), x2.chunk(pieces), strict=True))
    z = [torch.cat([embed(pair[side], live).detach() for pair in pairs]).requires_grad_() for side in (0, 1)]
    slopes = [g.chunk(pieces) for g in torch.autograd.grad(loss(*z), z)]
    total = torch.zeros_like(w)
    for i, (a, b) in enumerate(pairs):
        rows = embed(torch.cat([a, b]), live)
        total += torch.autograd.grad(rows, live, torch.cat([slopes[0][i], slopes[1][i]]))[0]
    return total


def at_once(embed, loss, w, x1, x2, pieces):
    live = w.clone().requires_grad_()
    return torch.autograd.grad(loss(embed(x1, live), embed(x2, live)), live)[0]


def graphs_kept(embed, loss, w, x1, x2, pieces):
    live = w.clone().requires_grad_()
    z = [torch.cat([embed(x, live) for x in side.chunk(pieces)]) for side in (x1, x2)]
    return torch.autograd.grad(loss(*z), live)[0]


def accumulated(embed, loss, w, x1, x2, pieces):
    live = w.clone().requires_grad_()
    pairs = zip(x1.chunk(pieces), x2.chunk(pieces), strict=True)
    for a, b in pairs:
        (loss(embed(a, live), embed(b, live)) / pieces).backward()
    return live.grad


def largest_batch(budget, parameters, per_picture, matrices):
    n = 0
    step = 1 << 20
    while step:
        m = n + step
        if 16 * parameters + per_picture * m + matrices * 4 * (2 * m) ** 2 <= budget:
            n = m
        step //= 2
    return n


def gather_loops(gradients, rank):
    ranks, rows, d = gradients.shape
    n = rows // ranks
    out = torch.zeros(n, d)
    for i in range(n):
        for r in range(ranks):
            out[i] += gradients[r, rank * n + i].float()
    return out


def lars(w, gradient, rate, trust, decay):
    if w.ndim == 1:
        return w - rate * gradient
    update = gradient + decay * w
    if w.norm() > 0 and update.norm() > 0:
        update = trust * w.norm() / update.norm() * update
    return w - rate * update


CORRECT = {
    "check_factor_needed": [factor_needed],
    "check_streaming_logsumexp": [
        streaming,
        streaming_logaddexp,
        lambda blocks: torch.stack([torch.logsumexp(block, 1) for block in blocks]).logsumexp(0),
    ],
    "check_cached_gradient": [cached, cached_by_detaching],
    "check_largest_batch": [largest_batch],
    "check_gather_backward": [
        gather_loops,
        lambda g, rank: g.sum(0).chunk(len(g))[rank],
        lambda g, rank: torch.einsum("wnd->nd", g).view(len(g), -1, g.shape[2])[rank],
    ],
    "check_lars_update": [lars],
    "check_root_over_linear": [
        lambda batch, tied: (tied / batch) ** 0.5,
        lambda batch, tied: math.sqrt(batch / tied) * tied / batch,
    ],
    "check_checkpoint_interval": [lambda c, m, w: math.sqrt(2 * c * (m / w))],
}
WRONG = [
    ("check_factor_needed", "of the step", lambda s, t: t),
    ("check_factor_needed", "math.inf", lambda s, t: s / (1 / t - 1 + s)),
    (
        "check_streaming_logsumexp",
        "4 blocks are in memory",
        lambda b: torch.logsumexp(torch.stack(list(b)), (0, 2)),
    ),
    ("check_streaming_logsumexp", "come once", two_passes),
    ("check_streaming_logsumexp", "overflows", lambda b: sum(x.exp().sum(1) for x in b).log()),
    ("check_streaming_logsumexp", "are added", lambda b: sum(torch.logsumexp(x, 1) for x in b)),
    ("check_streaming_logsumexp", "raises TypeError", lambda b: b[0]),
    ("check_cached_gradient", "this is accumulation", accumulated),
    ("check_cached_gradient", "24 rows are in a graph at once, and 8 are allowed", at_once),
    ("check_cached_gradient", "rows are in a graph at once", graphs_kept),
    (
        "check_largest_batch",
        "two moments",
        lambda b, p, a, m: ch24._largest_batch(b, p, a, m, bytes_each=8.0),
    ),
    ("check_largest_batch", "are missing", lambda b, p, a, m: max(0, math.floor((b - 16 * p) / a))),
    ("check_gather_backward", "famous bug", lambda g, rank: g[rank].chunk(len(g))[rank]),
    ("check_gather_backward", "divided out twice", lambda g, rank: g.mean(0).chunk(len(g))[rank]),
    ("check_gather_backward", "own ones", lambda g, rank: g.sum(0)),
    ("check_gather_backward", "consecutive", lambda g, rank: g.sum(0)[rank :: len(g)]),
    (
        "check_lars_update",
        "no ratio",
        lambda w, g, r, t, d: lars(w[None], g[None], r, t, 0 if w.ndim == 1 else d)[0],
    ),
    ("check_lars_update", "weight decay is missing", lambda w, g, r, t, d: lars(w, g, r, t, 0.0)),
    ("check_root_over_linear", "upside down", lambda b, t: (b / t) ** 0.5),
    ("check_checkpoint_interval", "W times as often", lambda c, m, w: (2 * c * m) ** 0.5),
]


TestCheckers = checker_tests(ch24, ch24b, correct=CORRECT, wrong=WRONG)
