"""The checkers of chapter 04 against solutions in several styles, and wrong versions a reader would write."""

import math

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch04


def center_by_matrices(d):
    J = torch.eye(len(d), dtype=d.dtype) - 1 / len(d)
    return -J @ d**2 @ J / 2


def center_by_loops(d):
    n, out = len(d), torch.zeros(len(d), len(d))
    s = d**2
    for i in range(n):
        for j in range(n):
            out[i, j] = -(s[i, j] - s[i].mean() - s[:, j].mean() + s.mean()) / 2
    return out


def weights_by_lagrange(x, neighbors):
    k = len(neighbors)
    C = (neighbors - x) @ (neighbors - x).T
    system = torch.zeros(k + 1, k + 1, dtype=x.dtype)
    system[:k, :k], system[k, :k], system[:k, k] = 2 * C, 1, 1
    right = torch.zeros(k + 1, dtype=x.dtype)
    right[k] = 1
    return torch.linalg.solve(system, right)[:k]


def weights_by_elimination(x, neighbors):
    """The last weight is 1 minus the others: an ordinary least-squares problem."""
    if len(neighbors) == 1:
        return torch.ones(1)
    basis = (neighbors[:-1] - neighbors[-1]).T
    w = torch.linalg.lstsq(basis, (x - neighbors[-1])[:, None]).solution[:, 0]
    return torch.cat([w, 1 - w.sum(dim=0, keepdim=True)])


def imax_by_hand(a, b):
    def variance(x):
        return sum((v - x.mean()) ** 2 for v in x) / len(x)

    return 0.5 * math.log(variance(a + b) / variance(a - b))


def contrastive_by_loops(z1, z2, same, margin):
    total = 0.0
    for a, b, s in zip(z1, z2, same, strict=True):
        d = (a - b).square().sum().sqrt()
        total += d**2 / 2 if s else max(0.0, margin - d) ** 2 / 2
    return total / len(z1)


def contrastive_masks(z1, z2, same, margin):
    d, y = (z1 - z2).norm(dim=1), (~same).to(z1.dtype)
    return ((1 - y) * d**2 + y * (margin - d).clamp(min=0) ** 2).mean() / 2


def semi_hard_by_matrices(z, labels, margin):
    d = torch.cdist(z, z) ** 2
    same = labels[:, None] == labels
    terms = []
    for i, j in (same & ~torch.eye(len(z), dtype=torch.bool)).nonzero().tolist():
        far = d[i][(~same[i]) & (d[i] > d[i, j])]
        if len(far):
            terms.append(torch.relu(d[i, j] - far.min() + margin))
    return torch.stack(terms).mean()


def by_closeness(x, neighbors):
    w = 1 / (neighbors - x).square().sum(dim=1)
    return w / w.sum()


def contrastive_plain_hinge(z1, z2, same, margin):
    d = (z1 - z2).norm(dim=1)
    return torch.where(same, d**2, (margin - d).relu()).mean() / 2


CORRECT = {
    "check_double_center": [center_by_matrices, center_by_loops, lambda d: center_by_matrices(d.float())],
    "check_lle_weights": [weights_by_lagrange, weights_by_elimination],
    "check_imax": [imax_by_hand, lambda a, b: ((a + b).std() / (a - b).std()).log()],
    "check_contrastive": [contrastive_by_loops, contrastive_masks],
    "check_semi_hard": [semi_hard_by_matrices, lambda z, y, m: semi_hard_by_matrices(z.float(), y, m)],
}
WRONG = [
    ("check_double_center", "not squared", lambda d: center_by_matrices(d.sqrt())),
    ("check_double_center", "both sides", lambda d: -(d**2 - (d**2).mean(0)) / 2),
    ("check_double_center", "instead of", lambda d: d),
    ("check_lle_weights", "sum to 1", lambda x, n: torch.linalg.lstsq(n.T, x[:, None]).solution[:, 0]),
    ("check_lle_weights", "equal weights", lambda x, n: torch.ones(len(n)) / len(n)),
    ("check_lle_weights", "by closeness", by_closeness),
    ("check_imax", "1/2 is missing", lambda a, b: 2 * imax_by_hand(a, b)),
    ("check_imax", "whatever the sign", lambda a, b: -0.5 * (1 - torch.corrcoef(torch.stack([a, b]))[0, 1] ** 2).log()),
    ("check_imax", "twice in it", lambda a, b: 0.5 * ((a.var() + b.var()) / (a - b).var()).log()),
    ("check_contrastive", "exchanged", lambda a, b, s, m: contrastive_by_loops(a, b, ~s, m)),
    ("check_contrastive", "hinge is not squared", contrastive_plain_hinge),
    ("check_semi_hard", "hardest negative of all", lambda z, y, m: ch04._mined(z, y, m, lambda far, near: min(far))),
    ("check_semi_hard", "instead of", lambda z, y, m: semi_hard_by_matrices(z, y, m) + 1),
]  # fmt: skip


TestCheckers = checker_tests(ch04, correct=CORRECT, wrong=WRONG)
