"""The methods: their loss is the published one, and every parameter learns from it."""

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods import Method, SimCLR, Supervised, build_method, takes
from ssl_lessons.models import build_encoder

BASIC = {"simclr": {}, "supervised": {"n_classes": 3}}  # the others have files of their own
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def small():
    torch.manual_seed(0)
    return build_encoder("convnet", width=4, dim=16)


def views(count=2, n=8, size=16):
    return list(torch.randn(count, n, 3, size, size, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("name", BASIC)
def test_gradients_reach_every_parameter(name):
    method = build_method(name, small(), **BASIC[name])
    assert isinstance(method, Method) and method.needs_labels == (name == "supervised")
    loss = method(views(), LABELS)
    assert loss.shape == () and loss > 0
    loss.backward()
    for parameter_name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, parameter_name
    assert method.after_step(0.5) is None


@pytest.mark.parametrize("name", BASIC)
def test_a_few_steps_lower_the_loss(name):
    method, batch = build_method(name, small(), **BASIC[name]), views()
    opt = torch.optim.Adam(method.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        losses.append(method(batch, LABELS))
        opt.zero_grad()
        losses[-1].backward()
        opt.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_is_nt_xent_on_its_projections(temperature):
    method = SimCLR(small(), temperature=temperature, out_dim=12)
    first, second = views()
    for _ in range(30):  # statistics worth the name
        method([first, second])
    method.eval()  # BatchNorm then treats every row alone
    z1, z2 = method.projector(method.encoder(first)), method.projector(method.encoder(second))
    assert z1.shape == (8, 12)
    assert torch.allclose(method([first, second]), nt_xent(z1, z2, temperature), atol=1e-5)
    assert not torch.allclose(method([first, second]), method([first, second.roll(1, 0)]), atol=1e-3)


def test_simclr_normalizes_both_views_together():
    """One pass over both views: the statistics of BatchNorm see 2N images."""
    method = SimCLR(small())
    method(views())
    twin = SimCLR(small())
    twin.encoder(torch.cat(views()))
    assert torch.equal(method.encoder.layers[1].running_mean, twin.encoder.layers[1].running_mean)


def test_simclr_ignores_labels():
    method = SimCLR(small()).eval()
    assert torch.equal(method(views()), method(views(), LABELS))


def test_simclr_head_options():
    method = SimCLR(small(), hidden_dim=20, out_dim=5, batch_norm=False)
    linear = [m for m in method.projector if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(16, 20), (20, 5)]
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in method.projector)
    assert SimCLR(small()).projector[0].out_features == 16


@pytest.mark.parametrize("count", [1, 3, 4])
def test_simclr_wants_two_views(count):
    """With one or four views, halving the batch would pair views of different images."""
    with pytest.raises(InputError, match="two"):
        SimCLR(small())(views(count))


def test_supervised_is_cross_entropy_on_the_first_view():
    method = Supervised(small(), 3).eval()
    first, second = views()
    expected = F.cross_entropy(method.classifier(method.encoder(first)), LABELS)
    assert torch.allclose(method([first, second], LABELS), expected)


@pytest.mark.parametrize(
    "name, options",
    [("simclrr", {}), ("simclr", {"temprature": 0.1}), ("supervised", {}), ("supervised", {"classes": 3})],
)
def test_unknown_names_and_options_are_refused(name, options):
    with pytest.raises(InputError):
        build_method(name, small(), **options)


@pytest.mark.parametrize(
    "name, option, there",
    [
        ("simclr", "temperature", True), ("simclr", "temprature", False), ("mochi", "temperature", True),
        ("mochi", "mixed", True), ("mochi", "n_images", False), ("instdisc", "n_images", True),
        ("mae", "temperature", False),
    ],
)  # fmt: skip
def test_options_are_found_also_where_they_are_passed_on(name, option, there):
    assert takes(name, option) is there


def test_a_bad_temperature_is_refused():
    with pytest.raises(InputError, match="temperature"):
        build_method("simclr", small(), temperature=0.0)(views())
