"""TiCo, MMCR and FroSSL against their formulas, the public forms, half precision and bad input."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses import frossl, mmcr, tico, tico_covariance


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views(count=2, n=12, d=4):
    image = 0.3 + normal(n, d)
    return [image + 0.4 * normal(n, d, seed=1 + v) for v in range(count)]


def memory(d=4):
    """A second moment as an earlier batch would have left it."""
    return tico_covariance(torch.zeros(d, d, dtype=torch.float64), normal(30, d, seed=5), beta=0.2)


# --- references: numpy, loops over images, eigenvalues and singular values ------------------------------


def unit(z, axis=1):
    z = z.detach().double().numpy()
    return z / np.linalg.norm(z, axis=axis, keepdims=True)


def naive_covariance(c, z, beta=0.9, center=False):
    rows = unit(z)
    if center:
        now = np.cov(rows.T)
    else:
        now = sum(np.outer(row, row) for row in rows) / len(rows)
    return beta * c.numpy() + (1 - beta) * now


def naive_tico(z1, z2, c, rho=8.0):
    a, b, c = unit(z1), unit(z2), c.detach().double().numpy()
    return float(np.mean([1 - x @ y + rho * (x @ c @ x) for x, y in zip(a, b, strict=True)]))


def nuclear(matrix):
    """The sum of the singular values, by the eigenvalues of a square."""
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float(np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T).clip(0)).sum())


def naive_mmcr(zs, weight=0.0):
    zs = [unit(z) for z in zs]
    own = np.mean([nuclear(np.stack([z[i] for z in zs])) for i in range(len(zs[0]))])
    return -nuclear(sum(zs) / len(zs)) + weight * float(own)


def naive_frossl(zs, weight=1.0, form="images"):
    zs = [unit(z, 1 if form == "images" else 0) for z in zs]
    center, total = sum(zs) / len(zs), 0.0
    for z in zs:
        shares = np.linalg.eigvalsh(z.T @ z).clip(0)
        shares = shares / shares.sum()
        total += float(np.log((shares**2).sum())) + weight * float(((z - center) ** 2).sum() / len(z))
    return total


LOSSES = {
    "tico": (lambda zs: tico(zs[0], zs[1], memory(zs[0].shape[1]).to(zs[0].dtype)),
             lambda zs: naive_tico(zs[0], zs[1], memory(zs[0].shape[1]))),
    "mmcr": (mmcr, naive_mmcr),
    "mmcr with the local term": (lambda zs: mmcr(zs, 0.3), lambda zs: naive_mmcr(zs, 0.3)),
    "frossl": (frossl, naive_frossl),
    "frossl of dimensions": (lambda zs: frossl(zs, 2.0, "dimensions"), lambda zs: naive_frossl(zs, 2.0, "d")),
}  # fmt: skip
ALL = pytest.mark.parametrize("name", LOSSES)


@ALL
@pytest.mark.parametrize("count, n, d", [(2, 12, 4), (3, 6, 5), (4, 5, 9)])
def test_equals_the_formula(name, count, n, d):
    loss, naive = LOSSES[name]
    zs = views(count, n, d)
    assert loss(zs).item() == pytest.approx(naive(zs), rel=1e-9)
    in_float32 = loss([z.float() for z in zs])
    assert in_float32.dtype == torch.float32 and in_float32.item() == pytest.approx(naive(zs), rel=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("center", [False, True])
def test_the_memory_of_tico(beta, center):
    z, before = views(1)[0], memory()
    now = tico_covariance(before, z, beta, center)
    assert np.allclose(now.numpy(), naive_covariance(before, z, beta, center))
    if not center and beta == 0:
        assert now.trace().item() == pytest.approx(1)


def test_the_public_forms_of_tico():
    """sayannag/TiCo-pytorch and lightly: uncentred moments of the first view; stable-pretraining: 2 - 2 cos, rho 20,
    the centred covariance of both views.  Written here as they are written there."""
    z1, z2 = (F.normalize(z, dim=1) for z in views())
    first = 0.9 * memory() + 0.1 * z1.T @ z1 / len(z1)
    theirs = -(z1 * z2).sum(dim=1).mean() + 8 * (z1 @ first * z1).sum(dim=1).mean()
    assert tico(z1, z2, tico_covariance(memory(), z1), 8.0).item() == pytest.approx(1 + theirs.item())

    both = torch.cat([z1, z2])
    centred = both - both.mean(dim=0)
    second = 0.9 * memory() + 0.1 * centred.T @ centred / (len(both) - 1)
    theirs = 2 - 2 * (z1 * z2).sum(dim=1).mean() + 20 * (z1 @ second * z1).sum(dim=1).mean()
    ours = 2 * tico(z1, z2, tico_covariance(memory(), both, center=True), 10.0)
    assert ours.item() == pytest.approx(theirs.item())
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_constant_costs_tico_rho_and_nothing_once_centred():
    z, empty = torch.ones(10, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    assert tico(z, z, tico_covariance(empty, z, 0.0), 8.0).item() == pytest.approx(8)
    assert tico(z, z, tico_covariance(empty, z, 0.0, center=True), 8.0).item() == pytest.approx(0)


def test_the_gradient_flows_through_the_memory_unless_detached():
    z1, z2 = views()
    whole, detached = (z1.clone().requires_grad_() for _ in range(2))
    tico(whole, z2, tico_covariance(memory(), whole)).backward()
    tico(detached, z2, tico_covariance(memory(), detached).detach()).backward()
    assert not torch.allclose(whole.grad, detached.grad)
    z1.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: tico(z, z2, tico_covariance(memory(), z)), (z1,))
    assert torch.autograd.gradcheck(lambda z: tico_covariance(memory(), z, center=True), (z1,))


@ALL
@pytest.mark.parametrize("n, d", [(5, 3), (3, 5)])
def test_gradcheck(name, n, d):
    zs = [z.requires_grad_() for z in views(2, n, d)]
    assert torch.autograd.gradcheck(lambda *z: LOSSES[name][0](z), zs)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "tico"])
def test_what_does_not_matter(name):
    loss, zs = LOSSES[name][0], views(3)
    value, order = loss(zs).item(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(normal(4, 4, seed=9))[0]
    assert loss([z[order] for z in zs]).item() == pytest.approx(value)
    assert loss(zs[::-1]).item() == pytest.approx(value)
    assert loss([3 * z for z in zs]).item() == pytest.approx(value)
    assert loss([zs[0][order], *zs[1:]]).item() > value + 1e-2
    turned = loss([z @ rotation for z in zs]).item()
    if name == "frossl of dimensions":  # a column of length 1 belongs to the axes
        assert abs(turned - value) > 1e-3
    else:
        assert turned == pytest.approx(value)


def test_a_rotation_of_everything_does_not_matter_to_tico():
    (z1, z2), rotation = views(), torch.linalg.qr(normal(4, 4, seed=9))[0]
    value = tico(z1, z2, memory()).item()
    assert tico(z1 @ rotation, 2 * z2 @ rotation, rotation.T @ memory() @ rotation).item() == pytest.approx(
        value
    )
    assert abs(tico(z1 @ rotation, z2 @ rotation, memory()).item() - value) > 1e-3


@pytest.mark.parametrize("n, d", [(32, 8), (8, 8)])
def test_the_best_and_the_collapsed(n, d):
    even = torch.eye(d, dtype=torch.float64).repeat(n // d, 1)
    point = torch.ones(n, d, dtype=torch.float64)
    assert mmcr([even] * 3).item() == pytest.approx(-math.sqrt(n * min(n, d)))
    assert mmcr([point] * 3).item() == pytest.approx(-math.sqrt(n))
    assert mmcr([point] * 3, 2.0).item() == pytest.approx(-math.sqrt(n) + 2 * math.sqrt(3))
    assert frossl([even] * 3).item() == pytest.approx(-3 * math.log(d))
    assert frossl([point] * 3).item() == pytest.approx(0, abs=1e-9)


def test_views_that_disagree_have_a_short_mean():
    even = torch.eye(8, dtype=torch.float64)
    assert mmcr([even, -even]).item() == pytest.approx(0, abs=1e-9)


@ALL
def test_rows_that_coincide_have_finite_gradients(name):
    for rows in (torch.ones(6, 4), torch.eye(4).repeat(2, 1), torch.cat([torch.zeros(1, 4), torch.eye(4)])):
        z = rows.clone().requires_grad_()
        loss = LOSSES[name][0]([z, z + 0.0])
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all()


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_half_precision(name, dtype, size):
    loss, naive = LOSSES[name]
    zs = [(size * z).to(dtype).requires_grad_() for z in views(2, 32, 16)]
    value = loss(zs)
    value.backward()
    assert value.dtype == torch.float32 and value.item() == pytest.approx(naive(zs), rel=1e-3)
    assert all(z.grad.isfinite().all() for z in zs)
    floats = [z.detach().float() for z in zs]
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(floats).item()
    assert inside == loss(floats).item()


@ALL
def test_bad_input(name):
    loss, (z1, z2) = LOSSES[name][0], views()
    for bad, what in (([z1, z2[:-1]], "same shape"), ([z1[:1], z2[:1]], "larger batch")):
        with pytest.raises(InputError, match=what):
            loss(bad)
    z2[3, 1] = math.nan
    with pytest.raises(InputError, match="learning rate"):
        loss([z1, z2])


@pytest.mark.parametrize("loss", [mmcr, frossl])
def test_several_views_are_wanted(loss):
    z1, z2 = views()
    for bad, what in (([z1], "views"), (z1, "views"), ([z1[0], z2[0]], "2-D"), ([z1, None], "2-D")):
        with pytest.raises(InputError, match=what):
            loss(bad)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "1"])
def test_bad_numbers(bad):
    zs = views()
    for call, what in (
        (lambda: tico(*zs, memory(), bad), "rho"), (lambda: mmcr(zs, bad), "local_weight"),
        (lambda: frossl(zs, bad), "invariance_weight"), (lambda: tico_covariance(memory(), zs[0], bad), "beta"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=what):
            call()


def test_other_bad_input():
    zs = views()
    with pytest.raises(InputError, match="unit"):
        frossl(zs, unit="rows")
    for covariance in (memory(5), memory()[:, :3]):
        with pytest.raises(InputError, match="covariance"):
            tico(*zs, covariance)
        with pytest.raises(InputError, match="covariance"):
            tico_covariance(covariance, zs[0])
    with pytest.raises(InputError, match="learning rate"):
        tico(*zs, math.nan * memory())
