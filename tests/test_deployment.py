"""Folding, grids, the exported model and the bundle.  What needs onnx or onnxruntime skips where they are missing.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ssl_lessons import data, evaluation
from ssl_lessons.deployment import pictures, quantization
from ssl_lessons.deployment.bundle import CARD, MODEL, SUMS, Card, load_bundle, write_bundle
from ssl_lessons.deployment.export import Classifier, linear_layer, make_bundle
from ssl_lessons.deployment.pictures import Refused, decode
from ssl_lessons.errors import InputError
from ssl_lessons.models import encoders
from ssl_lessons.views import normalize


def rough_batch_norm(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and affine parameters far from their initial 0 and 1, so that a forgotten one shows."""
    g = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            for tensor, low, high in (
                (m.weight.data, 0.5, 2.0), (m.bias.data, -0.5, 0.5),
                (m.running_mean, -0.5, 0.5), (m.running_var, 0.3, 2.0),
            ):  # fmt: skip
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=g))
    return model


class TestFolding:
    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize("groups", [1, 2])
    def test_one_convolution_does_the_work_of_both(self, bias, groups):
        conv = nn.Conv2d(4, 6, 3, 2, 1, groups=groups, bias=bias).double()
        norm = rough_batch_norm(nn.BatchNorm2d(6, eps=1e-2)).double().eval()
        x = torch.randn(3, 4, 9, 9, dtype=torch.float64)
        folded = quantization.fold_batch_norm(conv, norm)
        assert torch.allclose(folded(x), norm(conv(x)), rtol=0, atol=1e-12)
        theirs = nn.utils.fuse_conv_bn_eval(conv.eval(), norm)
        assert torch.allclose(folded.weight, theirs.weight) and torch.allclose(folded.bias, theirs.bias)

    @pytest.mark.parametrize("name", ["convnet", "resnet18", "resnet18_3x3"])
    def test_a_whole_encoder_is_unchanged_in_what_it_computes(self, name):
        encoder = rough_batch_norm(encoders.build_encoder(name)).double().eval()
        before = {k: v.clone() for k, v in encoder.state_dict().items()}
        x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        folded = quantization.fold(encoder)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        assert torch.allclose(folded(x), encoder(x), rtol=1e-10, atol=1e-12)
        assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
        assert folded.dim == encoder.dim

    @pytest.mark.parametrize(
        "name, of", [("lab", "convnet"), ("lab", "resnet18"), ("lab", "vit"), ("split", "convnet")]
    )
    def test_the_network_behind_the_channels_is_folded(self, name, of):
        """The way to Lab cannot be traced; what follows it can."""
        encoder = rough_batch_norm(encoders.build_encoder(name, of=of)).eval()
        x = normalize(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
        folded = quantization.fold(encoder)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        with torch.no_grad():
            assert torch.allclose(folded(x), encoder(x), rtol=1e-4, atol=1e-4 * float(encoder(x).abs().max()))
        assert folded.dim == encoder.dim and any("running_var" in k for k in encoder.state_dict()) == (
            of != "vit"
        )

    def test_a_forward_that_cannot_be_followed_is_refused(self):
        class Branching(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm, self.dim = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), 4

            def forward(self, x):
                return self.norm(self.conv(x if x.mean() > 0 else -x)).mean((2, 3))

        with pytest.raises(InputError, match="Branching: torch.fx cannot follow"):
            quantization.fold(Branching())

    def test_nothing_to_fold(self):
        vit = encoders.build_encoder("vit", size=16, patch=8).eval()
        x = torch.randn(2, 3, 16, 16)
        assert torch.equal(quantization.fold(vit)(x), vit(x))


class TestGrids:
    @pytest.mark.parametrize("bits", [2, 4, 8])
    @pytest.mark.parametrize("per_channel", [False, True])
    def test_weights_move_by_half_a_step_at_most(self, bits, per_channel):
        w = torch.randn(5, 3, 3, 3, dtype=torch.float64) * torch.tensor([0.01, 0.1, 1, 2, 5]).view(5, 1, 1, 1)
        grid = quantization.weight_grid(w, bits, per_channel)
        q = quantization.quantize(w, grid)
        assert int(q.abs().max()) == 2 ** (bits - 1) - 1
        error = (quantization.dequantize(q, grid, w.dtype) - w).abs()
        assert (error <= grid.scale / 2 + 1e-15).all()
        assert grid.scale.numel() == (5 if per_channel else 1)

    def test_per_channel_saves_the_small_channels(self):
        torch.manual_seed(0)
        w = torch.randn(2, 8, 3, 3) * torch.tensor([0.01, 1.0]).view(2, 1, 1, 1)
        errors = [
            (quantization.fake_quantize(w, quantization.weight_grid(w, 4, per_channel)) - w)[0]
            .square()
            .mean()
            for per_channel in (False, True)
        ]
        assert errors[1] < errors[0] / 20
        assert errors[0] == w[0].square().mean()  # with one scale, the small channel is rounded to nothing

    @pytest.mark.parametrize(("low", "high"), [(-1.3, 2.0), (0.0, 6.0), (0.5, 3.0), (-4.0, -1.0), (0.0, 0.0)])
    def test_activations_keep_zero_and_move_by_half_a_step(self, low, high):
        grid = quantization.activation_grid(low, high)
        x = torch.linspace(min(low, 0), max(high, 0), 1001, dtype=torch.float64)
        q = quantization.quantize(x, grid)
        assert 0 <= int(q.min()) and int(q.max()) <= 255
        # the zero point is rounded too: at the two ends of the range half a step of clipping may be added
        assert ((quantization.fake_quantize(x, grid) - x).abs() <= grid.scale * (1 + 1e-9)).all()
        inside = x[(q > 0) & (q < 255)]
        assert ((quantization.fake_quantize(inside, grid) - inside).abs() <= grid.scale / 2 + 1e-15).all()
        assert quantization.fake_quantize(torch.zeros(1), grid) == 0

    def test_what_lies_beyond_is_clipped(self):
        grid = quantization.activation_grid(0.0, 1.0)
        assert quantization.fake_quantize(torch.tensor([-3.0, 7.0]), grid).tolist() == [0.0, 1.0]

    def test_integers_alone_give_the_same_convolution(self):
        """sum s_w q_w s_x (q_x - z) = s_w s_x (sum q_w q_x - z sum q_w): the inner sums need no real number."""
        conv = nn.Conv2d(3, 4, 3, bias=False).double()
        x = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 3 - 1
        w_grid, x_grid = quantization.weight_grid(conv.weight), quantization.activation_grid(-1.0, 2.0)
        q_w, q_x = quantization.quantize(conv.weight, w_grid), quantization.quantize(x, x_grid)
        sums = nn.functional.conv2d(q_x.double(), q_w.double())
        sums -= x_grid.zero_point * q_w.double().sum(dim=(1, 2, 3)).view(1, -1, 1, 1)
        assert torch.equal(sums, sums.round())  # whole numbers, exactly
        in_integers = x_grid.scale * w_grid.scale.view(1, -1, 1, 1) * sums
        simulated = nn.functional.conv2d(
            quantization.fake_quantize(x, x_grid), quantization.fake_quantize(conv.weight, w_grid)
        )
        assert torch.allclose(in_integers, simulated, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("bits", [1, 0, -3, 17, 8.0, "8"])
    def test_impossible_bits(self, bits):
        with pytest.raises(InputError, match="bits"):
            quantization.weight_grid(torch.randn(2, 2), bits)
        with pytest.raises(InputError, match="bits"):
            quantization.activation_grid(0, 1, bits)

    def test_a_dead_channel_is_no_division_by_zero(self):
        w = torch.zeros(2, 3)
        assert torch.equal(quantization.fake_quantize(w, quantization.weight_grid(w)), w)


class TestSimulation:
    images = data.shapes("unlabeled", 32, 64).images

    def test_many_bits_change_nothing_and_few_change_much(self):
        folded = quantization.fold(rough_batch_norm(encoders.build_encoder("convnet", width=8, dim=32)))
        ranges = quantization.input_ranges(folded, self.images)
        assert len(ranges) == 4 and all(low <= high for low, high in ranges.values())
        h = evaluation.extract_features(folded, self.images)
        errors = [
            float(
                (
                    evaluation.extract_features(quantization.simulate(folded, ranges, b, b), self.images) - h
                ).norm()
            )
            for b in (16, 8, 4, 2)
        ]
        assert errors[0] < 1e-3 * float(h.norm()) and errors == sorted(errors) and errors[3] > 100 * errors[0]

    def test_the_ranges_are_those_of_the_images(self):
        conv = nn.Sequential(nn.Conv2d(3, 2, 1))
        x = normalize(self.images)
        low, high = quantization.input_ranges(conv, self.images, batch_size=10)["0"]
        assert low == float(x.min()) and high == float(x.max())
        assert not conv[0]._forward_pre_hooks  # the watcher is gone


def random_probe(encoder, images, classes=10):
    h = evaluation.extract_features(encoder, images)
    return linear_layer(h, torch.arange(len(h)) % classes), h


class TestProbe:
    def test_it_is_the_probe_of_the_evaluation(self):
        g = torch.Generator().manual_seed(0)
        labels = torch.arange(300) % 3
        x = torch.randn(300, 8, generator=g) * torch.linspace(0.1, 5, 8) + 2
        x[torch.arange(300), labels] += 1.0
        probe = linear_layer(x[:200], labels[:200])
        accuracy = float((probe(x[200:]).argmax(1) == labels[200:]).double().mean())
        expected = evaluation.linear_probe(x[:200], labels[:200], x[200:], labels[200:])
        assert accuracy == pytest.approx(expected.accuracy, abs=1e-9)

    def test_more_dimensions_than_labels(self):
        g = torch.Generator().manual_seed(0)
        labels = torch.arange(230) % 3
        x = torch.randn(230, 64, generator=g) * torch.linspace(0.5, 2, 64) + 2
        for k in range(3):  # a tenth of the dimensions know the class
            x[:, k::30] += 4.0 * (labels == k)[:, None]
        probe = linear_layer(x[:30], labels[:30])
        accuracy = float((probe(x[30:]).argmax(1) == labels[30:]).double().mean())
        expected = evaluation.linear_probe(x[:30], labels[:30], x[30:], labels[30:])
        assert accuracy == pytest.approx(expected.accuracy, abs=1e-9) and accuracy > 0.6

    def test_two_classes(self):
        x = torch.cat([torch.randn(20, 3) - 2, torch.randn(20, 3) + 2])
        labels = torch.arange(40) // 20
        probe = linear_layer(x, labels)
        assert probe.out_features == 2 and (probe(x).argmax(1) == labels).double().mean() > 0.95

    @pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 2, 2], [0, 0, 0, 1], [-1, -1, 0, 0]])
    def test_labels_that_cannot_be_served(self, labels):
        with pytest.raises(InputError, match="two labels of every class"):
            linear_layer(torch.randn(4, 3), torch.tensor(labels))

    def test_the_classifier_normalises_as_the_evaluation_does(self):
        encoder = encoders.build_encoder("convnet", width=4, dim=16).eval()
        images = data.shapes("train", 32, 20).images
        probe, h = random_probe(encoder, images, classes=2)
        assert torch.allclose(Classifier(encoder, probe)(images), probe(h), rtol=1e-4, atol=1e-5)


SMALL_ENCODERS = {
    "convnet": {"width": 4, "dim": 16},
    "resnet18": {},
    "resnet18_3x3": {},
    "vit": {"dim": 24, "depth": 2},
    "lab": {"width": 4, "dim": 16, "channels": "ab"},
    "split": {"width": 4, "dim": 16},
}


@pytest.mark.parametrize("name", encoders.ENCODERS)
def test_every_encoder_can_be_exported(name, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is missing: uv run --group serve pytest")
    encoder = rough_batch_norm(encoders.build_encoder(name, **SMALL_ENCODERS[name])).eval()
    images = data.shapes("test", 32, 6).images
    probe, h = random_probe(encoder, images, classes=2)
    folder = make_bundle(encoder, probe, tmp_path, classes=("a", "b"), size=32, precision="float32")
    expected = probe(h).detach().numpy()
    assert np.allclose(
        load_bundle(folder).logits(images.numpy()), expected, atol=1e-3 * np.abs(expected).max()
    )
    assert torch.equal(evaluation.extract_features(encoder, images), h)  # tracing left nothing behind


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


class TestPictures:
    @pytest.mark.parametrize("size", [32, 60, 96])
    @pytest.mark.parametrize(
        "body",
        [
            encoded(PHOTO), encoded(PHOTO.transpose(1, 0, 2)), encoded(PHOTO[:32, :32]), encoded(PHOTO, "JPEG"),
            encoded(PHOTO[..., 0]), encoded(np.dstack([PHOTO, PHOTO[..., :1]])),
            encoded(np.kron(PHOTO, np.ones((12, 12, 1), np.uint8)), "JPEG"),
            encoded(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
        ],
        ids=["landscape", "portrait", "square", "jpeg", "gray", "alpha", "large jpeg", "turned by exif"],
    )  # fmt: skip
    def test_the_server_sees_what_the_training_data_reader_sees(self, body, size, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / "train" / name).mkdir(parents=True)
            (tmp_path / "train" / name / "picture.jpg").write_bytes(body)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how the folder was understood
            trained = data.folder(tmp_path, "train", size).images[0].numpy()
        served = decode(body, size)
        assert served.dtype == np.uint8 and served.shape == (3, size, size)
        assert np.array_equal(served, trained)

    def test_a_picture_of_the_right_size_is_not_touched(self):
        assert np.array_equal(decode(encoded(PHOTO[:32, :32]), 32), PHOTO[:32, :32].transpose(2, 0, 1))

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 400), (b"hello", 400), (b"\x89PNG\r\n\x1a\n", 400), (encoded(PHOTO)[:300], 400),
            (encoded(PHOTO, "JPEG")[:300], 400), (encoded(PHOTO, "GIF"), 400), (encoded(PHOTO, "BMP"), 400),
            (b"\0" * (pictures.MAX_BYTES + 1), 413),
        ],
    )  # fmt: skip
    def test_refusals(self, body, status):
        with pytest.raises(Refused) as refusal:
            decode(body, 32)
        assert refusal.value.status == status and str(refusal.value)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("side", [4097, 13_000, 50_000])
    def test_a_bomb_is_refused_before_it_is_decoded(self, side):
        body = png_that_claims(side)
        assert len(body) < 5_000
        with pytest.raises(Refused) as refusal:
            decode(body, 32)
        assert refusal.value.status == 413

    def test_a_photograph_of_24_megapixels_is_answered(self):
        body = encoded(np.full((4000, 6000, 3), (200, 30, 60), np.uint8), "JPEG")
        assert np.abs(decode(body, 32).astype(int) - np.array([200, 30, 60])[:, None, None]).max() <= 2

    def test_a_jpeg_may_claim_more_than_a_png_but_not_anything(self):
        for width, height in ((8192, 6145), (30_000, 30_000)):
            with pytest.raises(Refused) as refusal:
                decode(jpeg_that_claims(width, height), 32)
            assert refusal.value.status == 413

    @pytest.mark.parametrize(
        "kind", [None, "", "text/plain", "application/json", "image/gif", "multipart/form-data"]
    )
    def test_types(self, kind):
        with pytest.raises(Refused) as refusal:
            pictures.check_type(kind)
        assert refusal.value.status == 415
        pictures.check_type("Image/PNG; charset=binary")


def png_that_claims(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header says side x side pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int) -> bytes:
    """A small JPEG whose header says width x height pixels."""
    body = bytearray(encoded(PHOTO, "JPEG"))
    frame = body.index(b"\xff\xc0") + 5
    body[frame : frame + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(body)


class TestBundleFiles:
    """What can be said of a bundle before a model is run."""

    card = Card(("cat", "dog"), 32, (0.5,) * 3, (0.25,) * 3, "int8")

    @pytest.mark.parametrize("name", [MODEL, CARD, SUMS])
    @pytest.mark.parametrize("damage", ["flip", "cut", "remove", "append"])
    def test_damage_is_one_clear_error(self, name, damage, tmp_path):
        folder = write_bundle(tmp_path / "bundle", b"a model" * 100, self.card)
        file = folder / name
        content = bytearray(file.read_bytes())
        if damage == "remove":
            file.unlink()
        else:
            content[len(content) // 2] ^= 1
            changed = {"flip": content, "cut": content[:-10], "append": content + b" "}[damage]
            file.write_bytes(bytes(changed))
        with pytest.raises(InputError, match="lacks" if damage == "remove" else "damaged") as error:
            load_bundle(folder)
        assert str(folder) in str(error.value) and "export it again" in str(error.value)

    def test_a_bundle_that_may_not_be_read(self, tmp_path, monkeypatch):
        write_bundle(tmp_path, b"a model", self.card)

        def refused(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "read_bytes", refused)
        with pytest.raises(InputError, match="cannot be read: Permission denied; check the permissions"):
            load_bundle(tmp_path)

    def test_a_full_disk_leaves_the_old_bundle(self, tmp_path, monkeypatch):
        write_bundle(tmp_path, b"the old model", self.card)
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

        def full(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            write_bundle(tmp_path, b"the new model", self.card)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

    def test_no_bundle(self, tmp_path):
        with pytest.raises(InputError, match="model.onnx and bundle.json and SHA256SUMS"):
            load_bundle(tmp_path / "nowhere")

    @pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
    def test_the_checksums_are_those_of_sha256sum(self, tmp_path):
        write_bundle(tmp_path, b"a model", self.card)
        done = subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.splitlines() == [f"{MODEL}: OK", f"{CARD}: OK"]

    def test_a_bundle_is_read_without_torch(self):
        code = "import sys, ssl_lessons.deployment.bundle; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0

    def test_what_does_not_fit_together(self, tmp_path):
        encoder, probe = encoders.build_encoder("convnet", width=4, dim=16), nn.Linear(16, 2)
        options = {"classes": ("cat", "dog"), "size": 32}
        with pytest.raises(InputError, match="precision"):
            make_bundle(encoder, probe, tmp_path, **options, precision="int4")
        with pytest.raises(InputError, match="3 names"):
            make_bundle(encoder, probe, tmp_path, classes=("a", "b", "c"), size=32)
        for calibration in (None, torch.zeros(4, 3, 16, 16, dtype=torch.uint8)):
            with pytest.raises(InputError, match="calibration"):
                make_bundle(encoder, probe, tmp_path, **options, calibration=calibration)


def small_classifier():
    """A network trained for some seconds with labels, right about most pictures: (encoder, probe, train split)."""
    torch.manual_seed(0)
    encoder, head = encoders.build_encoder("convnet", width=16, dim=64), nn.Linear(64, 10)
    train = data.shapes("train", 32, 2000)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, 120)
    for _ in range(120):
        index = torch.randint(len(train), (200,))
        logits = head(encoder(normalize(train.images[index])))
        loss = nn.functional.cross_entropy(logits, train.labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    encoder.eval()
    return encoder, linear_layer(evaluation.extract_features(encoder, train.images), train.labels), train


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An encoder, its probe, pictures, and the two bundles made from them."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is missing: uv run --group serve pytest")
    encoder, probe, train = small_classifier()
    test = data.shapes("test", 32, 300)
    folders = {
        precision: make_bundle(
            encoder, probe, tmp_path_factory.mktemp("bundles") / precision, classes=train.classes, size=32,
            precision=precision, calibration=data.shapes("unlabeled", 32, 200).images,
        )
        for precision in ("float32", "int8")
    }  # fmt: skip
    return encoder, probe, test, folders


class TestExport:
    def test_float32_is_the_torch_model(self, exported):
        encoder, probe, test, folders = exported
        expected = probe(evaluation.extract_features(encoder, test.images)).detach().numpy()
        got = load_bundle(folders["float32"]).logits(test.images.numpy())
        assert np.allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
        one = load_bundle(folders["float32"]).logits(test.images[:1].numpy())
        assert np.allclose(one, got[:1], atol=1e-4 * np.abs(expected).max())

    def test_int8_says_nearly_always_the_same_and_is_a_third_of_the_size(self, exported):
        _, _, test, folders = exported
        plain, small = (load_bundle(folders[p]).logits(test.images.numpy()) for p in ("float32", "int8"))
        assert 0.95 < (plain.argmax(1) == small.argmax(1)).mean() and not np.array_equal(plain, small)
        bytes_ = {p: (folders[p] / MODEL).stat().st_size for p in folders}
        assert bytes_["int8"] < bytes_["float32"] / 2

    def test_int8_really_is_int8(self, exported):
        import onnx

        model = onnx.load(exported[3]["int8"] / MODEL)
        stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        weights = [n for n, kind in stored.items() if kind == onnx.TensorProto.INT8]
        assert len([n for n in weights if n.endswith("_quantized")]) >= 5  # four convolutions and the probe
        assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)

    def test_the_simulation_predicts_int8(self, exported):
        encoder, probe, test, folders = exported
        whole = nn.Sequential(quantization.fold(encoder), probe)
        ranges = quantization.input_ranges(whole, data.shapes("unlabeled", 32, 200).images)
        simulated = evaluation.extract_features(quantization.simulate(whole, ranges), test.images)
        small = load_bundle(folders["int8"]).logits(test.images.numpy())
        plain = load_bundle(folders["float32"]).logits(test.images.numpy())
        distance = np.abs(small - simulated.numpy()).mean()
        # not exactly: onnxruntime also rounds what lies between the layers
        assert distance < 0.85 * np.abs(small - plain).mean()

    def test_the_answer_to_one_picture(self, exported):
        *_, test, folders = exported
        bundle = load_bundle(folders["int8"])
        said = bundle.classify(encoded(test.images[0].permute(1, 2, 0).numpy()))
        expected = test.classes[bundle.logits(test.images[:1].numpy()).argmax()]
        assert said["class"] == expected == max(said["probabilities"], key=said["probabilities"].get)
        assert sum(said["probabilities"].values()) == pytest.approx(1)
        assert said["model"] == bundle.digest[:12]
        assert json.loads(json.dumps(said)) == said

    def test_a_server_needs_no_torch(self):
        pytest.importorskip("starlette"), pytest.importorskip("uvicorn"), pytest.importorskip("onnxruntime")
        code = "import sys, onnxruntime, ssl_lessons.deployment.server; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
