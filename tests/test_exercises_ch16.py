"""The checkers of chapter 16 against solutions in several styles, and wrong versions a reader would write."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch16


def cross_loops(z1, z2):
    n, d = z1.shape
    c = torch.zeros(d, d)
    for i in range(d):
        for j in range(d):
            a, b = z1[:, i] - z1[:, i].mean(), z2[:, j] - z2[:, j].mean()
            c[i, j] = (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()
    return c


def cross_corrcoef(z1, z2):
    d = z1.shape[1]
    return torch.corrcoef(torch.cat([z1, z2], dim=1).T)[:d, d:]


def cross_batch_norm(z1, z2):
    def norm(z):
        return torch.nn.functional.batch_norm(z, None, None, training=True, eps=1e-9)

    return norm(z1).T @ norm(z2) / len(z1)


def zca_svd(z):
    z = z - z.mean(dim=0)
    u, s, vt = torch.linalg.svd(z, full_matrices=False)
    return (len(z) - 1) ** 0.5 * u @ vt


def zca_eigenvectors(z):
    z = z - z.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    return z @ (vectors / values.sqrt()) @ vectors.T


def pca_whiten(z):
    z = z - z.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    return z @ vectors / values.sqrt()


def cholesky_whiten(z):
    z = z - z.mean(dim=0)
    return z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T


def variance_loops(z):
    total = 0.0
    for column in z.T:
        var = sum((x - column.mean()) ** 2 for x in column) / (len(column) - 1)
        total += max(0.0, 1 - (var + 1e-4) ** 0.5)
    return total / z.shape[1]


def vicreg_by_hand(z1, z2):
    loss = 25 * (z1 - z2).square().mean()
    for z in (z1, z2):
        c = torch.cov(z.T)
        loss = loss + 12.5 * torch.relu(1 - (c.diagonal() + 1e-4).sqrt()).mean()
        loss = loss + (c - c.diagonal().diag()).square().sum() / len(c)
    return loss


CORRECT = {
    "check_cross_correlation": [cross_loops, cross_corrcoef, cross_batch_norm],
    "check_variance_term": [
        variance_loops,
        lambda z: torch.relu(1 - (z.float().var(0) + 1e-4).sqrt()).mean(),
    ],
    "check_zca_whiten": [zca_svd, zca_eigenvectors],
    "check_vicreg": [vicreg_by_hand, lambda a, b: vicreg_by_hand(a.float(), b.float())],
}
WRONG = [
    (
        "check_cross_correlation",
        "famous mix",
        lambda a, b: (a - a.mean(0)).div(a.std(0)).T @ (b - b.mean(0)).div(b.std(0)) / len(a),
    ),
    ("check_cross_correlation", "images were compared", lambda a, b: a @ b.T),
    ("check_cross_correlation", "transposed", lambda a, b: cross_corrcoef(b, a)),
    ("check_variance_term", "square root", lambda z: torch.relu(1 - z.var(0)).mean()),
    ("check_variance_term", "infinite", lambda z: torch.relu(1 - z.std(0)).mean()),
    ("check_variance_term", "no hinge", lambda z: (1 - (z.var(0) + 0.0001).sqrt()).mean()),
    ("check_zca_whiten", "white, but rotated", pca_whiten),
    ("check_zca_whiten", "white, but rotated", cholesky_whiten),
    ("check_zca_whiten", "instead of", lambda z: z),
    (
        "check_vicreg",
        "half",
        lambda a, b: vicreg_by_hand(a, b) + 12.5 * (ch16.vicreg_variance(a) + ch16.vicreg_variance(b)),
    ),
    (
        "check_vicreg",
        "divided by D too",
        lambda a, b: vicreg_by_hand(a, b) + 25 * (a.shape[1] - 1) * (a - b).square().mean(),
    ),
]


TestCheckers = checker_tests(ch16, correct=CORRECT, wrong=WRONG)
