"""The parts of chapter 26's benchmarks that could be wrong without anyone noticing."""

import importlib
import itertools
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from ssl_lessons import data
from ssl_lessons.losses import nt_xent
from ssl_lessons.models import build_encoder

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def benches():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("extensions"), importlib.import_module("recipe_claims")


def test_gradient_norm_is_that_of_one_long_vector(benches):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    net[0].bias.requires_grad_(False)
    net(torch.randn(5, 4)).square().sum().backward()
    vector = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    assert benches[0].gradient_norm(net) == pytest.approx(float(vector.norm()), rel=1e-6)


def test_tenths_cover_the_run(benches):
    assert benches[0].tenths([float(i) for i in range(20)]) == [2 * i + 0.5 for i in range(10)]
    odd = benches[0].tenths([1.0] * 37)
    assert len(odd) == 10 and set(odd) == {1.0}


def test_half_of_all_policies_keeps_the_effects_apart(benches):
    """Every part is in half of the policies, any two are both in a quarter of them, any three in an eighth."""
    bench = benches[0]
    parts, chosen = (*bench.OFF, *bench.ON), list(bench.DESIGN.values())
    assert len(set(chosen)) == 32 and all(len(p) % 2 == 0 for p in chosen)
    for size, share in ((1, 16), (2, 8), (3, 4)):
        for some in itertools.combinations(parts, size):
            assert sum(set(some) <= set(p) for p in chosen) == share


def test_policies_do_what_their_names_say(benches):
    bench = benches[0]
    assert len(bench.POLICIES) == len(set(bench.POLICIES.values())) == 36
    assert bench.POLICIES["photographs"] == bench.QUICK.policy
    for name, policy in bench.POLICIES.items():
        parts = bench.PARTS_OF[name]
        found = {
            "crop": policy.crop_p > 0, "colour": policy.jitter_p > 0, "gray": policy.grayscale_p > 0,
            "flip": policy.flip_p > 0, "turns": policy.rotation > 0, "blur": policy.blur_p > 0,
        }  # fmt: skip
        assert {part for part, on in found.items() if on} == set(parts), name


def test_keys_of_the_batch_are_the_only_negatives(benches):
    method = benches[0].BatchKeys(build_encoder("convnet", width=4, dim=16), queue_size=8)
    q, k = torch.randn(2, 5, 128).unbind()
    loss = method.contrast(q, k)
    method.queue.push(torch.randn(8, 128))
    assert torch.equal(loss, method.contrast(q, k))
    unit = [v / v.norm(dim=1, keepdim=True) for v in (q, k)]
    by_hand = [-(unit[0][i] @ unit[1].T / 0.1).log_softmax(dim=0)[i] for i in range(5)]
    assert loss == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)


def test_a_smaller_batch_forgets_as_much_per_picture(benches):
    left = []
    for name in ("moco 128", "moco 16", "keys 16"):
        method, training = benches[0].contestant(name, 4e-3, 0)
        left.append(method.momentum ** (256 / training["batch_size"]))
    assert left == pytest.approx([0.99] * 3)


def test_which_quarter_needs_a_picture_with_an_up(benches):
    class Corners(nn.Module):
        """The brightness of the four quarters of a picture."""

        def forward(self, x):
            return nn.functional.adaptive_avg_pool2d(x.mean(dim=1, keepdim=True), 2).flatten(1)

    def pictures(n, upright):
        images = torch.randint(
            0, 100, (n, 3, 8, 8), generator=torch.Generator().manual_seed(n), dtype=torch.uint8
        )
        if upright:
            images[:, :, :4, :4] += 100
        return data.ImageSet(images, torch.zeros(n, dtype=torch.long), ("a",), "toy", "train")

    seen = [benches[0].which_quarter(Corners(), pictures(200, up), pictures(100, up)) for up in (True, False)]
    assert seen[0] > 0.99 and abs(seen[1] - 0.25) < 0.08


def test_multi_crop_is_the_mean_over_five_pairs(benches):
    _, claims = benches
    method = claims.MultiCrop(build_encoder("convnet", width=4, dim=16), temperature=0.2).double().eval()
    policies = method.views(claims.OURS.policy)
    assert [p.size for p in policies] == [64, 64, 32, 32]
    batch = [torch.randn(4, 3, p.size, p.size, dtype=torch.float64) for p in policies]
    a, b, c, d = (method.embed(v) for v in batch)
    expected = sum(nt_xent(x, y, 0.2) for x, y in [(a, b), (a, c), (a, d), (b, c), (b, d)]) / 5
    assert torch.allclose(method(batch), expected, rtol=1e-12)


def test_every_arm_changes_one_choice(benches):
    _, claims = benches
    ours = claims.OURS
    for name, (recipe, kind) in claims.ARMS.items():
        changed = [f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(ours, f.name)]
        if name in ("recommended", "DCL", "multi-crop"):
            assert changed == [] and (kind is claims.SimCLR) == (name == "recommended")
        elif name in (
            "SGD 0.5, no warm-up",
            "LARS 0.3",
            "AdamW 2e-3",
        ):  # an optimiser comes with its settings
            assert set(changed) <= {"optimizer", "lr", "warmup", "weight_decay"} and changed
        elif name != "published":
            assert len(changed) == 1, name


def test_whitening_makes_the_covariance_the_identity(benches):
    _, claims = benches
    x = torch.randn(500, 6) @ torch.randn(6, 6) + 3
    white = claims.whitening(x, eps=0.0)(x)
    assert (
        torch.allclose(torch.cov(white.T), torch.eye(6), atol=1e-3) and white.mean(dim=0).abs().max() < 1e-4
    )


@pytest.mark.parametrize("stem", ["3x3", "7x7"])
def test_thin_resnet(benches, stem):
    assert benches[1].ThinResNet(stem)(torch.randn(2, 3, 64, 64)).shape == (2, 128)


def test_folder_holds_out_a_quarter_and_ten_classes_are_renumbered(benches, tmp_path):
    _, claims = benches
    for c in range(20):
        (tmp_path / f"class{c:02d}").mkdir()
        for i in range(10):
            pixels = torch.randint(
                0, 256, (8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(99 * c + i)
            )
            Image.fromarray(pixels.numpy()).save(tmp_path / f"class{c:02d}" / f"{i}.png")
    unlabeled, fit, score = claims.from_folder(tmp_path)
    whole = data.folder(tmp_path, "train", claims.SIZE)
    assert len(fit) + len(score) == len(whole) and len(unlabeled) == len(fit)
    assert 0.15 < len(score) / len(whole) < 0.35 and len(score.labels.unique()) == 20
    rows = {bytes(i.numpy().tobytes()) for i in fit.images}
    assert not any(i.numpy().tobytes() in rows for i in score.images)
    ten = claims.ten_classes(fit)
    assert ten.classes == tuple(
        f"class{c:02d}" for c in range(0, 20, 2)
    ) and ten.labels.unique().tolist() == list(range(10))
    assert torch.equal(ten.images, fit.images[fit.labels % 2 == 0])
