"""Vector quantisation: nearest codes, the straight-through gradient, the losses, and the pieces of VQGAN and dVAE."""

import math

import pytest
import torch
from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.vq import (
    PatchCritic,
    VectorQuantizer,
    adaptive_weight,
    codebook_loss,
    commitment_loss,
    hinge_critic_loss,
    nearest_code,
    perplexity,
    straight_through,
    uniform_kl,
)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_nearest_code_by_loops():
    z, codebook = randn(4, 6, 3), randn(7, 3, seed=1)
    for vector, index in zip(z.flatten(0, 1), nearest_code(z, codebook).flatten(), strict=True):
        distances = [sum((a - b) ** 2 for a, b in zip(vector, code, strict=True)) for code in codebook]
        assert index.item() == min(range(7), key=lambda k: distances[k])


def test_straight_through_is_the_code_forwards_and_the_identity_backwards():
    z, q = randn(3, 4).requires_grad_(), randn(3, 4, seed=1).requires_grad_()
    out = straight_through(z, q)
    assert torch.allclose(out, q)
    upstream = randn(3, 4, seed=2)
    grads = torch.autograd.grad((out * upstream).sum(), [z, q], allow_unused=True)
    assert torch.equal(grads[0], upstream)
    assert grads[1] is None or grads[1].abs().sum() == 0


def test_which_loss_moves_what():
    z, e = randn(3, 4).requires_grad_(), randn(3, 4, seed=1).requires_grad_()
    value = ((z - e) ** 2).sum().item() / 12
    for loss, moved, still in ((codebook_loss, 1, 0), (commitment_loss, 0, 1)):
        out = loss(z, e)
        assert out.item() == pytest.approx(value)
        grads = torch.autograd.grad(out, [z, e], allow_unused=True)
        direction = 2 * (e - z).detach() / 12
        assert torch.allclose(grads[moved], direction if moved == 1 else -direction)
        assert grads[still] is None


def test_quantizer_end_to_end():
    """The whole gradient: the reconstruction's goes to the encoder untouched, the codes move to their members' mean."""
    vq = VectorQuantizer(5, 3, beta=0.25).double()
    with torch.no_grad():
        vq.codebook.copy_(randn(5, 3, seed=4))
    z = randn(2, 3, 4, 4).requires_grad_()
    out, loss, indices = vq(z)
    assert out.shape == z.shape and indices.shape == (2, 4, 4)
    assert torch.equal(vq.look_up(indices), vq.codebook[indices].permute(0, 3, 1, 2))
    upstream = randn(2, 3, 4, 4, seed=5)
    z_grad, code_grad = torch.autograd.grad((out * upstream).sum() + loss, [z, vq.codebook])
    q = vq.look_up(indices).detach()
    assert torch.allclose(z_grad, upstream + 0.25 * 2 * (z - q).detach() / z.numel())
    members = z.detach().permute(0, 2, 3, 1).flatten(0, 2)
    for k in range(5):
        mine = members[indices.flatten() == k]
        expected = 2 * (len(mine) * vq.codebook[k] - mine.sum(dim=0)) / z.numel()
        assert torch.allclose(code_grad[k], expected)


def test_perplexity():
    assert perplexity(torch.zeros(10, dtype=torch.long), 4) == pytest.approx(1)
    assert perplexity(torch.arange(8), 8) == pytest.approx(8)
    assert perplexity(torch.tensor([[0, 0], [1, 2]]), 9) == pytest.approx(math.exp(1.5 * math.log(2)))


def test_restart_moves_unused_codes_only():
    vq = VectorQuantizer(4, 2)
    with torch.no_grad():
        vq.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [50.0, 0.0], [0.0, 50.0]]))
    z = torch.tensor([[0.1, 0.0], [0.9, 1.0], [0.0, 0.2]]).T.reshape(1, 2, 1, 3)
    before = vq.codebook.detach().clone()
    assert vq.restart_unused(z, torch.Generator().manual_seed(0)) == 2
    assert torch.equal(vq.codebook[:2], before[:2])
    vectors = z[0, :, 0].T.tolist()
    assert all(any(code == pytest.approx(v) for v in vectors) for code in vq.codebook[2:].tolist())


def test_uniform_kl():
    assert uniform_kl(torch.zeros(2, 8)).tolist() == pytest.approx([0, 0], abs=1e-6)
    sure = torch.full((1, 8), -1e4)
    sure[0, 3] = 1e4
    assert uniform_kl(sure).item() == pytest.approx(math.log(8))
    logits = randn(5, 6)
    q = torch.distributions.Categorical(logits=logits)
    u = torch.distributions.Categorical(logits=torch.zeros(5, 6).double())
    assert torch.allclose(uniform_kl(logits), torch.distributions.kl_divergence(q, u))


def test_hinge_by_hand():
    real, fake = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([0.5, -3.0])
    assert hinge_critic_loss(real, fake).item() == pytest.approx(((0 + 0.5 + 2 + 0) / 4 + (1.5 + 0) / 2) / 2)


def test_patch_critic_is_local():
    torch.manual_seed(0)
    critic, x = PatchCritic(4), torch.rand(1, 3, 32, 32)
    y = x.clone()
    y[..., :4, :4] = 0
    changed = (critic(x) - critic(y)).abs()[0, 0] > 1e-6
    assert changed.shape == (8, 8) and changed[0, 0] and not changed[4:].any() and not changed[:, 4:].any()


def test_adaptive_weight_balances_the_gradients():
    torch.manual_seed(0)
    body, last = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
    out = last(body(randn(5, 3)))
    rec, adv = out.square().mean(), -7 * out.sum()
    weight = adaptive_weight(rec, adv, last.weight)
    a = torch.autograd.grad(rec, last.weight, retain_graph=True)[0].norm()
    b = torch.autograd.grad(weight * adv, last.weight)[0].norm()
    assert a.item() == pytest.approx(b.item(), rel=1e-4) and not weight.requires_grad


def test_codes_of_another_length_are_refused():
    with pytest.raises(InputError, match="length 3"):
        nearest_code(torch.zeros(2, 3), torch.zeros(4, 5))
