"""The losses of films against loops in float64, their invariances and their refusals."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from ssl_lessons import losses
from ssl_lessons.errors import InputError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(below, *shape, seed=0):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


def time_contrast_loop(z1, z2, window, margin):
    terms = []
    for n in range(len(z1)):
        for t in range(z1.shape[1]):
            for u in range(z1.shape[1]):
                if abs(t - u) > window:
                    near = sum((a - b) ** 2 for a, b in zip(z1[n, t], z2[n, t], strict=True))
                    far = sum((a - b) ** 2 for a, b in zip(z1[n, t], z1[n, u], strict=True))
                    terms.append(max(0.0, float(near - far + margin)))
    return sum(terms) / len(terms)


def copy_colours_loop(query, reference, codes, reference_codes, temperature):
    terms = []
    for n in range(len(query)):
        for j in range(query.shape[1]):
            scores = [math.exp(float(query[n, j] @ r) / temperature) for r in reference[n]]
            own = sum(s for s, c in zip(scores, reference_codes[n], strict=True) if c == codes[n, j])
            terms.append(-math.log(own / sum(scores)))
    return sum(terms) / len(terms)


def cycle_walk_loop(z, temperature):
    z = z / z.norm(dim=3, keepdim=True)
    total, steps, places = 0.0, z.shape[1] - 1, z.shape[2]
    for k in range(1, steps + 1):
        frames = [*range(k + 1), *reversed(range(k))]
        for n in range(len(z)):
            for start in range(places):
                chance = [float(p == start) for p in range(places)]
                for here, there in zip(frames, frames[1:], strict=False):
                    after = [0.0] * places
                    for i in range(places):
                        e = [
                            math.exp(float(z[n, here, i] @ z[n, there, j]) / temperature)
                            for j in range(places)
                        ]
                        for j in range(places):
                            after[j] += chance[i] * e[j] / sum(e)
                    chance = after
                total -= math.log(chance[start]) / (len(z) * places)
    return total / steps


def slowness_loop(z, eps):
    rows = [z[n, t] for n in range(len(z)) for t in range(z.shape[1])]
    mean = sum(rows) / len(rows)
    spread = sum(torch.outer(r - mean, r - mean) for r in rows) / len(rows)
    steps = [z[n, t + 1] - z[n, t] for n in range(len(z)) for t in range(z.shape[1] - 1)]
    velocity = sum(torch.outer(s, s) for s in steps) / len(steps)
    width = z.shape[2]
    return float(torch.trace(torch.linalg.inv(spread + eps * torch.eye(width)) @ velocity)) / width


def intra_loop(query, positive, spoiled, temperature):
    def cosine(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    total = 0.0
    for i in range(len(query)):
        others = [math.exp(cosine(query[i], k) / temperature) for k in positive]
        own = [math.exp(cosine(query[i], s) / temperature) for s in spoiled[i]]
        total -= math.log(others[i] / (sum(others) + sum(own)))
    return total / len(query)


def test_time_contrast():
    z1, z2 = normal(3, 5, 4), normal(3, 5, 4, seed=1)
    for window, margin in ((0, 0.2), (1, 0.7), (3, 2.0)):
        found = losses.time_contrast(z1, z2, window, margin)
        assert float(found) == pytest.approx(time_contrast_loop(z1, z2, window, margin))
    same = torch.ones(2, 4, 3)
    assert float(losses.time_contrast(same, same)) == pytest.approx(0.2)
    turn = torch.linalg.qr(normal(4, 4, seed=2)).Q
    assert float(losses.time_contrast(z1 @ turn, z2 @ turn)) == pytest.approx(
        float(losses.time_contrast(z1, z2))
    )
    assert gradcheck(losses.time_contrast, (z1.requires_grad_(), z2.requires_grad_()))


def test_copy_colours():
    query, reference = normal(2, 4, 3), normal(2, 5, 3, seed=1)
    codes, reference_codes = whole(2, 2, 4), whole(2, 2, 5, seed=3)
    assert all(len(set(row.tolist())) == 2 for row in reference_codes)
    for temperature in (0.5, 1.0):
        found = losses.copy_colours(query, reference, codes, reference_codes, temperature)
        wanted = copy_colours_loop(query, reference, codes, reference_codes, temperature)
        assert float(found) == pytest.approx(wanted)
    order = torch.tensor([3, 1, 4, 0, 2])
    moved = losses.copy_colours(query, reference[:, order], codes, reference_codes[:, order])
    assert float(moved) == pytest.approx(float(losses.copy_colours(query, reference, codes, reference_codes)))
    inputs = (query.requires_grad_(), reference.requires_grad_())
    assert gradcheck(lambda q, r: losses.copy_colours(q, r, codes, reference_codes), inputs)


def test_a_colour_that_is_nowhere_stays_finite():
    query = torch.ones(1, 2, 3, requires_grad=True)
    loss = losses.copy_colours(query, torch.ones(1, 2, 3), torch.tensor([[0, 1]]), torch.tensor([[1, 1]]))
    loss.backward()
    assert loss.isfinite() and query.grad.isfinite().all()


def test_cycle_walk():
    z = normal(2, 4, 3, 5)
    assert float(losses.cycle_walk(z, 0.5)) == pytest.approx(cycle_walk_loop(z, 0.5))
    assert float(losses.cycle_walk(torch.ones(2, 3, 7, 4))) == pytest.approx(math.log(7), rel=1e-5)
    assert float(losses.cycle_walk(torch.eye(6).expand(2, 4, 6, 6))) < 1e-3
    order = torch.tensor([2, 0, 1])
    mixed = torch.stack([z[:, 0], z[:, 1][:, order], z[:, 2], z[:, 3][:, order]], dim=1)
    assert float(losses.cycle_walk(mixed, 0.5)) == pytest.approx(float(losses.cycle_walk(z, 0.5)))
    assert gradcheck(lambda x: losses.cycle_walk(x, 0.5), (z.requires_grad_(),))


def test_slowness():
    z = normal(6, 5, 3)
    assert float(losses.slowness(z, 1e-3)) == pytest.approx(slowness_loop(z, 1e-3))
    still = normal(20, 1, 3).expand(-1, 4, -1)
    assert float(losses.slowness(still)) == 0
    assert float(losses.slowness(normal(500, 8, 3))) == pytest.approx(2, rel=0.05)
    mixed = z @ (normal(3, 3, seed=5) + 3 * torch.eye(3)) + 4
    assert float(losses.slowness(mixed, 1e-9)) == pytest.approx(float(losses.slowness(z, 1e-9)), rel=1e-5)
    assert gradcheck(losses.slowness, (z.requires_grad_(),))


def test_intra_negatives():
    query, positive, spoiled = normal(4, 5), normal(4, 5, seed=1), normal(4, 2, 5, seed=2)
    found = losses.intra_negatives(query, positive, spoiled, 0.3)
    assert float(found) == pytest.approx(intra_loop(query, positive, spoiled, 0.3))
    same = torch.ones(4, 5)
    equal = losses.intra_negatives(same, same, torch.ones(4, 2, 5))
    assert float(equal) == pytest.approx(math.log(6), rel=1e-5)
    longer = losses.intra_negatives(3 * query, positive / 2, spoiled, 0.3)
    assert float(longer) == pytest.approx(float(found))
    assert gradcheck(losses.intra_negatives, tuple(x.requires_grad_() for x in (query, positive, spoiled)))


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: losses.time_contrast(normal(2, 3, 4), normal(2, 4, 4)), "one shape"),
        (lambda: losses.time_contrast(normal(2, 3, 4), normal(2, 3, 4), window=2), "no negative"),
        (lambda: losses.time_contrast(normal(2, 3, 4), normal(2, 3, 4), margin=0), "positive"),
        (
            lambda: losses.copy_colours(normal(2, 3, 4), normal(2, 3, 5), whole(2, 2, 3), whole(2, 2, 3)),
            "same clips",
        ),
        (
            lambda: losses.copy_colours(normal(2, 3, 4), normal(2, 3, 4), whole(2, 2, 4), whole(2, 2, 3)),
            "codes",
        ),
        (lambda: losses.cycle_walk(normal(2, 1, 3, 4)), "two frames"),
        (lambda: losses.slowness(normal(2, 3, 6)), "N T > D"),
        (lambda: losses.intra_negatives(normal(4, 5), normal(4, 5), normal(3, 2, 5)), "spoiled"),
    ],
)
def test_bad_input_gets_one_clear_error(call, says):
    with pytest.raises(InputError, match=says):
        call()
