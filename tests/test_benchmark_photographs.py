"""The record on photographs: its splits, its jobs, and that a killed one goes on.  On a drawn folder of the layout."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_lessons.diagnostics import rank_me
from ssl_lessons.errors import InputError
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.views import make_views, normalize

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
CLASSES = [f"n0{i}" for i in range(1000, 1007)]
FEW = {"per_class": 10, "labelled": 3, "train": 5, "held_out": 2, "test": 2}


def pixels(c: int, number: int) -> np.ndarray:
    """A picture that tells its class (red) and number (green)."""
    noise = np.random.default_rng(100 * c + number).integers(0, 5, (64, 64, 3))
    return (noise + np.array([30 * c + 10, 18 * number + 10, 100])).astype(np.uint8)


def who(images) -> list[tuple[int, int]]:
    """Class and number of drawn pictures, seen from their mean colours."""
    red, green, _ = images[:].float().mean(dim=(2, 3)).T
    classes, numbers = ((red - 12) / 30).round().int(), ((green - 12) / 18).round().int()
    return list(zip(classes.tolist(), numbers.tolist(), strict=True))


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """tiny-imagenet-200 as it unpacks, with 12 pictures in a class; the last class has too few for labels."""
    root = tmp_path_factory.mktemp("data") / "tiny-imagenet-200"
    for c, name in enumerate(CLASSES):
        for i in range(12 if c < 6 else 4):
            save(root / "train" / name / "images" / f"{name}_{i}.JPEG", pixels(c, i))
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t63\t63\n")
    for split in ("val", "test"):
        save(root / split / "images" / f"{split}_0.JPEG", pixels(0, 0))
    (root / "val" / "val_annotations.txt").write_text(f"val_0.JPEG\t{CLASSES[0]}\t0\t0\t63\t63\n")
    (root / "wnids.txt").write_text("\n".join(CLASSES))
    (root / "words.txt").write_text("\n".join(f"{name}\tthing" for name in CLASSES))
    return root


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield [importlib.import_module(name) for name in ("photographs", "_photograph_jobs", "_photographs")]


@pytest.fixture(scope="module")
def sets(modules, folder):
    data = modules[2]
    return data.read(folder, 32, data.Protocol(**FEW))


@pytest.fixture
def bench(modules, folder, tmp_path, monkeypatch):
    """The benchmark with small splits and a record of its own."""
    photographs, jobs, data = modules
    monkeypatch.setattr(photographs._record, "RESULTS", tmp_path / "results")
    reader = data.read
    monkeypatch.setattr(data, "read", lambda f, size: reader(f, size, data.Protocol(**FEW)))
    monkeypatch.setattr(photographs, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(photographs, "LIDAR", (20, 3))
    return photographs


def small(job):
    """The same job within a second: batches of 8, three steps, two labels per class, one draw."""
    fine = (job.fine[0], 2) if job.fine else None
    recipe = job.recipe.with_(batch_size=8)
    return replace(job, recipe=recipe, steps=min(job.steps, 3), counts=(2,), draws=1, fine=fine)


# ---- splits ------------------------------------------------------------------------------------------------


def test_splits_are_disjoint_and_follow_the_names(sets):
    parts = {name: who(getattr(sets, name).images) for name in ("unlabeled", "train", "held_out", "test")}
    labelled = parts["train"] + parts["held_out"] + parts["test"]
    assert [len(p) for p in parts.values()] == [52, 15, 6, 6] and len(set(labelled)) == 27
    # the first ten by number, not by name, where 10 and 11 come before 2
    assert {number for _, number in parts["unlabeled"] + labelled} == set(range(10))
    assert {c for c, _ in labelled} == {0, 2, 4} and sets.train.classes == tuple(CLASSES[0:5:2])
    everything = {(c, i) for c in range(7) for i in range(10 if c < 6 else 4)}
    assert set(parts["unlabeled"]) == everything - set(parts["held_out"]) - set(parts["test"])
    assert (sets.unlabeled.labels == -1).all() and sets.unlabeled.classes == ()
    for name, per_class in (("train", 5), ("held_out", 2), ("test", 2)):
        part = getattr(sets, name)
        assert part.labels.bincount().tolist() == [per_class] * 3
        assert [2 * label for label in part.labels.tolist()] == [c for c, _ in parts[name]]


def test_the_folder_of_class_folders_gives_the_same(modules, sets, folder, tmp_path):
    data = modules[2]
    for path in (folder / "train").glob("*/images/*.JPEG"):  # names as in a re-packed copy
        name, number = path.stem.split("_")
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{name}_{int(number):03d}.JPEG").write_bytes(path.read_bytes())
    other = data.read(tmp_path, 32, data.Protocol(**FEW))
    assert other.fingerprint == sets.fingerprint and torch.equal(other.test.images, sets.test.images)
    assert torch.equal(other.unlabeled.images, sets.unlabeled.images)


def test_copies_of_test_pictures_are_not_trained_on(modules, sets, folder, tmp_path):
    data = modules[2]
    c, number = who(sets.test.images)[0]
    for path in (folder / "train").glob("*/images/*.JPEG"):
        (tmp_path / path.parts[-3]).mkdir(exist_ok=True)
        (tmp_path / path.parts[-3] / path.name).write_bytes(path.read_bytes())
    original = tmp_path / CLASSES[c] / f"{CLASSES[c]}_{number}.JPEG"
    (tmp_path / CLASSES[1] / f"{CLASSES[1]}_3.JPEG").write_bytes(original.read_bytes())
    found = who(data.read(tmp_path, 32, data.Protocol(**FEW)).unlabeled.images)
    assert (c, number) not in found and len(found) == len(sets.unlabeled) - 1


def test_sizes_and_what_cannot_be_read(modules, folder, tmp_path):
    data = modules[2]
    assert data.read(folder, 64, data.Protocol(**FEW)).test.images.shape == (6, 3, 64, 64)
    with pytest.raises(InputError, match="7 class folders, 20 are needed"):
        data.read(folder, 32)
    with pytest.raises(InputError, match="6 classes with 10 pictures, 7 are needed"):
        data.read(folder, 32, data.Protocol(**FEW | {"labelled": 7}))
    for name in CLASSES[:3]:
        for i in range(10):
            save(tmp_path / name / f"{name}_{i}.JPEG", pixels(0, i))
    (tmp_path / CLASSES[1] / f"{CLASSES[1]}_2.JPEG").write_bytes(b"no picture")
    with pytest.raises(InputError, match="1 pictures in .* cannot be read"):
        data.read(tmp_path, 32, data.Protocol(**FEW))


# ---- jobs --------------------------------------------------------------------------------------------------


def test_jobs(modules):
    _, jobs, _ = modules
    listed = {name: group(None) for name, group in jobs.GROUPS.items()}
    everything = [job for group in listed.values() for job in group]
    assert len({tuple(job.place.values()) for job in everything}) == len(everything)
    for name, group in listed.items():
        assert {job.seed for job in group} == ({0} if name == "tune" else {0, 1, 2}), name

    def one(group, arm, seed=1):
        (job,) = [job for job in listed[group] if (job.arm, job.seed) == (arm, seed)]
        return job

    # one training, several rows
    runs = {one("labels", "frozen").run, one("labels", "fine-tuned").run, one("families", "simclr").run}
    assert runs == {one("projector", "MLP, h").run} == {one("projector", "MLP, z").run}
    assert one("projector", "none, h = z").run not in runs and one("projector", "linear, h").run not in runs
    assert one("jitter", "1").run == one("temperature", "0.1").run == one("batch", "256").run
    assert one("labels", "frozen", 2).run not in runs
    # as many pictures in every arm of a comparison
    for name in ("batch", "pretext", "families", "momentum", "jitter", "temperature", "projector"):
        assert len({job.steps * job.recipe.batch_size for job in listed[name] if job.steps}) == 1, name
    assert {job.counts for job in listed["labels"]} == {jobs.COUNTS}
    assert all(job.counts == (10, 25) and job.draws == 5 for job in listed["families"])


def test_one_choice_at_a_time(modules):
    _, jobs, _ = modules
    changed = {
        group: [set(jobs.differences(job.recipe.with_(lr=jobs.BASE.lr))) for job in jobs.GROUPS[group](None)]
        for group in ("jitter", "temperature", "batch")
    }
    assert all(names <= {"batch_size"} for names in changed["batch"])
    assert all(names <= {"options"} for names in changed["temperature"])
    ranges = {"brightness", "contrast", "saturation", "hue", "grayscale_p"}
    assert all(names <= ranges for names in changed["jitter"]) and set() in changed["jitter"]
    assert ranges in changed["jitter"]


def test_a_change_of_the_recipe_is_another_job(modules):
    _, jobs, _ = modules
    job = jobs.labels(None)[0]
    row = job.place | {"choices": job.choices}
    assert jobs.find(job, [row]) is row
    for other in (
        replace(job, recipe=job.recipe.with_(lr=1.0)),
        replace(job, recipe=job.recipe.with_(policy=job.recipe.policy.replace(hue=0.1))),
        replace(job, counts=(2,)),
        replace(job, read="z"),
        replace(job, head=False),
        replace(job, draws=1),
    ):
        assert other.place == job.place and jobs.find(other, [row]) is None
    assert jobs.find(replace(job, seed=5), [row]) is None
    assert replace(job, read="z").run == job.run != replace(job, head=False).run


def test_learning_rates_come_from_the_held_out_pictures(modules):
    _, jobs, _ = modules
    tried = jobs.tune_rates("byol")
    scores = zip(tried, (0.3, 0.1, 0.2), strict=True)
    rows = [job.place | {"choices": job.choices, "held_out": score} for job, score in scores]
    assert jobs.tuned("byol", rows).lr == tried[0].recipe.lr
    rows[0] = {k: v for k, v in rows[0].items() if k != "held_out"}  # it diverged
    assert jobs.tuned("byol", rows).lr == tried[2].recipe.lr
    with pytest.raises(InputError, match="'byol, 0.4' has not been tried yet: run --only tune"):
        jobs.tuned("byol", rows[:2])
    with pytest.raises(InputError, match="--only tune"):
        jobs.GROUPS["labels"]([])


# ---- running -----------------------------------------------------------------------------------------------


def kinds(jobs):
    """One job of every kind: on what, trained or not, how it is read and scored; of the slow ResNet-18 only one."""
    found = {}
    for group in jobs.GROUPS.values():
        for job in group(None):
            kind = (job.recipe.encoder, job.head, job.read, job.steps > 0, job.fine is None)
            found.setdefault("resnet18" if job.group == "resnet18" else kind, job)
    return list(found.values())


def test_every_kind_of_job_runs(bench, modules, folder, tmp_path):
    pictures = {size: modules[2].read(folder, size) for size in (32, 64)}
    for job in (small(job) for job in kinds(modules[1])):
        row = bench.execute(job, pictures[job.recipe.policy.size], tmp_path)
        json.dumps(row)
        assert 0 <= row["accuracy_2"] <= 1 and len(row["accuracies"]["2"]) == 1, job
        assert ("loss" in row) == (job.steps > 0) and ("knn" in row) == (job.fine is None)
        assert ("lidar" in row) == (job.fine is None and job.read != "pixels")
        assert ("held_out" in row) == (job.group == "tune") == (row["scored_on"] == "held_out")


def test_every_method_takes_its_views(bench, modules, sets):
    seen = set()
    for job in (job for group in modules[1].GROUPS.values() for job in group(None)):
        what = (job.recipe.method, job.recipe.encoder, str(job.recipe.options), job.head)
        if what in seen:
            continue
        seen.add(what)
        method = bench.build(job, sets.unlabeled.images)
        views = make_views(sets.unlabeled.images[:8], method.views(job.recipe.policy), torch.Generator())
        assert method(views).isfinite(), job
        assert all(minutes >= 0 for minutes in bench.minutes(job))
        assert isinstance(method.projector, torch.nn.Identity) if not job.head else True


def test_tuning_never_sees_the_test_and_measures_no_labels(bench, modules, sets, tmp_path):
    job = small(modules[1].tune_rates("simclr")[0])
    row = bench.execute(job, sets, tmp_path)
    other = replace(sets, test=replace(sets.test, labels=sets.test.labels.flip(0)))
    assert bench.execute(job, other, tmp_path) == row
    wrong = replace(sets, train=replace(sets.train, labels=sets.train.labels.flip(0)))
    again = bench.execute(job, wrong, tmp_path)
    unlabelled = ("loss", "rank_h", "rank_z", "alpha_z", "std_h", "lidar", "uniformity", "alignment")
    assert all(again[name] == row[name] for name in unlabelled) and again["knn"] != row["knn"]


def test_measures_are_those_of_the_features_that_are_read(bench, modules, sets, tmp_path):
    job = small(modules[1].projector(None)[0])
    h_row, z_row = (bench.execute(replace(job, read=read), sets, tmp_path) for read in ("whole", "z"))
    method, _ = bench.trained(job, sets.unlabeled.images, tmp_path)
    x = normalize(sets.unlabeled.images)
    with torch.no_grad():
        h = method.encoder(x)
        z = method.projector(h)
    assert h_row["rank_h"] == pytest.approx(rank_me(h), rel=1e-4) != pytest.approx(rank_me(z), rel=1e-4)
    assert z_row["rank_h"] == z_row["rank_z"] == h_row["rank_z"] == pytest.approx(rank_me(z), rel=1e-4)


def test_killed_jobs_go_on_recorded_ones_are_skipped(bench, modules, folder, tmp_path, monkeypatch, capsys):
    job = replace(small(modules[1].labels(None)[0]), steps=4)
    monkeypatch.setitem(bench.GROUPS, "labels", lambda rows: [job])
    steps, fatal = [], [3]

    def counted(self, progress):
        steps.append(progress)
        if len(steps) in fatal:
            raise KeyboardInterrupt

    monkeypatch.setattr(SimCLR, "after_step", counted)
    run = lambda record: bench.main(bench.Wanted(["labels"]), folder, record, tmp_path / "work")  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    assert bench.recorded("killed") == [] and len(steps) == 3
    bench.show(bench.Wanted(["labels"]), "killed", tmp_path / "work")
    assert "begun" in capsys.readouterr().out
    run("killed")
    assert steps[3:] == [0.75, 1.0]  # two of four had been saved
    bench.show(bench.Wanted(["labels"]), "killed", tmp_path / "work")
    assert "done" in capsys.readouterr().out
    monkeypatch.setattr(bench, "execute", lambda *_: pytest.fail("it is in the record"))
    run("killed")
    monkeypatch.undo()


def test_a_killed_job_ends_like_one_that_was_not(bench, modules, sets, tmp_path, monkeypatch):
    job = replace(small(modules[1].families(None)[0]), steps=4)
    whole = bench.execute(job, sets, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(SimCLR, "after_step", lambda self, progress: 1 / (progress < 0.7))
        with pytest.raises(ZeroDivisionError):
            bench.execute(job, sets, tmp_path / "killed")
    row = bench.execute(job, sets, tmp_path / "killed")
    assert row | {"seconds": 0} == whole | {"seconds": 0}


def test_a_changed_recipe_replaces_the_row(bench, modules, folder, tmp_path, monkeypatch):
    job = small(modules[1].labels(None)[0])
    for lr in (1e-3, 2e-3, 2e-3):
        changed = replace(job, recipe=job.recipe.with_(lr=lr))
        monkeypatch.setitem(bench.GROUPS, "labels", lambda rows, changed=changed: [changed])
        bench.main(bench.Wanted(["labels"], [0]), folder, "changed", tmp_path / "work")
    (row,) = bench.recorded("changed")
    assert row["recipe"]["lr"] == 2e-3 and len(list((tmp_path / "work").iterdir())) == 2
    bench.main(bench.Wanted(["labels"], [7]), folder, "other seeds", tmp_path / "work")
    assert bench.recorded("other seeds") == []


def test_other_pictures_need_another_record(bench, sets, tmp_path):
    bench._record.merge("mixed", [{"group": "labels", "data": "9 + 9 + 9 + 9, 32 px, crc 0"}], bench.KEY)
    with pytest.raises(InputError, match="--record NAME"):
        bench.refuse_mixture("mixed", sets)
    bench._record.merge("fine", [{"group": "labels", "data": sets.fingerprint},
                                 {"group": "resnet18", "data": "9 + 9 + 9 + 9, 64 px, crc 0"}], bench.KEY)  # fmt: skip
    bench.refuse_mixture("fine", sets)


def test_a_run_that_diverges_is_recorded(bench, modules, sets, tmp_path):
    job = small(modules[1].tune_rates("byol")[0])
    row = bench.execute(replace(job, recipe=job.recipe.with_(lr=1e30)), sets, tmp_path)
    assert row["diverged"] and "held_out" not in row


def test_tiles_and_holes_are_those_of_the_training(bench, modules, sets):
    _, jobs, _ = modules
    x = normalize(sets.test.images)
    larger = torch.nn.functional.interpolate(x, (48, 48), mode="bilinear")
    with torch.no_grad():
        for name in ("jigsaw", "relative_position"):
            # without a gap nothing is left to chance
            method = jobs.CONTESTANTS[name][0].with_(options={"gap": 0.0}).build(0).eval()
            cut = (method.cut if name == "jigsaw" else method.patches)(larger)
            h = method.encoder(cut.flatten(0, 1)).view(len(x), 9, -1)
            assert torch.allclose(bench.Reading(method, "tiles")(x), h.flatten(1), atol=1e-5)
            assert torch.allclose(bench.Reading(method, "mean tile")(x), h.mean(dim=1), atol=1e-5)
        method = jobs.CONTESTANTS["context_encoder"][0].build(0).eval()
        masked = x.clone()
        masked[:, :, 8:24, 8:24] = 0
        assert torch.equal(bench.Reading(method, "hole")(x), method.encoder(masked))


def test_untrained_networks_are_the_start_of_the_training_settled(bench, modules, sets):
    job = next(job for job in modules[1].labels(None) if job.arm == "untrained" and job.seed == 2)
    method, history = bench.trained(job, sets.unlabeled.images, None)
    start = job.recipe.build(2)
    assert history == [] and all(map(torch.equal, method.parameters(), start.parameters()))
    norm = next(m for m in method.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_mean.abs().max() > 0 and not torch.allclose(norm.running_var, torch.ones(()))
    hidden = next(m for m in method.projector.modules() if isinstance(m, torch.nn.BatchNorm1d))
    assert hidden.running_mean.abs().max() > 0
