"""Losses for a few labels beside many pictures, against loops in float64; the mixing of pictures and labels."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import losses, views
from ssl_lessons.errors import InputError, NotFiniteError


def drawn(n=7, c=4, seed=0):
    return torch.randn(n, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row):
    top = max(row)
    e = [math.exp(v - top) for v in row]
    return [v / sum(e) for v in e]


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_pseudo_label_is_the_loop(threshold):
    logits = 2 * drawn()
    best = [max(softmax(row)) for row in logits.tolist()]
    assert 0 < sum(b >= 0.5 for b in best) < len(best)
    loop = -sum(math.log(b) for b in best if b >= threshold) / len(best)
    assert losses.pseudo_label(logits, threshold).item() == pytest.approx(loop, abs=1e-12)


def test_pseudo_label_is_cross_entropy_with_the_answer_and_pushes_it_up():
    logits = drawn().requires_grad_()
    assert torch.allclose(losses.pseudo_label(logits), F.cross_entropy(logits, logits.argmax(1)))
    (slope,) = torch.autograd.grad(losses.pseudo_label(logits), logits)
    assert (
        slope.gather(1, logits.argmax(1, keepdim=True)) < 0
    ).all()  # surer of what it said already, right or wrong


@pytest.mark.parametrize("temperature, threshold", [(0.4, 0.5), (1.0, 0.0)])
def test_consistency_is_the_loop(temperature, threshold):
    weak, strong, total = 2 * drawn(), drawn(seed=1), 0.0
    for a, b in zip(weak.tolist(), strong.tolist(), strict=True):
        if max(softmax(a)) > threshold:
            q, p = softmax([v / temperature for v in a]), softmax(b)
            total += sum(x * (math.log(x) - math.log(y)) for x, y in zip(q, p, strict=True))
    value = losses.consistency(weak, strong, temperature, threshold)
    assert value.item() == pytest.approx(total / len(weak), abs=1e-12)


def test_consistency_asks_only_the_copy_to_move_and_nothing_of_equal_answers():
    weak, strong = drawn().requires_grad_(), drawn(seed=1).requires_grad_()
    losses.consistency(weak, strong, threshold=0.0).backward()
    assert weak.grad is None and strong.grad.abs().sum() > 0
    assert losses.consistency(drawn(), drawn(), 1.0, 0.0).item() == pytest.approx(0, abs=1e-12)


def test_sharpening_keeps_the_order_and_ends_in_a_pseudo_label():
    p = drawn().softmax(1)
    assert torch.allclose(losses.sharpen(p, 1.0), p)
    half = losses.sharpen(p, 0.5)
    assert torch.allclose(half, p.square() / p.square().sum(1, keepdim=True))
    hard = losses.sharpen(p, 1e-3)
    assert torch.allclose(hard, F.one_hot(p.argmax(1), 4).double())
    certain = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert torch.allclose(losses.sharpen(certain, 0.5), certain)


def test_mixmatch_is_its_two_terms():
    a, b = drawn(), drawn(5, seed=1)
    targets, guesses = drawn(seed=2).softmax(1), drawn(5, seed=3).softmax(1)
    square = sum(
        (g - p) ** 2
        for row, guess in zip(b.tolist(), guesses.tolist(), strict=True)
        for p, g in zip(softmax(row), guess, strict=True)
    ) / (5 * 4)
    expected = F.cross_entropy(a, targets).item() + 3.0 * square
    assert losses.mixmatch(a, targets, b, guesses, 3.0).item() == pytest.approx(expected, abs=1e-12)


def linear(w):
    return lambda x: x @ w.T


def test_vat_finds_the_direction_that_changes_the_answer_most():
    """Of a linear classifier with two classes: along the difference of its rows, in closed form."""
    w = torch.tensor([[3.0, 0.5, 0.0], [0.0, 0.5, 0.0]], dtype=torch.float64)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 3
    value = losses.vat(linear(w), x, 0.4, torch.Generator().manual_seed(0), step=1e-4, iterations=3)
    p = (x @ w.T).log_softmax(1)
    ends = [((x + s * 0.4 * torch.eye(3).double()[0]) @ w.T).log_softmax(1) for s in (1, -1)]
    kl = torch.stack([(p.exp() * (p - q)).sum(1) for q in ends])
    assert (
        kl.amin(0).mean() - 1e-9 <= value <= kl.amax(0).mean() + 1e-9
    )  # +r or -r: the power method does not say
    other = ((x + 0.4 * torch.eye(3).double()[1]) @ w.T).log_softmax(1)
    assert (p.exp() * (p - other)).sum(1).mean() < 1e-12 < value


def test_vat_repeats_with_a_seed_and_its_gradient_is_that_of_the_copy():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)).double()
    x = drawn(6, 3)
    first, again, other = (losses.vat(model, x, 0.5, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert first == again != other
    first.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    longer = losses.vat(model, x, 1.0, torch.Generator().manual_seed(1))
    assert longer > first > 0


@pytest.mark.parametrize("loss", ["pseudo_label", "consistency", "mixmatch"])
def test_gradients_are_those_of_differences(loss):
    a, b = drawn().requires_grad_(), drawn(seed=1).requires_grad_()
    t = drawn(seed=2).softmax(1)
    calls = {
        "pseudo_label": (lambda x: losses.pseudo_label(x, 0.2), (a,)),
        "consistency": (lambda x: losses.consistency(b, x, 0.7, 0.2), (a,)),
        "mixmatch": (lambda x, y: losses.mixmatch(x, t, y, t, 5.0), (a, b)),
    }
    assert torch.autograd.gradcheck(*calls[loss])


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.mixmatch(*[torch.zeros(3, 2)] * 3, torch.zeros(3)),
        lambda: losses.pseudo_label(torch.zeros(3, 2), 1.5),
        lambda: losses.consistency(torch.zeros(3, 2), torch.zeros(2, 2)),
        lambda: losses.consistency(torch.zeros(3, 2), torch.zeros(3, 2), temperature=0.0),
        lambda: losses.sharpen(torch.zeros(3), 0.5),
        lambda: losses.vat(lambda x: x, torch.zeros(3, 2), 0.0),
        lambda: losses.mixmatch(*[torch.zeros(0, 2)] * 4),
    ],
)
def test_what_cannot_be_used_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_nan_is_named():
    bad = torch.tensor([[float("nan"), 0.0]])
    for call in (
        losses.pseudo_label,
        lambda z: losses.consistency(z, z),
        lambda z: losses.vat(lambda x: x, z, 1.0),
    ):
        with pytest.raises(NotFiniteError):
            call(bad)


def pictures(n=6):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 8, 8, generator=g), torch.eye(n), torch.randperm(n, generator=g)


def test_mixup_mixes_pictures_and_labels_alike():
    x, y, order = pictures()
    mixed, label = views.mixup(x, y, order, 0.3)
    for i, j in enumerate(order):
        assert torch.allclose(mixed[i], 0.3 * x[i] + 0.7 * x[j]) and torch.allclose(
            label[i], 0.3 * y[i] + 0.7 * y[j]
        )
    assert torch.equal(views.mixup(x, y, order, 1.0)[0], x)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_labels_say_how_much_of_the_picture_is_left(seed):
    x, y, order = pictures()
    mixed, label = views.cutmix(x, y, order, 0.6, torch.Generator().manual_seed(seed))
    for i, j in enumerate(order):
        if i != j:
            kept = (mixed[i] == x[i]).all(0).float().mean()
            assert ((mixed[i] == x[i]) | (mixed[i] == x[j])).all()
            assert label[i, i].item() == pytest.approx(kept.item()) and label[
                i
            ].sum().item() == pytest.approx(1)
    assert torch.equal(views.cutmix(x, y, order, 1.0)[1], y)


def test_weights_come_from_the_beta_distribution():
    g = torch.Generator().manual_seed(0)
    drawn = [views.mixing_weight(0.5, g) for _ in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(0.5, abs=0.02)
    assert torch.tensor(drawn).var().item() == pytest.approx(1 / 8, abs=0.01)  # 1 / (4 (2 alpha + 1))
    assert min(views.mixing_weight(0.75, g, at_least_half=True) for _ in range(200)) >= 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: views.mixing_weight(0.0),
        lambda: views.mixup(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), torch.arange(3), 0.5),
        lambda: views.mixup(torch.zeros(3, 2), torch.zeros(3, 2), torch.arange(3), 1.5),
        lambda: views.cutmix(torch.zeros(3, 2), torch.zeros(3, 2), torch.arange(3), 0.5),
    ],
)
def test_mixing_refuses_what_it_cannot_mix(call):
    with pytest.raises(InputError):
        call()
