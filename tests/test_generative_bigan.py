"""Adversarial losses against the paper's formulae, their optimum on discrete worlds, and the inversion of a map."""

import math

import pytest
import torch
from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.bigan import (
    PairCritic,
    bigan_critic_loss,
    bigan_player_loss,
    critic_loss,
    generator_loss,
    gradient_penalty,
    invert,
)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_losses_by_hand():
    real, fake = [1.2, -0.3, 2.0], [0.4, -1.5]
    by_hand = -sum(math.log(sigmoid(r)) for r in real) / 3 - sum(math.log(1 - sigmoid(f)) for f in fake) / 2
    real, fake = torch.tensor(real).double(), torch.tensor(fake).double()
    assert critic_loss(real, fake).item() == pytest.approx(by_hand)
    assert generator_loss(fake).item() == pytest.approx(-sum(math.log(sigmoid(f)) for f in fake.tolist()) / 2)
    assert generator_loss(fake, saturating=True).item() == pytest.approx(
        sum(math.log(1 - sigmoid(f)) for f in fake.tolist()) / 2
    )
    assert critic_loss(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(2 * math.log(2))


def test_saturation():
    """A critic that is sure (D = 1e-9) leaves a gradient to the one form and none to the other."""
    for saturating, size in ((False, 1.0), (True, 0.0)):
        fake = torch.tensor([-20.0], requires_grad=True)
        generator_loss(fake, saturating).backward()
        assert fake.grad.abs().item() == pytest.approx(size, abs=1e-6)


def test_bigan_losses_are_a_game_of_opposite_labels():
    a, b = torch.randn(5, generator=g()).double(), torch.randn(5, generator=g(1)).double()
    by_hand = (
        sum(-math.log(sigmoid(x)) for x in a.tolist()) / 5
        + sum(-math.log(1 - sigmoid(x)) for x in b.tolist()) / 5
    )
    assert bigan_critic_loss(a, b).item() == pytest.approx(by_hand)
    assert bigan_player_loss(a, b).item() == pytest.approx(bigan_critic_loss(b, a).item())
    assert bigan_player_loss(a, b).item() == pytest.approx(bigan_critic_loss(-a, -b).item())


def test_best_critic_of_two_known_distributions():
    """Goodfellow et al. 2014, proposition 1 and theorem 1: D* = p / (p + q), and the loss is 2 log 2 - 2 JSD."""
    p, q = torch.tensor([0.5, 0.3, 0.15, 0.05]).double(), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    logits = torch.zeros(4).double().requires_grad_()
    softplus = torch.nn.functional.softplus
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def loss():
        optimizer.zero_grad()
        value = (p * softplus(-logits)).sum() + (q * softplus(logits)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert torch.allclose(torch.sigmoid(logits), p / (p + q), atol=1e-5)
    m = (p + q) / 2
    jsd = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    assert loss().item() == pytest.approx((2 * math.log(2) - 2 * jsd).item())
    # ... and the critic loss over samples in those proportions is the same number
    counts = (torch.tensor([10, 6, 3, 1]), torch.tensor([2, 4, 6, 8]))
    drawn = [logits.detach().repeat_interleave(n) for n in counts]
    assert critic_loss(*drawn).item() == pytest.approx(loss().item())


def test_gradient_penalty_of_a_linear_critic_is_its_squared_slope():
    w = torch.tensor([1.0, -2.0, 0.5]).double().requires_grad_()
    x = torch.randn(6, 3, generator=g()).double().requires_grad_()
    penalty = gradient_penalty(x @ w, x)
    assert penalty.item() == pytest.approx(5.25)
    assert torch.allclose(torch.autograd.grad(penalty, w)[0], 2 * w)


def test_pair_critic_sees_both():
    torch.manual_seed(0)
    critic = PairCritic(5, 2, hidden=16)
    x, z = torch.randn(4, 5), torch.randn(4, 2)
    assert critic(x, z).shape == (4,)
    assert not torch.allclose(critic(x, z), critic(x + 1, z)) and not torch.allclose(
        critic(x, z), critic(x, z + 1)
    )


def test_inversion_of_a_linear_generator_is_least_squares():
    torch.manual_seed(0)
    generator = nn.Linear(3, 8).double()
    before = [p.clone() for p in generator.parameters()]
    x = torch.randn(5, 8, generator=g()).double()
    z, error = invert(generator, x, torch.zeros(5, 3).double(), steps=1500, lr=0.05)
    exact = torch.linalg.lstsq(generator.weight, (x - generator.bias).T).solution.T
    assert torch.allclose(z, exact, atol=1e-3)
    assert torch.allclose(error, (generator(exact) - x).square().sum(dim=1), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    assert all(p.grad is None for p in generator.parameters())


def test_inversion_needs_one_start_per_target():
    with pytest.raises(InputError, match="one start per target"):
        invert(lambda z: z, torch.zeros(3, 2), torch.zeros(4, 2))
