"""The checkers of chapter 17 against solutions in several styles, and wrong versions a reader would write."""

import math
from collections import Counter

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch17


def purity_counter(clusters, labels):
    hits = 0
    for c in set(clusters.tolist()):
        hits += Counter(labels[clusters == c].tolist()).most_common(1)[0][1]
    return hits / len(labels)


def entropy_loops(p):
    mean = [sum(column) / len(p) for column in p.T.tolist()]
    return -sum(m * math.log(m) for m in mean if m > 0)


def sinkhorn_shifted(scores, epsilon, iterations, prior):
    q = ((scores.double() - scores.max()) / epsilon).exp()
    for _ in range(iterations):
        q = q / q.sum(dim=0) * len(q) * prior
        q = q / q.sum(dim=1, keepdim=True)
    return q


def sinkhorn_logs(scores, epsilon, iterations, prior):
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=0) + prior.log()  # without N: the row step removes it
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
    return log_q.exp()


def hedge_by_search(clusters, weight):
    """Golden section on the loss itself."""
    low, high, ratio = 1e-6, 1 - 1e-9, (math.sqrt(5) - 1) / 2

    def loss(a):
        return -math.log(a) + weight * (a * math.log(a) + (1 - a) * math.log((1 - a) / (clusters - 1)))

    for _ in range(120):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return (low + high) / 2


def hedge_by_newton(clusters, weight):
    a = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(100):
        slope = -1 / a + weight * (a.log() - ((1 - a) / (clusters - 1)).log())
        step = slope / (1 / a**2 + weight / (a * (1 - a)))
        a = (a - step).clamp(1e-3, 1 - 1e-6)
    return a


def crops_loops(scores, codes, temperature):
    terms = []
    for i, q in enumerate(codes):
        for v, view in enumerate(scores):
            if v != i:
                p = [[math.exp(x / temperature) for x in row] for row in view.tolist()]
                rows = zip(q.tolist(), p, strict=True)
                terms.append(
                    -sum(g * math.log(x / sum(r)) for w, r in rows for g, x in zip(w, r, strict=True))
                    / len(q)
                )
    return sum(terms) / len(terms)


def crops(scores, codes, temperature, own=False, views=None, large=2):
    """Cross-entropies by PyTorch, with the mistakes of a reader as options."""
    terms = [
        F.cross_entropy(s / temperature, codes[i])
        for i in range(large)
        for v, s in enumerate(scores[:views])
        if own or v != i
    ]
    return torch.stack(terms)


CORRECT = {
    "check_cluster_purity": [
        purity_counter,
        lambda a, y: sum(torch.bincount(y[a == c]).max() for c in a.unique()) / len(y),
    ],
    "check_mean_entropy": [
        lambda p: -(p.mean(0) * p.mean(0).clamp_min(1e-12).log()).sum(),
        lambda p: -(p.mean(0) * (p.mean(0) + 1e-9).log()).sum(),
        lambda p: torch.distributions.Categorical(p.mean(0).float()).entropy(),
    ],
    "check_sinkhorn_prior": [sinkhorn_shifted, sinkhorn_logs],
    "check_hedged_share": [hedge_by_search, hedge_by_newton],
    "check_multi_crop": [crops_loops, lambda s, q, t: crops(s, q, t).mean()],
}


def naive_sinkhorn(scores, epsilon, iterations, prior):
    q = (scores / epsilon).exp()
    for _ in range(iterations):
        q = q / q.sum(dim=0) * prior
        q = q / q.sum(dim=1, keepdim=True)
    return q


def columns_last(scores, epsilon, iterations, prior):
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
        log_q = log_q - log_q.logsumexp(dim=0) + (len(log_q) * prior).log()
    return log_q.exp()


WRONG = [
    ("check_cluster_purity", "swap the two roles", lambda a, y: purity_counter(y, a)),
    (
        "check_cluster_purity",
        "small clusters too much",
        lambda a, y: torch.stack(
            [(y[a == c] == y[a == c].mode().values).double().mean() for c in a.unique()]
        ).mean(),
    ),
    ("check_cluster_purity", "nothing to do with label", lambda a, y: (a == y).float().mean()),
    ("check_cluster_purity", "divide by N", lambda a, y: purity_counter(a, y) * len(y)),
    ("check_cluster_purity", "*not*", lambda a, y: 1 - purity_counter(a, y)),
    ("check_mean_entropy", "average the predictions first", lambda p: torch.special.entr(p).sum(1).mean()),
    ("check_mean_entropy", "sign", lambda p: -entropy_loops(p)),
    ("check_mean_entropy", "over the images", lambda p: entropy_loops(p.T)),
    ("check_mean_entropy", "bits", lambda p: entropy_loops(p) / math.log(2)),
    ("check_mean_entropy", "log K", lambda p: entropy_loops(p) / math.log(p.shape[1])),
    ("check_mean_entropy", "is a sum", lambda p: torch.special.entr(p.mean(0)).mean()),
    ("check_mean_entropy", "0 log 0", lambda p: -(p.mean(0) * p.mean(0).log()).sum()),
    ("check_mean_entropy", "no gradient", lambda p: torch.special.entr(p.detach().mean(0)).sum()),
    ("check_mean_entropy", "no gradient", entropy_loops),
    ("check_mean_entropy", "infinite", lambda p: torch.special.entr(p.mean(0)).sum()),
    ("check_mean_entropy", "infinite", lambda p: -torch.xlogy(p.mean(0), p.mean(0)).sum()),
    ("check_sinkhorn_prior", "N / K each", lambda s, e, t, p: sinkhorn_logs(s, e, t, torch.ones(1))),
    ("check_sinkhorn_prior", "inside out", lambda s, e, t, p: sinkhorn_logs(s, e, t, 1 / p)),
    ("check_sinkhorn_prior", "without its logarithm", lambda s, e, t, p: sinkhorn_logs(s, e, t, p.exp())),
    (
        "check_sinkhorn_prior",
        "only added to the scores",
        lambda s, e, t, p: sinkhorn_logs(s + e * p.log(), e, t, torch.ones(1)),
    ),
    ("check_sinkhorn_prior", "this is a softmax", lambda s, e, t, p: F.softmax(s / e, dim=1)),
    ("check_sinkhorn_prior", "epsilon is missing", lambda s, e, t, p: sinkhorn_logs(s, 1.0, t, p)),
    ("check_sinkhorn_prior", "multiplied", lambda s, e, t, p: sinkhorn_logs(s, 1 / e, t, p)),
    ("check_sinkhorn_prior", "ends with the columns", columns_last),
    ("check_sinkhorn_prior", "1 / N", lambda s, e, t, p: sinkhorn_logs(s, e, t, p) / len(s)),
    ("check_sinkhorn_prior", "too many", lambda s, e, t, p: sinkhorn_logs(s, e, t + 1, p)),
    ("check_sinkhorn_prior", "too few", lambda s, e, t, p: sinkhorn_logs(s, e, t - 1, p)),
    ("check_sinkhorn_prior", "exp overflows", naive_sinkhorn),
    ("check_hedged_share", "the weight is ignored", lambda k, w: hedge_by_search(k, 1.0)),
    ("check_hedged_share", "belongs to the mean entropy", lambda k, w: hedge_by_search(k, 1 / w)),
    ("check_hedged_share", "K - 1", lambda k, w: hedge_by_search(k + 1, w)),
    ("check_hedged_share", "even share", lambda k, w: 1 / k),
    ("check_hedged_share", "no hedge", lambda k, w: 1),
    ("check_multi_crop", "leave v = i out", lambda s, q, t: crops(s, q, t, own=True).mean()),
    (
        "check_multi_crop",
        "not swapped",
        lambda s, q, t: torch.cat(
            [crops(s[i : i + 1], q[i : i + 1], t, own=True, large=1) for i in (0, 1)]
            + [crops(s[2:], q, t, own=True) for _ in s[2:3]]
        ).mean(),
    ),
    ("check_multi_crop", "small crops must, too", lambda s, q, t: crops(s, q, t, views=2).mean()),
    ("check_multi_crop", "first large view", lambda s, q, t: crops(s, q, t, large=1).mean()),
    (
        "check_multi_crop",
        "one mean over all terms",
        lambda s, q, t: torch.stack(
            [crops(s[[1 - v, v]], q[[1 - v]], t, large=1).mean() for v in (0, 1)]
            + [crops(s[v : v + 1], q, t, own=True).mean() for v in range(2, len(s))]
        ).mean(),
    ),
    ("check_multi_crop", "take their mean", lambda s, q, t: crops(s, q, t).sum()),
    ("check_multi_crop", "temperature is missing", lambda s, q, t: crops(s, q, 1).mean()),
    ("check_multi_crop", "multiplied", lambda s, q, t: crops(s, q, 1 / t).mean()),
    ("check_multi_crop", "over the prototypes", lambda s, q, t: crops(s, q, t).mean() / q.shape[2]),
    ("check_multi_crop", "sign", lambda s, q, t: -crops(s, q, t).mean()),
]


TestCheckers = checker_tests(ch17, correct=CORRECT, wrong=WRONG)
