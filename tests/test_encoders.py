"""Encoders: shapes, stems, files."""

import json

import pytest
import torch

from ssl_lessons.encoders import (
    build_encoder,
    count_parameters,
    load_encoder,
    projection_head,
    save_encoder,
    untrained,
)  # fmt: skip
from ssl_lessons.errors import InputError


def batch(n=2, size=32, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def resnets():
    return {
        "imagenet": build_encoder("resnet18").eval(),
        "3x3": build_encoder("resnet18_3x3").eval(),
        "no pool": build_encoder("resnet18_3x3", max_pool=False).eval(),
    }


@pytest.mark.parametrize("size", [8, 31, 32, 64])
def test_convnet_shapes(size):
    encoder = build_encoder("convnet", width=4, dim=24).eval()
    assert encoder.dim == 24 and encoder(batch(2, size)).shape == (2, 24)
    assert encoder.name == "convnet" and encoder.options == {"width": 4, "dim": 24}


def test_convnet_halves_four_times():
    encoder = build_encoder("convnet", width=4, dim=24)
    assert encoder.layers(batch(2, 32)).shape == (2, 24, 2, 2)
    assert [m.out_channels for m in encoder.layers if isinstance(m, torch.nn.Conv2d)] == [4, 8, 16, 24]


@pytest.mark.parametrize(
    "stem, size, first, last",
    [("imagenet", 96, 24, 3), ("3x3", 32, 16, 2), ("no pool", 32, 32, 4), ("imagenet", 32, 8, 1)],
)
def test_stems(resnets, stem, size, first, last):
    seen = []
    backbone = resnets[stem].backbone
    watched = (backbone.layer1, backbone.layer4)
    hooks = [m.register_forward_hook(lambda _, __, o: seen.append(o.shape[-1])) for m in watched]
    with torch.no_grad():
        out = resnets[stem](batch(1, size))
    [h.remove() for h in hooks]
    assert seen == [first, last] and out.shape == (1, 512) == (1, resnets[stem].dim)


def test_resnet_is_torchvisions(resnets):
    from torchvision.models import resnet18

    theirs = resnet18(weights=None).eval()
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(resnets["imagenet"].backbone.state_dict())
    with torch.no_grad():
        assert torch.equal(theirs(batch(1, 64)), resnets["imagenet"](batch(1, 64)))


def test_count_parameters():
    head = projection_head(5, 7, 3)
    assert count_parameters(head) == 5 * 7 + 2 * 7 + 7 * 3 + 3
    head[0].weight.requires_grad_(False)
    assert count_parameters(head) == 2 * 7 + 7 * 3 + 3


@pytest.mark.parametrize("layers, norm", [(1, True), (2, True), (2, False), (3, True)])
def test_projection_head(layers, norm):
    head = projection_head(6, 8, 4, layers=layers, batch_norm=norm)
    kinds = [type(m).__name__ for m in head]
    assert kinds == (["Linear"] + ["BatchNorm1d"] * norm + ["ReLU"]) * (layers - 1) + ["Linear"]
    assert head(torch.randn(5, 6)).shape == (5, 4) and head(torch.randn(50, 6)).min() < 0


@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet50", {}),
        ("convnet", {"depth": 3}),
        ("resnet18_3x3", {"stem": "imagenet"}),
        ("resnet18", {"stem": "7x7"}),
    ],
)
def test_unknown_names_and_options_are_refused(name, options):
    with pytest.raises(InputError):
        build_encoder(name, **options)


# --- files -----------------------------------------------------------------------------------------


def trained(**options):
    """An encoder whose weights and BatchNorm statistics are no longer those of a fresh one."""
    encoder = build_encoder("convnet", width=4, dim=16, **options)
    for seed in range(3):
        encoder(2 * batch(8, 16, seed) + 1)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return encoder


@pytest.mark.parametrize("channels_last", [False, True])
def test_round_trip(tmp_path, channels_last):
    encoder = trained()
    if channels_last:
        encoder.to(memory_format=torch.channels_last)
    save_encoder(encoder, tmp_path / "new" / "folder", image_size=16)
    loaded, size = load_encoder(tmp_path / "new" / "folder")
    assert size == 16 and loaded.name == "convnet" and loaded.options == encoder.options and loaded.dim == 16
    state = loaded.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(batch()), loaded.eval()(batch()), atol=1e-6)


def test_round_trip_of_a_stem(tmp_path, resnets):
    save_encoder(resnets["no pool"], tmp_path, 32)
    loaded, _ = load_encoder(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(batch(1)), resnets["no pool"](batch(1)))


def card(change):
    def damage(folder):
        path = folder / "encoder.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def weights(change):
    def damage(folder):
        path = folder / "encoder.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return damage


DAMAGES = {
    "no card": lambda folder: (folder / "encoder.json").unlink(),
    "no weights": lambda folder: (folder / "encoder.safetensors").unlink(),
    "card cut": lambda folder: (folder / "encoder.json").write_text(
        (folder / "encoder.json").read_text()[:30]
    ),
    "card empty": lambda folder: (folder / "encoder.json").write_text(""),
    "card binary": lambda folder: (folder / "encoder.json").write_bytes(bytes(range(128, 256))),
    "card a list": card(lambda c: [1, 2]),
    "card null": card(lambda c: None),
    "no name": card(lambda c: {k: v for k, v in c.items() if k != "name"}),
    "no image size": card(lambda c: {k: v for k, v in c.items() if k != "image_size"}),
    "unknown name": card(lambda c: c | {"name": "convnett"}),
    "unknown option": card(lambda c: c | {"options": {"depth": 3}}),
    "options null": card(lambda c: c | {"options": None}),
    "other width": card(lambda c: c | {"options": {"width": 8, "dim": 16}}),
    "other network": card(lambda c: c | {"name": "resnet18", "options": {}}),
    "weights cut": weights(lambda b: b[: len(b) // 2]),
    "weights cut by one": weights(lambda b: b[:-1]),
    "weights empty": weights(lambda b: b""),
    "header damaged": weights(lambda b: b[:20] + b"\xff\xff" + b[22:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(tmp_path, damage):
    save_encoder(trained(), tmp_path / "run7", 16)
    DAMAGES[damage](tmp_path / "run7")
    with pytest.raises(InputError, match="run7"):
        load_encoder(tmp_path / "run7")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_encoder(tmp_path / "nowhere")


# --- the untrained baseline ------------------------------------------------------------------------


def test_untrained_is_a_fresh_reproducible_twin():
    encoder = trained()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = untrained(encoder), untrained(encoder), untrained(encoder, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )
    first = "layers.0.weight"
    assert not torch.equal(a.state_dict()[first], c.state_dict()[first])
    assert not torch.equal(a.state_dict()[first], encoder.state_dict()[first])
    assert a.state_dict()["layers.1.running_mean"].abs().max() == 0 and a.options == encoder.options
