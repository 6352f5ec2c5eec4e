"""Downloads and real images, offline: a server on 127.0.0.1 stands in for the archives' homes.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from ssl_lessons.data import download, real
from ssl_lessons.data.download import fetch
from ssl_lessons.errors import InputError

FRAGMENTS = Path(__file__).parents[2] / "shared/data/stl10-fragments.npz"
needs_fragments = pytest.mark.skipif(not FRAGMENTS.exists(), reason="the genuine STL-10 images are not here")

BODY = np.random.RandomState(0).bytes(300_000)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def get(server, path, body=BODY, name="a.bin", **options):
    return fetch(f"{server.base}/somewhere/{name}", path, md5(body), progress=False, **options)


# --- download -------------------------------------------------------------------------------------------


def test_fetch_writes_the_whole_file_and_only_it(server, tmp_path):
    server.files["a.bin"] = BODY
    path = get(server, tmp_path / "new" / "a.bin")
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_resume_transfers_only_the_rest(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY[:200_000])
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY
    assert server.sent == [100_000]


def test_truncated_file_in_place_is_continued(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin").write_bytes(BODY[:250_000])
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY
    assert server.sent == [50_000]


def test_server_without_range_starts_over(server, tmp_path):
    server.files["a.bin"], server.ranges = BODY, False
    (tmp_path / "a.bin.part").write_bytes(BODY[:200_000])
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY
    assert server.sent == [len(BODY)]


def test_dropped_connections_are_continued(server, tmp_path):
    server.files["a.bin"] = BODY
    server.drops = [50_000] * 5  # more drops than retries: each made progress, so none of them counts
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY
    assert sum(server.sent) == len(BODY) and len(server.sent) == 6


def test_connection_that_always_drops_ends_with_the_part_kept(server, tmp_path):
    server.files["a.bin"], server.ranges, server.drops = BODY, False, [70_000] * 50
    with pytest.raises(InputError, match="connection was lost after 70,000 of 300,000 bytes.*run the same"):
        get(server, tmp_path / "a.bin")
    assert len(server.sent) == 1 + 1 + len(download.WAITS) - 1  # the first one made progress
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:70_000]
    assert not (tmp_path / "a.bin").exists()


def test_wrong_checksum_is_refused_and_removed(server, tmp_path):
    server.files["a.bin"] = b"<html>please log in</html>"
    with pytest.raises(InputError, match="wrong checksum") as caught:
        get(server, tmp_path / "a.bin")
    for word in (md5(BODY), md5(server.files["a.bin"]), "removed", "--mirror", "again"):
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    server.files["a.bin"] = BODY
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY  # and the advice works


def test_part_of_another_file_does_not_block_for_ever(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(bytes(len(BODY) + 7))  # longer than the file
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY


def test_finished_part_is_renamed_without_a_transfer(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert get(server, tmp_path / "a.bin").read_bytes() == BODY
    assert server.sent == []


def test_missing_file_says_what_to_do_at_once(server, tmp_path):
    with pytest.raises(InputError, match="404.*--mirror") as caught:
        get(server, tmp_path / "a.bin")
    assert str(tmp_path / "a.bin") in str(caught.value)
    assert len(server.paths) == 1


def test_server_in_trouble_is_asked_again(server, tmp_path):
    server.status = 503
    with pytest.raises(InputError, match="503"):
        get(server, tmp_path / "a.bin")
    assert len(server.paths) == 1 + len(download.WAITS)


def test_unreachable_host_says_what_to_do(server, tmp_path):
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="--mirror URL, or put the file at"):
        fetch(f"http://127.0.0.1:{port}/a.bin", tmp_path / "a.bin", md5(BODY), progress=False)


def test_complete_file_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(BODY)
    assert get(server, tmp_path / "a.bin") == tmp_path / "a.bin"
    assert server.paths == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_is_a_base_url(server, tmp_path, slash):
    server.files["a.bin"] = BODY
    mirror = server.base + "/class" + slash
    fetch("http://nowhere.invalid/x/a.bin", tmp_path / "a.bin", md5(BODY), mirror, progress=False)
    assert server.paths == ["/class/a.bin"]


@pytest.mark.parametrize("mirror", ["laptop", "ftp://laptop", "http://", ""])
def test_mirror_that_is_no_url_is_refused(tmp_path, mirror):
    with pytest.raises(InputError, match="base URL"):
        fetch("http://nowhere.invalid/a.bin", tmp_path / "a.bin", md5(BODY), mirror, False)


def test_unwritable_place_is_reported(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        get(server, tmp_path / "file" / "a.bin")


# --- STL-10 and CIFAR-10 --------------------------------------------------------------------------------


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def column_major(images: np.ndarray) -> bytes:
    """uint8 [N, H, W, 3] as STL-10 stores them: one plane per colour, columns first."""
    return b"".join(np.asarray(image[:, :, c]).tobytes(order="F") for image in images for c in range(3))


def publish(monkeypatch, server, dataset, files: dict[str, bytes]) -> None:
    """Serve `files` as the archive of a torchvision data set, with their checksums."""
    archive = tar_gz({f"{dataset.base_folder}/{name}": data for name, data in files.items()})
    server.files[dataset.filename] = archive
    monkeypatch.setattr(dataset, "url", f"{server.base}/home/{dataset.filename}")
    monkeypatch.setattr(dataset, "tgz_md5", md5(archive))
    for attribute in ("train_list", "test_list"):
        listed = [[name, md5(files[name])] for name, _ in getattr(dataset, attribute)]
        monkeypatch.setattr(dataset, attribute, listed)
    if hasattr(dataset, "meta"):
        meta = {**dataset.meta, "md5": md5(files[dataset.meta["filename"]])}
        monkeypatch.setattr(dataset, "meta", meta)


@pytest.fixture
def stl(monkeypatch, server):
    """A tiny STL-10 in the exact on-disk format; returns what was written, uint8 [N, H, W, 3]."""
    random = np.random.RandomState(0)
    pixels = {
        name: random.randint(0, 256, (n, 96, 96, 3)).astype(np.uint8)
        for name, n in (("train", 20), ("test", 10), ("unlabeled", 7))
    }
    labels = {
        name: (random.permutation(len(pixels[name])) % 10 + 1).astype(np.uint8) for name in ("train", "test")
    }
    folds = np.stack([random.permutation(20)[:4] for _ in range(10)])
    files = {f"{name}_X.bin": column_major(x) for name, x in pixels.items()}
    files |= {f"{name}_y.bin": y.tobytes() for name, y in labels.items()}
    files["fold_indices.txt"] = "".join(" ".join(map(str, fold)) + " \n" for fold in folds).encode()
    files["class_names.txt"] = "\n".join(real.STL10_CLASSES).encode()
    publish(monkeypatch, server, datasets.STL10, files)
    return pixels, labels, folds


def planes(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def test_stl10_reads_back_what_was_written(stl, server, tmp_path):
    pixels, labels, folds = stl
    for split in ("train", "test", "unlabeled"):
        data = real.stl10(split, data_dir=tmp_path, download=True)
        assert torch.equal(data.images, planes(pixels[split]))
        assert data.images.is_contiguous()
        assert (data.name, data.split, data.classes) == ("stl10", split, real.STL10_CLASSES)
        if split == "unlabeled":
            assert data.labels.tolist() == [-1] * 7
        else:
            assert data.labels.tolist() == (labels[split].astype(int) - 1).tolist()
        assert len(data.folds) == (10 if split == "train" else 0)
    train = real.stl10("train", data_dir=tmp_path)
    assert [f.tolist() for f in train.folds] == folds.tolist()
    assert len(train[train.folds[3]]) == 4
    assert len(server.sent) == 1  # one archive for three splits and four calls


def test_stl10_size_and_subset(stl, tmp_path):
    whole = real.stl10("train", data_dir=tmp_path, download=True)
    some = real.stl10("train", n=10, seed=1, data_dir=tmp_path)
    assert some.folds == () and sorted(some.labels.tolist()) == list(range(10))  # one of each class
    rows = [next(i for i in range(20) if torch.equal(whole.images[i], image)) for image in some.images]
    assert rows == sorted(rows) and torch.equal(whole.labels[rows], some.labels)
    again, other = (real.stl10("train", n=10, seed=s, data_dir=tmp_path) for s in (1, 2))
    assert torch.equal(again.images, some.images) and not torch.equal(other.images, some.images)
    small = real.stl10("train", size=24, n=10, seed=1, data_dir=tmp_path)
    assert small.images.shape == (10, 3, 24, 24) and torch.equal(small.labels, some.labels)
    mean = some.images.float().mean((2, 3))
    assert (small.images.float().mean((2, 3)) - mean).abs().max() < 2  # the same pictures, averaged


def test_stl10_from_a_classroom_mirror(stl, server, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.STL10, "url", "http://nowhere.invalid/x/stl10_binary.tar.gz")
    monkeypatch.setenv("SSL_LESSONS_DATA", str(tmp_path))
    assert len(real.stl10("test", mirror=server.base, download=True)) == 10
    assert (tmp_path / "stl10_binary").is_dir()


def test_downloads_lie_in_one_place_wherever_a_command_is_run(tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_LESSONS_DATA", raising=False)
    monkeypatch.setenv("SSL_LESSONS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert download.downloads() == Path(__file__).parents[1] / "data" / "cache"
    monkeypatch.setattr(download, "CLONE", tmp_path)  # installed without a clone
    assert download.downloads() == tmp_path / "cache" / "downloads"
    monkeypatch.setenv("SSL_LESSONS_DATA", "elsewhere")
    assert download.downloads() == Path("elsewhere") and download.downloads("here") == Path("here")


def test_absent_data_say_how_to_get_them(stl, server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_LESSONS_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"--download.*2\.6 GB.*--mirror") as caught:
        real.stl10("test")
    assert str(tmp_path / "stl10_binary") in str(caught.value)
    with pytest.raises(InputError, match=r"CIFAR-10.*--download.*170 MB"):
        real.cifar10("test", data_dir=tmp_path)
    assert server.paths == []


def test_archive_put_there_by_hand_needs_no_download(stl, server, tmp_path):
    (tmp_path / "stl10_binary.tar.gz").write_bytes(server.files["stl10_binary.tar.gz"])
    assert len(real.stl10("test", data_dir=tmp_path)) == 10
    assert server.paths == []


def test_interrupted_unpacking_is_redone(stl, server, tmp_path, monkeypatch):
    genuine = real.unpack

    def interrupted(archive, to):
        genuine(archive, to)
        half = Path(to, "stl10_binary", "unlabeled_X.bin")
        half.write_bytes(half.read_bytes()[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(real, "unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        real.stl10("test", data_dir=tmp_path, download=True)
    assert not (tmp_path / "stl10_binary").exists()
    monkeypatch.setattr(real, "unpack", genuine)
    data = real.stl10("unlabeled", data_dir=tmp_path, download=True)
    assert torch.equal(data.images, planes(stl[0]["unlabeled"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stl10_binary", "stl10_binary.tar.gz"]
    assert len(server.sent) == 1


def test_damaged_folder_is_replaced_only_on_request(stl, tmp_path):
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "stl10_binary" / "test_X.bin").write_bytes(b"half")
    with pytest.raises(InputError, match="damaged.*--download"):
        real.stl10("test", data_dir=tmp_path)
    assert torch.equal(real.stl10("test", data_dir=tmp_path, download=True).images, planes(stl[0]["test"]))


def test_cifar10_reads_back_what_was_written(server, tmp_path, monkeypatch):
    random = np.random.RandomState(1)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files, pixels, labels = {"batches.meta": pickle.dumps({"label_names": names})}, [], []
    for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list:
        x, y = random.randint(0, 256, (4, 3, 32, 32)).astype(np.uint8), random.randint(0, 10, 4).tolist()
        files[name] = pickle.dumps({"data": x.reshape(4, 3072), "labels": y})
        pixels.append(x)
        labels.append(y)
    publish(monkeypatch, server, datasets.CIFAR10, files)
    train = real.cifar10("train", data_dir=tmp_path, download=True)
    assert torch.equal(train.images, torch.from_numpy(np.concatenate(pixels[:5])))
    assert train.labels.tolist() == np.concatenate(labels[:5]).tolist() and train.classes == tuple(names)
    test = real.cifar10("test", data_dir=tmp_path)
    assert torch.equal(test.images, torch.from_numpy(pixels[5])) and test.labels.tolist() == labels[5]
    unlabeled = real.cifar10("unlabeled", data_dir=tmp_path)
    assert torch.equal(unlabeled.images, train.images) and unlabeled.labels.tolist() == [-1] * 20
    assert real.cifar10("train", size=16, n=6, data_dir=tmp_path).images.shape == (6, 3, 16, 16)


@needs_fragments
def test_genuine_stl10_images_come_back_upright(stl, server, tmp_path, monkeypatch):
    genuine = np.load(FRAGMENTS)
    x, y = genuine["test_X"], genuine["test_y"]
    files = {
        "test_X.bin": column_major(x),
        "test_y.bin": y.tobytes(),
        "train_X.bin": column_major(x[:1]),
        "train_y.bin": y[:1].tobytes(),
        "unlabeled_X.bin": column_major(genuine["unlabeled_X"]),
        "fold_indices.txt": b"0\n",
        "class_names.txt": "\n".join(genuine["class_names"]).encode(),
    }
    publish(monkeypatch, server, datasets.STL10, files)
    test = real.stl10("test", data_dir=tmp_path, download=True)
    assert torch.equal(test.images, planes(x))
    assert torch.equal(real.stl10("unlabeled", data_dir=tmp_path).images, planes(genuine["unlabeled_X"]))
    assert [test.classes[c] for c in test.labels] == genuine["class_names"][y - 1].tolist()
    # None of them is its own transpose, so a row-major reader could not have passed.
    assert (test.images != test.images.transpose(2, 3)).flatten(1).any(1).all()


@needs_fragments
def test_genuine_stl10_label_files():
    """The published checksums fix the order; labels on disk are 1..10 and balanced."""
    genuine, published = np.load(FRAGMENTS), dict(datasets.STL10.train_list + datasets.STL10.test_list)
    assert md5(genuine["train_y_all"].tobytes()) == published["train_y.bin"]
    assert md5(genuine["test_y_all"].tobytes()) == published["test_y.bin"]
    assert np.array_equal(genuine["test_y_all"][genuine["test_index"]], genuine["test_y"])
    assert tuple(genuine["class_names"]) == real.STL10_CLASSES


@needs_fragments
def test_genuine_stl10_train_labels_are_read_in_file_order(stl, server, tmp_path, monkeypatch):
    labels = np.load(FRAGMENTS)["train_y_all"]
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    with open(folder / "train_X.bin", "wb") as f:
        f.truncate(len(labels) * 3 * 96 * 96)  # black images: only the labels matter here
    (folder / "train_y.bin").write_bytes(labels.tobytes())
    (folder / "fold_indices.txt").write_text("0 1\n" * 10)
    files = [[name, download.checksum(folder / name)] for name in ("train_X.bin", "train_y.bin")]
    monkeypatch.setattr(datasets.STL10, "train_list", files)
    monkeypatch.setattr(datasets.STL10, "test_list", [])
    train = real.stl10("train", size=2, data_dir=tmp_path)
    assert train.labels.tolist() == (labels.astype(int) - 1).tolist()
    assert train.labels.bincount().tolist() == [500] * 10
    assert train.classes == real.STL10_CLASSES  # known even without class_names.txt


# --- digits ---------------------------------------------------------------------------------------------


def test_digits_splits_are_fixed_stratified_and_complete():
    train, test = real.digits("train", seed=3), real.digits("test", seed=4)
    assert (len(train), len(test)) == (1297, 500) and train.images.shape[1:] == (3, 8, 8)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    both = torch.cat([train.images, test.images])
    assert (both[:, 0] == both[:, 1]).all() and (both[:, 0] == both[:, 2]).all()
    rows = np.round(both[:, 0].flatten(1).double().numpy() * (16 / 255))
    order, wanted = np.lexsort(rows.T), np.lexsort(pixels.T)
    assert np.array_equal(rows[order], pixels[wanted])  # every image once, 0..16 told apart
    assert both.max() == 255
    assert np.array_equal(torch.cat([train.labels, test.labels]).numpy()[order], labels[wanted])
    share = test.labels.bincount() / torch.from_numpy(np.bincount(labels))
    assert (share - 500 / 1797).abs().max() < 0.01
    assert torch.equal(real.digits("train", seed=0).images, train.images)


def test_digits_unlabeled_size_and_subset():
    unlabeled = real.digits("unlabeled")
    assert torch.equal(unlabeled.images, real.digits("train").images)
    assert set(unlabeled.labels.tolist()) == {-1}
    some = real.digits("train", size=32, n=100, seed=1)
    assert some.images.shape == (100, 3, 32, 32) and set(some.labels.tolist()) == set(range(10))
    assert not torch.equal(some.images, real.digits("train", size=32, n=100, seed=2).images)


@pytest.mark.parametrize("wrong", [{"split": "valid"}, {"size": 0}, {"n": 0}, {"n": 2.5}, {"n": 10**6}])
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(InputError):
        real.digits(**wrong)
