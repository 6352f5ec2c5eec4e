"""The losses of rows against loops written from the formulas, their gradients, half precision and what they refuse."""

import math

import pytest
import torch

from ssl_lessons import losses
from ssl_lessons.errors import InputError


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOGITS, VALUES, ROWS = (numbers(5, 4, seed=s) for s in range(3))
MASK = numbers(5, 4, seed=3) > 0
Z = [numbers(5, 3, seed=s) for s in (4, 5, 6)]


def vime_loop(logits, mask, values, rows, alpha):
    spotted, restored = [], []
    for i in range(len(rows)):
        for d in range(rows.shape[1]):
            p = 1 / (1 + math.exp(-float(logits[i, d])))
            spotted.append(-math.log(p if mask[i, d] else 1 - p))
            restored.append(float(values[i, d] - rows[i, d]) ** 2)
    return sum(spotted) / len(spotted) + alpha * sum(restored) / len(restored)


def distance_loop(a, b):
    return sum(float((a[i] - b[i]) @ (a[i] - b[i])) for i in range(len(a))) / len(a)


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def nt_xent_loop(a, b, t):
    z, n, terms = torch.cat([a, b]), len(a), []
    for i in range(2 * n):
        others = [math.exp(cosine(z[i], z[j]) / t) for j in range(2 * n) if j != i]
        terms.append(-math.log(math.exp(cosine(z[i], z[(i + n) % (2 * n)]) / t) / sum(others)))
    return sum(terms) / len(terms)


def subtab_loop(restored, z, rows, t):
    total = sum(distance_loop(r, rows) for r in restored) / len(restored) if restored else 0.0
    pairs = [(k, m) for k in range(len(z)) for m in range(k + 1, len(z))]
    unit = [v / v.norm(dim=1, keepdim=True) for v in z]
    for k, m in pairs:
        total += (nt_xent_loop(z[k], z[m], t) + distance_loop(unit[k], unit[m])) / len(pairs)
    return total


def one_way_loop(a, b, t):
    terms = []
    for i in range(len(a)):
        scores = [math.exp(cosine(a[i], b[j]) / t) for j in range(len(b))]
        terms.append(-math.log(scores[i] / sum(scores)))
    return sum(terms) / len(terms)


def saint_loop(clean, mixed, values, rows, t, weight):
    contrast = (one_way_loop(clean, mixed, t) + one_way_loop(mixed, clean, t)) / 2
    return contrast + weight * float((values - rows).square().mean())


CASES = {
    "vime": (losses.vime, vime_loop, (LOGITS, MASK, VALUES, ROWS, 0.7)),
    "subtab": (losses.subtab, subtab_loop, ([VALUES, LOGITS], Z, ROWS, 0.3)),
    "subtab, values only": (losses.subtab, subtab_loop, ([VALUES], [], ROWS, 0.3)),
    "subtab, contrast only": (losses.subtab, subtab_loop, ([], Z[:2], ROWS, 0.3)),
    "saint": (losses.saint, saint_loop, (Z[0], Z[1], VALUES, ROWS, 0.7, 10.0)),
    "saint, contrast only": (losses.saint, saint_loop, (Z[0], Z[1], VALUES, ROWS, 0.7, 0.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_against_the_loop(name):
    loss, loop, arguments = CASES[name]
    assert float(loss(*arguments)) == pytest.approx(loop(*arguments), rel=1e-9)


def test_gradients():
    leaf = lambda x: x.clone().requires_grad_()  # noqa: E731
    check = torch.autograd.gradcheck
    assert check(lambda a, v: losses.vime(a, MASK, v, ROWS), (leaf(LOGITS), leaf(VALUES)))
    assert check(lambda v, a, b: losses.subtab([v], [a, b], ROWS), (leaf(VALUES), leaf(Z[0]), leaf(Z[1])))
    assert check(lambda a, b, v: losses.saint(a, b, v, ROWS), (leaf(Z[0]), leaf(Z[1]), leaf(VALUES)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(dtype):
    logits, values, rows, a, b = (x.to(dtype) for x in (LOGITS, VALUES, ROWS, *Z[:2]))
    pairs = [
        (losses.vime(logits, MASK, values, rows), losses.vime(logits.float(), MASK, values.float(), rows.float())),
        (losses.subtab([values], [a, b], rows),
         losses.subtab([values.float()], [a.float(), b.float()], rows.float())),
        (losses.saint(a, b, values, rows), losses.saint(*(x.float() for x in (a, b, values, rows)))),
    ]  # fmt: skip
    for half, full in pairs:
        assert half.dtype == torch.float32 and torch.equal(half, full)


def test_a_mask_that_nobody_can_know_costs_its_entropy():
    """Where the logits say the rate and the values are right, what remains is the entropy of the mask."""
    rate = 0.25
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[0] = True
    logits = torch.full((4, 8), math.log(rate / (1 - rate)))
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert float(losses.vime(logits, mask, torch.ones(4, 8), torch.ones(4, 8))) == pytest.approx(entropy)


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.vime(LOGITS, MASK.double(), VALUES, ROWS),
        lambda: losses.vime(LOGITS[:4], MASK, VALUES, ROWS),
        lambda: losses.vime(LOGITS, MASK, VALUES, ROWS, alpha=0),
        lambda: losses.subtab([], [], ROWS),
        lambda: losses.subtab([], Z[:1], ROWS),
        lambda: losses.subtab([VALUES[:, :3]], Z, ROWS),
        lambda: losses.subtab([], Z, ROWS, temperature=0),
        lambda: losses.saint(Z[0], Z[1], VALUES[:, :3], ROWS),
        lambda: losses.saint(Z[0], Z[1], VALUES, ROWS, weight=-1),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(InputError):
        call()
