"""The checkers of chapters 02 and 02b against solutions in several styles, and wrong versions a reader would write."""

import math

import pytest
import torch
from exercise_cases import checker_tests
from torch.nn.functional import normalize

from ssl_lessons.book.exercises import ch02


def kept_loops(counts, t):
    total, kept = counts.sum().item(), 0.0
    for n in counts.tolist():
        kept += n * min(1, math.sqrt(t * total / n))
    return kept / total


def scores_loops(n, k, power):
    q = n.sum(0) ** power
    q = q / q.sum()
    s = torch.empty_like(n)
    for i in range(len(n)):
        for j in range(len(n)):
            s[i, j] = math.log(n[i, j] / (k * n[i].sum() * q[j]))
    return s


def scores_from_pmi(n, k, power):
    p, column = n / n.sum(), n.sum(0)
    pmi = (p / (p.sum(1, keepdim=True) * p.sum(0))).log()
    return (
        pmi - math.log(k) + (column / n.sum()).log() - (column**power / (column**power).sum()).log()
    ).float()


def probabilities(s, q):
    p = s.exp() * q
    return p / p.sum(1, keepdim=True)


def decisions_by_tree(counts):
    groups = [(n, [i]) for i, n in enumerate(counts.tolist())]
    depth = [0] * len(counts)
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0])
        (a, left), (b, right), *groups = groups
        for i in left + right:
            depth[i] += 1
        groups.append((a + b, left + right))
    return sum(n * d for n, d in zip(counts.tolist(), depth, strict=True)) / counts.sum()


def gram_schmidt(w, G):
    basis = []
    for g in G:
        for b in basis:
            g = g - (g @ b) * b
        basis.append(g / g.norm())
    for b in basis:
        w = w - torch.outer(w @ b, b)
    return w / w.norm(dim=1, keepdim=True)


def pseudo_inverse(w, G):
    return normalize(w - w @ torch.linalg.pinv(G) @ G, dim=1)


def better_naming(n):
    return sum(math.comb(n, m) * max(m, n - m) for m in range(n + 1)) / n / 2**n


def two_bumps(n, d):
    w = 0.1 * torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    w[:, 0] = 0
    w[: n // 2, 1] += 1
    w[n // 2 :, 1] -= 1
    g = torch.zeros(d)
    g[0] = 5.0
    return w, g


def along_g(n, d):
    w, g = two_bumps(n, d)
    return w, g.roll(1)


def no_halves(n, d):
    w = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    w[:, 0] = 0
    return w, two_bumps(n, d)[1]


CORRECT = {
    "check_kept_share": [kept_loops, lambda n, t: torch.tensor(kept_loops(n, t), dtype=torch.float32)],
    "check_optimal_scores": [scores_loops, scores_from_pmi],
    "check_probabilities": [probabilities, lambda s, q: (s + q.log() + math.log(5)).softmax(1)],
    "check_mean_decisions": [decisions_by_tree],
    "check_neutralize_subspace": [gram_schmidt, pseudo_inverse],
    "check_chance_alignment": [better_naming, lambda n: 0.5 + math.comb(n, n // 2) / 2 ** (n + 1)],
    "check_fool": [two_bumps, lambda n, d: [t.double() for t in two_bumps(n, d)]],
}
WRONG = [
    ("check_kept_share", "over the vocabulary", lambda n, t: (t * n.sum() / n).sqrt().clamp(max=1).mean()),
    ("check_kept_share", "share that is dropped", lambda n, t: 1 - kept_loops(n, t)),
    ("check_optimal_scores", "PMI - log k", lambda n, k, a: scores_loops(n, k, 1.0)),
    ("check_optimal_scores", "scores of NCE", lambda n, k, a: n.log() - n.sum(1, keepdim=True).log()),
    ("check_probabilities", "ignores the noise", lambda s, q: s.exp() / s.exp().sum(1, keepdim=True)),
    ("check_probabilities", "do not sum to 1", lambda s, q: s.exp() * q),
    ("check_mean_decisions", "balanced tree", lambda n: math.log2(len(n))),
    ("check_mean_decisions", "whole text", lambda n: decisions_by_tree(n) * n.sum()),
    ("check_neutralize_subspace", "one after the other", lambda w, G: gram_schmidt(gram_schmidt(w, G[:1]), G[1:2])
     if len(G) == 2 else gram_schmidt(gram_schmidt(gram_schmidt(w, G[:1]), G[1:2]), G[2:])),
    ("check_neutralize_subspace", "only normalised", lambda w, G: normalize(w, dim=1)),
    ("check_chance_alignment", "fixed naming", lambda n: 0.5),
    ("check_fool", "something of g is left", along_g),
    ("check_fool", "move the halves apart", no_halves),
]  # fmt: skip


TestCheckers = checker_tests(ch02, correct=CORRECT, wrong=WRONG)


@pytest.mark.parametrize(
    ("words", "fn"),
    [
        ("pair of tensors", lambda n, d: torch.ones(n, d)),
        ("w should be", lambda n, d: (torch.ones(d, n), torch.ones(d))),
        ("zero or infinite", lambda n, d: (two_bumps(n, d)[0], torch.zeros(d))),
        ("same direction", lambda n, d: (torch.ones(n, d), torch.ones(d))),
    ],
)
def test_what_is_no_answer_is_said(words, fn):
    assert words in ch02.check_fool(fn).message
