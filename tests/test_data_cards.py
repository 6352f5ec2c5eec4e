"""The cards of data that nobody needs to download: their layouts are read as `data/README.md` says."""

import warnings

import pytest
import torch
from PIL import Image
from torchvision import datasets

from ssl_lessons import data


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_LESSONS_CACHE", str(tmp_path / "the cache"))


def save(path, colour) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data.folder(path, "train", size=16)


def test_dtd_describable_textures_as_it_unpacks(tmp_path):
    """DTD (describable textures): the folder `images` is a folder of class folders; torchvision reads its lists."""
    for k, name in enumerate(("banded", "chequered", "zigzagged")):
        for i in range(10):
            save(tmp_path / "dtd" / "dtd" / "images" / name / f"{name}_{i:04d}.jpg", (80 * k, 10 * i, 0))
    lists = tmp_path / "dtd" / "dtd" / "labels"
    lists.mkdir()
    (lists / "test3.txt").write_text("banded/banded_0001.jpg\nzigzagged/zigzagged_0002.jpg\n")
    ours = read(tmp_path / "dtd" / "dtd" / "images")
    assert list(ours.classes) == ["banded", "chequered", "zigzagged"]
    assert set(ours.labels.tolist()) == {0, 1, 2}
    theirs = datasets.DTD(tmp_path, split="test", partition=3)
    assert len(theirs) == 2 and theirs.classes == ["banded", "zigzagged"]


def test_inaturalist_2018_as_it_unpacks(tmp_path):
    """iNaturalist 2018: super category / species / picture; whole it has super categories, one of them has species."""
    counts = {("Aves", 0): 16, ("Aves", 1): 8, ("Fungi", 2): 4, ("Fungi", 3): 2}
    for (family, species), n in counts.items():
        for i in range(n):
            save(
                tmp_path / "2018" / family / str(species) / f"{species}{i:03d}.jpg", (60 * species, 10 * i, 0)
            )
    whole, birds = read(tmp_path / "2018"), read(tmp_path / "2018" / "Aves")
    assert list(whole.classes) == ["Aves", "Fungi"] and list(birds.classes) == ["0", "1"]
    theirs = datasets.INaturalist(tmp_path, version="2018", target_type=["full", "super"])
    found = torch.tensor([theirs[i][1] for i in range(len(theirs))])
    assert len(found) == sum(counts.values())
    assert found[:, 0].bincount().tolist() == [16, 8, 4, 2] and found[:, 1].bincount().tolist() == [24, 6]


def test_the_drawn_counterparts():
    """Textures without an object have no way up; with imbalance the classes fall off by that factor."""
    textures = data.shapes("train", n=200, objects=False)
    tail = data.shapes("unlabeled", n=4000, imbalance=50)
    assert len(textures) == 200 and "kind" in tail.factors
    counts = tail.factors["kind"].values.bincount().sort(descending=True).values
    assert 20 < counts[0] / counts[-1] < 120
