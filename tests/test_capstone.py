"""The capstone's decisions: which images, where the run is kept, how long it takes."""

import numpy as np
import pytest
from PIL import Image

from ssl_lessons.book import capstone
from ssl_lessons.data import shapes
from ssl_lessons.errors import InputError
from ssl_lessons.training import recipes
from ssl_lessons.training.plan import steps_of

QUICK = recipes.get_recipe("quick").with_(encoder_options={"width": 4, "dim": 8}, batch_size=16)


def test_the_rehearsal_uses_the_embedded_world(monkeypatch):
    monkeypatch.setattr(capstone, "stl10_is_here", lambda data_dir=None: True)
    images = capstone.choose_images("auto", 16, rehearsal=True)
    assert images.name == "shapes"
    assert len(images.train) == 5000 and len(images.train.folds) == 10


def test_the_build_takes_stl10_where_it_lies(monkeypatch, tmp_path):
    asked = []

    def load(name, split, **options):
        asked.append((name, split, options["size"]))
        return shapes(split, 16, 20)

    monkeypatch.setattr(capstone, "stl10_is_here", lambda data_dir=None: True)
    monkeypatch.setattr(capstone.data, "load", load)
    capstone.choose_images("auto", 64, rehearsal=False)
    # the unlabelled pictures keep their size for cropping; the labelled ones come at the size of a view
    assert asked == [("stl10", "unlabeled", None), ("stl10", "train", 64), ("stl10", "test", 64)]


def test_a_notebook_and_the_command_line_share_one_download(monkeypatch, tmp_path):
    monkeypatch.delenv("SSL_LESSONS_DATA", raising=False)
    monkeypatch.setattr(capstone, "ROOT", tmp_path)
    assert capstone.data_folder() is None  # installed without a clone
    (tmp_path / "pyproject.toml").touch()
    asked = []
    monkeypatch.setattr(capstone, "stl10_is_here", lambda data_dir=None: bool(asked.append(data_dir)))
    with pytest.raises(InputError, match='IMAGES = "stl10"'):  # no night on a GPU is spent on drawings by accident
        capstone.choose_images("auto", 16, rehearsal=False)
    assert asked == [tmp_path / "data" / "cache"]
    monkeypatch.setenv("SSL_LESSONS_DATA", "elsewhere")
    assert capstone.data_folder() is None


def test_stl10_is_not_here_in_an_empty_folder(tmp_path):
    assert not capstone.stl10_is_here(tmp_path)


def test_a_folder_of_ones_own_images(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    images = capstone.choose_images(str(tmp_path), 16, rehearsal=True)
    assert images.train.classes == ("a", "b") and images.test.size == 16


def test_unknown_images_are_refused():
    with pytest.raises(InputError, match="neither a data set"):
        capstone.choose_images("stl11", 32, rehearsal=False)


def test_checkpoints_go_to_drive_when_it_is_mounted(monkeypatch, tmp_path):
    monkeypatch.setattr(capstone, "DRIVE", tmp_path / "missing")
    assert capstone.run_folder("x").parts[0] == "runs"
    monkeypatch.setattr(capstone, "DRIVE", tmp_path)
    assert capstone.run_folder("x") == tmp_path / "ssl_lessons" / "x"


def test_the_plan_fits_the_time_and_never_exceeds_the_recipe():
    images = shapes("unlabeled", 32, 64)
    tight = capstone.plan(QUICK, images, minutes=0.01)
    assert 1 <= tight.steps <= steps_of(QUICK.epochs, 64, QUICK.batch_size)
    assert tight.minutes <= 0.011 or tight.steps == 1
    assert tight.epochs == pytest.approx(tight.steps * 16 / 64)
    assert capstone.plan(QUICK, images, minutes=1e6).steps == steps_of(QUICK.epochs, 64, QUICK.batch_size) == 100
    assert capstone.plan(QUICK, images, steps=7).steps == 7
    assert "7 steps" in capstone.plan(QUICK, images, steps=7).sentence()
