"""Gram anchoring against its formula, what may turn and what may not, half precision and bad input."""

import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.losses import gram_anchoring


def patches(n=3, t=5, d=4, seed=0):
    return torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def naive(student, teacher, clip=False):
    """Simeoni et al. 2025: pairs of patches, one by one."""
    total, pairs = 0.0, 0
    for x, g in zip(student.double().tolist(), teacher.double().tolist(), strict=True):
        for i in range(len(x)):
            for j in range(len(x)):
                seen, wanted = cosine(x[i], x[j]), cosine(g[i], g[j])
                if clip:
                    seen, wanted = max(seen, 0), max(wanted, 0)
                total, pairs = total + (seen - wanted) ** 2, pairs + 1
    return total / pairs


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("n, t, d, e", [(1, 2, 1, 3), (3, 5, 4, 4), (2, 7, 3, 9)])
def test_equals_the_formula(n, t, d, e, clip):
    student, teacher = patches(n, t, d), patches(n, t, e, seed=1)
    assert gram_anchoring(student, teacher, clip).item() == pytest.approx(
        naive(student, teacher, clip), rel=1e-9
    )


def test_gradcheck():
    student, teacher = patches(2, 3, 3).requires_grad_(), patches(2, 3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: gram_anchoring(x, teacher), (student,))
    assert torch.autograd.gradcheck(lambda x: gram_anchoring(x, teacher, True), (student,))


def test_patches_may_turn_and_stretch_together_but_not_apart():
    student, teacher = patches(), patches(seed=1)
    rotation = torch.linalg.qr(patches(1, 4, 4, seed=2)[0])[0]
    value = gram_anchoring(student, teacher).item()
    assert gram_anchoring(5 * student @ rotation, teacher).item() == pytest.approx(value)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert gram_anchoring(student[:, order], teacher[:, order]).item() == pytest.approx(value)
    assert abs(gram_anchoring(student[:, order], teacher).item() - value) > 1e-3
    assert gram_anchoring(teacher @ rotation, teacher).item() == pytest.approx(0, abs=1e-12)


def test_the_bounds():
    same, opposite = torch.ones(1, 2, 1), torch.tensor([[[1.0], [-1.0]]])
    assert gram_anchoring(same, opposite).item() == pytest.approx(
        2
    )  # 4 for each pair of two patches, 0 for itself
    assert gram_anchoring(same, opposite, clip_negative=True).item() == pytest.approx(0.5)
    zero = torch.zeros(1, 2, 3, requires_grad=True)
    gram_anchoring(zero, same).backward()
    assert (zero.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_half_precision(dtype, size):
    student, teacher = (size * patches(d=16)).to(dtype).requires_grad_(), patches(d=16, seed=1).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        value = gram_anchoring(student, teacher)
    value.backward()
    assert value.dtype == torch.float32 and student.grad.isfinite().all()
    assert value.item() == pytest.approx(naive(student.detach(), teacher), rel=1e-4)


@pytest.mark.parametrize(
    "student, teacher, what",
    [
        (patches()[0], patches(), "images, patches"), (patches(), patches()[:, :0], "images, patches"),
        (patches(), patches().tolist(), "images, patches"), (patches(), patches()[:2], "same patches"),
        (patches(), patches(t=6), "same patches"), (patches() * math.nan, patches(), "learning rate"),
    ],
)  # fmt: skip
def test_bad_input(student, teacher, what):
    with pytest.raises(InputError, match=what):
        gram_anchoring(student, teacher)
