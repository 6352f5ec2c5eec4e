"""DDPM's closed forms against step-by-step simulation, Bayes' rule on numbers, and the score of a known density."""

import math

import pytest
import torch
from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.diffusion import (
    UNet,
    add_noise,
    cosine_schedule,
    epsilon_loss,
    linear_schedule,
    posterior,
    predict_x0,
    sample,
    schedule,
    score,
    time_features,
)


@pytest.fixture
def s():
    return schedule(torch.tensor([0.1, 0.3, 0.2, 0.5]).double())


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def test_schedules():
    linear, cosine = linear_schedule(1000), cosine_schedule(100)
    assert linear.beta[0].item() == pytest.approx(1e-4) and linear.beta[-1].item() == pytest.approx(0.02)
    product = 1.0
    for beta, a in zip(linear.beta.tolist(), linear.alpha_bar.tolist(), strict=True):
        product *= 1 - beta
        assert a == pytest.approx(product, rel=1e-3)
    assert linear_schedule(100).alpha_bar[-1].item() == pytest.approx(linear.alpha_bar[-1].item(), rel=0.7)
    t = torch.arange(1, 100).double()
    wanted = (
        torch.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    )
    assert torch.allclose(cosine.alpha_bar[:-1].double(), wanted, atol=1e-5)
    with pytest.raises(InputError, match="two steps"):
        linear_schedule(1)
    with pytest.raises(InputError, match="between 0 and 1"):
        schedule(torch.tensor([0.5, 1.0]))


def test_marginal_of_the_forward_chain(s):
    """x_t by t noisy steps (eq. 2) has the mean and variance of eq. 4."""
    x = torch.full((200_000, 1), 1.7).double()
    for t in range(4):
        noise = torch.randn(x.shape, generator=gen(t), dtype=torch.float64)
        x = s.alpha[t].sqrt() * x + s.beta[t].sqrt() * noise
        a = s.alpha_bar[t].item()
        assert x.mean().item() == pytest.approx(1.7 * a**0.5, abs=0.01)
        assert x.var().item() == pytest.approx(1 - a, rel=0.02)
        x0, steps = torch.full((200_000, 1), 1.7).double(), torch.full((200_000,), t)
        at_once = add_noise(x0, steps, torch.randn(x0.shape, generator=gen(9), dtype=torch.float64), s)
        assert at_once.mean().item() == pytest.approx(x.mean().item(), abs=0.01)
        assert at_once.var().item() == pytest.approx(x.var().item(), rel=0.02)


def test_add_noise_uses_every_rows_own_step(s):
    x0, noise = (
        torch.randn(3, 2, 2, generator=gen()).double(),
        torch.randn(3, 2, 2, generator=gen(1)).double(),
    )
    xt = add_noise(x0, torch.tensor([0, 3, 1]), noise, s)
    for row, t in enumerate((0, 3, 1)):
        a = s.alpha_bar[t]
        assert torch.allclose(xt[row], a.sqrt() * x0[row] + (1 - a).sqrt() * noise[row])


def test_predict_x0_undoes_add_noise(s):
    x0, noise = torch.randn(5, 3, generator=gen()).double(), torch.randn(5, 3, generator=gen(1)).double()
    t = torch.tensor([0, 1, 2, 3, 3])
    assert torch.allclose(predict_x0(add_noise(x0, t, noise, s), t, noise, s), x0)


@pytest.mark.parametrize("t", [1, 2, 3])
def test_posterior_is_bayes_rule(s, t):
    """q(x_{t-1} | x_t, x_0) on a fine grid: q(x_t | x_{t-1}) q(x_{t-1} | x_0), normalised."""
    x0, xt = 0.8, -0.4
    grid = torch.linspace(-12, 12, 40_001).double()
    before = s.alpha_bar[t - 1]
    log_p = -((grid - before.sqrt() * x0) ** 2) / (2 * (1 - before))
    log_p = log_p - (xt - s.alpha[t].sqrt() * grid) ** 2 / (2 * s.beta[t])
    p = torch.softmax(log_p, dim=0)
    mean = (p * grid).sum()
    got, variance = posterior(
        torch.tensor([[x0]]).double(), torch.tensor([[xt]]).double(), torch.tensor([t]), s
    )
    assert got.item() == pytest.approx(mean.item(), abs=1e-6)
    assert variance.item() == pytest.approx((p * (grid - mean) ** 2).sum().item(), rel=1e-5)


def test_posterior_of_the_first_step_is_x0(s):
    x0, xt = torch.tensor([[0.3]]).double(), torch.tensor([[5.0]]).double()
    mean, variance = posterior(x0, xt, torch.tensor([0]), s)
    assert mean.item() == pytest.approx(0.3) and variance.item() == 0


def test_posterior_mean_in_terms_of_epsilon(s):
    """Ho et al. 2020, eq. 11: (x_t - beta / sqrt(1 - alpha_bar) epsilon) / sqrt(alpha)."""
    x0, noise = torch.randn(4, 3, generator=gen()).double(), torch.randn(4, 3, generator=gen(1)).double()
    t = torch.tensor([3, 2, 1, 0])
    xt = add_noise(x0, t, noise, s)
    beta, alpha, a = (v[t][:, None] for v in s)
    assert torch.allclose(posterior(x0, xt, t, s)[0], (xt - beta / (1 - a).sqrt() * noise) / alpha.sqrt())


def test_epsilon_and_score_on_a_gaussian(s):
    """For x_0 ~ N(m, v) everything is Gaussian: the best epsilon is E[noise | x_t], the score is known."""
    m, v = 0.7, 0.4
    t, xt = torch.tensor([0, 1, 2, 3]), torch.tensor([[0.2], [-1.0], [2.0], [0.5]]).double()
    a = s.alpha_bar[:, None]
    total = a * v + 1 - a
    best_epsilon = (1 - a).sqrt() / total * (xt - a.sqrt() * m)
    xt.requires_grad_()
    log_p = -((xt - a.sqrt() * m) ** 2) / (2 * total)
    (slope,) = torch.autograd.grad(log_p.sum(), xt)
    assert torch.allclose(score(best_epsilon, t, s), slope)


def test_loss_is_the_error_of_the_noise():
    s, x0 = linear_schedule(10), torch.randn(6, 3, 8, 8, generator=gen())
    assert epsilon_loss(lambda x, t: torch.zeros_like(x), x0, s, gen(1)).item() == pytest.approx(1.0, abs=0.1)

    def oracle(xt, t):
        a = s.alpha_bar[t].view(-1, 1, 1, 1)
        return (xt - a.sqrt() * x0) / (1 - a).sqrt()

    assert epsilon_loss(oracle, x0, s, gen(1)).item() < 1e-8


@pytest.mark.parametrize("steps", [None, 50])
def test_sampling_with_the_exact_epsilon_draws_from_the_data(steps):
    """Data N(2, 0.25): with the best possible network both samplers end there."""
    s, m, v = linear_schedule(200), 2.0, 0.25

    def best(x, t):
        a = s.alpha_bar[t].view(-1, 1)
        return (1 - a).sqrt() / (a * v + 1 - a) * (x - a.sqrt() * m)

    x = sample(best, (20_000, 1), s, gen(), steps=steps)
    assert x.mean().item() == pytest.approx(m, abs=0.05)
    assert x.std().item() == pytest.approx(v**0.5, rel=0.08)


def test_clipping_and_condition_reach_the_model():
    s, seen = linear_schedule(8), []

    def model(x, t, c):
        seen.append((t[0].item(), c.shape))
        return torch.zeros_like(x)

    x = sample(model, (3, 2), s, gen(), condition=torch.ones(3, 5), clip=1.0)
    assert x.abs().max() <= 1 and [t for t, _ in seen] == list(range(7, -1, -1)) and seen[0][1] == (3, 5)


def test_unet_shapes_layers_and_the_use_of_time_and_condition():
    torch.manual_seed(0)
    net = UNet(10, width=8, condition=4, size=16)
    x, t, c = torch.randn(2, 3, 16, 16), torch.tensor([0, 9]), torch.randn(2, 4)
    assert net(x, t, c).shape == x.shape and net(x, t, c).abs().max() < 2
    assert [f.shape[1:] for f in net.features(x, t, c)] == [
        (8, 8, 8),
        (16, 4, 4),
        (32, 2, 2),
        (16, 4, 4),
        (8, 8, 8),
    ]
    assert len(UNet.LAYERS) == 5
    nn.init.normal_(net.down[0].second.weight)
    outputs = [net.features(x, t, c)[0], net.features(x, t.flip(0), c)[0], net.features(x, t, -c)[0]]
    assert not torch.allclose(outputs[0], outputs[1]) and not torch.allclose(outputs[0], outputs[2])
    with pytest.raises(InputError, match="condition"):
        net(x, t)


def test_time_features_tell_all_steps_apart():
    f = time_features(torch.arange(100), 32, 100)
    assert f.shape == (100, 32) and torch.cdist(f, f).fill_diagonal_(1).min() > 0.05


def test_a_small_network_learns_to_denoise():
    torch.manual_seed(0)
    s, net = linear_schedule(20), UNet(20, width=4)
    x0 = torch.zeros(16, 3, 8, 8) + torch.linspace(-1, 1, 8)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = epsilon_loss(net, x0, s)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.85 * losses[0]
