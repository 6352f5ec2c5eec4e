"""Barlow Twins, VICReg and W-MSE as methods: their loss is the published one, and every parameter learns."""

import pytest
import torch

from ssl_lessons.diagnostics import feature_std
from ssl_lessons.errors import InputError
from ssl_lessons.losses.correlation import barlow_twins, vicreg, w_mse
from ssl_lessons.methods.barlow_twins import BarlowTwins
from ssl_lessons.methods.vicreg import VICReg
from ssl_lessons.methods.w_mse import WMSE
from ssl_lessons.models import build_encoder

SIZE = {"hidden_dim": 24, "out_dim": 12}
METHODS = {
    "barlow_twins": (BarlowTwins, SIZE),
    "vicreg": (VICReg, SIZE),
    "w_mse": (WMSE, {"hidden_dim": 24, "out_dim": 5, "sub_batch": 16}),
}
ALL = pytest.mark.parametrize("name", METHODS)


def build(name, **options):
    cls, size = METHODS[name]
    torch.manual_seed(0)
    return cls(build_encoder("convnet", width=4, dim=16), **{**size, **options})


def views(count=2, n=32, size=16, seed=1):
    """Views of the same images: a common pattern plus noise of each view's own."""
    g = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 3, size, size, generator=g)
    return [image + 0.3 * torch.randn(n, 3, size, size, generator=g) for _ in range(count)]


def train(method, steps=40, lr=5e-3):
    opt = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr)
    losses = []
    for step in range(steps):
        losses.append(method(views(seed=step % 4)))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
    return losses


@ALL
def test_gradients_reach_every_parameter(name):
    method = build(name)
    loss = method(views(), torch.zeros(32, dtype=torch.long))
    assert loss.shape == () and loss > 0
    loss.backward()
    for parameter_name, p in method.named_parameters():
        # BatchNorm and the centring of the loss make the biases before them irrelevant.
        centred = parameter_name.startswith("projector") and parameter_name.endswith("3.bias")
        assert p.grad is not None and (centred or p.grad.abs().max() > 0), parameter_name
    assert method.after_step(0.5) is None and method.momentum_pairs() == []


@ALL
def test_training_lowers_the_loss_and_keeps_the_spread(name):
    method = build(name)
    losses = train(method)
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    method.eval()
    assert feature_std(method.embed(views()[0])) > 0.3


@ALL
def test_the_loss_is_the_published_one_on_the_projections(name):
    options, expected = {
        "barlow_twins": ({"lambd": 0.02, "scale": 0.5}, lambda a, b: 0.5 * barlow_twins(a, b, 0.02)),
        "vicreg": (
            {"invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 5.0},
            lambda a, b: vicreg(a, b, 2.0, 3.0, 5.0),
        ),
        "w_mse": ({"sub_batch": 16, "eps": 0.01}, lambda a, b: w_mse(a, b, 16, 0.01)),
    }[name]
    method = build(name, **options)
    for _ in range(30):  # statistics worth the name
        method(views())
    method.eval()  # BatchNorm then treats every row alone
    first, second = views()
    z1, z2 = method.embed(first), method.embed(second)
    assert z1.shape == (32, METHODS[name][1]["out_dim"])
    assert torch.allclose(method([first, second]), expected(z1, z2), rtol=1e-4)
    method.projector[3].weight.data *= 20  # else VICReg's invariance is a small part of its loss
    assert method([first, second]) < 0.998 * method([first, second.roll(1, 0)])


@ALL
@pytest.mark.parametrize("count", [1, 3, 4])
def test_two_views_are_wanted(name, count):
    with pytest.raises(InputError, match="two"):
        build(name)(views(count))


@pytest.mark.parametrize("name", ["barlow_twins", "vicreg"])
def test_chance_loss_is_the_loss_of_a_constant_encoder(name):
    method = build(name)
    for p in method.projector[3].parameters():
        torch.nn.init.zeros_(p)
    assert method(views()).item() == pytest.approx(method.chance_loss(32), rel=1e-4)


def test_a_whitened_constant_is_refused_or_zero():
    method = build("w_mse")
    for p in method.projector[3].parameters():
        torch.nn.init.zeros_(p)
    assert method(views()).item() == 0 and method.chance_loss(32) is None
    with pytest.raises(InputError, match="singular"):
        build("w_mse", eps=0.0)([torch.zeros(32, 3, 16, 16)] * 2)


def test_without_its_variance_term_vicreg_collapses_and_without_covariance_it_repeats_itself():
    spread, correlation = {}, {}
    for name, options in {
        "whole": {},
        "no variance": {"variance_weight": 0.0},
        "no covariance": {"covariance_weight": 0.0},
    }.items():
        method = build("vicreg", **options)
        train(method, steps=80)
        method.eval()
        with torch.no_grad():
            z = method.embed(torch.cat([views(seed=s)[0] for s in range(4)]))
        spread[name] = z.std(dim=0).mean().item()
        c = torch.corrcoef(z.T)
        correlation[name] = ((c.square().sum() - 12) / (12 * 11)).item()
    assert spread["no variance"] < 0.2 * spread["whole"]
    assert correlation["no covariance"] > 1.5 * correlation["whole"]


def test_a_frozen_projector_stays_as_drawn():
    method = build("vicreg", train_projector=False)
    before = [p.clone() for p in method.projector.parameters()]
    encoder = [p.clone() for p in method.encoder.parameters()]
    train(method, steps=3)
    assert all(torch.equal(a, b) for a, b in zip(before, method.projector.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(encoder, method.encoder.parameters(), strict=True))


def test_barlow_scale_is_a_factor():
    once, ten = build("barlow_twins", scale=1.0), build("barlow_twins", scale=10.0)
    assert ten(views()).item() == pytest.approx(10 * once(views()).item(), rel=1e-5)


def test_w_mse_whitens_the_whole_batch_with_sub_batch_zero():
    assert not torch.equal(build("w_mse", sub_batch=0)(views()), build("w_mse", sub_batch=16)(views()))
    with pytest.raises(InputError, match="divisor"):
        build("w_mse", sub_batch=10)(views())


@ALL
def test_half_precision_under_autocast(name):
    method = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(views())
    assert loss.dtype == torch.float32 and loss.isfinite()
