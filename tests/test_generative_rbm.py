"""The RBM against enumeration of all its states; contrastive divergence against the exact gradient."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.rbm import (
    RBM,
    all_states,
    contrastive_divergence,
    sample_dbn,
    train_rbm,
    train_stack,
)

V, H = 5, 4


@pytest.fixture
def rbm():
    g = torch.Generator().manual_seed(0)
    machine = RBM(V, H, g).double()
    with torch.no_grad():
        machine.W.copy_(0.8 * torch.randn(V, H, generator=g))
        machine.a.copy_(0.5 * torch.randn(V, generator=g))
        machine.b.copy_(0.5 * torch.randn(H, generator=g))
    return machine


def loop_energy(rbm, v, h):
    """E(v, h), one term at a time."""
    W, a, b = rbm.W.tolist(), rbm.a.tolist(), rbm.b.tolist()
    total = -sum(a[i] * v[i] for i in range(V)) - sum(b[j] * h[j] for j in range(H))
    return total - sum(v[i] * W[i][j] * h[j] for i in range(V) for j in range(H))


def joint_table(rbm):
    """p(v, h) for every pair of states, from the definition."""
    pairs = list(itertools.product(itertools.product((0, 1), repeat=V), itertools.product((0, 1), repeat=H)))
    weights = {pair: math.exp(-loop_energy(rbm, *pair)) for pair in pairs}
    z = sum(weights.values())
    return {pair: w / z for pair, w in weights.items()}, math.log(z)


def test_energy_free_energy_and_log_partition(rbm):
    table, log_z = joint_table(rbm)
    v, h = next(iter(table))
    states = all_states(V, torch.float64)
    for (v, h), p in list(table.items())[::37]:
        tensors = torch.tensor([v]).double(), torch.tensor([h]).double()
        assert rbm.energy(*tensors).item() == pytest.approx(loop_energy(rbm, v, h))
        assert math.exp(-rbm.energy(*tensors).item() - log_z) == pytest.approx(p)
    assert rbm.log_partition().item() == pytest.approx(log_z)
    marginal = [sum(p for (v, _), p in table.items() if v == tuple(s)) for s in states.int().tolist()]
    assert rbm.log_likelihood(states).exp().tolist() == pytest.approx(marginal)


def test_partition_is_the_same_from_either_layer():
    wide, tall = RBM(3, 7).double(), RBM(7, 3).double()
    with torch.no_grad():
        for p in wide.parameters():
            p.normal_(generator=torch.Generator().manual_seed(1))
        tall.W.copy_(wide.W.T), tall.a.copy_(wide.b), tall.b.copy_(wide.a)
    assert wide.log_partition().item() == pytest.approx(tall.log_partition().item())


def test_conditionals(rbm):
    table, _ = joint_table(rbm)
    v0, h0 = (1, 0, 1, 1, 0), (0, 1, 1, 0)
    given_v = {h: p for (v, h), p in table.items() if v == v0}
    given_h = {v: p for (v, h), p in table.items() if h == h0}
    hidden = [sum(p for h, p in given_v.items() if h[j]) / sum(given_v.values()) for j in range(H)]
    visible = [sum(p for v, p in given_h.items() if v[i]) / sum(given_h.values()) for i in range(V)]
    assert rbm.hidden(torch.tensor(v0).double()).tolist() == pytest.approx(hidden)
    assert rbm.visible(torch.tensor(h0).double()).tolist() == pytest.approx(visible)


def exact_gradient(rbm, data):
    """<v h>_model - <v h>_data and likewise for the biases, summed over every state: the gradient of -log p."""
    table, _ = joint_table(rbm)
    W, a, b = torch.zeros(V, H), torch.zeros(V), torch.zeros(H)
    for (v, h), p in table.items():
        v, h = torch.tensor(v).double(), torch.tensor(h).double()
        W, a, b = W + p * torch.outer(v, h), a + p * v, b + p * h
    for row in data:
        h = rbm.hidden(row).detach()
        W, a, b = W - torch.outer(row, h) / len(data), a - row / len(data), b - h / len(data)
    return [W, a, b]


def test_gradient_of_the_log_likelihood(rbm):
    data = all_states(V, torch.float64)[[3, 7, 7, 20]]
    grads = torch.autograd.grad(-rbm.log_likelihood(data).mean(), [rbm.W, rbm.a, rbm.b])
    for got, want in zip(grads, exact_gradient(rbm, data), strict=True):
        assert torch.allclose(got, want)


def test_gradient_of_cd_is_the_difference_of_two_averages(rbm):
    data = all_states(V, torch.float64)[[3, 7, 20]]
    loss, end = contrastive_divergence(rbm, data, k=2, generator=torch.Generator().manual_seed(3))
    assert not end.requires_grad and set(end.flatten().tolist()) <= {0.0, 1.0}
    grads = torch.autograd.grad(loss, [rbm.W, rbm.a, rbm.b])
    h0, hk = rbm.hidden(data), rbm.hidden(end)
    wanted = [(end.T @ hk - data.T @ h0) / 3, (end - data).mean(dim=0), (hk - h0).mean(dim=0)]
    for got, want in zip(grads, wanted, strict=True):
        assert torch.allclose(got, want)


def transition(rbm):
    """T[v, v'] of one block Gibbs round, by summing over h."""
    states, hs = all_states(V, torch.float64), all_states(H, torch.float64)
    up = (
        rbm.hidden(states)[:, None]
        .pow(hs[None])
        .mul((1 - rbm.hidden(states))[:, None].pow(1 - hs[None]))
        .prod(-1)
    )
    p = rbm.visible(hs)
    down = p[:, None].pow(states[None]).mul((1 - p)[:, None].pow(1 - states[None])).prod(-1)
    return up @ down


def test_gibbs_draws_from_its_transition_and_keeps_the_model_distribution(rbm):
    T = transition(rbm)
    p = rbm.log_likelihood(all_states(V, torch.float64)).exp()
    assert torch.allclose(p @ T, p)
    start = all_states(V, torch.float64)[9].expand(40_000, V)
    v = rbm.gibbs(start, 1, torch.Generator().manual_seed(0))
    index = (v @ torch.tensor([16.0, 8, 4, 2, 1]).double()).long()
    frequency = torch.bincount(index, minlength=2**V) / len(v)
    assert (frequency - T[9]).abs().max() < 0.01


def test_cd_k_converges_to_the_exact_gradient(rbm):
    """The expected CD-k gradient, exactly: the data distribution after k Gibbs rounds stands in for the model's."""
    states = all_states(V, torch.float64)
    data = states[[3, 7, 20, 28]]
    start = torch.zeros(2**V).double()
    start[[3, 7, 20, 28]] = 0.25
    exact = exact_gradient(rbm, data)[0]
    T, errors = transition(rbm).detach(), []
    for k in (1, 3, 10, 30):
        after = start @ torch.linalg.matrix_power(T, k)
        expected = states.T @ (after[:, None] * rbm.hidden(states)) - data.T @ rbm.hidden(data) / len(data)
        errors.append((expected - exact).norm().item() / exact.norm().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.02 > 1e-3 > errors[-1]
    # ... and many chains estimate that expectation
    many = data.repeat(5_000, 1)
    loss, _ = contrastive_divergence(rbm, many, k=30, generator=torch.Generator().manual_seed(0))
    (sampled,) = torch.autograd.grad(loss, [rbm.W])
    assert (sampled - exact).abs().max() < 0.03


def test_persistent_chain_goes_on_where_it_stopped(rbm):
    data, chain = torch.ones(2, V).double(), torch.zeros(3, V).double()
    one, two = (torch.Generator().manual_seed(0) for _ in range(2))
    _, end = contrastive_divergence(rbm, data, 4, chain, one)
    assert torch.equal(end, rbm.gibbs(chain, 4, two))


def bars() -> torch.Tensor:
    """The six pictures of one bar in a 3x3 square."""
    rows = torch.eye(3)[:, :, None].expand(3, 3, 3)
    return torch.cat([rows.flatten(1), rows.transpose(1, 2).flatten(1)])


@pytest.mark.parametrize("options", [{"k": 1}, {"k": 1, "persistent": True}])
def test_training_learns_bars(options):
    data = bars()
    rbm = train_rbm(data, 12, steps=1200, lr=0.05, batch_size=30, weight_decay=0.0, **options)
    assert rbm.log_likelihood(data).exp().sum() > 0.3  # a uniform model gives 6 / 512
    first, again = (train_rbm(data, 12, steps=20, **options) for _ in range(2))
    assert torch.equal(first.W, again.W)


def test_stack_and_ancestral_samples():
    data = bars().repeat(20, 1)
    stack = train_stack(data, (10, 6), steps=50, batch_size=30, lr=0.2)
    assert [tuple(r.W.shape) for r in stack] == [(9, 10), (10, 6)]
    assert not any(p.requires_grad for r in stack for p in r.parameters())
    v = sample_dbn(stack, torch.zeros(7, 10), steps=20, generator=torch.Generator().manual_seed(0))
    assert v.shape == (7, 9) and bool(((v > 0) & (v < 1)).all())
    single = sample_dbn(stack[:1], torch.zeros(7, 9), steps=5, generator=torch.Generator().manual_seed(0))
    assert single.shape == (7, 9)


def test_bad_input(rbm):
    with pytest.raises(InputError, match="at least one unit"):
        RBM(0, 3)
    with pytest.raises(InputError, match="at least one Gibbs step"):
        contrastive_divergence(rbm, torch.zeros(1, V).double(), k=0)
    with pytest.raises(InputError, match="at most 18 units"):
        RBM(30, 20).log_partition()
    with pytest.raises(InputError, match="too many to list"):
        all_states(19)
