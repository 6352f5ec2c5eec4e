"""What a folder holds is understood from its files, and said.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import io
import json
import os
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from ssl_lessons.data.layout import understand
from ssl_lessons.data.splits import _draw, held_out, split_of
from ssl_lessons.errors import InputError


def make(root: Path, *folders: str, n: int = 6, ending: str = "png") -> Path:
    """Files called like pictures (nothing here looks inside): n in each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            (root / folder / f"{i:02d}.{ending}").write_bytes(b"x")
    return root


def counts(layout) -> dict[str, int]:
    return {split: len(rows) for split, rows in layout.rows.items()}


def in_split(layout, split: str) -> dict[str, str | None]:
    """name -> class of the pictures of a split."""
    classes = (*layout.classes, None)
    return {layout.entries[i].name: classes[layout.labels[i]] for i in layout.rows[split].tolist()}


# --- classes --------------------------------------------------------------------------------------------


def test_class_folders_are_plain(tmp_path):
    layout = understand(make(tmp_path / "photos", "cat", "dog/puppies", "dog/old", n=20))
    assert layout.classes == ("cat", "dog") and layout.name == "photos"
    assert sum(counts(layout).values()) == 60 and layout.left_out == {}
    assert layout.sentence.startswith("photos: 2 classes (cat, dog), ") and "split by name" in layout.sentence
    found = in_split(layout, "train") | in_split(layout, "test")
    assert found["dog/old/03.png"] == "dog" and found["cat/19.png"] == "cat" and len(found) == 60
    entry = next(e for e in layout.entries if e.name == "dog/old/03.png")
    assert entry.path == str(tmp_path / "photos/dog/old/03.png") and entry.bytes == 1
    assert entry.mtime_ns == os.stat(entry.path).st_mtime_ns


def test_a_folder_around_class_folders_is_looked_through(tmp_path):
    make(tmp_path, "outer/inner/cat", "outer/inner/dog")
    (tmp_path / "outer" / "readme.txt").write_text("hello")
    make(tmp_path, "outer/.git", "__MACOSX/cat", "outer/inner/cat/@eaDir", "outer/inner/.ipynb_checkpoints")
    (tmp_path / "outer/inner/cat/._00.png").write_bytes(b"x")
    layout = understand(tmp_path)
    assert layout.root == tmp_path / "outer/inner" and len(layout.entries) == 12


def test_what_lies_beside_a_wrapped_folder_does_not_hide_its_classes(tmp_path):
    make(tmp_path, "photos/cat", "photos/dog")
    (tmp_path / "logo.svg").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text("file_name,text\nphotos/cat/00.png,hello\n")
    layout = understand(tmp_path)
    assert layout.classes == ("cat", "dog") and layout.root == tmp_path / "photos"
    assert layout.left_out == {".svg, which cannot be read here": (1, "logo.svg")}
    alone = understand(
        make(tmp_path / "a", "photos/cat") and make(tmp_path / "a", "photos/dog", ending="heic")
    )
    assert alone.classes == () and [e.name for e in alone.entries][:1] == ["cat/00.png"]
    assert alone.left_out == {".heic, which cannot be read here": (6, "dog/00.heic")}


def test_no_class_and_no_picture_is_left_out_without_a_word(tmp_path):
    make(tmp_path, "cat", "dog")
    make(tmp_path, "phone", "cat", n=3, ending="HEIC")
    make(tmp_path, "web", n=3, ending="jfif")
    make(tmp_path, "web", n=3, ending="GIF")
    make(tmp_path, "notes", n=3, ending="txt")
    layout = understand(tmp_path)
    assert layout.classes == ("cat", "dog", "web")
    assert layout.left_out == {".heic, which cannot be read here": (6, "cat/00.HEIC")}
    assert "none of its pictures can be read here: phone" in layout.sentence
    assert "6 left out: 6 .heic" in layout.sentence


def test_classes_are_sorted_the_same_way_on_every_system(tmp_path):
    for form in ("NFC", "NFD"):
        root = make(
            tmp_path / form, *(unicodedata.normalize(form, c) for c in ("pêche", "cœur", "zèbre", "pz")), n=40
        )
        (root / "cœur" / "same").mkdir()
        layout = understand(root)
        assert layout.classes == ("cœur", "pz", "pêche", "zèbre")
        if form == "NFC":
            test = in_split(layout, "test")
    assert in_split(layout, "test") == test and 10 < len(test) < 60


def test_names_that_are_no_utf8_are_read(tmp_path):
    root = make(tmp_path, "cat", "dog")
    try:
        os.rename(os.fsencode(root / "cat" / "00.png"), os.fsencode(root / "cat") + b"/caf\xe9.png")
        os.rename(os.fsencode(root / "dog"), os.fsencode(root) + b"/d\xf6g")
    except (OSError, UnicodeDecodeError):
        pytest.skip("this file system wants UTF-8")
    layout = understand(root)
    assert len(layout.entries) == 12 and layout.classes == ("cat", "d\ufffdg")
    assert all(os.path.exists(entry.path) for entry in layout.entries)
    layout.sentence.encode()  # can be printed


# --- split by name --------------------------------------------------------------------------------------


def test_the_split_by_name_never_moves():
    names = [f"cat/{i:03d}.jpg" for i in range(20)]
    test = np.flatnonzero(held_out(names, np.zeros(20, dtype=int)))
    assert test.tolist() == [1, 18]
    assert _draw("dog/photo 1.png") == pytest.approx(0.07542865619925365)
    assert _draw(unicodedata.normalize("NFD", "pêche/é.png")) == _draw(
        unicodedata.normalize("NFC", "pêche/é.png")
    )
    assert 0 <= _draw("caf\udce9.png") < 1


def test_each_class_of_two_is_on_both_sides():
    names = [f"{c}/{i}.png" for c in "abcdefgh" for i in range(2)] + ["single/0.png"]
    test = held_out(names, np.array([i // 2 for i in range(17)]))
    assert test.sum() == 8 and not test[-1] and (test[:-1].reshape(8, 2).sum(axis=1) == 1).all()


# --- predefined splits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("TRAINING", "train"), ("train_set", "train"), ("imgs_train", "train"),
        ("train2017", "train"), ("Training Set", "train"), ("val", "val"), ("Validation", "val"), ("valid", "val"),
        ("dev", "val"), ("test", "test"), ("testing", "test"), ("eval", "test"), ("test_images", "test"),
        ("Evaluation-1", "test"), ("unlabeled", "unlabeled"), ("unlabelled2017", "unlabeled"), ("unsup", "unlabeled"),
        ("extra", "unlabeled"), ("no_labels", "unlabeled"), ("imagenet-train-0001.tar", "train"),
        ("val-00.tar", "val"), ("0001.tar", None),
        ("cat", None), ("trainer", None), ("contest", None), ("images", None), ("latest", None), ("rain", None),
    ],
)  # fmt: skip
def test_split_names(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "train, test", [("train", "test"), ("Training", "eval"), ("imgs_train", "test_images")]
)
def test_splits_with_classes(tmp_path, train, test):
    make(tmp_path, f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog", n=7)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "readme.md").write_text("hello")
    layout = understand(tmp_path)
    assert (
        layout.classes == ("cat", "dog") and counts(layout) == {"train": 14, "test": 14}
    )
    assert in_split(layout, "test") == {
        f"{test}/{c}/{i:02d}.png": c for c in ("cat", "dog") for i in range(7)
    }
    assert "2 classes (cat, dog), 14 train and 14 test pictures in predefined splits" in layout.sentence


@pytest.mark.parametrize(
    "train, test",
    [("seg_train", "seg_test"), ("ILSVRC2012_img_train", "ILSVRC2012_img_val"), ("trainA", "testA"), ("trn", "tst")],
)
def test_a_word_of_folders_that_are_otherwise_alike_makes_them_splits(tmp_path, train, test):
    layout = understand(make(tmp_path / "a", f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog"))
    assert layout.classes == ("cat", "dog") and counts(layout) == {"train": 12, "test": 12}
    layout = understand(make(tmp_path / "b", f"cat/{train}", f"cat/{test}", f"dog/{train}", f"dog/{test}"))
    assert layout.classes == ("cat", "dog") and counts(layout) == {"train": 12, "test": 12}
    with pytest.raises(InputError, match="can be read as splits .*or as classes"):
        understand(make(tmp_path / "a", "seg_pred"))


def test_classes_that_speak_of_trains_and_tests_stay_classes(tmp_path):
    layout = understand(make(tmp_path, "steam_train", "crash_test", "blood_test"))
    assert layout.classes == ("blood_test", "crash_test", "steam_train") and "split by name" in layout.sentence


def test_files_without_an_ending_and_packed_ones_are_counted(tmp_path):
    make(tmp_path, "cat", "dog")
    for name in ("bird/00", "bird/01", "more.zip", "README"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    layout = understand(tmp_path)
    assert {reason: count for reason, (count, _) in layout.left_out.items()} == {
        "without an ending, so not read here": 2, ".zip, to be unpacked first": 1,
    }  # fmt: skip
    assert "no class, as none of its pictures can be read here: bird" in layout.sentence


def test_splits_may_wrap_their_class_folders_or_have_none(tmp_path):
    layout = understand(make(tmp_path / "a", "train/images/cat", "train/images/dog", "test/images/cat"))
    assert layout.classes == ("cat", "dog") and set(in_split(layout, "test").values()) == {"cat"}
    layout = understand(make(tmp_path / "b", "train/images", "test/images"))
    assert layout.classes == () and counts(layout) == {"train": 6, "test": 6} and (layout.labels == -1).all()
    assert "without labels" in layout.sentence and "predefined splits" in layout.sentence
    layout = understand(make(tmp_path / "c", "cat/train", "cat/test", "dog/train", "dog/test"))
    assert layout.classes == ("cat", "dog") and counts(layout) == {"train": 12, "test": 12}


def test_unlabelled_split(tmp_path):
    layout = understand(
        make(tmp_path, "train/a", "train/b", "test/a", "test/b", "unlabeled/x", "unlabeled/y")
    )
    assert counts(layout) == {"train": 12, "test": 12, "unlabeled": 12} and layout.classes == ("a", "b")
    assert set(in_split(layout, "unlabeled").values()) == {None}
    assert "12 unlabelled" in layout.sentence


def test_train_without_test_is_split_by_name_as_when_it_is_given_alone(tmp_path):
    make(tmp_path, "train/a", "train/b", n=20)
    alone = understand(tmp_path / "train")
    assert in_split(understand(tmp_path), "test") == in_split(alone, "test")
    both = understand(make(tmp_path, "extra"))
    assert counts(both)["unlabeled"] == 6
    assert {n.removeprefix("train/") for n in in_split(both, "test")} == set(in_split(alone, "test"))


def test_val_is_test_where_there_is_no_better_one(tmp_path):
    layout = understand(make(tmp_path / "a", "train/a", "train/b", "val/a", "val/b"))
    assert counts(layout) == {"train": 12, "test": 12} and "val is taken for test" in layout.sentence
    layout = understand(make(tmp_path / "b", "train/a", "train/b", "val/a", "val/b", "test/a", "test/b", n=5))
    assert all(name.startswith("test/") for name in in_split(layout, "test"))
    assert (
        layout.left_out == {"in val, as there is a test split": (10, "val/a/00.png")}
        and len(layout.entries) == 20
    )
    layout = understand(make(tmp_path / "c", "train/a", "train/b", "val/a", "val/b", "test", n=5))
    assert all(name.startswith("val/") for name in in_split(layout, "test"))
    assert layout.left_out == {"in a test split without labels": (5, "test/00.png")}


def test_test_pictures_without_labels_are_not_trained_on(tmp_path):
    for root in (
        make(tmp_path / "a", "train/cat", "train/dog", "test"),
        make(tmp_path / "b", "train/cat", "train/dog", "test/x"),
    ):
        layout = understand(root)
        assert counts(layout) == {"train": 12, "test": 6} and layout.classes == ("cat", "dog")
        assert set(in_split(layout, "test").values()) == {None}
        assert (
            f"give {root / 'train'}" in layout.sentence and "a probe needs labelled ones" in layout.sentence
        )


def test_a_class_that_train_lacks_is_said(tmp_path):
    layout = understand(make(tmp_path, "train/cat", "train/dog", "test/cat", "test/emu"))
    assert (
        layout.classes == ("cat", "dog", "emu")
        and "train has no picture of these classes of test: emu" in layout.sentence
    )


# --- two readings ---------------------------------------------------------------------------------------


def test_splits_beside_other_pictures_are_refused_until_it_is_said_what_they_are(tmp_path):
    make(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "samples")
    with pytest.raises(
        InputError,
        match=r"as splits \(test, train; left out: samples\) or as classes \(samples, test, train\)",
    ) as caught:
        understand(tmp_path)
    for word in ("labels='splits'", "labels='folders'", "'none'", "--labels"):
        assert word in str(caught.value)
    splits = understand(tmp_path, labels="splits")
    assert splits.classes == ("cat", "dog") and counts(splits) == {"train": 12, "test": 12}
    assert splits.left_out == {"in no split": (6, "samples/00.png")}
    assert understand(tmp_path, labels="folders").classes == ("samples", "test", "train")
    none = understand(tmp_path, labels="none")
    assert none.classes == () and sum(counts(none).values()) == 30


def test_loose_pictures_beside_folders_are_refused_until_it_is_said_what_they_are(tmp_path):
    make(tmp_path, "", "cat", "dog")
    with pytest.raises(
        InputError, match="6 loose pictures beside the folders cat, dog.*labels='folders'.*labels='none'"
    ):
        understand(tmp_path)
    folders = understand(tmp_path, labels="folders")
    assert folders.classes == ("cat", "dog") and folders.left_out == {
        "beside the class folders": (6, "00.png")
    }
    assert sum(counts(understand(tmp_path, labels="none")).values()) == 18
    make(tmp_path / "train", "", "cat", "dog")
    make(tmp_path, "test/cat")
    with pytest.raises(InputError, match="train of .* holds 6 loose"):
        understand(make(tmp_path / "more", "train", "train/a", "train/b", "test/a"))


def test_labels_that_fit_nothing_are_refused(tmp_path):
    make(tmp_path, "only")
    with pytest.raises(InputError, match="labels must be one of folders, splits, none, got 'yes'"):
        understand(tmp_path, labels="yes")
    with pytest.raises(InputError, match="at least two sub-folders.*found 1"):
        understand(tmp_path, labels="folders")
    with pytest.raises(InputError, match="no folder called train"):
        understand(make(tmp_path, "more"), labels="splits")
    assert counts(understand(make(tmp_path / "s", "train/a", "train/b", "test"), labels="none")) == {
        "train": 12,
        "test": 6,
    }


# --- without labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "a", "a/b/c"])
def test_pictures_in_one_place_are_a_set_without_labels(tmp_path, folder):
    layout = understand(make(tmp_path, folder, n=50))
    assert layout.classes == () and (layout.labels == -1).all()
    assert sum(counts(layout).values()) == 50 and 3 <= counts(layout)["test"] <= 20
    assert [e.name for e in layout.entries] == [f"{i:02d}.png" for i in range(50)]
    assert "without labels" in layout.sentence and "a probe needs labels" in layout.sentence


def test_another_folder_of_unlabelled_pictures(tmp_path):
    root, pool = make(tmp_path / "a", "cat", "dog", n=20), make(tmp_path / "b", "x", "y", n=4)
    layout = understand(root)
    test, train = sorted(in_split(layout, "test")), sorted(in_split(layout, "train"))
    os.link(root / test[0], pool / "x" / "test.png")
    os.link(root / train[0], pool / "x" / "train.png")
    both = understand(root, unlabeled=pool)
    assert sorted(in_split(both, "test")) == test and sorted(in_split(both, "train")) == train
    unlabeled = in_split(both, "unlabeled")
    assert len(unlabeled) == 9 and train[0] in unlabeled and (pool / "y" / "00.png").as_posix() in unlabeled
    assert (
        both.left_out == {"also a test picture": (1, "x/test.png")} and "also a test picture" in both.sentence
    )


# --- links ----------------------------------------------------------------------------------------------


def test_links_are_followed_and_nothing_is_counted_twice(tmp_path):
    root = make(tmp_path / "set", "cat", "dog")
    make(tmp_path, "elsewhere/birds")
    try:
        (root / "bird").symlink_to(tmp_path / "elsewhere" / "birds")
        (root / "cat" / "latest").symlink_to(".")
        (root / "ant").symlink_to("dog")  # before dog in the order of names, and still a link to it
        (root / "cat" / "a.png").symlink_to(root / "dog" / "00.png")
        (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    except OSError:
        pytest.skip("no links here")
    os.link(root / "dog" / "01.png", root / "dog" / "z.png")
    layout = understand(root)
    assert layout.classes == ("bird", "cat", "dog") and len(layout.entries) == 18
    assert np.bincount(layout.labels).tolist() == [6, 6, 6]
    assert {reason: n for reason, (n, _) in layout.left_out.items()} == {
        "linked to a picture that is already there": 2,
        "linked to a folder that is already there": 2,
        "linked to a file that is not there": 1,
    }


# --- labels that are written down -----------------------------------------------------------------------


def test_hugging_face_metadata(tmp_path):
    root = make(tmp_path, "train", "test")
    rows = "".join(f"{i:02d}.png,x,{'ab'[i % 2]}\n" for i in range(5)) + "99.png,x,a\n"
    (root / "train" / "metadata.csv").write_text("\ufefffile_name,caption,label\n" + rows, encoding="utf-8")
    lines = [json.dumps({"file_name": f"{i:02d}.png", "label": "c" if i else None}) for i in range(6)]
    (root / "test" / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    layout = understand(root)
    assert layout.classes == ("a", "b", "c") and counts(layout) == {"train": 5, "test": 6}
    assert in_split(layout, "train")["train/03.png"] == "b"
    assert in_split(layout, "test")["test/00.png"] is None and in_split(layout, "test")["test/05.png"] == "c"
    assert layout.left_out == {
        "named in the metadata and not there": (1, "train/99.png"),
        "not named in the metadata": (1, "train/05.png"),
    }
    assert understand(root, labels="none").classes == ()
    (root / "test" / "metadata.jsonl").unlink()  # what remains speaks of train alone
    layout = understand(root)
    assert counts(layout) == {"train": 5, "test": 6} and set(in_split(layout, "test").values()) == {None}


def test_metadata_in_the_root_with_numbers(tmp_path):
    root = make(tmp_path, "images", n=12)
    lines = [{"file_name": f"images/{i:02d}.png", "label": 8 + i % 3} for i in range(12)]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    layout = understand(root)
    assert layout.classes == ("8", "9", "10")  # as numbers, not as text
    assert (in_split(layout, "train") | in_split(layout, "test"))["images/05.png"] == "10"
    assert "split by name" in layout.sentence


def test_metadata_without_labels_change_nothing_and_damaged_ones_are_refused(tmp_path):
    root = make(tmp_path, "cat", "dog")
    (root / "metadata.csv").write_text("file_name,text\ncat/00.png,hello\n")
    layout = understand(root)
    assert (
        layout.classes == ("cat", "dog") and "metadata.csv has no labels and is not used" in layout.sentence
    )
    (root / "metadata.csv").write_text("label,text\na,hello\n")
    with pytest.raises(InputError, match="without file_name"):
        understand(root)
    (root / "metadata.csv").write_bytes(b"file_name,label\n\xff\xfe,\xff\n")
    with pytest.raises(InputError, match="cannot read .*metadata.csv"):
        understand(root)
    (root / "metadata.csv").write_text("file_name,label\n00.png,a\n")
    with pytest.raises(InputError, match="none of the pictures that .*metadata.csv names is there"):
        understand(root)
    (root / "metadata.csv").unlink()
    for text in ("{oops", '["a"]', '{"file_name": "cat/00.png", "label": [1, 2]}'):
        (root / "metadata.jsonl").write_text(text)
        with pytest.raises(InputError, match="metadata.jsonl"):
            understand(root)


def shard(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(start: int, stop: int) -> dict[str, bytes]:
    pairs = [(f"{i:04d}", i) for i in range(start, stop)]
    return {f"{k}.jpg": b"picture %d" % i for k, i in pairs} | {
        f"{k}.cls": b"%d\n" % (i % 11) for k, i in pairs
    }


def test_webdataset_archives(tmp_path):
    shard(tmp_path / "set-train-000.tar", samples(0, 20) | {"0001.txt": b"x", "._0001.jpg": b"x"})
    shard(tmp_path / "set-train-001.tar", samples(20, 30))
    shard(tmp_path / "set-test-000.tar", samples(30, 37))
    layout = understand(tmp_path)
    assert counts(layout) == {"train": 30, "test": 7} and layout.classes == tuple(map(str, range(11)))
    row = [e.name for e in layout.entries].index("set-train-001.tar/0023.jpg")
    entry = layout.entries[row]
    assert layout.labels[row] == 1 and entry.path == str(tmp_path / "set-train-001.tar")
    assert Path(entry.path).read_bytes()[entry.offset : entry.offset + entry.length] == b"picture 23"
    alone = understand(tmp_path / "set-train-001.tar")
    assert alone.name == "set-train-001" and sum(counts(alone).values()) == 10 and len(alone.classes) == 10


def test_archives_in_split_folders_without_labels_and_in_bad_shape(tmp_path):
    for split in ("train", "val"):
        shard(tmp_path / "a" / split / "000.tar", {f"{i}.png": b"x" for i in range(9)})
    layout = understand(tmp_path / "a")
    assert counts(layout) == {"train": 9, "test": 9} and layout.classes == ()
    packed = shard(tmp_path / "b" / "000.tar", samples(0, 5), "w:gz")
    with pytest.raises(InputError, match="000.tar.*compressed.*decompress"):
        understand(packed)
    with pytest.raises(InputError, match="whole number"):
        understand(shard(tmp_path / "c" / "000.tar", {"0.jpg": b"x", "0.cls": b"cat"}))
    with pytest.raises(InputError, match="no class folders"):
        understand(tmp_path / "a", labels="folders")


# --- nothing there --------------------------------------------------------------------------------------


def test_folders_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        understand(tmp_path / "nowhere")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="unpack"):
        understand(tmp_path / "photos.zip")
    with pytest.raises(InputError, match="no picture that can be read here"):
        understand(tmp_path)
    make(tmp_path, "cat", "dog", ending="nef")
    with pytest.raises(InputError, match=r"13 left out \(12 .nef.*1 .zip, to be unpacked first"):
        understand(tmp_path)
