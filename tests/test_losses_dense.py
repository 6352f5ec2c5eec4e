"""Losses place by place against loops, with their gradients, what may move and what may not, and bad input."""

import math

import pytest
import torch

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.losses.dense import pick


def maps(n=3, p=4, d=5, seed=0):
    return torch.randn(n, p, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def mean_row(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def naive_matches(a, b):
    return [[max(range(len(y)), key=lambda q: cosine(r, y[q])) for r in x] for x, y in zip(a, b, strict=True)]


def naive_info_nce(query, key, match, temperature):
    """Wang et al. 2021, equation 2: place by place, the negatives are the means of the other pictures."""
    total, count = 0.0, 0
    for i, places in enumerate(query):
        for p, r in enumerate(places):
            positive = math.exp(cosine(r, key[i][match[i][p]]) / temperature)
            negatives = [
                math.exp(cosine(r, mean_row(key[j])) / temperature) for j in range(len(key)) if j != i
            ]
            total, count = total - math.log(positive / (positive + sum(negatives))), count + 1
    return total / count


def naive_vicreg(x, y, a=25.0, b=25.0, c=1.0, eps=1e-4):
    """x, y: lists [N][M][D]."""
    n, m, d = len(x), len(x[0]), len(x[0][0])
    squares = [(x[i][p][k] - y[i][p][k]) ** 2 for i in range(n) for p in range(m) for k in range(d)]
    loss = a * sum(squares) / len(squares)
    for z in (x, y):
        spread, off = 0.0, 0.0
        for p in range(m):
            mean = [sum(z[i][p][k] for i in range(n)) / n for k in range(d)]
            for k in range(d):
                for other in range(d):
                    products = [(z[i][p][k] - mean[k]) * (z[i][p][other] - mean[other]) for i in range(n)]
                    value = sum(products) / (n - 1)
                    if k == other:
                        spread += max(0.0, 1 - math.sqrt(value + eps)) / (m * d)
                    else:
                        off += value**2 / (m * d)
        loss += b * spread / 2 + c * off / 2
    return loss


def naive_local(a, b, here, there, matches):
    """Both directions, by features (all places) and by location (the nearest pairs)."""
    total = 0.0
    for x, y, u, v in ((a, b, here, there), (b, a, there, here)):
        for left, right, count in ((x, y, len(x[0])), (u, v, matches)):
            mine, theirs = [], []
            for i in range(len(x)):
                best = [min((math.dist(r, s), q) for q, s in enumerate(right[i])) for r in left[i]]
                kept = sorted(sorted(range(len(best)), key=lambda p: best[p][0])[:count])
                mine.append([x[i][p] for p in kept])
                theirs.append([y[i][best[p][1]] for p in kept])
            total += naive_vicreg(mine, theirs) / 2
    return total


@pytest.mark.parametrize("n, p, q, d", [(2, 3, 3, 4), (3, 4, 6, 5)])
def test_matches_and_the_contrast_equal_the_loops(n, p, q, d):
    a, b = maps(n, p, d), maps(n, q, d, seed=1)
    match = losses.best_matches(a, b)
    assert match.tolist() == naive_matches(a.tolist(), b.tolist()) and not match.is_floating_point()
    r, t = maps(n, p, 3, seed=2), maps(n, q, 3, seed=3)
    for temperature in (0.2, 1.0):
        expected = naive_info_nce(r.tolist(), t.tolist(), match.tolist(), temperature)
        assert losses.dense_info_nce(r, t, match, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_equal_vectors_give_log_n():
    same = torch.ones(6, 4, 3)
    assert losses.dense_info_nce(same, same, torch.zeros(6, 4).long()).item() == pytest.approx(math.log(6))


def test_vicreg_of_places_equals_the_loop():
    x, y = 0.3 * maps(4, 3, 2), maps(4, 3, 2, seed=1)
    assert losses.vicreg_places(x, y).item() == pytest.approx(naive_vicreg(x.tolist(), y.tolist()), rel=1e-9)
    other = losses.vicreg_places(x, y, 2.0, 3.0, 5.0).item()
    assert other == pytest.approx(naive_vicreg(x.tolist(), y.tolist(), 2.0, 3.0, 5.0), rel=1e-9)


@pytest.mark.parametrize("matches", [1, 3, 4])
def test_the_local_loss_of_vicregl_equals_the_loop(matches):
    a, b = maps(3, 4, 2), maps(3, 4, 2, seed=1)
    here, there = maps(3, 4, 2, seed=2), maps(3, 4, 2, seed=3)
    found = losses.vicregl_local(a, b, here, there, matches).item()
    lists = (v.tolist() for v in (a, b, here, there))
    assert found == pytest.approx(naive_local(*lists, matches), rel=1e-6)


def test_nearest_places_keeps_the_smallest_distances():
    distance = torch.tensor([[[5.0, 2.0], [0.5, 9.0], [3.0, 1.0]]])
    place, partner = losses.nearest_places(distance, 2)
    assert place.tolist() == [[1, 2]] and partner.tolist() == [[0, 1]]
    place, partner = losses.nearest_places(distance)
    assert place.tolist() == [[0, 1, 2]] and partner.tolist() == [[1, 0, 1]]


def test_gradients():
    a, b = maps(2, 3, 2).requires_grad_(), maps(2, 3, 2, seed=1).requires_grad_()
    match = torch.tensor([[0, 2, 1], [1, 1, 0]])
    assert torch.autograd.gradcheck(lambda q, k: losses.dense_info_nce(q, k, match), (a, b))
    assert torch.autograd.gradcheck(lambda q, k: losses.vicreg_places(0.3 * q, k), (a, b))
    here, there = maps(2, 3, 2, seed=2), maps(2, 3, 2, seed=3)
    assert torch.autograd.gradcheck(lambda q, k: losses.vicregl_local(q, k, here, there, 2), (a, b))


def test_what_may_change_and_what_may_not():
    r, t, a, b = (maps(4, 6, 5, seed=s) for s in range(4))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    turn = torch.linalg.qr(maps(1, 5, 5, seed=9)[0])[0]

    def loss(r, t, a, b):
        return losses.dense_info_nce(r, t, losses.best_matches(a, b)).item()

    value = loss(r, t, a, b)
    assert loss(r[:, order], t, a[:, order], b) == pytest.approx(value)  # places of the query, together
    assert loss(r, t[:, order], a, b[:, order]) == pytest.approx(value)  # places of the key, together
    assert loss(3 * r @ turn, t @ turn, a, 2 * b) == pytest.approx(value)  # all vectors turned, some longer
    assert abs(loss(r, t[:, order], a, b) - value) > 1e-3  # keys moved under their features
    pictures = torch.tensor([2, 0, 3, 1])
    assert loss(r[pictures], t[pictures], a[pictures], b[pictures]) == pytest.approx(value)
    assert abs(loss(r, t[pictures], a, b) - value) > 1e-3  # keys of other pictures


def test_a_match_never_leaves_its_picture():
    a, b = maps(3, 4, 5), maps(3, 4, 5, seed=1)
    b[1] = 0
    b[2] = a[0]  # a perfect partner, but in another picture
    before = losses.best_matches(a, b)[0]
    b[2] = -a[0]
    assert torch.equal(losses.best_matches(a, b)[0], before)


def test_similar_neighbours():
    side, tokens = 3, torch.zeros(1, 9, 2, dtype=torch.float64)
    angles = torch.tensor([0.0, 0.3, 2.0, 0.1, 0.2, 3.0, 0.0, 1.0, 2.5])
    tokens[0] = torch.stack([angles.cos(), angles.sin()], dim=1)
    index, there = losses.similar_neighbours(tokens, side, 3)
    assert index[0, 0].tolist() == [3, 4, 1] and there[0, 0].all()  # a corner, and not place 6, the copy far away
    assert set(index[0, 4].tolist()) == {1, 3, 0} or set(index[0, 4].tolist()) == {1, 3, 6}
    index, there = losses.similar_neighbours(tokens, side, 8)
    assert there.sum(dim=2)[0].tolist() == [3, 5, 3, 5, 8, 5, 3, 5, 3]
    assert losses.similar_neighbours(torch.ones(1, 4, 2), 2, 8)[1].sum() == 12
    rows = torch.arange(9)
    for place in rows:
        row, column = place // 3, place % 3
        for other in index[0, place][there[0, place]]:
            assert other != place and (other // 3 - row).abs() <= 1 and (other % 3 - column).abs() <= 1


def test_pick():
    x = maps(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 1]])
    assert torch.equal(pick(x, index), torch.stack([x[0, [2, 0]], x[1, [1, 1]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    r, t = maps(3, 4, 8).to(dtype).requires_grad_(), maps(3, 4, 8, seed=1).to(dtype)
    match = losses.best_matches(r, t)
    with torch.autocast("cpu", torch.bfloat16):
        value = losses.dense_info_nce(r, t, match)
        other = losses.vicreg_places(r, t)
    (value + other).backward()
    assert value.dtype == other.dtype == torch.float32 and r.grad.isfinite().all()
    expected = naive_info_nce(r.double().tolist(), t.double().tolist(), match.tolist(), 0.2)
    assert value.item() == pytest.approx(expected, rel=1e-4)


MATCH = torch.zeros(3, 4).long()


@pytest.mark.parametrize(
    "call, what",
    [
        (lambda: losses.best_matches(maps()[0], maps()), "images, places"),
        (lambda: losses.best_matches(maps(), maps(2)), "same images"),
        (lambda: losses.dense_info_nce(maps(), maps(d=4), MATCH), "as wide"),
        (lambda: losses.dense_info_nce(maps(1), maps(1), MATCH[:1]), "larger batch"),
        (lambda: losses.dense_info_nce(maps(), maps(), MATCH + 4), "a place from 0 to 3"),
        (lambda: losses.dense_info_nce(maps(), maps(), MATCH[:, :3]), "a place from 0 to 3"),
        (lambda: losses.dense_info_nce(maps(), maps(), MATCH, 0.0), "temperature"),
        (lambda: losses.dense_info_nce(maps() * math.nan, maps(), MATCH), "learning rate"),
        (lambda: losses.vicreg_places(maps(), maps(p=3)), "one shape"),
        (lambda: losses.vicreg_places(maps(1), maps(1)), "at least 2"),
        (lambda: losses.vicreg_places(maps(), maps(), -1.0), "0 or more"),
        (lambda: losses.vicregl_local(maps(), maps(), maps(d=2), maps(d=3)), "y and x"),
        (lambda: losses.vicregl_local(maps(), maps(), maps(d=2), maps(d=2), 5), "count must be from 1 to 4"),
        (lambda: losses.nearest_places(maps()[0]), "places of the other view"),
        (lambda: losses.similar_neighbours(maps(), 3), "side"),
        (lambda: losses.similar_neighbours(maps(), 2, 9), "eight neighbours"),
    ],
)
def test_bad_input(call, what):
    with pytest.raises(InputError, match=what):
        call()
