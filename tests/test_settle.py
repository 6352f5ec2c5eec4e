"""BatchNorm statistics from forward passes alone."""

import copy

import pretend_gpu
import pytest
import torch
from torch import nn

from ssl_lessons import data
from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.diagnostics import diagnose, spread
from ssl_lessons.errors import InputError
from ssl_lessons.methods import build_method
from ssl_lessons.models import build_encoder, settle, untrained
from ssl_lessons.views import normalize


def convnet(seed=0):
    torch.manual_seed(seed)
    return build_encoder("convnet", width=4, dim=16)


def method(name, seed=0, **options):
    return build_method(name, convnet(seed), **options)


@pytest.fixture(scope="module")
def images():
    return data.shapes("train", 16, 300, 0).images


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def by_hand(encoder, batches):
    """Mean and variance of the input of every BatchNorm of a conv net, averaged over the batches, layer by layer."""
    means, variances = [], []
    for x in batches:
        found = []
        for layer in encoder.layers:
            if isinstance(layer, nn.BatchNorm2d):
                n, mean = x.numel() // x.shape[1], x.mean(dim=(0, 2, 3))
                variance = (x - mean.view(1, -1, 1, 1)).square().sum(dim=(0, 2, 3)) / n
                found.append((mean, variance * n / (n - 1)))
                scale, shift = layer.weight / (variance + layer.eps).sqrt(), layer.bias
                x = (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
            else:
                x = layer(x)
        means.append([m for m, _ in found])
        variances.append([v for _, v in found])
    return [[sum(x) / len(batches) for x in zip(*of, strict=True)] for of in (means, variances)]


@pytest.mark.parametrize("batch_size, passes", [(300, 1), (100, 1), (100, 2)])
@torch.no_grad()
def test_the_statistics_are_those_of_the_batches(images, batch_size, passes):
    encoder = convnet()
    settle(encoder, images, batch_size=batch_size, passes=passes)
    orders = [torch.randperm(300, generator=torch.Generator().manual_seed(k)) for k in range(passes)]
    batches = [normalize(images[rows]) for order in orders for rows in order.split(batch_size)]
    means, variances = by_hand(encoder, batches)
    for norm, mean, variance in zip(norms(encoder), means, variances, strict=True):
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_evaluation_then_gives_what_training_mode_gives(images):
    encoder, x = settle(convnet(), images, batch_size=300), normalize(images)
    expected = encoder.train()(x)
    torch.testing.assert_close(encoder.eval()(x), expected, rtol=0.02, atol=0.02)
    assert spread(untrained(encoder).eval()(x)) < 0.8 * spread(expected)


def test_nothing_else_changes(images):
    network = method("dino")
    network.encoder.eval()
    network.projector.train()
    modes = [m.training for m in network.modules()]
    weights = copy.deepcopy(dict(network.named_parameters()))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert settle(network, images) is network
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [m.training for m in network.modules()] and len(set(modes)) == 2
    assert all(torch.equal(weights[name], p) and p.grad is None for name, p in network.named_parameters())
    assert {m.momentum for m in norms(network)} == {0.1}


def test_a_second_time_forgets_the_first(images):
    once, twice = settle(convnet(), images), settle(settle(convnet(), 255 - images), images)
    assert all(torch.equal(a, b) for a, b in zip(once.buffers(), twice.buffers(), strict=True))


def test_without_batchnorm_nothing_is_run(images):
    vit = build_encoder("vit", size=32)  # which refuses images of 16 px
    before = copy.deepcopy(vit.state_dict())
    assert settle(vit, images) is vit
    assert all(torch.equal(v, before[k]) for k, v in vit.state_dict().items())


def test_a_projector_is_reached_and_a_predictor_left_alone(images):
    network = method("byol")
    for norm in norms(network.predictor):
        norm.running_mean.fill_(7.0)
    settle(network, images)
    assert all(
        int(m.num_batches_tracked) > 0
        for part in ("encoder", "projector")
        for m in norms(getattr(network, part))
    )
    assert all(bool((m.running_mean == 7).all()) for m in norms(network.predictor)) and norms(
        network.predictor
    )


def test_a_teacher_gets_the_statistics_of_its_student(images):
    network = settle(method("dino"), images)
    for student, teacher in network.momentum_pairs():
        assert norms(student) and int(norms(student)[0].num_batches_tracked)
        assert all(torch.equal(a, b) for a, b in zip(student.buffers(), teacher.buffers(), strict=True))


@pytest.mark.parametrize("name", ["dino", "simclr_v2", "vicreg", "w_mse", "byol"])
@torch.no_grad()
def test_an_untrained_method_is_not_collapsed(images, name):
    """Unsettled, the first two are below the line; settled, none is anywhere near it."""
    network, x = method(name).eval(), normalize(images)
    report = diagnose(network.embed(x))
    assert (report.verdict == "complete collapse") == (name in ("dino", "simclr_v2")), str(report)
    assert "settle" in str(report) and report.evidence["spread"] < 0.03
    settled = diagnose(settle(network, images).embed(x))
    assert settled.verdict == "healthy" and settled.evidence["spread"] > 0.3, str(settled)


def test_untrained_takes_images_to_settle_on(images):
    plain, settled = untrained(convnet()), untrained(convnet(), images=images)
    assert torch.equal(plain.layers[0].weight, settled.layers[0].weight)
    assert not plain.layers[1].running_mean.any() and settled.layers[1].running_mean.any()
    expected = settle(untrained(convnet()), images)
    assert all(torch.equal(a, b) for a, b in zip(settled.buffers(), expected.buffers(), strict=True))


def test_a_last_batch_of_one_does_not_happen(images):
    """257 images in batches of at most 256: BatchNorm1d refuses a batch of one."""
    network = settle(method("simclr"), images[:257], batch_size=256)
    assert int(norms(network)[0].num_batches_tracked) == 2


def test_pictures_on_disk(images):
    stored = settle(convnet(), StoredPictures(images.numpy()))
    assert all(
        torch.equal(a, b) for a, b in zip(stored.buffers(), settle(convnet(), images).buffers(), strict=True)
    )


def test_unusable_arguments(images):
    for bad, message in (
        ({"images": images[:1]}, "two images"),
        ({"images": images[0]}, "images"),
        ({"batch_size": 1}, "batch_size"),
        ({"passes": 0}, "passes"),
        ({"device": "gpu"}, "device"),
    ):
        encoder = convnet()
        with pytest.raises(InputError, match=message):
            settle(encoder, **({"images": images} | bad))
        assert all(torch.equal(a, b) for a, b in zip(encoder.buffers(), convnet().buffers(), strict=True))
        assert {m.momentum for m in norms(encoder)} == {0.1}


@pretend_gpu.on_a_gpu
def test_on_a_gpu():
    """Network and pictures on either device: the CPU's numbers, and the network stays where it was."""
    images = data.shapes("train", 16, 300, 0).images
    expected = list(settle(convnet(), images, device="cpu").buffers())
    there = (convnet().cuda(), images), (convnet().cuda(), images.cuda()), (convnet(), images.cuda())
    for network, pictures in there:
        home = next(network.parameters()).device.type
        found = list(settle(network, pictures).buffers())
        assert {b.device.type for b in found} == {home}
        assert all(
            torch.allclose(a.cpu(), b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True)
        )
