"""The checkers of chapters 03 and 03b against solutions in several styles, and wrong versions a reader would write."""

import itertools
import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch03
from ssl_lessons.models.generative import autoregressive as ar


def seen_by_walking(kernel, depth):
    """All sums of one offset of mask A and depth - 1 of mask B."""
    r = kernel // 2
    b = [(i, j) for i in range(-r, 1) for j in range(-r, r + 1) if i < 0 or j <= 0]
    places = set(b) - {(0, 0)}
    for _ in range(depth - 1):
        places = {(y + i, x + j) for y, x in places for i, j in b}
    return len(places)


def seen_by_rows(kernel, depth):
    r, total = kernel // 2, torch.tensor(0)
    for a in range(r * depth + 1):
        right = r * min(a, depth) + 1 if a else 0
        total += r * depth + right
    return total


def nade_loops(x, W, V, b, c):
    result = []
    total = c.clone()
    for d in range(len(x)):
        result.append(torch.sigmoid(b[d] + V[d] @ torch.sigmoid(total)))
        total = total + x[d] * W[d]
    return torch.stack(result)


def worth_loops(log_p, prior, y):
    total = 0.0
    for row, k in zip(log_p.tolist(), y.tolist(), strict=True):
        mixture = sum(p * math.exp(v) for p, v in zip(prior.tolist(), row, strict=True))
        total += (row[k] - math.log(mixture)) / math.log(2)
    return total / len(y)


def look_ahead_loops(model):
    """One output after the other, in four hundred pictures."""
    x = torch.randint(2, (400, 6, 6))
    before, worst = model(x).flatten(2), -1
    for s in range(36):
        changed = x.flatten(1).clone()
        changed[:, s] = 1 - changed[:, s]
        after = model(changed.view(-1, 6, 6)).flatten(2)
        for t in range(s + 1):
            if not torch.allclose(before[..., t], after[..., t], atol=1e-9):
                worst = max(worst, s - t)
    return worst


def look_ahead(model, pictures=300, places=range(36)):
    x, worst = torch.randint(2, (pictures, 6, 6)), -1
    before = model(x).flatten(2)
    for s in places:
        changed = x.flatten(1).clone()
        changed[:, s] = 1 - changed[:, s]
        moved = (model(changed.view_as(x)).flatten(2) - before).abs() > 1e-6
        found = moved.any(dim=1).any(dim=0).nonzero()
        if len(found):
            worst = max(worst, s - int(found.min()))
    return worst


def forward_paths(start, transition, emission, x):
    total = 0.0
    for z in itertools.product(range(len(start)), repeat=len(x)):
        p = start[z[0]]
        for t in range(len(x)):
            p = p * (transition[z[t - 1], z[t]] if t else 1) * (emission[z[t], x[t]] if x[t] >= 0 else 1)
        total += float(p)
    return math.log(total)


def forward_logs(start, transition, emission, x):
    def seen(symbol):
        return emission[:, symbol].log() if symbol >= 0 else 0 * emission[:, 0]

    a = start.log() + seen(x[0])
    for symbol in x[1:]:
        a = (a[:, None] + transition.log()).logsumexp(dim=0) + seen(symbol)
    return a.logsumexp(dim=0)


def moves_by_paths(start, transition, emission, x):
    counts, total = torch.zeros_like(transition), 0.0
    for z in itertools.product(range(len(start)), repeat=len(x)):
        p = start[z[0]] * emission[z[0], x[0]]
        for t in range(1, len(x)):
            p = p * transition[z[t - 1], z[t]] * emission[z[t], x[t]]
        total += p
        for i, j in itertools.pairwise(z):
            counts[i, j] += p
    return counts / total


def moves_by_messages(start, transition, emission, x):
    alpha, beta = [start * emission[:, x[0]]], [torch.ones_like(start)]
    for symbol in x[1:]:
        alpha.append((alpha[-1] @ transition) * emission[:, symbol])
    for symbol in x[1:].flip(0):
        beta.insert(0, transition @ (emission[:, symbol] * beta[0]))
    p = alpha[-1].sum()
    return sum(
        alpha[t][:, None] * transition * (emission[:, x[t + 1]] * beta[t + 1]) / p for t in range(len(x) - 1)
    )


CORRECT = {
    "check_pixels_seen": [seen_by_walking, seen_by_rows],
    "check_nade": [nade_loops, lambda *args: nade_loops(*(a.float() for a in args))],
    "check_label_worth": [
        worth_loops,
        lambda q, p, y: ch03._worth(q.float(), p.float(), y),
    ],
    "check_worst_look_ahead": [
        look_ahead,
        look_ahead_loops,
        lambda m: torch.tensor(look_ahead(m)),
    ],
    "check_forward_with_gap": [forward_paths, forward_logs],
    "check_moves": [moves_by_paths, moves_by_messages],
}
WRONG = [
    (
        "check_pixels_seen",
        "blind spot",
        lambda k, n: (k // 2 * n) * (2 * (k // 2 * n) + 2),
    ),
    ("check_pixels_seen", "mask A", lambda k, n: seen_by_walking(k, n) + 1),
    ("check_nade", "probability of a 0", lambda *args: 1 - nade_loops(*args)),
    ("check_nade", "logits", lambda *args: torch.logit(nade_loops(*args))),
    ("check_label_worth", "nats", lambda *args: worth_loops(*args) * math.log(2)),
    (
        "check_label_worth",
        "prior is missing",
        lambda q, p, y: worth_loops(q, torch.ones_like(p), y),
    ),
    ("check_worst_look_ahead", "honest model", lambda m: 0),
    ("check_worst_look_ahead", "mask B", lambda m: -1),
    (
        "check_worst_look_ahead",
        "few pictures",
        lambda m: look_ahead(m, pictures=2),
    ),
    (
        "check_worst_look_ahead",
        "one single place",
        lambda m: look_ahead(m, places=range(20)),
    ),
    ("check_worst_look_ahead", "s - t is 1", lambda m: min(look_ahead(m), 0)),
    (
        "check_forward_with_gap",
        "transposed",
        lambda s, t, e, x: forward_logs(s, t.T, e, x),
    ),
    (
        "check_forward_with_gap",
        "negative log-likelihood",
        lambda *args: -forward_logs(*args),
    ),
    (
        "check_forward_with_gap",
        "last symbol",
        lambda s, t, e, x: forward_logs(s, t, e, x[:-1]),
    ),
    (
        "check_forward_with_gap",
        "starts with a transition",
        lambda s, t, e, x: forward_logs(s @ t, t, e, x),
    ),
    (
        "check_forward_with_gap",
        "cut out",
        lambda s, t, e, x: forward_logs(s, t, e, x[x >= 0]),
    ),
    (
        "check_forward_with_gap",
        "LAST symbol",
        lambda s, t, e, x: forward_logs(s, t, e, x % e.shape[1]),
    ),
    ("check_moves", "from i to j", lambda *args: moves_by_paths(*args).T),
    (
        "check_moves",
        "shares",
        lambda *args: moves_by_paths(*args) / moves_by_paths(*args).sum(1, keepdim=True),
    ),
]


TestCheckers = checker_tests(ch03, correct=CORRECT, wrong=WRONG)


def test_the_formula_counts_what_a_real_network_sees():
    seen = ar.receptive_field(ar.PixelCNN(width=6, depth=3), 15, 10, 7)
    assert int(seen.sum()) == seen_by_walking(3, 3) == 21


def test_every_case_of_the_inspector_is_what_it_says():
    assert [look_ahead_loops(model) for model, _, _ in ch03.CASES] == [right for _, right, _ in ch03.CASES]
