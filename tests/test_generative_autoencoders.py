"""Corruptions, decoder shapes, the variational bound against quadrature, sparse coding against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.autoencoders import (
    VAE,
    ConvDecoder,
    add_gaussian,
    bernoulli_log_likelihood,
    kl_to_standard_normal,
    learn_dictionary,
    mask_entries,
    mask_patches,
    normal_log_density,
    reparameterize,
    sparse_codes,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- corruptions -----------------------------------------------------------------------------------


def test_gaussian_noise_has_the_level_asked_for():
    x = torch.full((200, 50), 0.3)
    noise = add_gaussian(x, 0.4, generator()) - x
    assert noise.std().item() == pytest.approx(0.4, rel=0.03) and abs(noise.mean().item()) < 0.02
    assert torch.equal(add_gaussian(x, 0.0), x)


def test_masked_entries_are_zero_and_the_rest_untouched():
    x = torch.rand(100, 80, generator=generator()) + 0.5
    y = mask_entries(x, 0.3, generator(1))
    hidden = y == 0
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(y[~hidden], x[~hidden])
    assert torch.equal(mask_entries(x, 0.0), x) and mask_entries(x, 1.0).abs().sum() == 0


def test_masked_patches_hide_all_channels_of_whole_squares():
    x = torch.rand(50, 3, 16, 16, generator=generator()) + 0.5
    y = mask_patches(x, 0.4, 4, generator(1))
    patches = (y == 0).unflatten(3, (4, 4)).unflatten(2, (4, 4)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    assert bool((patches.all(-1) | ~patches.any(-1)).all())
    assert patches.all(-1).float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert torch.equal(y[y != 0], x[y != 0])


def test_corruptions_refuse_bad_input():
    for corrupt in (mask_entries, mask_patches):
        with pytest.raises(InputError, match="share"):
            corrupt(torch.zeros(1, 3, 8, 8), 1.5)
    with pytest.raises(InputError, match="negative"):
        add_gaussian(torch.zeros(2), -0.1)
    with pytest.raises(InputError, match="multiples"):
        mask_patches(torch.zeros(1, 3, 10, 10), 0.5, 4)


# --- decoder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 3), (64, 3)])
def test_decoder_shapes(size, channels):
    assert ConvDecoder(10, size, 4, channels)(torch.zeros(2, 10)).shape == (2, channels, size, size)


def test_decoder_refuses_other_sides():
    for size in (4, 24, 30):
        with pytest.raises(InputError, match="side"):
            ConvDecoder(10, size)


# --- linear autoencoder = PCA ----------------------------------------------------------------------


def test_a_linear_autoencoder_spans_the_principal_components():
    """Bourlard and Kamp 1988, Baldi and Hornik 1989: the same subspace and error, not the same axes."""
    scale = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3]).double()
    x = torch.randn(300, 5, generator=generator()).double() * scale
    x = x @ torch.linalg.qr(torch.randn(5, 5, generator=generator(1)).double())[0]
    x = x - x.mean(dim=0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 2, bias=False), nn.Linear(2, 5, bias=False)).double()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (net(x) - x).square().sum(dim=1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    _, s, vt = torch.linalg.svd(x, full_matrices=False)
    assert closure().item() == pytest.approx((s[2:].square().sum() / len(x)).item(), rel=1e-4)
    basis = torch.linalg.qr(net[1].weight)[0]
    cosines = torch.linalg.svdvals(vt[:2] @ basis)
    assert cosines.min() > 0.9999
    assert (vt[:2] @ net[1].weight).abs().min() > 1e-3, "its columns are mixtures of the components"


# --- variational autoencoder -----------------------------------------------------------------------


def test_kl_against_quadrature_and_torch():
    mu, log_var = (
        torch.tensor([[0.7, -1.2], [0.0, 0.0]]).double(),
        torch.tensor([[0.3, -0.9], [0, 0]]).double(),
    )
    got = kl_to_standard_normal(mu, log_var)
    assert got[1].item() == 0
    by_torch = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (log_var / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    ).sum(dim=1)
    assert torch.allclose(got, by_torch)

    def integrand(z, m, lv):
        z, m, lv = (torch.tensor([t]).double() for t in (z, m, lv))
        q = normal_log_density(z, m, lv)
        return (q.exp() * (q - normal_log_density(z, 0 * z, 0 * z))).item()

    total = sum(quad(integrand, -12, 12, args=(mu[0, d].item(), log_var[0, d].item()))[0] for d in range(2))
    assert got[0].item() == pytest.approx(total, abs=1e-6)


def test_reparameterize_moments_and_gradient():
    mu, log_var = torch.tensor([1.5]).requires_grad_(), torch.tensor([-0.4]).requires_grad_()
    z = reparameterize(mu.expand(50_000), log_var.expand(50_000), generator())
    assert z.mean().item() == pytest.approx(1.5, abs=0.02)
    assert z.var().item() == pytest.approx(math.exp(-0.4), rel=0.03)
    # d E[z^2] / d mu = 2 mu and d E[z^2] / d log_var = sigma^2
    grads = torch.autograd.grad(z.square().mean(), [mu, log_var])
    assert grads[0].item() == pytest.approx(3.0, rel=0.03)
    assert grads[1].item() == pytest.approx(math.exp(-0.4), rel=0.05)


def test_bernoulli_likelihood_is_a_distribution():
    logits = torch.tensor([0.3, -1.0, 2.0]).double()
    states = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)]).double()
    assert bernoulli_log_likelihood(states, logits).exp().sum().item() == pytest.approx(1)
    p = torch.sigmoid(logits)
    by_hand = (p[0] * (1 - p[1]) * p[2]).log()  # state 5 is 1, 0, 1
    assert torch.isclose(bernoulli_log_likelihood(states[5], logits), by_hand)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    model = VAE(6, 1, hidden=8).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    return model


def log_likelihood(vae, x):
    """log integral of p(x|z) p(z) dz over a fine grid of the one latent."""
    z = torch.linspace(-8, 8, 8001).double()
    log_joint = bernoulli_log_likelihood(x[:, None], vae.decode(z[:, None])[None])
    log_joint = log_joint + normal_log_density(z[:, None], torch.zeros(1).double(), torch.zeros(1).double())
    return torch.logsumexp(log_joint, dim=1) + math.log(16 / 8000)


@torch.no_grad()
def test_elbo_is_below_the_log_likelihood_by_the_kl_to_the_posterior(vae):
    x = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]).double()
    exact = log_likelihood(vae, x)
    many = torch.stack([vae.elbo(x, generator=generator(i)) for i in range(4000)])
    elbo, error = many.mean(dim=0), many.std(dim=0) / 4000**0.5
    assert bool((elbo + 4 * error < exact).all())
    mu, log_var = vae.encode(x)
    z = torch.linspace(-8, 8, 8001).double()
    log_q = normal_log_density(z[None, :, None], mu[:, None], log_var[:, None])
    log_post = bernoulli_log_likelihood(x[:, None], vae.decode(z[:, None])[None]) - exact[:, None]
    log_post = log_post + normal_log_density(z[:, None], torch.zeros(1).double(), torch.zeros(1).double())
    gap = (log_q.exp() * (log_q - log_post)).sum(dim=1) * 16 / 8000
    assert torch.allclose(exact - elbo, gap, atol=5 * error.max().item())


@torch.no_grad()
def test_importance_bound_climbs_to_the_log_likelihood(vae):
    x = torch.tensor([[1, 0, 1, 1, 0, 0]]).double()
    exact = log_likelihood(vae, x).item()
    bounds = [
        np.mean([vae.importance_bound(x, k, generator(i)).item() for i in range(400)]) for k in (1, 4, 32)
    ]
    assert bounds == sorted(bounds)
    assert vae.importance_bound(x, 20_000, generator()).item() == pytest.approx(exact, abs=0.02)
    elbo = np.mean([vae.elbo(x, generator=generator(i)).item() for i in range(400)])
    assert bounds[0] == pytest.approx(elbo, abs=0.05)


@torch.no_grad()
def test_beta_scales_the_kl_alone(vae):
    x = torch.ones(3, 6).double()
    kl = kl_to_standard_normal(*vae.encode(x))
    a, b = (vae.elbo(x, beta, generator()) for beta in (1.0, 3.0))
    assert torch.allclose(a - b, 2 * kl)


# --- sparse coding ---------------------------------------------------------------------------------


def test_sparse_codes_solve_the_lasso():
    from sklearn.linear_model import Lasso

    x = torch.randn(5, 12, generator=generator()).double()
    atoms = torch.nn.functional.normalize(torch.randn(20, 12, generator=generator(1)).double(), dim=1)
    codes = sparse_codes(x, atoms, 0.3, steps=3000)
    for row, code in zip(x, codes, strict=True):
        # scikit-learn divides the squared error by 2 n_samples, and its samples are our pixels
        reference = Lasso(alpha=0.3 / 12, fit_intercept=False, max_iter=100_000, tol=1e-10)
        reference.fit(atoms.T.numpy(), row.numpy())
        assert np.allclose(code, reference.coef_, atol=1e-4)


def test_ista_never_raises_the_objective():
    x = torch.randn(30, 10, generator=generator()).double()
    atoms = torch.nn.functional.normalize(torch.randn(15, 10, generator=generator(1)).double(), dim=1)
    values = []
    for steps in range(0, 30, 3):
        s = sparse_codes(x, atoms, 0.2, steps)
        values.append((0.5 * (x - s @ atoms).square().sum() + 0.2 * s.abs().sum()).item())
    assert values == sorted(values, reverse=True) and values[-1] < values[0]


def test_dictionary_recovers_the_atoms_that_made_the_data():
    g = generator(3)
    atoms = torch.nn.functional.normalize(torch.randn(8, 16, generator=g), dim=1)
    codes = torch.randn(3000, 8, generator=g) * (torch.rand(3000, 8, generator=g) < 0.2)
    x = codes @ atoms + 0.01 * torch.randn(3000, 16, generator=g)
    found = learn_dictionary(x, 8, penalty=0.1, rounds=60)
    assert torch.allclose(found.norm(dim=1), torch.ones(8))
    best = (atoms @ found.T).abs().max(dim=1).values
    assert (best > 0.97).sum() >= 7


def test_sparse_coding_refuses_a_negative_penalty():
    with pytest.raises(InputError, match="negative"):
        sparse_codes(torch.zeros(1, 2), torch.eye(2), -1)


@pytest.mark.parametrize("samples", [0, -1])
def test_importance_bound_needs_samples(vae, samples):
    with pytest.raises(InputError, match="at least one sample"):
        vae.importance_bound(torch.zeros(1, 6).double(), samples)
