"""The checkers of chapters 26, 26b, 26c and 26d against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests
from scipy.stats import spearmanr

from ssl_lessons.book.exercises import ch26, ch26b, ch26c, ch26d
from ssl_lessons.deployment import quantization


def by_logarithm(queue, batch, share):
    steps = queue / batch
    return math.exp(math.log(share) / steps)


def by_search(room, per_view, queue, dim):
    found = [0, 0]
    while 2 * (found[0] + 1) * per_view <= room:
        found[0] += 1
    while (found[1] + 1) * per_view + queue * dim <= room:
        found[1] += 1
    return tuple(found)


def by_counting(n, size):
    """Where the key of one other picture may go, when the query's own key has place 0 (of the group 0..size - 1)."""
    free = range(1, n)
    return sum(place < size for place in free) / len(free)


def put_back(keys, order):
    out = torch.empty_like(keys)
    out[order] = keys
    return out


def put_back_loop(keys, order):
    return torch.stack([keys[order.tolist().index(i)] for i in range(len(keys))])


def tightness_loops(z, labels):
    z = [row / row.norm() for row in z]
    within, between = [], []
    for i in range(len(z)):
        for j in range(i):
            (within if labels[i] == labels[j] else between).append((z[i] - z[j]).square().sum())
    return torch.stack(within).mean() / torch.stack(between).mean()


def tightness_cosine(z, labels):
    z = torch.nn.functional.normalize(z.float(), dim=1)
    distance, same = 2 - 2 * z @ z.T, labels[:, None] == labels
    n, pairs = len(z), int(same.sum())
    return distance[same].sum() / (pairs - n) / distance[~same].mean()


def thermometer(z, tau):
    u = torch.nn.functional.normalize(z, dim=1)
    return tau / (1 - (u @ u.T).mean())


def _mean_length(z):
    return torch.nn.functional.normalize(z, dim=1).mean(dim=0).norm()


def counted(labels, before, after):
    changed = sum(int(a) != int(b) for a, b in zip(before, after, strict=True))
    right = [sum(int(a) == int(y) for a, y in zip(says, labels, strict=True)) for says in (before, after)]
    return changed / len(labels), (right[1] - right[0]) / len(labels)


def by_a_fit(a, b, probe):
    """The coefficient of a x b in a least-squares fit with both parts, on a 0/1 scale."""
    columns = torch.stack([torch.ones_like(probe), a.double(), b.double(), (a & b).double()], dim=1)
    return torch.linalg.lstsq(columns, probe[:, None]).solution[3, 0]


def by_four_means(a, b, probe):
    mean = {(i, j): probe[(a == i) & (b == j)].mean() for i in (True, False) for j in (True, False)}
    return mean[True, True] - mean[True, False] - mean[False, True] + mean[False, False]


def by_trying(rho):
    n = 4
    while math.atanh(rho) - 1.645 * math.sqrt(1.06 / (n - 3)) <= 0:
        n += 1
    return n


def by_sorting(score, probe):
    pick = score.argsort(descending=True)[0]
    ordered = probe.sort().values
    return ordered[-1] - probe[pick], (ordered[-1] - ordered).mean()


def spearman_formula(x, y):
    n = len(x)
    d = x.argsort().argsort() - y.argsort().argsort()
    return 1 - 6 * (d**2).sum() / (n * (n**2 - 1))


def package_grid(low, high, bits):
    grid = quantization.activation_grid(low, high, bits)
    return float(grid.scale), float(grid.zero_point)


def plain_grid(low, high, bits):
    low, high = min(low, 0), max(high, 0)
    s = (high - low) / (2**bits - 1)
    return s, round(-low / s)


def loops(w, bits):
    out = w.clone()
    for c, row in enumerate(w):
        s = max(abs(float(x)) for x in row) / (2 ** (bits - 1) - 1)
        for k, x in enumerate(row):
            out[c, k] = s * round(float(x) / s)
    return out


def fold_by_probing(w, gamma, beta, mean, var, eps):
    """Weights and bias of an affine map, read off from what it does to zero and to the unit vectors."""
    x = torch.cat([torch.zeros(1, w.shape[1]), torch.eye(w.shape[1])]).double()
    w, gamma, beta, mean, var = (t.double() for t in (w, gamma, beta, mean, var))
    y = torch.nn.functional.batch_norm(x @ w.T, mean, var, gamma, beta, eps=eps)
    return torch.cat([(y[1:] - y[0]).T, y[:1].T], dim=1)


def fold_with_torch(w, gamma, beta, mean, var, eps):
    w, b = torch.nn.utils.fuse_linear_bn_weights(w, None, mean, var, eps, gamma, beta)
    return torch.cat([w, b[:, None]], dim=1).detach()


def narrow_grid(low, high, bits):
    s = (high - low) / (2**bits - 1)
    return s, float(round(-low / s))


def unrounded_grid(low, high, bits):
    s, _ = plain_grid(low, high, bits)
    return s, -min(low, 0) / s


def one_scale(w, bits):
    return quantization.fake_quantize(w, quantization.weight_grid(w, bits, per_channel=False))


def integers(w, bits):
    return quantization.quantize(w, quantization.weight_grid(w, bits)).double()


CORRECT = {
    "check_momentum_for_queue": [by_logarithm, lambda k, n, s: torch.tensor(s).double() ** (n / k)],
    "check_largest_batches": [by_search, lambda *a: list(by_search(*a))],
    "check_company_left": [by_counting, lambda n, size: torch.tensor((size - 1) / (n - 1))],
    "check_together": [by_a_fit, by_four_means],
    "check_policies_needed": [by_trying, lambda rho: torch.tensor(by_trying(rho))],
    "check_regret": [by_sorting, lambda s, p: [float(x) for x in by_sorting(s, p)]],
    "check_back_in_order": [put_back, put_back_loop],
    "check_spread_for": [lambda tau, t: tau / max(t, tau), lambda tau, t: torch.tensor(tau / t).clamp(max=1)],
    "check_effective_temperature": [thermometer, lambda z, tau: float(thermometer(z.float(), tau))],
    "check_what_changed": [counted, lambda y, a, b: list(counted(y, a, b))],
    "check_tightness": [tightness_loops, tightness_cosine],
    "check_rank_correlation": [spearman_formula, lambda x, y: float(spearmanr(x, y).statistic)],
    "check_affine_grid": [package_grid, plain_grid],
    "check_fake_quantize": [
        loops,
        lambda w, bits: quantization.fake_quantize(w.float(), quantization.weight_grid(w.float(), bits)),
    ],
    "check_fold": [fold_by_probing, fold_with_torch],
}
WRONG = [
    ("check_momentum_for_queue", "upside down", lambda k, n, s: s ** (k / n)),
    ("check_momentum_for_queue", "once per step", lambda k, n, s: s ** (1 / k)),
    ("check_momentum_for_queue", "only near", lambda k, n, s: 1 - (1 - s) / (k / n)),
    ("check_largest_batches", "both get a gradient", lambda r, v, k, d: (r // v, by_search(r, v, k, d)[1])),
    ("check_largest_batches", "not two", lambda r, v, k, d: (r // (2 * v), max(0, r - k * d) // (2 * v))),
    ("check_largest_batches", "takes its place first", lambda r, v, k, d: (r // (2 * v), r // v)),
    ("check_largest_batches", "not negative", lambda r, v, k, d: (r // (2 * v), (r - k * d) // v)),
    ("check_company_left", "size - 1 of n - 1", lambda n, size: size / n),
    ("check_company_left", "not n", lambda n, size: (size - 1) / n),
    ("check_company_left", "share that is lost", lambda n, size: (n - size) / (n - 1)),
    ("check_together", "part alone", lambda a, b, p: p[a & b].mean() - p[~a & ~b].mean()),
    ("check_together", "half", lambda a, b, p: by_four_means(a, b, p) / 2),
    ("check_together", "sign", lambda a, b, p: -by_four_means(a, b, p)),
    ("check_together", "with both against all others", lambda a, b, p: p[a & b].mean() - p[~(a & b)].mean()),
    ("check_policies_needed", "1.06", lambda rho: math.ceil(3 + (1.645 / math.atanh(rho)) ** 2)),
    ("check_policies_needed", "Fisher", lambda rho: math.ceil(3 + 1.06 * (1.645 / rho) ** 2)),
    ("check_policies_needed", "rounded down", lambda rho: by_trying(rho) - 1),
    ("check_regret", "best score", lambda s, p: (s.max() - p.max(), p.max() - p.mean())),
    ("check_regret", "smallest score", lambda s, p: (p.max() - p[s.argmin()], p.max() - p.mean())),
    ("check_regret", "probe of the pick", lambda s, p: (p[s.argmax()], p.mean())),
    ("check_back_in_order", "second time", lambda k, o: k[o]),
    ("check_back_in_order", "left shuffled", lambda k, o: k.clone()),
    ("check_spread_for", "above 1", lambda tau, t: tau / t),
    ("check_effective_temperature", "unit length", lambda z, tau: tau / (1 - z.mean(0).norm() ** 2)),
    ("check_effective_temperature", "must be squared", lambda z, tau: tau / (1 - _mean_length(z))),
    (
        "check_what_changed",
        "agreement",
        lambda y, a, b: (float((a == b).float().mean()), counted(y, a, b)[1]),
    ),
    ("check_what_changed", "right or wrong", lambda y, a, b: (abs(counted(y, a, b)[1]), counted(y, a, b)[1])),
    ("check_tightness", "with itself", lambda z, y: tightness_cosine(z, y) * _self_pairs(y)),
    ("check_tightness", "cosines", lambda z, y: _cosine_ratio(z, y)),
    ("check_tightness", "upside down", lambda z, y: 1 / tightness_loops(z, y)),
    (
        "check_rank_correlation",
        "argsort of argsort",
        lambda x, y: spearman_formula_of(x.argsort(), y.argsort()),
    ),
    (
        "check_rank_correlation",
        "correlation of the values",
        lambda x, y: torch.corrcoef(torch.stack([x, y]))[0, 1],
    ),
    ("check_affine_grid", "widen the range", narrow_grid),
    ("check_affine_grid", "whole number", unrounded_grid),
    ("check_affine_grid", "a tuple of 2 numbers", lambda low, high, bits: plain_grid(low, high, bits)[0]),
    ("check_fake_quantize", "one scale for the whole tensor", one_scale),
    ("check_fake_quantize", "integers", integers),
    ("check_fake_quantize", "instead of", lambda w, bits: w),
    ("check_fold", "append the bias", lambda *args: fold_with_torch(*args)[:, :-1]),
    ("check_fold", "eps has been forgotten", lambda *args: fold_with_torch(*args[:-1], 0.0)),
    ("check_fold", "sign of the mean", lambda w, g, b, m, v, e: fold_with_torch(w, g, b, -m, v, e)),
]


def _self_pairs(labels):
    pairs = int((labels[:, None] == labels).sum())
    return (pairs - len(labels)) / pairs


def _cosine_ratio(z, labels):
    z = torch.nn.functional.normalize(z, dim=1)
    c, same = z @ z.T, labels[:, None] == labels
    return c[same & ~torch.eye(len(z), dtype=torch.bool)].mean() / c[~same].mean()


def spearman_formula_of(a, b):
    return torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1]


TestCheckers = checker_tests(ch26, ch26b, ch26c, ch26d, correct=CORRECT, wrong=WRONG)
