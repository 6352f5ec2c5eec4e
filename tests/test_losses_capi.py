"""CAPI's targets and loss against loops written from the paper, and what balancing place by place forbids."""

import math

import pytest
import torch

from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.losses.masked import capi, capi_targets

N, T, K = 6, 4, 3
MASK = torch.arange(N * T).view(N, T) % 2 == 0


def scores(seed=0, n=N, t=T, k=K):
    return torch.randn(n, t, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def balanced_loop(x, temperature, iterations):
    """[N, K] nested lists: exp(x / temperature), columns then rows scaled to sum 1 in turn."""
    q = [[math.exp(v / temperature) for v in row] for row in x.tolist()]
    for _ in range(iterations):
        sums = [sum(row[k] for row in q) for k in range(len(q[0]))]
        q = [[v / s for v, s in zip(row, sums, strict=True)] for row in q]
        q = [[v / sum(row) for v in row] for row in q]
    return torch.tensor(q, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 3])
def test_targets_are_balanced_place_by_place(iterations):
    x = scores()
    found = capi_targets(x, 0.5, iterations)
    for t in range(T):
        assert torch.allclose(found[:, t], balanced_loop(x[:, t], 0.5, iterations), atol=1e-12)


def test_the_loss_is_the_mean_cross_entropy_of_hidden_patches():
    x, q = scores(), capi_targets(scores(1))
    terms = []
    for n in range(N):
        for t in range(T):
            if MASK[n, t]:
                e = [math.exp(v / 0.12) for v in x[n, t].tolist()]
                terms.append(-sum(float(q[n, t, k]) * math.log(e[k] / sum(e)) for k in range(K)))
    assert capi(x, q, MASK).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_gradients_reach_the_students_hidden_patches_only():
    x, teacher = scores().requires_grad_(), scores(1).requires_grad_()
    q = capi_targets(teacher)
    assert not q.requires_grad
    assert torch.autograd.gradcheck(lambda z: capi(z, q, MASK), (x,))
    capi(x, q, MASK).backward()
    assert (x.grad[~MASK] == 0).all() and (x.grad[MASK].abs().sum(-1) > 0).all()


def test_clusters_that_say_the_place_alone_become_even():
    """Over all places together they are balanced already, and a student who knows the place would pay nothing."""
    place = torch.eye(5, dtype=torch.float64).expand(8, 5, 5)
    assert torch.allclose(capi_targets(place, 0.05), torch.full_like(place, 1 / 5))
    together = capi_targets(place.reshape(1, 40, 5).transpose(0, 1), 0.05)  # all patches at one place
    assert torch.allclose(together.view(8, 5, 5), place, atol=1e-6)


def test_clusters_that_say_the_picture_stay():
    picture = torch.eye(4, dtype=torch.float64)[torch.arange(8) % 4][:, None].expand(8, 5, 4)
    assert torch.allclose(capi_targets(picture, 0.05), picture, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_float32(dtype, autocast):
    x, y = 30 * scores().to(dtype), 30 * scores(1).to(dtype)  # exp(30 / 0.06) overflows every format
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        q = capi_targets(y)
        assert q.dtype == torch.float32 and q.isfinite().all()
        loss = capi(x, q, MASK)
        assert loss.dtype == torch.float32 and torch.allclose(loss, capi(x.float(), q, MASK))


def test_bad_input_is_refused():
    x, q = scores(), capi_targets(scores(1))
    for bad in (x[0], x[:0], x[..., :0]):
        with pytest.raises(InputError, match="pictures by places by clusters"):
            capi_targets(bad)
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(InputError):
            capi_targets(x, wrong)
        with pytest.raises(InputError, match="temperature"):
            capi(x, q, MASK, wrong)
    with pytest.raises(InputError, match="alike"):
        capi(x, q[:2], MASK)
    for mask in (MASK.float(), torch.zeros_like(MASK)):
        with pytest.raises(InputError, match="mask"):
            capi(x, q, mask)
    x[0, 0, 0] = float("nan")
    with pytest.raises(NotFiniteError):
        capi(x, q, MASK)
    with pytest.raises(NotFiniteError):
        capi_targets(x)
