"""The checkers of chapters 26, 26b and 26c against solutions in several styles, and plausible wrong ones."""

import math

import torch
from exercise_cases import checker_tests
from scipy.stats import spearmanr

from ssl_lessons.book.exercises import ch26, ch26b, ch26c
from ssl_lessons.deployment import quantization


def by_half_life(m, batch, new_batch):
    half_life_in_images = math.log(0.5) / math.log(m) * batch
    return 0.5 ** (new_batch / half_life_in_images)


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
    "check_momentum_for_batch": [by_half_life, lambda m, b, n: math.exp(math.log(m) * n / b)],
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
    ("check_momentum_for_batch", "unchanged", lambda m, b, n: m),
    ("check_momentum_for_batch", "upside down", lambda m, b, n: m ** (b / n)),
    ("check_momentum_for_batch", "only near", lambda m, b, n: 1 - (1 - m) / (b / n)),
    ("check_back_in_order", "second time", lambda k, o: k[o]),
    ("check_back_in_order", "left shuffled", lambda k, o: k.clone()),
    ("check_spread_for", "above 1", lambda tau, t: tau / t),
    ("check_effective_temperature", "unit length", lambda z, tau: tau / (1 - z.mean(0).norm() ** 2)),
    ("check_effective_temperature", "must be squared", lambda z, tau: tau / (1 - _mean_length(z))),
    ("check_what_changed", "agreement", lambda y, a, b: (float((a == b).float().mean()), counted(y, a, b)[1])),
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


TestCheckers = checker_tests(ch26, ch26b, ch26c, correct=CORRECT, wrong=WRONG)
