"""The throughput benchmark in miniature: what it writes, and that both sides train on the same loss."""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import throughput as bench  # noqa: E402

from ssl_lessons.training import throughput  # noqa: E402
from ssl_lessons.training.recipes import get_recipe  # noqa: E402

CPU = torch.device("cpu")
OPTIONS = argparse.Namespace(images=64, turn=1, repeats=1, minutes=0.001, compile=False)


@pytest.fixture
def tiny():
    return get_recipe("quick").with_(batch_size=8, encoder_options={"width": 4, "dim": 16})


def test_both_setups_are_what_the_issue_names():
    found = bench.setups(CPU)
    assert (found["small"].encoder, found["small"].policy.size) == ("convnet", 32)
    assert (found["resnet18"].encoder, found["resnet18"].policy.size) == ("resnet18", 96)


def test_step_names_every_arm_and_part(tiny):
    rows = bench.step("small", tiny, CPU, OPTIONS)
    arms = {row["contestant"] for row in rows}
    assert arms == {f"{d}, {m}" for d in ("float32", "bfloat16") for m in ("channels_last", "contiguous")}
    for row in rows:
        total = sum(row[part] for part in throughput.PARTS)
        assert row["images_per_second"] == pytest.approx(8 / total, rel=0.02)


def test_model_predicts_each_case_from_the_others(monkeypatch):
    small = (("convnet", {"width": w, "dim": 16}, 16, 4) for w in (2, 4, 8))
    monkeypatch.setattr(bench, "CASES", tuple(small))
    rows = bench.model(CPU, OPTIONS)
    assert len(rows) == 3 and all(row["predicted"] > 0 and row["seconds"] > 0 for row in rows)
    assert len({tuple(row.get(key) for key in bench.KEY if key != "on") for row in rows}) == 3


def test_memory_counts_bytes(monkeypatch, tiny):
    monkeypatch.setattr(bench, "STL10", (400, 32))
    monkeypatch.setattr(bench, "get_recipe", lambda name: tiny)
    (row,) = bench.memory(CPU, OPTIONS)
    assert row["uint8_gb"] == pytest.approx(400 * 3 * 32 * 32 / 1e9)
    assert row["float32_gb"] == 4 * row["uint8_gb"]
    assert 0 < row["before_gb"] <= row["with_images_gb"] <= row["peak_gb"]


def test_rows_of_one_part_have_their_own_keys(tiny):
    rows = bench.step("small", tiny, CPU, OPTIONS)
    keys = [tuple(row.get(key) for key in bench.KEY) for row in rows]
    assert len(set(keys)) == len(keys), "merge would overwrite one row with another"


def test_lightly_trains_the_same_loss(tiny):
    pytest.importorskip("lightly")
    images = torch.randint(
        0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    views = next(bench.lightly_batches(images, tiny, workers=0))
    assert [tuple(v.shape) for v in views] == [(8, 3, 32, 32)] * 2
    assert not torch.equal(*views)
    method = tiny.build(0)
    with torch.no_grad():  # one forward pass per view, as in lightly's example
        z = [method.projector(method.encoder(v)) for v in views]
    from ssl_lessons.losses import nt_xent

    loss = bench.lightly_trainer(tiny.build(0), tiny, CPU, None, 10)(views)
    assert loss == pytest.approx(nt_xent(*z, method.temperature).item(), rel=1e-4)


def test_storage_reads_what_was_written(tmp_path):
    images = bench.data.shapes("unlabeled", 16, 6, 0).images.permute(0, 2, 3, 1).contiguous().numpy()
    readers, chosen = bench.readers(tmp_path, images), [4, 0, 2]
    for name in ("PNG files", "one mapped array"):
        assert (readers[name](chosen) == images[chosen]).all()
    loss = abs(readers["JPEG files"](chosen).astype(float) - images[chosen]).mean()
    assert 0 < loss < 20


def test_storage_has_a_row_for_each_kind_of_file(tiny):
    rows = bench.storage("small", tiny, OPTIONS)
    assert [row["contestant"] for row in rows] == ["JPEG files", "PNG files", "one mapped array"]
    assert all(row["images_per_second"] > 0 and row["pixels"] == 32 for row in rows)


def test_growing_views_have_the_sizes_in_turn_and_train(tiny, monkeypatch):
    seen, real = [], bench.make_views

    def spy(images, policies, generator):
        seen.append(policies[0].size)
        return real(images, policies, generator)

    monkeypatch.setattr(bench, "make_views", spy)
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    method = bench.grow(tiny, images, (16, 32), 4, 0, CPU)
    assert seen == [16, 16, 32, 32]
    start = tiny.build(0)
    assert not torch.equal(next(method.parameters()), next(start.parameters()))


def test_one_size_throughout_is_plain_training(tiny):
    """`grow` with one size is SimCLR at the usual rate schedule: the loss falls."""
    images = bench.data.shapes("unlabeled", 32, 64, 0).images
    recipe = tiny.with_(batch_size=32)
    losses = []
    for steps in (1, 40):
        method = bench.grow(recipe, images, (32,), steps, 0, CPU)
        pair = bench.make_views(images, (recipe.policy,) * 2, torch.Generator().manual_seed(1))
        with torch.no_grad():
            losses.append(bench.nt_xent(*method.pair(pair), method.temperature).item())
    assert losses[1] < losses[0]


def test_the_drawn_files_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "DIFFERENT", 3)
    bench.draw_folder(tmp_path / "files", 10)
    files = sorted((tmp_path / "files").iterdir())
    assert len({file.read_bytes() for file in files}) == len(files) == 10
    assert {bench.Image.open(file).size for file in files} == {(96, 96)}


@pytest.fixture
def in_this_process(monkeypatch):
    """What is to run in processes of its own runs here, without another import of torch; the settings come back."""

    def run(code, *arguments, kept):
        monkeypatch.setenv("SSL_LESSONS_CACHE", str(kept))
        monkeypatch.setattr(sys, "argv", ["-c", *map(str, arguments)])
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()):
            exec(code, {})
        return json.loads(said.getvalue().splitlines()[-1])

    monkeypatch.setattr(bench, "_fresh", run)
    for module, name in ((bench.cache, "SMALL"), (bench.stored, "IN_MEMORY")):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.filterwarnings("ignore::ssl_lessons.data.layout.Found")
def test_reader_starts_twice_and_trains_from_the_file(tiny, in_this_process, monkeypatch):
    read, real = [], bench.stored.StoredPictures.__getitem__
    monkeypatch.setattr(
        bench.stored.StoredPictures, "__getitem__", lambda self, index: read.append(1) or real(self, index)
    )
    sizes = {"reader_images": 40, "reader_steps": 2, "reader_held": 16, "threads": 1}
    rows = {row["contestant"]: row for row in bench.reader(tiny, argparse.Namespace(**vars(OPTIONS) | sizes))}
    assert list(rows) == [
        "first start", "second start", "peak memory", "training, stored", "training, in memory",
    ]  # fmt: skip
    for name in ("first start", "second start"):
        assert 20 < rows[name]["loaded"] < 40 and rows[name]["seconds"] > rows[name]["without_imports"] > 0
    memory = rows["peak memory"]
    assert memory["uint8_gb"] == pytest.approx(rows["first start"]["loaded"] * 3 * 96**2 / 1e9)
    assert 0.05 < memory["before_gb"] <= memory["peak_gb"] < 50
    assert len(read) > 2 * (2 + 3), "both trainings from the file read every batch out of it"
    stored, held = rows["training, stored"], rows["training, in memory"]
    assert stored["of_in_memory"] == stored["images_per_second"] / held["images_per_second"]
    assert len({tuple(row.get(key) for key in bench.KEY) for row in rows.values()}) == 5


def test_huge_pictures_are_decoded_both_ways():
    rows = bench.huge(2, 1001, 1403)
    assert [row["pixels"] for row in rows] == [96, 224] * 4
    assert len({row["contestant"] for row in rows}) == 4
    for row in rows:
        assert row["lowest"] <= row["times_faster"] <= row["highest"] and row["seconds_whole"] > 0
        assert row["p99_difference"] <= row["largest_difference"] and row["megapixels"] == 1.404403
        # four times 224 pixels are nearly all there are: both ways are the same one
        assert (row["largest_difference"] > 0) == (row["mean_difference"] > 0) == (row["pixels"] < 224)
