"""LARS against its formula by hand, the schedule against its definition, and what is spared the decay."""

import math

import pytest
import torch
from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.training.optimizers import LARS, OPTIMIZERS, build_optimizer, scaled_lr, warmup_cosine


def parameter(*shape, seed=0):
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def gradients(shape, count, seed=10):
    return [torch.randn(*shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]


def test_lars_takes_the_step_of_the_formula():
    lr, momentum, decay, trust = 0.3, 0.8, 0.05, 0.02
    w = parameter(3, 4)
    opt = LARS([w], lr=lr, momentum=momentum, weight_decay=decay, trust=trust)
    expected, v = w.detach().double().clone(), torch.zeros(3, 4, dtype=torch.float64)
    for g in gradients((3, 4), 4):
        u = g.double() + decay * expected
        ratio = trust * math.sqrt((expected**2).sum()) / math.sqrt((u**2).sum())
        v = momentum * v + lr * ratio * u
        expected = expected - v
        w.grad = g.clone()
        opt.step()
        assert torch.allclose(w.detach().double(), expected, rtol=1e-5, atol=1e-7)


def test_lars_step_length_does_not_depend_on_the_gradients_scale():
    moved = []
    for factor in (1.0, 1000.0):
        w = parameter(5, 5)
        start = w.detach().clone()
        w.grad = factor * gradients((5, 5), 1)[0]
        LARS([w], lr=0.1, trust=0.01).step()
        moved.append(w.detach() - start)
        assert torch.isclose(moved[-1].norm(), 0.1 * 0.01 * start.norm(), rtol=1e-4)
    assert torch.allclose(*moved, rtol=1e-4)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_treats_biases_as_plain_momentum_sgd(decay):
    ours, theirs = parameter(6), parameter(6)
    a = LARS([ours], lr=0.1, momentum=0.9, weight_decay=decay)
    b = torch.optim.SGD([theirs], lr=0.1, momentum=0.9)  # no decay, whatever the group says
    for g in gradients((6,), 5):
        ours.grad, theirs.grad = g.clone(), g.clone()
        a.step()
        b.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_lars_leaves_zero_norms_alone():
    zero = nn.Parameter(torch.zeros(2, 2))
    zero.grad = torch.ones(2, 2)
    LARS([zero], lr=0.1).step()
    assert torch.allclose(zero, torch.full((2, 2), -0.1))  # ratio 1, or it would never leave zero
    still, unused = parameter(2, 2), parameter(2, 2)
    before = still.detach().clone()
    still.grad = torch.zeros(2, 2)
    LARS([still, unused], lr=0.1).step()
    assert torch.equal(still, before) and torch.equal(unused, before)


def test_lars_resumes_exactly():
    g = gradients((3, 4), 6)
    whole, first = parameter(3, 4), parameter(3, 4)

    def run(w, opt, some):
        for each in some:
            w.grad = each.clone()
            opt.step()

    run(whole, LARS([whole], lr=0.3), g)
    opt = LARS([first], lr=0.3)
    run(first, opt, g[:3])
    second = nn.Parameter(first.detach().clone())
    again = LARS([second], lr=0.3)
    again.load_state_dict(opt.state_dict())
    run(second, again, g[3:])
    assert torch.equal(whole, second)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_dimensional_tensors_are_not_decayed(name):
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False))
    net[2].weight.requires_grad_(False)
    opt = build_optimizer(net, name, lr=0.5, weight_decay=0.1)
    held = {id(p): group["weight_decay"] for group in opt.param_groups for p in group["params"]}
    assert held == {
        id(net[0].weight): 0.1, id(net[0].bias): 0.0, id(net[1].weight): 0.0, id(net[1].bias): 0.0
    }  # fmt: skip
    before = {k: v.detach().clone() for k, v in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    opt.step()  # without gradients, only decay moves anything
    shrunk = {k for k, v in net.named_parameters() if v.norm() < before[k].norm()}
    assert shrunk == {"0.weight"}
    assert all(torch.equal(v, before[k]) for k, v in net.named_parameters() if k not in shrunk)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends(name):
    torch.manual_seed(0)
    net, x, y = nn.Linear(4, 1), torch.randn(50, 4), torch.randn(50, 1)
    opt = build_optimizer(net, name, lr=10.0 if name == "lars" else 0.05, weight_decay=0.0)
    losses = []
    for _ in range(20):
        losses.append(((net(x) - y) ** 2).mean() if name != "lars" else ((x @ net.weight.T - y) ** 2).mean())
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
    assert losses[-1] < losses[0]


def test_a_module_without_matrices():
    assert len(build_optimizer(nn.BatchNorm1d(3), "sgd", 0.1, 0.1).param_groups) == 1


@pytest.mark.parametrize(
    "name, lr, decay",
    [("adam", 0.1, 0), ("sgd", 0.0, 0), ("sgd", -1.0, 0), ("sgd", math.nan, 0), ("sgd", math.inf, 0),
     ("sgd", 0.1, -1e-4), ("sgd", 0.1, math.nan)],
)  # fmt: skip
def test_bad_settings_are_refused(name, lr, decay):
    with pytest.raises(InputError):
        build_optimizer(nn.Linear(2, 2), name, lr, decay)


def test_warmup_rises_in_equal_steps_to_the_peak():
    steps, warm = 50, 4
    factors = [warmup_cosine(s, steps, warm) for s in range(steps)]
    assert factors[: warm + 1] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(factors) == factors[warm] == 1 and min(factors) > 0
    assert all(a > b for a, b in zip(factors[warm:], factors[warm + 1 :], strict=False))


def test_cosine_values():
    assert warmup_cosine(0, 40, 0) == 1
    assert warmup_cosine(20, 40, 0) == pytest.approx(0.5)
    assert warmup_cosine(10, 40, 0) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert warmup_cosine(25, 40, 10) == pytest.approx(0.5)  # half way between warm-up and end
    assert warmup_cosine(40, 40, 10) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("steps, warm", [(1, 0), (1, 1), (5, 5), (2, 1)])
def test_short_schedules_stay_in_range(steps, warm):
    assert all(0 < warmup_cosine(s, steps, warm) <= 1 for s in range(steps))


def test_the_rules_for_a_larger_batch():
    assert scaled_lr(0.1, 256) == scaled_lr(0.1, 256, "sqrt") == 0.1
    assert scaled_lr(0.1, 1024) == pytest.approx(0.4) and scaled_lr(0.1, 1024, "sqrt") == pytest.approx(0.2)
    assert scaled_lr(0.1, 64) == pytest.approx(0.025) and scaled_lr(0.1, 64, "sqrt") == pytest.approx(0.05)
    assert scaled_lr(3e-3, 512, "linear", base_batch=128) == pytest.approx(0.012)
    for batch in (32, 256, 4096):  # SimCLR's two rules as it states them
        assert scaled_lr(1.2, batch, "sqrt") == pytest.approx(0.075 * math.sqrt(batch))
    assert scaled_lr(0.3, 4096) == pytest.approx(scaled_lr(1.2, 4096, "sqrt")) == pytest.approx(4.8)


@pytest.mark.parametrize(
    "arguments",
    [(0.1, 256, "cubic"), (0.0, 256), (math.nan, 256), (math.inf, 256), (0.1, 0), (0.1, 256, "sqrt", 0)],
)
def test_bad_rules_are_refused(arguments):
    with pytest.raises(InputError):
        scaled_lr(*arguments)
