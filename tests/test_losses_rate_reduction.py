"""The coding rate, SimDINO and EMP-SSL against their formulas, their bounds, half precision and bad input."""

import math

import numpy as np
import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.losses import coding_rate, emp_ssl, simdino


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views(count=2, n=12, d=4):
    image = 0.3 + normal(n, d)
    return [image + 0.4 * normal(n, d, seed=1 + v) for v in range(count)]


# --- references: numpy, eigenvalues instead of a factorisation, loops over pairs ------------------------


def unit(z):
    z = z.detach().double().numpy()
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def naive_rate(z, eps):
    n, d = z.shape
    return 0.5 * float(np.log(1 + d / (n * eps) * np.linalg.eigvalsh(z.T @ z).clip(0)).sum())


def naive_simdino(student, teacher, eps=0.5, weight=1.0, smooth=False):
    s, t = [unit(z) for z in student], [unit(z) for z in teacher]
    cosines = [
        sum(float(a @ b) for a, b in zip(s[i], t[j], strict=True)) / len(s[i])
        for i in range(len(s)) for j in range(len(t)) if i != j
    ]  # fmt: skip
    n, d = s[0].shape
    large = [(a + b) / 2 if smooth else a for a, b in zip(s, t, strict=False)]
    rate = np.mean([naive_rate(z, eps) for z in large])
    return -weight * float(np.mean(cosines)) - (d + n) / (d * n) * float(rate)


def naive_emp_ssl(zs, eps=0.2, weight=200.0):
    zs = [unit(z) for z in zs]
    center = sum(zs) / len(zs)
    center = center / np.linalg.norm(center, axis=1, keepdims=True)
    cosine = np.mean([(z * center).sum(axis=1).mean() for z in zs])
    return -float(np.mean([naive_rate(z, eps) for z in zs])) - weight * float(cosine)


@pytest.mark.parametrize("eps", [0.05, 0.5])
@pytest.mark.parametrize("n, d", [(1, 3), (12, 4), (5, 9)])
def test_the_coding_rate_equals_its_formula(n, d, eps):
    z = views(1, n, d)[0]
    assert coding_rate(z, eps).item() == pytest.approx(naive_rate(z.numpy(), eps), rel=1e-9)


def test_the_coding_rate_of_a_point_and_of_all_directions():
    point = torch.nn.functional.normalize(torch.ones(50, 8, dtype=torch.float64), dim=1)
    assert coding_rate(point, 0.1).item() == pytest.approx(math.log(1 + 8 / 0.1) / 2)
    even = torch.eye(8, dtype=torch.float64).repeat(5, 1)
    assert coding_rate(even, 0.1).item() == pytest.approx(8 / 2 * math.log(1 + 1 / 0.1))
    assert coding_rate(torch.zeros(3, 8)).item() == 0
    line = point * torch.linspace(-1, 1, 50, dtype=torch.float64).sign()[:, None]
    assert coding_rate(line, 0.1) == coding_rate(point, 0.1)  # a sign is no direction


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("count, large", [(2, 2), (4, 2), (3, 1)])
def test_simdino_equals_its_formula(count, large, smooth):
    student, teacher = views(count), [z + normal(12, 4, seed=50) for z in views(large)]
    for eps, weight in ((0.5, 1.0), (0.05, 3.0)):
        right = naive_simdino(student, teacher, eps, weight, smooth)
        assert simdino(student, teacher, eps, weight, smooth).item() == pytest.approx(right, rel=1e-9)
    assert simdino(student, teacher).item() == pytest.approx(naive_simdino(student, teacher), rel=1e-9)


@pytest.mark.parametrize("count, n, d", [(2, 12, 4), (5, 6, 9)])
def test_emp_ssl_equals_its_formula(count, n, d):
    zs = views(count, n, d)
    assert emp_ssl(zs).item() == pytest.approx(naive_emp_ssl(zs), rel=1e-9)
    assert emp_ssl(zs, 0.01, 3.0).item() == pytest.approx(naive_emp_ssl(zs, 0.01, 3.0), rel=1e-9)


LOSSES = {"simdino": lambda zs: simdino(zs, [z.flip(0) + 1 for z in zs[:1]]), "emp_ssl": emp_ssl}
NAIVE = {
    "simdino": lambda zs: naive_simdino(zs, [z.flip(0) + 1 for z in zs[:1]]), "emp_ssl": naive_emp_ssl
}  # fmt: skip
ALL = pytest.mark.parametrize("name", LOSSES)


@ALL
@pytest.mark.parametrize("n, d", [(5, 3), (3, 5)])
def test_gradcheck(name, n, d):
    zs = [z.requires_grad_() for z in views(3, n, d)]
    assert torch.autograd.gradcheck(lambda *z: LOSSES[name](z), zs)


def test_gradcheck_with_a_teacher():
    student, teacher = [z.requires_grad_() for z in views(2, 5, 3)], views(2, 5, 3)[::-1]
    assert torch.autograd.gradcheck(lambda *z: simdino(z, teacher, smooth=True), student)


@pytest.mark.parametrize("loss", [lambda zs: simdino(zs, zs), emp_ssl])
def test_order_rotation_and_length_do_not_matter(loss):
    zs = views(3)
    value, order = loss(zs).item(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(normal(4, 4, seed=9))[0]
    assert loss([z[order] for z in zs]).item() == pytest.approx(value)
    assert loss([z @ rotation for z in zs]).item() == pytest.approx(value)
    assert loss([3 * z for z in zs]).item() == pytest.approx(value)
    assert loss([zs[0][order], *zs[1:]]).item() > value + 1e-3


def test_spread_out_is_better_than_collapsed():
    """And EMP-SSL with the rate added, as one public port has it, sees it the other way round."""
    even = torch.eye(8, dtype=torch.float64).repeat(4, 1)
    point = torch.ones(32, 8, dtype=torch.float64)
    assert simdino([even] * 2, [even] * 2) < simdino([point] * 2, [point] * 2) - 0.4
    assert emp_ssl([even] * 3) < emp_ssl([point] * 3) - 1

    def opposite(z):
        rate = coding_rate(torch.nn.functional.normalize(z, dim=1), 0.2)
        return emp_ssl([z] * 3) + 2 * rate

    assert opposite(point) < opposite(even) - 1


def test_rows_that_coincide_have_finite_gradients():
    for rows in (torch.ones(6, 4), torch.zeros(6, 4), torch.eye(4).repeat(2, 1)):
        for loss in LOSSES.values():
            z = rows.clone().requires_grad_()
            loss([z, z + 0.0]).backward()
            assert z.grad.isfinite().all()


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_half_precision(name, dtype, size):
    zs = [(size * z).to(dtype).requires_grad_() for z in views(2, 32, 16)]
    value = LOSSES[name](zs)
    value.backward()
    assert value.dtype == torch.float32 and value.item() == pytest.approx(NAIVE[name](zs), rel=1e-4)
    assert all(z.grad.isfinite().all() for z in zs)
    floats = [z.detach().float() for z in zs]
    with torch.autocast("cpu", torch.bfloat16):
        assert LOSSES[name](floats).item() == LOSSES[name]([z.clone() for z in floats]).item()


@ALL
def test_bad_input(name):
    loss, (z1, z2) = LOSSES[name], views()
    for bad, what in (([z1], "views"), (z1, "views"), ([z1, z2[:-1]], "same shape"), ([z1, z2[0]], "2-D")):
        with pytest.raises(InputError, match=what):
            loss(bad)
    z2[3, 1] = math.nan
    with pytest.raises(InputError, match="learning rate"):
        loss([z1, z2])


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "1"])
def test_bad_numbers(bad):
    zs = views()
    with pytest.raises(InputError, match="invariance_weight"):
        emp_ssl(zs, invariance_weight=bad)
    with pytest.raises(InputError, match="invariance_weight"):
        simdino(zs, zs, invariance_weight=bad)
    for call in (lambda: emp_ssl(zs, bad), lambda: simdino(zs, zs, bad), lambda: coding_rate(zs[0], bad)):
        with pytest.raises(InputError, match="eps"):
            call()


def test_the_teacher_must_see_the_first_views():
    zs = views(3)
    for student, teacher in ((zs[:2], zs), (zs, [z[:-1] for z in zs[:2]]), (zs, [])):
        with pytest.raises(InputError, match="view"):
            simdino(student, teacher)
    with pytest.raises(InputError, match="example"):
        coding_rate(zs[0][:0])
