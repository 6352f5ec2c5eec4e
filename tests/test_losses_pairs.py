"""The losses between two senses against loops in float64, their invariances and their refusals."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from ssl_lessons import losses
from ssl_lessons.errors import InputError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def clip_loop(image, text, scale, weight, extra):
    n, total = len(image), 0.0
    for i in range(n):
        texts = [math.exp(scale * cosine(image[i], v)) for v in [*text, *extra]]
        pictures = [math.exp(scale * cosine(u, text[i])) for u in image]
        total -= weight * math.log(texts[i] / sum(texts))
        total -= (1 - weight) * math.log(pictures[i] / sum(pictures))
    return total / n


def siglip_loop(image, text, scale, bias):
    total = 0.0
    for i, u in enumerate(image):
        for j, v in enumerate(text):
            z = 1 if i == j else -1
            total += math.log(1 + math.exp(-z * (scale * cosine(u, v) + bias)))
    return total / len(image)


def mil_nce_loop(image, bags, scale):
    n, total = len(image), 0.0
    for i in range(n):
        own = sum(math.exp(scale * cosine(image[i], v)) for v in bags[i])
        negatives = 0.0
        for j in range(n):
            if j != i:
                negatives += sum(math.exp(scale * cosine(image[i], v)) for v in bags[j])
                negatives += sum(math.exp(scale * cosine(image[j], v)) for v in bags[i])
        total -= math.log(own / (own + negatives))
    return total / n


def test_clip():
    image, text, extra = normal(5, 4), normal(5, 4, seed=1), normal(3, 4, seed=2)
    for scale, weight, more in ((10.0, 0.5, None), (2.0, 0.75, extra), (30.0, 0.0, None), (1.0, 1.0, extra)):
        found = losses.clip(image, text, scale, weight, more)
        wanted = clip_loop(image, text, scale, weight, [] if more is None else more)
        assert float(found) == pytest.approx(wanted)
    same = torch.ones(7, 3)
    assert float(losses.clip(same, same)) == pytest.approx(math.log(7), rel=1e-5)
    both = (losses.info_nce(image, text) + losses.info_nce(text, image)) / 2
    assert float(losses.clip(image, text, 10.0)) == pytest.approx(float(both))
    assert float(losses.clip(3 * image, text / 2, 5.0)) == pytest.approx(float(losses.clip(image, text, 5.0)))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    inputs = (image.requires_grad_(), text.requires_grad_(), scale, extra.requires_grad_())
    assert gradcheck(lambda u, v, s, e: losses.clip(u, v, s, 0.3, e), inputs)


def test_siglip():
    image, text = normal(5, 4), normal(5, 4, seed=1)
    for scale, bias in ((10.0, -10.0), (2.0, 1.0), (40.0, -3.0)):
        found = losses.siglip(image, text, scale, bias)
        assert float(found) == pytest.approx(siglip_loop(image, text, scale, bias))
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = losses.siglip(image[order], text[order])
    assert float(moved) == pytest.approx(float(losses.siglip(image, text)))
    numbers = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (3.0, -2.0)]
    assert gradcheck(losses.siglip, (image.requires_grad_(), text.requires_grad_(), *numbers))


def test_siglip_asks_of_each_pair_alone():
    """A batch of four is the sum of its sixteen questions: cut into two halves, the four blocks add up."""
    image, text = normal(4, 3), normal(4, 3, seed=1)
    whole = 4 * losses.siglip(image, text)
    inside = sum(2 * losses.siglip(image[h], text[h]) for h in (slice(0, 2), slice(2, 4)))
    u, v = (x / x.norm(dim=1, keepdim=True) for x in (image, text))
    score = 10 * u @ v.T - 10
    between = sum(torch.nn.functional.softplus(s).sum() for s in (score[:2, 2:], score[2:, :2]))
    assert float(whole) == pytest.approx(float(inside + between))


def test_mil_nce():
    image, bags = normal(4, 3), normal(4, 5, 3, seed=1)
    for scale in (1.0, 10.0):
        assert float(losses.mil_nce(image, bags, scale)) == pytest.approx(mil_nce_loop(image, bags, scale))
    mixed = bags[:, [4, 0, 2, 1, 3]]
    assert float(losses.mil_nce(image, mixed)) == pytest.approx(float(losses.mil_nce(image, bags)))
    same = losses.mil_nce(torch.ones(6, 3), torch.ones(6, 1, 3))
    assert float(same) == pytest.approx(math.log(11), rel=1e-5)
    assert gradcheck(lambda u, v: losses.mil_nce(u, v, 3.0), (image.requires_grad_(), bags.requires_grad_()))


def test_mil_nce_forgives_what_clip_does_not():
    """One candidate that fits is enough: a second one, far away, costs MIL-NCE little."""
    image = torch.eye(6)
    fits, stray = torch.eye(6), -torch.eye(6)
    bag = losses.mil_nce(image, torch.stack([fits, stray], dim=1), 20.0)
    assert (
        float(bag) < 0.01 < 1 < float((losses.clip(image, fits, 20.0) + losses.clip(image, stray, 20.0)) / 2)
    )


def test_half_precision_is_computed_in_full():
    image, text, bags = normal(6, 4), normal(6, 4, seed=1), normal(6, 2, 4, seed=2)
    for loss, other in ((losses.clip, text), (losses.siglip, text), (losses.mil_nce, bags)):
        half = loss(image.half(), other.half())
        assert half.dtype == torch.float32
        assert float(half) == pytest.approx(float(loss(image, other)), rel=2e-2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert float(loss(image.float(), other.float())) == pytest.approx(
                float(loss(image, other)), rel=1e-4
            )


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: losses.clip(normal(3, 4), normal(4, 4)), "same shape"),
        (lambda: losses.clip(normal(1, 4), normal(1, 4)), "At least 2"),
        (lambda: losses.clip(normal(3, 4), normal(3, 4), 0.0), "scale must be a positive"),
        (lambda: losses.clip(normal(3, 4), normal(3, 4), torch.ones(3)), "one number"),
        (lambda: losses.clip(normal(3, 4), normal(3, 4), weight=1.5), "between 0"),
        (lambda: losses.clip(normal(3, 4), normal(3, 4), extra=normal(2, 5)), "4 dimensions"),
        (lambda: losses.siglip(normal(3, 4), normal(3, 5)), "same shape"),
        (lambda: losses.mil_nce(normal(3, 4), normal(3, 4)), "bags must be"),
        (lambda: losses.mil_nce(normal(3, 4), normal(2, 2, 4)), "bags must be"),
    ],
)
def test_bad_input_gets_one_clear_error(call, says):
    with pytest.raises(InputError, match=says):
        call()
