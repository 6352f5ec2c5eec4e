"""The parts of chapter 23's benchmark that could be wrong without anyone noticing."""

import importlib
from pathlib import Path

import pytest
import torch

from ssl_lessons import data, evaluation
from ssl_lessons.models import build_encoder

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        module = importlib.import_module("protocols")
        patch.setitem(module.SIZES, "pictures", 12)
        patch.setitem(module.SIZES, "variants", 3)
        yield module


def test_the_online_probe_sends_nothing_back(bench):
    method = bench.WatchedSimCLR(build_encoder("convnet", width=4, dim=16))
    both = list(torch.randn(2, 6, 3, 32, 32))
    labels = torch.arange(6)
    method.train()
    method(both, labels).backward()
    with_head = [p.grad.clone() for p in method.encoder.parameters()]
    assert method.head.weight.grad.abs().sum() > 0
    method.zero_grad()
    super(bench.Watched, method).forward(both).backward()
    assert all(torch.allclose(a, p.grad) for a, p in zip(with_head, method.encoder.parameters(), strict=True))


def test_a_change_changes_what_it_names(bench):
    for change, names in bench.CHANGES.items():
        images = bench.changed(change, 0)
        assert images.shape == (12, 3, 3, 32, 32)
        assert (images[:, 1] != images[:, 0]).any(), change
        if "background_hue" in names:  # the object stays, the rest does not
            masks = data.object_masks(data.shapes("test", n=1))
            assert masks.shape == (1, 32, 32)


def test_an_occlusion_is_one_gray_square(bench):
    images = torch.zeros(5, 3, 32, 32, dtype=torch.uint8)
    hidden = bench.occluded(images, 0.25)[:, 0] == 128
    assert hidden.sum(dim=(1, 2)).tolist() == [64] * 5
    assert all(int(h.any(dim=0).sum()) == int(h.any(dim=1).sum()) == 8 for h in hidden)


def test_damage_leaves_shape_and_dtype(bench):
    images = data.shapes("test", n=4).images
    for damage, strengths in bench.DAMAGE.values():
        weak, strong = (damage(images, s).float() for s in strengths)
        distance = [(v - images.float()).square().mean() for v in (weak, strong)]
        assert weak.shape == images.shape and 0 < distance[0] < distance[1]


def test_half_of_the_labels_drawn_anew_leaves_55_percent(bench):
    y = torch.arange(10).repeat(2000)
    assert (bench.with_noise(y, 0.5, 0) == y).double().mean() == pytest.approx(0.55, abs=0.01)


def test_a_biased_background_tells_the_kind(bench):
    told, y = bench.biased(300, 0, "background_texture", 1.0)
    free, same = bench.biased(300, 0, "background_texture", 0.0)
    assert torch.equal(y, same) and (told != free).any() and told.dtype == torch.uint8


def test_dot_products_are_the_package_without_normalising(bench):
    g = torch.Generator().manual_seed(0)
    x, x_test = (torch.nn.functional.normalize(torch.randn(n, 8, generator=g), dim=1) for n in (80, 40))
    y, y_test = (torch.randint(0, 10, (n,), generator=g) for n in (80, 40))
    assert bench.dot_knn(x, y, x_test, y_test) == evaluation.knn_accuracy(x, y, x_test, y_test)
    longer = x * torch.linspace(0.1, 10, 80)[:, None]
    assert bench.dot_knn(longer, y, x_test, y_test) != evaluation.knn_accuracy(longer, y, x_test, y_test)


def test_training_mode_depends_on_the_company_and_keeps_the_order(bench):
    encoder = build_encoder("convnet", **bench.QUICK.encoder_options)
    images = data.shapes("test", n=8).images
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    mixed = bench.in_training_mode(encoder, images, order)
    assert torch.allclose(mixed, bench.in_training_mode(encoder, images, torch.arange(8)), atol=1e-5)
    alone = bench.in_training_mode(encoder, images[:4], torch.arange(4))
    assert not torch.allclose(alone, mixed[:4], atol=1e-2)
