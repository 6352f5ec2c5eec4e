"""The capstone's decisions: which images, where the run is kept, how long it takes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_lessons.book import capstone
from ssl_lessons.data import shapes
from ssl_lessons.errors import InputError
from ssl_lessons.training import default_monitor, pretrain, recipes
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


def test_no_night_on_a_gpu_is_spent_on_drawings_by_accident(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_LESSONS_DATA", str(tmp_path))
    with pytest.raises(InputError, match='IMAGES = "stl10"'):
        capstone.choose_images("auto", 16, rehearsal=False)


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
    assert (
        capstone.plan(QUICK, images, minutes=1e6).steps == steps_of(QUICK.epochs, 64, QUICK.batch_size) == 100
    )
    assert capstone.plan(QUICK, images, steps=7).steps == 7
    assert "7 steps" in capstone.plan(QUICK, images, steps=7).sentence()


def test_a_run_is_planned_in_legs():
    budget = capstone.fits(QUICK.with_(batch_size=10), 100, seconds_per_step=3.0, steps=2400)
    assert budget == (2400, 240.0, 120.0, 3.0, 0)
    # 50 of 60 minutes count: 1,000 steps a leg
    assert budget.legs() == [(1, 1000, 100.0), (2, 2000, 200.0), (3, 2400, 240.0)]
    assert budget.legs(minutes=60, lost=0)[-1] == (2, 2400, 240.0)  # fills two of them exactly
    assert budget.itinerary() == (
        "3 legs of 60 minutes, to step 1,000 (epoch 100.0), step 2,000 (epoch 200.0), step 2,400 (epoch 240.0)"
    )
    many = budget.itinerary(minutes=11)
    assert many.startswith("120 legs of 11 minutes, to step 20 (") and many.endswith(
        "..., step 2,400 (epoch 240.0)"
    )
    slow = capstone.fits(QUICK, 100, seconds_per_step=1e6, steps=3)
    assert [leg.step for leg in slow.legs()] == [1, 2, 3]  # a leg takes a step at least
    with pytest.raises(InputError, match="longer than the 10"):
        budget.legs(minutes=10)


def test_what_is_done_needs_no_leg():
    budget = capstone.fits(QUICK.with_(batch_size=10), 100, seconds_per_step=3.0, steps=2400, done=1500)
    assert budget.minutes == 45.0 and budget.epochs == 240.0
    assert budget.legs() == [(1, 2400, 240.0)]
    assert "1500 of them are done" in budget.sentence()
    assert capstone.fits(QUICK, 100, 3.0, steps=9, done=9).itinerary() == "finished: no leg is left"


def test_a_resumed_run_keeps_its_number_of_steps(tmp_path):
    images, method = shapes("unlabeled", 32, 64), QUICK.build()
    assert capstone.plan(QUICK, images, minutes=1e6, out=tmp_path).steps == 100

    def cut(history):
        if len(history) >= 3:
            raise KeyboardInterrupt

    monitor = default_monitor(shapes("train", 32, 40), 30, images=10)
    with pytest.raises(KeyboardInterrupt):
        pretrain(method, images.images, (QUICK.policy,) * 2, steps=30, out=tmp_path, checkpoint_every=1,
                 monitor=monitor, on_measure=cut, progress=False, **QUICK.training())  # fmt: skip
    again = capstone.plan(QUICK, images, minutes=1e6, out=tmp_path)
    assert (again.steps, again.done) == (30, 2)


def test_how_to_resume_names_the_folder_and_warns_where_it_goes_away(monkeypatch, tmp_path):
    monkeypatch.setattr(capstone, "COLAB", tmp_path / "missing")
    assert "runs/x" in capstone.how_to_resume(Path("runs/x")) and "lost" not in capstone.how_to_resume(
        Path("runs/x")
    )
    monkeypatch.setattr(capstone, "COLAB", tmp_path)
    monkeypatch.setattr(capstone, "DRIVE", tmp_path / "drive")
    assert "mount Google Drive" in capstone.how_to_resume(Path("runs/x"))
    assert "lost" not in capstone.how_to_resume(tmp_path / "drive" / "ssl_lessons" / "x")


def test_an_accident_happens_once_and_on_time():
    history = [{}] * 4
    assert capstone.accident(5)(history) is None and capstone.accident(None)(history) is None
    with pytest.raises(ConnectionError, match="after step 4"):
        capstone.accident(4)(history)


def label_row(arm, seed, *draws):
    return {"group": "labels", "arm": arm, "seed": seed, "accuracies": {"2": list(draws), "10": [0.5, 0.7]}}


def test_label_curves_take_the_seeds_that_all_arms_have():
    rows = [
        label_row("frozen", 0, 0.1, 0.3),
        label_row("frozen", 2, 0.3, 0.3),
        label_row("untrained", 2, 0.2, 0.1),
    ]
    rows += [
        label_row("untrained", 0, 0.1, 0.1),
        label_row("frozen", 1, 0.9, 0.9),
        label_row("pixels", 0, 0.1, 0.2),
    ]
    rows.append(label_row("untrained", 1, 0.9, 0.9) | {"group": "tune"})
    found = capstone.label_runs(rows, ("frozen", "untrained"))
    assert found.seeds == [0, 2]
    assert found.accuracies["frozen"][2] == [[0.1, 0.3], [0.3, 0.3]]
    assert found.accuracies["pixels"][2] == [[0.1, 0.2]] * 2
    assert found.means("frozen", (2, 10)) == [pytest.approx([0.2, 0.3]), pytest.approx([0.6, 0.6])]
    with pytest.raises(InputError, match="no seed"):
        capstone.label_runs(rows, ("frozen", "from scratch"))
    with pytest.raises(InputError, match="no seed"):
        capstone.label_runs([row for row in rows if row["arm"] != "pixels"], ("frozen",))
