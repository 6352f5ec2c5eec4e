"""The losses of graphs against loops in float64, their invariances, half precision and their refusals."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from ssl_lessons import losses
from ssl_lessons.errors import InputError, NotFiniteError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(t):
    return 1 / (1 + math.exp(-t))


def dgi_loop(nodes, corrupted, weight):
    width = nodes.shape[1]
    summary = [sigmoid(sum(float(h[d]) for h in nodes) / len(nodes)) for d in range(width)]

    def judged(h):
        return sigmoid(
            sum(float(h[a]) * float(weight[a, b]) * summary[b] for a in range(width) for b in range(width))
        )

    right = sum(math.log(judged(h)) for h in nodes) / len(nodes)
    wrong = sum(math.log(1 - judged(c)) for c in corrupted) / len(corrupted)
    return -(right + wrong) / 2


def infograph_loop(parts, wholes, owner):
    own, other = [], []
    for i in range(len(parts)):
        for m in range(len(wholes)):
            score = sum(float(a) * float(b) for a, b in zip(parts[i], wholes[m], strict=True))
            if int(owner[i]) == m:
                own.append(math.log(1 + math.exp(-score)))
            else:
                other.append(math.log(1 + math.exp(score)))
    return sum(own) / len(own) + sum(other) / len(other)


def scaled_cosine_loop(prediction, target, gamma):
    terms = []
    for z, x in zip(prediction, target, strict=True):
        cosine = float(z @ x) / (float(z @ z) * float(x @ x)) ** 0.5
        terms.append((1 - cosine) ** gamma)
    return sum(terms) / len(terms)


def test_dgi():
    nodes, corrupted, weight = normal(5, 3), normal(4, 3, seed=1), normal(3, 3, seed=2)
    assert float(losses.dgi(nodes, corrupted, weight)) == pytest.approx(dgi_loop(nodes, corrupted, weight))
    assert float(losses.dgi(nodes, corrupted, 0 * weight)) == pytest.approx(math.log(2))
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = losses.dgi(nodes[order], corrupted, weight)
    assert float(moved) == pytest.approx(float(losses.dgi(nodes, corrupted, weight)))
    assert gradcheck(losses.dgi, tuple(x.requires_grad_() for x in (nodes, corrupted, weight)))


def test_infograph():
    parts, wholes, owner = normal(6, 3), normal(3, 3, seed=1), torch.tensor([0, 0, 1, 2, 2, 2])
    assert float(losses.infograph(parts, wholes, owner)) == pytest.approx(
        infograph_loop(parts, wholes, owner)
    )
    assert float(losses.infograph(0 * parts, wholes, owner)) == pytest.approx(2 * math.log(2))
    far = torch.eye(3, dtype=torch.float64) * 200 - 100
    assert float(losses.infograph(far[owner], torch.eye(3, dtype=torch.float64), owner)) < 1e-9
    assert gradcheck(
        lambda p, g: losses.infograph(p, g, owner), (parts.requires_grad_(), wholes.requires_grad_())
    )


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_scaled_cosine(gamma):
    prediction, target = normal(5, 4), normal(5, 4, seed=1)
    found = losses.scaled_cosine(prediction, target, gamma)
    assert float(found) == pytest.approx(scaled_cosine_loop(prediction, target, gamma))
    assert float(losses.scaled_cosine(3 * prediction, target / 7, gamma)) == pytest.approx(float(found))
    assert float(losses.scaled_cosine(target, 2 * target, gamma)) == pytest.approx(0, abs=1e-12)
    assert float(losses.scaled_cosine(-target, target, gamma)) == pytest.approx(2**gamma)
    assert gradcheck(
        lambda z, x: losses.scaled_cosine(z, x, gamma), (prediction.requires_grad_(), target.requires_grad_())
    )


def test_a_gamma_of_one_is_the_loss_of_byol_by_half():
    prediction, target = normal(5, 4), normal(5, 4, seed=1)
    half = losses.byol(prediction, target) / 2
    assert float(losses.scaled_cosine(prediction, target, 1.0)) == pytest.approx(float(half))


def test_a_perfect_prediction_has_a_finite_gradient():
    target = normal(5, 4).float()
    guess = target.clone().requires_grad_()
    losses.scaled_cosine(guess, target, 1.5).backward()
    assert guess.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    a, b, w = (normal(6, 3, seed=s).to(dtype) for s in range(3))
    w, owner = w[:3], torch.tensor([0, 0, 1, 2, 2, 1])
    for loss, args in (
        (losses.dgi, (a, b, w)), (losses.infograph, (a, w, owner)), (losses.scaled_cosine, (a, b)),
    ):  # fmt: skip
        found = loss(*args)
        wide = loss(*(x.double() if x.is_floating_point() else x for x in args))
        assert found.dtype == torch.float32 and float(found) == pytest.approx(float(wide), rel=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert float(loss(*args)) == pytest.approx(float(found))


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: losses.dgi(normal(4, 3), normal(4, 2), normal(3, 3)), "one width"),
        (lambda: losses.dgi(normal(4, 3), normal(4, 3), normal(3, 2)), "one width"),
        (lambda: losses.dgi(normal(0, 3), normal(4, 3), normal(3, 3)), "at least one node"),
        (lambda: losses.infograph(normal(4, 3), normal(2, 2), torch.zeros(4).long()), "one width"),
        (lambda: losses.infograph(normal(4, 3), normal(1, 3), torch.zeros(4).long()), "two graphs"),
        (lambda: losses.infograph(normal(4, 3), normal(2, 3), torch.full((4,), 2)), "0..1"),
        (lambda: losses.infograph(normal(4, 3), normal(2, 3), torch.zeros(4)), "whole number"),
        (lambda: losses.scaled_cosine(normal(4, 3), normal(4, 2)), "same shape"),
        (lambda: losses.scaled_cosine(normal(4, 3), normal(4, 3), 0.5), "at least 1"),
    ],
)
def test_bad_input_gets_one_clear_error(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_values_that_are_not_finite_are_refused():
    bad = normal(4, 3)
    bad[0, 0] = math.nan
    for call in (
        lambda: losses.dgi(bad, normal(4, 3), normal(3, 3)),
        lambda: losses.infograph(bad, normal(2, 3), torch.tensor([0, 1, 1, 0])),
        lambda: losses.scaled_cosine(bad, normal(4, 3)),
    ):
        with pytest.raises(NotFiniteError):
            call()
