"""Masked losses against loops written from the papers."""

import math

import pytest
import torch

from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.losses.masked import (
    beit,
    data2vec,
    data2vec_targets,
    ijepa,
    mae,
    normalized_patches,
    salt,
    simmim,
)

N, T, P = 3, 4, 6
MASK = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0]], dtype=torch.bool)


def rows(seed, *shape, dtype=torch.float64):
    return torch.randn(*(shape or (N, T, P)), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def hidden():
    return [(i, t) for i in range(N) for t in range(T) if MASK[i, t]]


def mae_loop(prediction, patches, norm):
    total, count = 0.0, 0
    for i, t in hidden():
        target = patches[i, t].tolist()
        if norm:
            mean = sum(target) / P
            var = sum((v - mean) ** 2 for v in target) / (P - 1)
            target = [(v - mean) / math.sqrt(var + 1e-6) for v in target]
        for p in range(P):
            total, count = total + (prediction[i, t, p].item() - target[p]) ** 2, count + 1
    return total / count


def simmim_loop(prediction, patches):
    terms = [abs(float(prediction[i, t, p] - patches[i, t, p])) for i, t in hidden() for p in range(P)]
    return sum(terms) / len(terms)


def beit_loop(logits, codes):
    terms = []
    for i, t in hidden():
        total = sum(math.exp(v) for v in logits[i, t].tolist())
        terms.append(-math.log(math.exp(logits[i, t, codes[i, t]].item()) / total))
    return sum(terms) / len(terms)


def data2vec_loop(prediction, target, beta):
    terms = []
    for i, t in hidden():
        for d in range(P):
            gap = abs(target[i, t, d].item() - prediction[i, t, d].item())
            terms.append(0.5 * gap**2 / beta if gap <= beta else gap - 0.5 * beta)
    return sum(terms) / len(terms)


CODES = torch.tensor([[0, 1, 2, 3], [4, 5, 0, 1], [2, 2, 3, 5]])


@pytest.mark.parametrize("norm", [True, False])
def test_mae_is_the_loop(norm):
    a, b = rows(0), 3 * rows(1) + 2
    assert mae(a, b, MASK, norm).item() == pytest.approx(mae_loop(a, b, norm), rel=1e-12)


def test_the_others_are_their_loops():
    a, b = rows(0), rows(1)
    assert simmim(a, b, MASK).item() == pytest.approx(simmim_loop(a, b), rel=1e-12)
    assert beit(a, CODES, MASK).item() == pytest.approx(beit_loop(a, CODES), rel=1e-12)
    for beta in (0.1, 1.0, 5.0):
        assert data2vec(a, b, MASK, beta).item() == pytest.approx(data2vec_loop(a, b, beta), rel=1e-12)


def test_data2vec_targets_are_the_loop():
    layers = [rows(s) * (s + 1) + s for s in range(4)]
    expected = torch.zeros(N, T, P, dtype=torch.float64)
    for layer in layers[-2:]:
        for i in range(N):
            for t in range(T):
                x = layer[i, t]
                mean = x.sum() / P
                expected[i, t] += (x - mean) / (((x - mean) ** 2).sum() / P + 1e-5).sqrt() / 2
    assert torch.allclose(data2vec_targets(layers, 2), expected, atol=1e-12)
    for top_k in (0, 5):
        with pytest.raises(InputError, match="top_k"):
            data2vec_targets(layers, top_k)


def test_ijepa_is_the_loop():
    a, b = rows(0, 2, 3, 4, 5), rows(1, 2, 3, 4, 5)
    total = sum(
        float(((a[n, m, j] - b[n, m, j]) ** 2).sum()) for n in range(2) for m in range(3) for j in range(4)
    )
    assert ijepa(a, b).item() == pytest.approx(total / (2 * 3 * 4 * 5), rel=1e-12)


def test_salt_is_the_loop():
    a, b = rows(0, 2, 3, 4, 5), rows(1, 2, 3, 4, 5)
    total = sum(
        float((a[n, m, j] - b[n, m, j]).abs().sum()) for n in range(2) for m in range(3) for j in range(4)
    )
    assert salt(a, b).item() == pytest.approx(total / (2 * 3 * 4 * 5), rel=1e-12)


def calls(a, b, mask=MASK):
    return {
        "mae": lambda: mae(a, b, mask),
        "mae pixels": lambda: mae(a, b, mask, norm_targets=False),
        "simmim": lambda: simmim(a, b, mask),
        "beit": lambda: beit(a, CODES.to(a.device), mask),
        "data2vec": lambda: data2vec(a, b, mask),
    }


@pytest.mark.parametrize("name", calls(None, None))
def test_gradients(name):
    a, b = rows(2).requires_grad_(), rows(3)
    assert torch.autograd.gradcheck(lambda x: calls(x, b)[name](), (a,))
    calls(a, b)[name]().backward()
    assert (a.grad[~MASK] == 0).all() and (a.grad[MASK].abs().sum(-1) > 0).all()  # hidden patches only


def test_ijepa_gradients():
    a = rows(0, 1, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ijepa(x, rows(1, 1, 2, 2, 3)), (a,))
    assert torch.autograd.gradcheck(lambda x: salt(x, rows(1, 1, 2, 2, 3)), (a,))


def test_known_values():
    a, b = rows(0), rows(1)
    assert mae(normalized_patches(b), b, MASK) == 0 and simmim(b, b, MASK) == 0
    assert data2vec(b, b, MASK) == 0
    zero = torch.zeros_like(a)
    # normalised by n - 1, the mean square of a patch is (P - 1) / P
    assert mae(zero, b, MASK).item() == pytest.approx((P - 1) / P, abs=1e-5)
    assert beit(zero, CODES, MASK).item() == pytest.approx(math.log(P))
    assert simmim(b + 0.5, b, MASK).item() == pytest.approx(0.5)
    assert data2vec(b + 3, b, MASK, beta=2.0).item() == pytest.approx(2.0)
    # targets normalised per patch do not know brightness and contrast
    assert mae(a, 5 * b - 1, MASK).item() == pytest.approx(mae(a, b, MASK).item(), rel=1e-4)
    # a flat patch has no contrast: its target is zero, not NaN
    assert mae(zero, torch.ones_like(b), MASK) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_float32(dtype, autocast):
    a, b = 300 * rows(0).to(dtype), 300 * rows(1).to(dtype)  # squares overflow float16
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        for name, call in calls(a, b).items():
            assert call().dtype == torch.float32 and call().isfinite(), name
            assert torch.allclose(call(), calls(a.float(), b.float())[name]()), name
        for loss in (ijepa, salt):
            assert loss(a[None], b[None]).dtype == torch.float32 and loss(a[None], b[None]).isfinite()
    assert data2vec_targets([a, b], 2).dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(value):
    a, b = rows(0), rows(1)
    a[0, 0, 0] = value
    for name, call in calls(a, b).items():
        with pytest.raises(NotFiniteError):
            call()
            pytest.fail(name)
    for loss in (ijepa, salt):
        with pytest.raises(NotFiniteError):
            loss(a[None], b[None])


def test_bad_input_is_refused():
    a, b = rows(0), rows(1)
    for bad in (MASK.float(), MASK[:2], MASK[:, :3], torch.zeros_like(MASK)):
        for call in calls(a, b, bad).values():
            with pytest.raises(InputError, match="mask"):
                call()
    for name, call in calls(a, b[:2]).items():
        if name != "beit":
            with pytest.raises(InputError, match="alike"):
                call()
    for codes in (CODES.float(), CODES[:2], CODES + 1, CODES - 1):
        with pytest.raises(InputError, match="codes"):
            beit(a, codes, MASK)
    for beta in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match="beta"):
            data2vec(a, b, MASK, beta)
    for x, y in ((a, b), (a[None], b[None, :2]), (a[None, :0], b[None, :0])):
        with pytest.raises(InputError, match="alike"):
            ijepa(x, y)
        with pytest.raises(InputError, match="alike"):
            salt(x, y)
