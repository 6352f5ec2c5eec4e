"""Encoders: shapes, stems, files.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import copy
import errno
import json
import os
import stat
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.models import (
    build_encoder,
    count_parameters,
    load_encoder,
    patchify,
    pick_device,
    projection_head,
    save_encoder,
    sincos_positions,
    take,
    unpatchify,
    untrained,
)


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


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.fixture
def usual_umask():
    old = os.umask(0o022)
    yield
    os.umask(old)


def test_whoever_may_read_the_folder_may_read_the_encoder(tmp_path, usual_umask):
    save_encoder(trained(), tmp_path, 16)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {
        "encoder.json": 0o644,
        "encoder.safetensors": 0o644,
    }


@pytest.mark.parametrize("fails", [1, 2])
def test_a_full_disk_leaves_the_old_pair(tmp_path, monkeypatch, fails):
    """Card and weights belong together: whichever cannot be written, both stay the old ones."""
    old = trained()
    save_encoder(old, tmp_path, 16)
    original, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_encoder(build_encoder("convnet", width=8, dim=16), tmp_path, 32)
    loaded, size = load_encoder(tmp_path)
    assert size == 16 and same_weights(loaded, old)
    assert {p.name for p in tmp_path.iterdir()} == {"encoder.json", "encoder.safetensors"}


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
def test_files_that_may_not_be_read(tmp_path, monkeypatch, name):
    save_encoder(trained(), tmp_path, 16)
    original = Path.read_bytes

    def refused(path):
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(InputError, match="cannot be read: Permission denied; check the permissions"):
        load_encoder(tmp_path)


def in_place(encoder):
    encoder.compile()
    return encoder


WRAPS = {
    "torch.compile": torch.compile,
    "compiled in place": in_place,
    "DataParallel": torch.nn.DataParallel,
    "both": lambda e: torch.nn.DataParallel(torch.compile(e)),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrapped_encoder_is_saved_as_the_one_inside(tmp_path, wrap):
    plain = trained()
    before = copy.deepcopy(plain)
    save_encoder(WRAPS[wrap](plain), tmp_path, 16)
    loaded, size = load_encoder(tmp_path)
    assert size == 16 and same_weights(loaded, before) and loaded.options == {"width": 4, "dim": 16}


def test_an_encoder_with_a_compiled_part(tmp_path):
    encoder = build_encoder("lab", width=4, dim=16)
    before = copy.deepcopy(encoder)
    encoder.encoder = torch.compile(encoder.encoder)
    save_encoder(encoder, tmp_path, 16)
    assert same_weights(load_encoder(tmp_path)[0], before)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_old_files_of_wrapped_encoders_load(tmp_path, prefix):
    encoder = trained()
    save_encoder(encoder, tmp_path, 16)
    weights = {prefix + k: v.clone() for k, v in encoder.state_dict().items()}
    (tmp_path / "encoder.safetensors").write_bytes(safetensors.torch.save(weights))
    assert same_weights(load_encoder(tmp_path)[0], encoder)


def test_a_network_of_ones_own_is_refused(tmp_path):
    with pytest.raises(InputError, match="build_encoder"):
        save_encoder(torch.nn.Linear(3, 4), tmp_path, 16)
    assert not list(tmp_path.iterdir())


def test_a_broken_encoder_can_be_saved_and_looked_at(tmp_path):
    """`diagnose` names the fault; it has to get the encoder first."""
    encoder = trained()
    encoder.layers[1].running_var.fill_(torch.nan)
    save_encoder(encoder, tmp_path, 16)
    assert load_encoder(tmp_path)[0].layers[1].running_var.isnan().all()


# --- devices ---------------------------------------------------------------------------------------


def pretend_gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("gpus, name", [(0, "cpu"), (1, "cuda"), (2, "cuda")])
def test_the_device_by_default(monkeypatch, gpus, name):
    pretend_gpus(monkeypatch, gpus)
    assert pick_device() == torch.device(name)


def test_devices_by_name(monkeypatch):
    pretend_gpus(monkeypatch, 2)
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_device("cuda") == torch.device("cuda") and pick_device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("mps") == torch.device("mps") and pick_device() == torch.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "tpu", "", "meta", "cuda:x", "xpu", 3.5])
def test_unknown_devices_are_refused(name):
    with pytest.raises(InputError, match="device must be cpu, cuda or mps, got"):
        pick_device(name)


@pytest.mark.parametrize("gpus, name", [(0, "cuda"), (1, "cuda:1"), (2, "cuda:2"), (1, "mps")])
def test_devices_that_are_not_there_are_refused(monkeypatch, gpus, name):
    pretend_gpus(monkeypatch, gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"torch finds no {name} here"):
        pick_device(name)


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


# --- the tiny ViT ----------------------------------------------------------------------------------


def vit(**options):
    torch.manual_seed(0)
    return build_encoder("vit", **({"size": 16, "patch": 4, "dim": 24, "depth": 2, "heads": 3} | options))


def test_patches_are_cut_in_reading_order():
    x = batch(2, 12)
    rows = patchify(x, 4)
    assert rows.shape == (2, 9, 48)
    for t in range(9):
        r, c = divmod(t, 3)
        assert torch.equal(rows[1, t], x[1, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].flatten())
    assert torch.equal(unpatchify(rows, 4), x)
    assert torch.equal(patchify(x.to(memory_format=torch.channels_last), 4), rows)


@pytest.mark.parametrize("x, patch", [(batch(2, 10), 4), (batch(2, 8)[0], 4), (batch(2, 8), 0)])
def test_images_that_do_not_divide_are_refused(x, patch):
    with pytest.raises(InputError, match="patches of"):
        patchify(x, patch)


@pytest.mark.parametrize("shape", [(2, 8, 48), (2, 9, 27), (2, 9, 16)])
def test_rows_that_are_no_square_image_are_refused(shape):
    with pytest.raises(InputError):
        unpatchify(torch.zeros(shape), 4)


def test_positions_are_separable_and_all_different():
    p = sincos_positions(5, 16)
    grid = p.reshape(5, 5, 16)
    assert p.shape == (25, 16) and torch.pdist(p).min() > 0.1
    assert torch.equal(grid[2, :, :8], grid[2, :1, :8].expand(5, 8))  # one half knows the row only
    assert torch.equal(grid[:, 3, 8:], grid[:1, 3, 8:].expand(5, 8))  # the other the column only
    assert torch.allclose(grid[3, 0, 0], torch.tensor(3.0).sin())
    similarity = (p @ p.T).reshape(5, 5, 5, 5)  # depends on the offset between two places alone
    assert torch.allclose(similarity[0, 0, 2, 1], similarity[2, 3, 4, 4]) and similarity[0, 0, 0, 0] == 8
    with pytest.raises(InputError, match="multiple of 4"):
        sincos_positions(4, 10)


def test_vit_shapes_and_mean_feature():
    encoder = vit()
    x = batch(3, 16)
    assert encoder.dim == 24 and encoder.n_tokens == 16 and encoder.side == 4
    assert encoder.tokens(x).shape == encoder.patches(x).shape == (3, 16, 24)
    assert torch.allclose(encoder(x), encoder.patches(x).mean(1)) and encoder(x).shape == (3, 24)
    normed, outputs = encoder.encode(encoder.tokens(x), layers=True)
    assert len(outputs) == 2 and torch.equal(encoder.norm(outputs[-1]), normed)
    assert torch.equal(outputs[0], encoder.blocks[0](encoder.tokens(x)))


def test_dropped_tokens_have_no_influence():
    """What MAE relies on: with `keep`, the output depends on the kept patches alone."""
    encoder, x = vit().eval(), batch(2, 16)
    keep = torch.tensor([[0, 5, 7], [3, 2, 15]])
    changed = patchify(x, 4)
    hidden = torch.ones(2, 16, dtype=torch.bool).scatter_(1, keep, False)
    changed[hidden] = 100.0
    with torch.no_grad():
        a, b = encoder.patches(x, keep), encoder.patches(unpatchify(changed, 4), keep)
        assert a.shape == (2, 3, 24) and torch.equal(a, b)
        assert not torch.allclose(encoder.patches(x), encoder.patches(unpatchify(changed, 4)))
        order = torch.tensor(
            [[7, 0, 5], [15, 3, 2]]
        )  # positions travel with the tokens: order does not matter
        assert torch.allclose(encoder.patches(x, order)[:, 1:2], a[:, :2][[0, 1], [0, 0]][:, None], atol=1e-5)


def test_mask_tokens_hide_the_pixels_but_not_the_position():
    encoder, x = vit().eval(), batch(2, 16)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 4:9] = True
    token = torch.randn(24)
    changed = patchify(x, 4)
    changed[mask] += 50
    with torch.no_grad():
        a = encoder.patches(x, mask=mask, mask_token=token)
        assert a.shape == (2, 16, 24)
        assert torch.equal(a, encoder.patches(unpatchify(changed, 4), mask=mask, mask_token=token))
        embedded = encoder.tokens(x, mask, token)
        offset = encoder.positions[4] - encoder.positions[5]
        assert torch.allclose(embedded[0, 4] - embedded[0, 5], offset, atol=1e-5)
        assert torch.equal(embedded[~mask], encoder.tokens(x)[~mask])


def test_take():
    tokens, index = torch.randn(2, 5, 3), torch.tensor([[4, 0], [1, 1]])
    expected = torch.stack([tokens[0, [4, 0]], tokens[1, [1, 1]]])
    assert torch.equal(take(tokens, index), expected)


def test_the_fast_path_of_evaluation_gives_the_same_numbers():
    """In eval mode without gradients PyTorch fuses each block into one kernel."""
    encoder, x = vit(), batch(4, 16)
    slow = encoder.train()(x).detach()
    encoder.eval()
    assert torch.allclose(encoder(x), slow, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(encoder(x), slow, atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(encoder(x), slow, atol=1e-5)


def test_gradients_reach_every_weight_of_the_vit():
    encoder = vit()
    encoder(batch(4, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())
    frozen = vit(freeze_patches=True)
    frozen(batch(4, 16)).square().sum().backward()
    assert frozen.embed.weight.grad is None and frozen.blocks[0].linear1.weight.grad is not None


@pytest.mark.parametrize("size", [8, 17, 32])
def test_images_of_another_size_are_refused(size):
    with pytest.raises(InputError, match=rf"16, 16.*--size 16.*size={size}\)"):
        vit()(batch(2, size))


@pytest.mark.parametrize(
    "options", [{"patch": 5}, {"patch": 0}, {"heads": 5}, {"heads": 0}, {"dim": 6, "heads": 1}]
)
def test_vit_options_are_checked(options):
    with pytest.raises(InputError):
        vit(**options)


def test_a_vit_for_another_size():
    assert build_encoder("vit", size=48)(batch(2, 48)).shape == (2, 96)


def test_vit_round_trip(tmp_path):
    encoder = vit()
    save_encoder(encoder, tmp_path, 16)
    loaded, size = load_encoder(tmp_path)
    assert size == 16 and torch.equal(loaded(batch(2, 16)), encoder(batch(2, 16)))
    assert untrained(encoder).positions.shape == (16, 24)


def test_a_convnet_with_other_strides_has_finer_maps(tmp_path):
    encoder = build_encoder("convnet", width=4, dim=8, strides=[2, 2, 1, 1])
    assert encoder.maps(torch.zeros(2, 3, 32, 32)).shape == (2, 8, 8, 8)
    save_encoder(encoder, tmp_path, 32)
    assert load_encoder(tmp_path)[0].maps(torch.zeros(1, 3, 32, 32)).shape[2] == 8
    for strides in ((2, 2, 2), (2, 2, 2, 0)):
        with pytest.raises(InputError, match="four strides"):
            build_encoder("convnet", strides=strides)
