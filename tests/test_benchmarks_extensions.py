"""The parts of chapter 26's benchmarks that could be wrong without anyone noticing."""

import importlib
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


def test_watched_turns_every_view_by_quarters(benches):
    seen = []

    class Spy(nn.Module):
        dim = 8

        def forward(self, x):
            seen.append(x)
            return x.flatten(1)[:, :8]

    watched = benches[0].Watched(Spy(), quarters=True)
    pair = [torch.randn(6, 3, 8, 8) for _ in range(2)]
    torch.manual_seed(0)
    watched(pair)
    turned = seen[0]
    originals = torch.cat(pair)
    matches = [
        [bool(torch.equal(turned[i], originals[i].rot90(k, (1, 2)))) for k in range(4)]
        for i in range(len(turned))
    ]
    assert all(sum(row) == 1 for row in matches) and len({row.index(True) for row in matches}) > 1


def test_policies_differ_from_the_standard_one(benches):
    policies = benches[0].POLICIES
    changed = {
        name: [f.name for f in fields(p) if getattr(p, f.name) != getattr(policies["standard"], f.name)]
        for name, p in policies.items()
    }
    assert [n for n, c in changed.items() if not c] == ["standard", benches[0].QUARTERS] and len(
        policies
    ) == 13


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
