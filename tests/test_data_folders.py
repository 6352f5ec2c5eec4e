"""Folders of pictures on disk as sets of images."""

import io
import os
import re
import struct
import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_lessons import data
from ssl_lessons.data import Found, folder
from ssl_lessons.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_LESSONS_CACHE", str(tmp_path / "the cache"))


def save(path: Path, colour, mode="RGB", size=(20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def pictures(tmp_path):
    """Two classes told apart by colour, 40 images each."""
    for i in range(40):
        save(tmp_path / "photos" / "red" / f"{i:02d}.png", (200, i, 0))
        save(tmp_path / "photos" / "blue" / f"{i:02d}.png", (0, i, 200))
    return tmp_path / "photos"


def marks(images) -> set[tuple[int, int]]:
    """(class, file number) of each image, read back from its colour."""
    return {(int(r < b), int(g)) for r, g, b in images.images[:, :, 0, 0].tolist()}


def quiet(*arguments, **options):
    """The set, where what was found or skipped does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return folder(*arguments, **options)


def told(call) -> list[str]:
    """The messages of the warnings that `call` gives, each of which is Found."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(w.category is Found for w in caught)
    return [str(w.message) for w in caught]


# --- classes and splits ---------------------------------------------------------------------------------


def test_splits_are_disjoint_complete_and_stable(pictures):
    train, test = folder(pictures, "train"), folder(pictures, "test", seed=5)
    assert train.classes == ("blue", "red") and train.name == "photos"
    assert train.images.shape[1:] == (3, 64, 64)
    for split in (train, test):
        red = split.images[:, 0, 0, 0] > split.images[:, 2, 0, 0]
        assert torch.equal(split.labels, red.long())
    before, held_out = marks(train), marks(test)
    assert not before & held_out and len(before | held_out) == 80
    red, blue = [0, 2, 3, 9, 10, 12, 24, 29, 32, 37, 38], [1, 6, 9, 11, 14, 24]
    assert held_out == {(0, i) for i in red} | {(1, i) for i in blue}  # for good, on every system
    assert marks(folder(pictures, "train", seed=9)) == before
    unlabeled = folder(pictures, "unlabeled")
    assert marks(unlabeled) == before and set(unlabeled.labels.tolist()) == {-1}
    (pictures / "red" / "00.png").unlink()  # the split of the others does not move
    save(pictures / "blue" / "99.png", (0, 99, 200))
    assert marks(folder(pictures, "train")) - {(1, 99)} == before - {(0, 0)}
    moved = pictures.rename(pictures.parent / "elsewhere")
    assert marks(folder(moved, "test")) - {(1, 99)} == held_out - {(0, 0)}


def test_small_classes_have_one_of_each_split(tmp_path):
    for name in "abcdefgh":
        for i in range(2):
            save(tmp_path / name / f"{i}.png", (i, 0, 0))
    save(tmp_path / "single" / "0.png", (0, 0, 0))
    train, test = folder(tmp_path, "train"), folder(tmp_path, "test")
    assert train.labels.bincount().tolist() == [1] * 9
    assert test.labels.bincount(minlength=9).tolist() == [1] * 8 + [0]


def test_subset_is_seeded_and_in_proportion(pictures):
    some = folder(pictures, "train", n=20, seed=1)
    assert len(some) == 20 and set(some.labels.bincount().tolist()) <= {9, 10, 11}
    assert marks(some) == marks(folder(pictures, "train", n=20, seed=1))
    assert marks(some) != marks(folder(pictures, "train", n=20, seed=2))
    assert len(folder(pictures, "unlabeled", n=20)) == 20
    with pytest.raises(InputError, match="n=1,000"):
        folder(pictures, "train", n=1000)


def test_predefined_splits_with_an_unlabelled_one(tmp_path):
    for i in range(6):
        for split in ("train", "test"):
            save(tmp_path / split / "red" / f"{i}.png", (200, i + 10 * (split == "test"), 0))
            save(tmp_path / split / "blue" / f"{i}.png", (0, i + 10 * (split == "test"), 200))
        save(tmp_path / "unlabeled" / f"{i}.png", (0, i + 20, 200))
    loaded = {split: quiet(tmp_path, split, size=8) for split in ("train", "test", "unlabeled")}
    numbers = {split: sorted({g for _, g in marks(images)}) for split, images in loaded.items()}
    assert numbers == {"train": [*range(6)], "test": [*range(10, 16)], "unlabeled": [*range(20, 26)]}
    assert loaded["train"].classes == loaded["test"].classes == ("blue", "red")
    assert loaded["test"].labels.tolist() == [0] * 6 + [1] * 6
    assert set(loaded["unlabeled"].labels.tolist()) == {-1}


def test_pictures_without_labels(pictures):
    flat = pictures / "red"
    sets = {split: quiet(flat, split) for split in ("train", "test", "unlabeled")}
    assert all(s.classes == () and set(s.labels.tolist()) == {-1} for s in sets.values())
    assert marks(sets["train"]) == marks(sets["unlabeled"]) and not marks(sets["train"]) & marks(sets["test"])
    assert len(sets["train"]) + len(sets["test"]) == 40 and len(sets["test"]) >= 1


def test_unlabelled_pictures_of_another_folder(pictures):
    for i in range(5):
        save(pictures.parent / "pool" / "any" / f"{i}.png", (0, 100 + i, 200))
    with pytest.warns(Found, match="5 unlabelled ones"):
        pool = folder(pictures, "unlabeled", unlabeled=pictures.parent / "pool")
    assert marks(pool) == {(1, 100 + i) for i in range(5)} and set(pool.labels.tolist()) == {-1}
    with_pool = data.load(pictures, "train", unlabeled=pictures.parent / "pool")
    assert torch.equal(with_pool.images, folder(pictures).images)


def test_archives(pictures):
    with tarfile.open(pictures.parent / "shard.tar", "w") as tar:
        for i in range(20):
            for name, body in (
                (f"{i:03d}.png", (pictures / "red" / f"{i:02d}.png").read_bytes()),
                (f"{i:03d}.cls", b"%d" % (i % 2)),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    train, test = (quiet(pictures.parent / "shard.tar", split, size=20) for split in ("train", "test"))
    assert train.classes == ("0", "1") and train.name == "shard"
    assert {g for _, g in marks(train) | marks(test)} == set(range(20))
    assert train.labels.tolist() == [g % 2 for g in train.images[:, 1, 0, 0].tolist()]


# --- what is said ---------------------------------------------------------------------------------------


def test_what_was_found_is_said_once(pictures):
    (said,) = told(lambda: [folder(pictures, split) for split in ("train", "test", "unlabeled")])
    assert said.startswith("photos: 2 classes (blue, red), ")
    flat = pictures / "blue"
    (said,) = told(lambda: [folder(flat, split) for split in ("train", "test", "unlabeled")])
    assert said.startswith("blue: pictures without labels, ")
    (pictures / "blue" / "phone.heic").write_bytes(b"x")  # something new to be said
    (said,) = told(lambda: folder(flat))
    assert "1 .heic, which cannot be read here" in said
    assert told(lambda: data.load(pictures)) != [] and told(lambda: data.load(flat)) == []


def test_unreadable_pictures_are_skipped_with_one_warning_that_counts_the_reasons(pictures):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for i in range(10):  # enough of them for both splits to have some
        (pictures / "red" / f"broken{i}.png").write_bytes(b"not an image")
        Image.fromarray(noise).save(pictures / "blue" / f"half{i}.jpg")
        body = (pictures / "blue" / f"half{i}.jpg").read_bytes()
        (pictures / "blue" / f"half{i}.jpg").write_bytes(body[: len(body) // 2])
        Image.fromarray(noise[..., 0].astype(np.float32)).save(pictures / "blue" / f"float{i}.tif")
    good, bad = 0, np.zeros(3, dtype=int)
    for split in ("train", "test"):
        with pytest.warns(UserWarning) as caught:
            good += len(folder(pictures, split))
        (message,) = [str(w.message) for w in caught if w.category is not Found]
        assert message.startswith("skipped ") and f" pictures in {pictures}: " in message
        for i, (reason, name) in enumerate(
            [
                ("not a picture this Pillow can read", "red/broken"),
                ("truncated", "blue/half"),
                ("32-bit float pixels have no 8-bit meaning: convert them to 8 or 16 bit", "blue/float"),
            ]
        ):
            found = re.search(rf"(\d+) {reason} \(first {name}\d\.", message)
            bad[i] += int(found[1]) if found else 0
    assert good == 80 and bad.tolist() == [10, 10, 10]


def huge(path: Path, side: int) -> None:
    """A whole grey PNG of side x side pixels, a few hundred kilobytes."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IEND", b"")]
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    chunks.insert(1, (b"IDAT", body))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in chunks:
            file.write(
                struct.pack(">I", len(content))
                + kind
                + content
                + struct.pack(">I", zlib.crc32(kind + content))
            )


def test_too_many_pixels_are_named_and_the_warning_of_pillow_is_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    for i in range(3):
        huge(tmp_path / "a" / f"{i}.png", 1500 + i)
        huge(tmp_path / "b" / f"{i}.png", 1500)
    with pytest.raises(InputError, match="none of the .*can be read: .*too many pixels.*shrink"):
        folder(tmp_path)
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 2_000_000
    )  # Pillow warns from here, and refuses from twice as many
    assert told(lambda: folder(tmp_path)) == []


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"not an image")
    with pytest.raises(
        InputError, match="none of the 2 pictures of the train split.*can be read.*2 not a picture"
    ):
        folder(tmp_path)
    with pytest.raises(InputError, match="test split.*empty"):
        folder(tmp_path, "test")
    with pytest.raises(InputError, match="neither a data set .* nor a folder"):
        data.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="labels and unlabeled .*are for folders"):
        data.load("shapes", labels="none")
    with pytest.raises(InputError, match="split must be one of"):
        folder(tmp_path, "valid")


# --- pixels ---------------------------------------------------------------------------------------------


def test_grey_deep_transparent_oblong_and_rotated_pictures(tmp_path):
    save(tmp_path / "a" / "0.png", 77, "L")
    save(tmp_path / "a" / "1.png", (10, 20, 30, 0), "RGBA")
    Image.fromarray(np.full((20, 20), 77 * 257, np.uint16)).save(tmp_path / "a" / "2.png")
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255  # the central square is white
    Image.fromarray(wide).save(tmp_path / "a" / "3.png")
    tall = np.zeros((40, 40, 3), np.uint8)
    tall[:20] = 255  # white above; shown on its side, as the EXIF tag says
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(tall).save(tmp_path / "a" / "4.jpg", exif=exif, quality=95)
    train, test = (quiet(tmp_path / "a", split, size=16) for split in ("train", "test"))
    grey = white = turned = 0
    for image in torch.cat([train.images, test.images]):
        grey += bool((image == 77).all())
        white += bool((image == 255).all())
        turned += bool(image[:, :, 10:].min() > 240 and image[:, :, :6].max() < 15)
    assert (grey, white, turned) == (2, 2, 1)


def test_names_that_are_no_utf8_are_read(pictures):
    try:
        os.rename(os.fsencode(pictures / "red" / "00.png"), os.fsencode(pictures / "red") + b"/caf\xe9.png")
        os.rename(os.fsencode(pictures / "blue"), os.fsencode(pictures) + b"/bl\xfc")
    except (OSError, UnicodeDecodeError):
        pytest.skip("this file system wants UTF-8")
    train, test = folder(pictures, "train", size=8), folder(pictures, "test", size=8)
    assert len(train) + len(test) == 80 and train.classes == ("bl\ufffd", "red")
    assert (0, 0) in marks(train) | marks(test)


@pytest.mark.parametrize("wrong", [{"split": "valid"}, {"size": 0}, {"n": 0}, {"n": 2.5}, {"n": 10**6}])
def test_impossible_requests_are_refused(pictures, wrong):
    with pytest.raises(InputError):
        folder(pictures, **wrong)
