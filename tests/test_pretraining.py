"""The training loop: the same run twice, the same run stopped and resumed, its log, and clear refusals.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import copy
import json
import math
import re
import shutil
import time
from dataclasses import replace

import pytest
import torch

from ssl_lessons.data import ImageSet, shapes
from ssl_lessons.diagnostics import VERDICTS, teacher_distance
from ssl_lessons.errors import InputError
from ssl_lessons.methods import Method, SimCLR, Supervised
from ssl_lessons.methods.base import momentum_copy
from ssl_lessons.models import build_encoder, load_encoder
from ssl_lessons.training import (
    Diverged,
    Monitor,
    batch_indices,
    checkpoints,
    default_monitor,
    pretrain,
    seed_for,
    steps_that_fit,
    time_steps,
)
from ssl_lessons.views import Policy

CPU = torch.device("cpu")
POLICY = Policy(16, crop_scale=(0.3, 1.0), brightness=0.4, contrast=0.4, grayscale_p=0.2)
QUICK = {"steps": 6, "batch_size": 16, "device": CPU, "progress": False}


@pytest.fixture(scope="module")
def images():
    return shapes("unlabeled", 16, 64).images


@pytest.fixture(scope="module")
def train_set():
    return shapes("train", 16, 60)


def make(seed=0, width=4, **options):
    torch.manual_seed(seed)
    return SimCLR(build_encoder("convnet", width=width, dim=16), out_dim=8, **options)


def same_weights(a, b):
    a, b = (x if isinstance(x, dict) else x.state_dict() for x in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def run(images, method=None, **changes):
    method = method or make()
    return method, pretrain(method, images, (POLICY, POLICY), **(QUICK | changes))


def losses(history):
    return [row["loss"] for row in history]


class Spoiled(SimCLR):
    """Its loss is NaN from call `bad` on."""

    bad = 5

    def forward(self, views, labels=None):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().forward(views)
        return loss * math.nan if self.calls >= self.bad else loss


def spoiled(cls=Spoiled):
    torch.manual_seed(0)
    return cls(build_encoder("convnet", width=4, dim=16), out_dim=8)


# --- determinism -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_two_runs_with_one_seed_are_one_run(images, optimizer):
    a, first = run(images, optimizer=optimizer)
    torch.rand(7)  # whatever else uses random numbers in between
    b, second = run(images, optimizer=optimizer)
    assert same_weights(a, b) and losses(first) == losses(second)
    assert not same_weights(a, make())
    c, other = run(images, optimizer=optimizer, seed=1)
    assert losses(first) != losses(other) and not same_weights(a, c)


def test_training_learns(images):
    _, history = run(images, steps=60, lr=1e-2)
    assert sum(losses(history)[-10:]) < 0.9 * sum(losses(history)[:10])


class Interrupted(BaseException):
    pass


def stop_after(steps):
    class Stopping(SimCLR):
        done = 0

        def after_step(self, progress):
            self.done += 1
            if self.done == steps:
                raise Interrupted

    Stopping.__name__ = "SimCLR"  # to the checkpoint it is the same method
    return Stopping


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_resume_continues_the_run_exactly(images, train_set, tmp_path, optimizer):
    settings = {"optimizer": optimizer, "checkpoint_every": 2, "out": tmp_path}
    whole, history = run(images, optimizer=optimizer)
    with pytest.raises(Interrupted):
        run(images, spoiled(stop_after(5)), **settings)
    again, continued = run(images, make(seed=77), **settings, resume=True)  # its own weights are replaced
    assert same_weights(whole, again) and losses(history) == losses(continued)
    seconds = [row["seconds"] for row in continued]
    assert seconds == sorted(seconds)


def test_resume_with_random_numbers_in_the_method(images, tmp_path):
    """Noise drawn by the method itself from the global generator continues where it stopped."""

    class Noisy(SimCLR):
        stop = ()

        def forward(self, views, labels=None):
            return super().forward([v + 0.1 * torch.randn_like(v) for v in views])

        def after_step(self, progress):
            self.done = getattr(self, "done", 0) + 1
            if self.done in self.stop:
                raise Interrupted

    whole, history = run(images, spoiled(Noisy))
    stopping = spoiled(Noisy)
    stopping.stop = (5,)
    with pytest.raises(Interrupted):
        run(images, stopping, out=tmp_path, checkpoint_every=2)
    again, continued = run(images, spoiled(Noisy), out=tmp_path, checkpoint_every=2, resume=True)
    assert losses(history) == losses(continued) and same_weights(whole, again)


def test_resume_without_a_run_starts_one(images, tmp_path):
    a, _ = run(images, out=tmp_path / "new", resume=True)
    assert same_weights(a, run(images)[0])


def test_resume_of_a_finished_run_repairs_its_files(images, tmp_path):
    """A kill may fall between the last checkpoint and the files written after it."""
    a, history = run(images, out=tmp_path)
    (tmp_path / "history.json").unlink()
    (tmp_path / "encoder.safetensors").unlink()
    b, again = run(images, make(1), out=tmp_path, resume=True)
    assert again == history and same_weights(a, b)
    assert same_weights(load_encoder(tmp_path)[0], a.encoder)
    assert json.loads((tmp_path / "history.json").read_text())["rows"] == history


def test_resume_from_the_reserve(images, tmp_path):
    a, history = run(images, out=tmp_path, checkpoint_every=2)
    (tmp_path / checkpoints.CURRENT).write_bytes(b"cut")
    with pytest.warns(UserWarning, match=checkpoints.CURRENT):
        b, again = run(images, make(1), out=tmp_path, checkpoint_every=2, resume=True)
    assert same_weights(a, b) and losses(history) == losses(again)


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"steps": 8}, "steps 6 -> 8"),
        ({"batch_size": 8}, "batch_size 16 -> 8"),
        ({"lr": 0.1}, "lr"),
        ({"seed": 1}, "seed 0 -> 1"),
        ({"optimizer": "sgd"}, "optimizer adamw -> sgd"),
        ({"weight_decay": 0.5}, "weight_decay"),
        ({"warmup": 0.5}, "warmup"),
    ],
)
def test_resume_with_other_settings_is_refused(images, tmp_path, changes, named):
    run(images, out=tmp_path)
    with pytest.raises(InputError, match=named):
        run(images, out=tmp_path, resume=True, **changes)


def other_images(images, method, policies):
    return 255 - images, method, policies


def fewer_images(images, method, policies):
    return images[:32], method, policies


def other_views(images, method, policies):
    return images, method, (replace(POLICY, grayscale_p=0.9),) * 2


def other_method(images, method, policies):
    return images, Supervised(method.encoder, 10), policies


def other_width(images, method, policies):
    return images, make(width=8), policies


def other_temperature(images, method, policies):
    return images, make(temperature=0.9), policies


@pytest.mark.parametrize(
    "change", [fewer_images, other_method, other_images, other_views, other_width, other_temperature]
)
def test_resume_with_another_experiment_is_refused(images, tmp_path, change):
    run(images, out=tmp_path)
    pictures, method, policies = change(images, make(), (POLICY, POLICY))
    labels = torch.arange(len(pictures)) % 10
    with pytest.raises(InputError):
        pretrain(method, pictures, policies, **QUICK, out=tmp_path, resume=True, labels=labels)


@pytest.mark.parametrize("left", [checkpoints.CURRENT, checkpoints.PREVIOUS])
def test_a_folder_with_a_run_is_not_overwritten(images, tmp_path, left):
    run(images, out=tmp_path, checkpoint_every=2)
    for name in {checkpoints.CURRENT, checkpoints.PREVIOUS} - {
        left
    }:  # a kill may leave only the previous one
        (tmp_path / name).unlink()
    before = (tmp_path / left).read_bytes()
    with pytest.raises(InputError, match="resume"):
        run(images, out=tmp_path)
    assert (tmp_path / left).read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 65}, {"batch_size": 1}, {"batch_size": 0}, {"steps": 0}, {"lr": 0.0}, {"optimizer": "adamm"},
     {"checkpoint_every": 0}, {"checkpoint_minutes": -1}, {"checkpoint_minutes": math.nan}, {"resume": True}],
)  # fmt: skip
def test_unusable_settings_are_refused(images, changes):
    """resume=True needs the folder to resume from."""
    with pytest.raises(InputError):
        run(images, **changes)


@pytest.mark.parametrize("policies", [(), POLICY, (POLICY,)])
def test_simclr_without_two_policies_is_refused(images, policies):
    with pytest.raises(InputError):
        pretrain(make(), images, policies, **QUICK)


def test_supervised_needs_labels(train_set):
    torch.manual_seed(0)
    method = Supervised(build_encoder("convnet", width=4, dim=16), 10)
    with pytest.raises(InputError, match="labels"):
        pretrain(method, train_set.images, (POLICY,), **QUICK)
    for labels in (train_set.labels[:-1], torch.full((60,), -1)):
        with pytest.raises(InputError):
            pretrain(method, train_set.images, (POLICY,), **QUICK, labels=labels)


def test_supervised_gets_the_labels_of_its_images(train_set):
    """With the label painted onto the picture, the wrong pairing could not be learned."""

    class Spy(Supervised):
        def forward(self, views, labels=None):
            shown = ((views[0][:, 0].mean((1, 2)) * 0.25 + 0.5) * 255).round().long() // 20
            assert torch.equal(shown, labels)
            return super().forward(views, labels)

    painted = (train_set.labels * 20 + 10).to(torch.uint8).view(-1, 1, 1, 1).expand(60, 3, 16, 16)
    method = Spy(build_encoder("convnet", width=4, dim=16), 10)
    history = pretrain(method, painted.contiguous(), (Policy.none(16),), **QUICK, labels=train_set.labels)
    assert len(history) == 6


# --- divergence ------------------------------------------------------------------------------------


def test_divergence_keeps_the_last_good_checkpoint(images, tmp_path):
    with pytest.raises(Diverged, match="step"):
        run(images, spoiled(), out=tmp_path, checkpoint_every=2)
    state = checkpoints.load(tmp_path)
    assert state["step"] == 4 and all(math.isfinite(r["loss"]) for r in state["history"])
    assert all(v.isfinite().all() for v in state["method"].values())
    with pytest.raises(Diverged, match="checkpoint"):
        run(images, spoiled(), out=tmp_path / "b", checkpoint_every=2)


def test_divergence_does_not_promise_a_checkpoint_that_is_not_there(images, tmp_path):
    with pytest.raises(Diverged) as caught:
        run(images, spoiled(), out=tmp_path, checkpoint_every=100)
    assert not (tmp_path / checkpoints.CURRENT).exists() and "checkpoint" not in str(caught.value)


def test_exploding_weights_are_a_divergence(images, tmp_path):
    """The contrastive loss itself refuses NaN embeddings; the reader still has to hear that the run diverged."""
    with pytest.raises(Diverged):
        run(images, lr=1e38, optimizer="sgd", warmup=0.0, out=tmp_path, checkpoint_every=1)
    state = checkpoints.load(tmp_path)
    assert state is None or all(v.isfinite().all() for v in state["method"].values())


class Poisoned(SimCLR):
    """A finite loss whose gradient is NaN from call 4 on (the root of zero)."""

    def forward(self, views, labels=None):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().forward(views)
        return loss + (0 * self.projector[0].weight.sum()).sqrt() if self.calls >= 4 else loss


@pytest.mark.parametrize("every", [1, 2])
def test_a_step_that_spoils_the_weights_is_not_kept(images, tmp_path, every):
    """The loss is finite before the step and the weights are not after it: resume must find the ones before."""
    with pytest.raises(Diverged):
        run(images, spoiled(Poisoned), out=tmp_path, checkpoint_every=every)
    state = checkpoints.load(tmp_path)
    assert state["step"] in (2, 3) and all(v.isfinite().all() for v in state["method"].values())


def test_a_monitor_does_not_hide_the_divergence(images, train_set):
    with pytest.raises(Diverged):
        run(images, spoiled(Poisoned), monitor=Monitor(train_set[:30], train_set[30:], every=1))


# --- history, monitor, files -----------------------------------------------------------------------


def test_history_rows(images, tmp_path):
    method, history = run(images, out=tmp_path, lr=1e-3, warmup=0.5)
    assert [set(row) for row in history] == [{"step", "epoch", "loss", "lr", "seconds"}] * 6
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in history] == pytest.approx([s * 16 / 64 for s in range(1, 7)])
    rates = [row["lr"] for row in history]
    assert (
        max(rates) == rates[3] == pytest.approx(1e-3)
        and rates[0] < rates[1] < rates[2]
        and rates[5] < rates[4]
    )
    written = json.loads((tmp_path / "history.json").read_text())
    assert written["rows"] == history and written["settings"]["steps"] == 6
    assert not method.training
    loaded, size = load_encoder(tmp_path)
    assert size == 16 and same_weights(loaded, method.encoder)
    assert not list(tmp_path.glob("*.tmp"))


def test_nothing_is_written_without_a_folder(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(images)
    assert list(tmp_path.iterdir()) == []


def test_monitor_rows(images, train_set, tmp_path):
    seen = []
    monitor = Monitor(train_set[:30], train_set[30:], every=4)
    method, history = run(images, monitor=monitor, on_measure=lambda h: seen.append(len(h)), out=tmp_path)
    measured = [row for row in history if "knn" in row]
    assert [row["step"] for row in measured] == [1, 4, 6] == seen  # the first, every 4, and the last
    for row in measured:
        assert 0 <= row["knn"] <= 1 and 0 <= row["std"] <= 1 and 1 <= row["rank"] <= 16
        assert 0 < row["spread_z"] <= 1 and 1 <= row["rank_z"] <= 8 and min(row["norm_h"], row["norm_z"]) > 0
        assert row["chance_loss"] == math.log(31) and row["verdict"] in VERDICTS
        assert not {"usage", "teacher_distance"} & row.keys()  # SimCLR has neither clusters nor a teacher
    again = monitor(method, history, 16)
    assert {k: measured[-1][k] for k in again} == pytest.approx(again)
    assert json.loads((tmp_path / "history.json").read_text())["rows"] == history


class Clustered(SimCLR):
    """SimCLR with a momentum teacher that has fallen behind, and cluster assignments all alike."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.teacher = momentum_copy(self.encoder)

    def assign(self, x):
        return torch.eye(4)[0].expand(len(x), 4)

    def momentum_pairs(self):
        return [(self.encoder, self.teacher)]


def test_the_monitor_measures_clusters_and_teachers(images, train_set):
    monitor = Monitor(train_set[:30], train_set[30:], every=10)
    method, history = run(images, spoiled(Clustered), monitor=monitor, steps=20)
    assert history[-1]["usage"] == history[-1]["information"] == 0
    assert history[-1]["verdict"] == "cluster collapse" == monitor.report.verdict
    assert history[-1]["teacher_distance"] == teacher_distance(method.momentum_pairs()) > 0


def test_the_bar_names_what_is_trained(images, capsys):
    run(images, steps=2, progress=True)
    assert "SimCLR: 2 of 2 (100%)" in capsys.readouterr().out


def test_an_alarm_is_raised_once_per_verdict(images, train_set, capsys):
    alarms = []
    monitor = Monitor(train_set[:30], train_set[30:], every=1)
    _, history = run(images, spoiled(Clustered), monitor=monitor, steps=24, on_alarm=alarms.append)
    assert [report.verdict for report in alarms] == ["cluster collapse"] and alarms[0].try_first
    assert [r["verdict"] for r in history] == ["healthy"] * 19 + ["cluster collapse"] * 5
    assert capsys.readouterr().out == ""
    run(images, spoiled(Clustered), monitor=monitor, steps=24, progress=True)
    shown = capsys.readouterr().out
    assert shown.count("Try first: " + alarms[0].try_first) == 1 and "CLUSTER COLLAPSE" in shown


def test_a_resumed_run_does_not_repeat_its_alarm(images, train_set, tmp_path):
    class Stopping(Clustered):
        done = 0

        def after_step(self, _):
            self.done += 1
            if self.done == 23:
                raise Interrupted

    Stopping.__name__ = "Clustered"
    alarms = []
    settings = {
        "out": tmp_path,
        "checkpoint_every": 2,
        "on_alarm": lambda r: alarms.append(r.verdict),
        "steps": 25,
    }
    settings["monitor"] = Monitor(train_set[:30], train_set[30:], every=1)
    with pytest.raises(Interrupted):
        run(images, spoiled(Stopping), **settings)
    _, continued = run(images, spoiled(Clustered), **settings, resume=True)
    assert alarms == ["cluster collapse"]
    whole, history = run(images, spoiled(Clustered), **settings | {"out": None})
    names = ("loss", "knn", "spread_z", "teacher_distance", "verdict")
    assert [[r[n] for n in names] for r in continued] == [[r[n] for n in names] for r in history]


class Dreamy(SimCLR):
    """Draws random numbers whenever it is looked at."""

    def embed(self, x):
        assert not self.training and not torch.is_grad_enabled()
        return super().embed(x) + 0.1 * torch.randn(len(x), 8)

    def forward(self, views, labels=None):
        assert self.training
        return super().forward([v + 0.1 * torch.randn_like(v) for v in views])


def test_watching_a_method_that_draws_random_numbers_does_not_change_the_run(images, train_set):
    watched, history = run(images, spoiled(Dreamy), monitor=Monitor(train_set[:30], train_set[30:], every=1))
    alone, plain = run(images, spoiled(Dreamy))
    assert same_weights(watched, alone) and losses(history) == losses(plain)


def test_watching_does_not_change_the_run(images, train_set):
    watched, history = run(images, monitor=Monitor(train_set[:30], train_set[30:], every=1))
    alone, plain = run(images)
    assert same_weights(watched, alone) and losses(history) == losses(plain)


def test_default_monitor_uses_disjoint_halves(train_set):
    monitor = default_monitor(train_set, steps=500)
    assert len(monitor.bank) == len(monitor.query) == 30 and monitor.every == 50
    seen = [image.numpy().tobytes() for part in (monitor.bank, monitor.query) for image in part.images]
    assert sorted(seen) == sorted(image.numpy().tobytes() for image in train_set.images)
    assert default_monitor(train_set, steps=3, images=10).every == 1
    assert isinstance(default_monitor(train_set, 3, 10).bank, ImageSet)


# --- checkpoints by the clock, and the log ----------------------------------------------------------


def events(folder):
    """The lines of the log without date and time, which every line must begin with."""
    lines = (folder / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    return [line[21:] for line in lines]


def ticking(monkeypatch, seconds):
    """Every look at the clock finds it `seconds` later."""
    clock = iter(range(0, 10**9, seconds))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))


def saved_steps(folder):
    return [int(e.split()[1].rstrip(":")) for e in events(folder) if e.endswith(": checkpoint")]


def test_without_steps_the_clock_decides(images, tmp_path, monkeypatch):
    run(images, out=tmp_path / "fast")
    assert saved_steps(tmp_path / "fast") == [6]  # the end alone: six steps take no five minutes
    run(images, out=tmp_path / "always", checkpoint_minutes=0)
    assert saved_steps(tmp_path / "always") == [1, 2, 3, 4, 5, 6]
    ticking(monkeypatch, 60)
    run(images, out=tmp_path / "slow", steps=12, checkpoint_minutes=6)
    by_the_clock = saved_steps(tmp_path / "slow")
    assert 2 < len(by_the_clock) < 12 and by_the_clock[-1] == 12
    run(images, out=tmp_path / "both", steps=12, checkpoint_minutes=6, checkpoint_every=5)
    assert {5, 10, 12} < set(saved_steps(tmp_path / "both"))


def test_a_checkpoint_by_the_clock_changes_nothing(images, tmp_path):
    a, _ = run(images, out=tmp_path, checkpoint_minutes=0)
    assert same_weights(a, run(images)[0])


def test_the_log_tells_what_happened(images, train_set, tmp_path):
    monitor = Monitor(train_set[:30], train_set[30:], every=3)
    with pytest.raises(Interrupted):
        run(images, spoiled(stop_after(5)), out=tmp_path, checkpoint_every=2, monitor=monitor)
    before = (tmp_path / "log.txt").read_text()
    assert events(tmp_path)[0].startswith("started: SimCLR, 6 steps of 16 images (of 64, crc ")
    assert (
        "adamw, learning rate 0.002" in events(tmp_path)[0]
        and "on cpu in float32, 1 process" in events(tmp_path)[0]
    )
    assert events(tmp_path)[1:] == ["step 1: verdict healthy", "step 2: checkpoint", "step 4: checkpoint"]
    run(images, spoiled(SimCLR), out=tmp_path, checkpoint_every=2, monitor=monitor, resume=True)
    assert (tmp_path / "log.txt").read_text().startswith(before)
    resumed, last, finished = events(tmp_path)[4:]
    assert re.fullmatch(
        r"resumed at step 4 of 6, 0\.\d minutes after its checkpoint, 1 process as before", resumed
    )
    assert last == "step 6: checkpoint" and re.match(
        r"finished: 6 steps, loss \d+\.\d+, 0\.\d minutes", finished
    )


def test_the_log_knows_the_gap(images, tmp_path):
    run(images, out=tmp_path)
    state = checkpoints.load(tmp_path)
    checkpoints.save(state | {"time": state["time"] - 90 * 60}, tmp_path)
    run(images, out=tmp_path, resume=True)
    assert any(e.startswith("resumed at step 6 of 6, 90.") for e in events(tmp_path))
    del state["time"], state["ranks"]  # a checkpoint from before there was a log
    checkpoints.save(state, tmp_path)
    run(images, out=tmp_path, resume=True)
    assert "resumed at step 6 of 6, 1 process as before" in events(tmp_path)


def test_the_log_names_new_verdicts_and_the_divergence(images, train_set, tmp_path):
    monitor = Monitor(train_set[:30], train_set[30:], every=1)
    run(
        images,
        spoiled(Clustered),
        monitor=monitor,
        steps=24,
        out=tmp_path / "a",
        on_alarm=lambda report: None,
    )
    changes = [e for e in events(tmp_path / "a") if "verdict" in e]
    assert changes == ["step 1: verdict healthy", "step 20: verdict cluster collapse (was healthy)"]
    with pytest.raises(Diverged) as caught:
        run(images, spoiled(), out=tmp_path / "b")
    assert events(tmp_path / "b")[-1] == f"diverged: {caught.value}"


# --- batches and views -----------------------------------------------------------------------------


@pytest.mark.parametrize("n, size", [(12, 4), (14, 4), (5, 5)])
def test_an_epoch_is_a_shuffle_without_repetition(n, size):
    per_epoch = n // size
    epochs = []
    for epoch in range(4):
        batches = [batch_indices(n, size, epoch * per_epoch + i, seed=0) for i in range(per_epoch)]
        assert all(len(b) == size for b in batches)
        order = torch.cat(batches)
        assert len(order.unique()) == per_epoch * size and 0 <= order.min() and order.max() < n
        epochs.append(tuple(order.tolist()))
    assert len(set(epochs)) == 4


def test_batches_follow_seed_and_step_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a = batch_indices(20, 5, 7, seed=3)
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(a, batch_indices(20, 5, 7, seed=3))
    assert not torch.equal(a, batch_indices(20, 5, 7, seed=4))


def test_seed_for_is_fixed_and_tells_its_parts_apart():
    assert seed_for(0, "views", 1) == seed_for(0, "views", 1)
    seeds = {seed_for(s, w, t) for s in range(12) for w in ("views", "epoch") for t in range(50)}
    assert len(seeds) == 12 * 2 * 50


class Recorder(Method):
    """Keeps the views it is shown."""

    def __init__(self):
        super().__init__()
        self.encoder = build_encoder("convnet", width=4, dim=16)
        self.seen = []

    def forward(self, views, labels=None):
        self.seen.append([v.clone() for v in views])
        return self.encoder(views[0]).mean()


def test_every_image_and_view_gets_its_own_crop():
    one = shapes("train", 16, 1).images.expand(64, 3, 16, 16).contiguous()
    method = Recorder()
    pretrain(method, one, (Policy(16, flip_p=0), Policy(16, flip_p=0)), **QUICK)
    shown = torch.cat([v for views in method.seen for v in views]).flatten(1)
    # One image: only crops differ.  A crop per batch would show 12 pictures, one per step 6.
    assert len(shown) == 6 * 2 * 16 and len(shown.unique(dim=0)) > len(shown) / 2


def test_views_come_in_the_order_and_size_of_their_policies(images):
    method = Recorder()
    pretrain(method, images, (Policy(16), Policy.none(8)), **QUICK)
    assert [tuple(v.shape) for v in method.seen[0]] == [(16, 3, 16, 16), (16, 3, 8, 8)]
    assert method.encoder.training is False


# --- timing ----------------------------------------------------------------------------------------


def test_time_steps_leaves_everything_as_it_was(images):
    method = make()
    method(list(torch.randn(2, 8, 3, 16, 16)))
    method.train()
    method.projector.eval()
    before, modes = copy.deepcopy(method.state_dict()), [m.training for m in method.modules()]
    state = torch.get_rng_state()
    seconds = time_steps(method, images, (POLICY, POLICY), batch_size=16, steps=3)
    assert 0 < seconds < 10
    assert same_weights(before, method) and [m.training for m in method.modules()] == modes
    assert all(p.grad is None for p in method.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_steps_that_fit():
    steps, epochs = steps_that_fit(60, 0.5, images=1000, batch_size=100)
    assert steps == 120 and epochs == pytest.approx(12)
    assert steps_that_fit(0.1, 0.5, 1000, 100)[0] == 1


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_the_same_network_is_trained(images, monkeypatch):
    asked, compile_ = [], torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, *a, **k: (asked.append(self), compile_(self, *a, **k))
    )
    plain, history = run(images)
    assert asked == []
    compiled, faster = run(images, compiled=True)
    assert asked == [compiled.encoder]
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert [r["loss"] for r in faster] == pytest.approx([r["loss"] for r in history], rel=1e-3)
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(a, b, atol=5e-3)


def test_where_compiling_does_not_work_one_line_says_so(images, monkeypatch):
    def broken(function):
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match=r"No working C\+\+ compiler found\); train without it"):
        run(images, compiled=True)


# --- precision, other hardware, little data ---------------------------------------------------------


def test_bfloat16_trains_and_float16_is_refused_nowhere_but_by_name(images):
    _, half = run(images, precision="bfloat16")
    _, full = run(images)
    assert losses(half) != losses(full) and losses(half) == pytest.approx(losses(full), rel=0.05)
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        run(images, precision="half")


@pytest.mark.parametrize(
    ("first", "then"), [("bfloat16", "float16"), ("float16", "bfloat16"), ("float32", "float16")]
)
def test_a_run_goes_on_where_another_precision_is_usual(images, tmp_path, first, then):
    with pytest.raises(Interrupted):
        run(images, spoiled(stop_after(3)), out=tmp_path, checkpoint_every=2, precision=first)
    _, history = run(images, out=tmp_path, resume=True, precision=then)
    assert len(history) == 6 and all(math.isfinite(v) for v in losses(history))
    assert f"in {then} instead of {first}" in (tmp_path / "log.txt").read_text()


def test_a_loss_that_is_read_seldom_is_read_all_the_same(images, tmp_path):
    method, history = run(images, read_every=4)
    other, expected = run(images)
    assert losses(history) == losses(expected) and same_weights(method, other)
    with pytest.raises(Diverged, match="at step 5"):  # noticed at step 6, named as it was
        run(images, spoiled(), read_every=4, out=tmp_path, checkpoint_every=2)
    assert checkpoints.load(tmp_path)["step"] == 4  # the one from before


def test_running_statistics_that_are_not_finite_are_never_saved(images, tmp_path):
    class Broken(SimCLR):
        def after_step(self, progress):
            self.encoder.layers[1].running_var.fill_(math.nan)

    with pytest.raises(Diverged, match="running statistics"):
        run(images, spoiled(Broken), out=tmp_path)
    assert not checkpoints.exists(tmp_path)


def test_too_few_images_are_not_measured(train_set):
    assert default_monitor(train_set[:7], steps=10) is None
    assert len(default_monitor(train_set[:8], steps=10).query) == 4


def test_images_without_labels_are_measured_without_them(images, train_set):
    bare = replace(train_set, labels=torch.full((60,), -1))
    monitor = Monitor(bare[:30], bare[30:], every=3)
    _, history = run(images, monitor=monitor)
    last, labelled = history[-1], run(images, monitor=Monitor(train_set[:30], train_set[30:], every=3))[1][-1]
    assert "knn" not in last and "knn" in labelled
    assert {k: v for k, v in labelled.items() if k not in ("knn", "seconds")} == {
        k: v for k, v in last.items() if k != "seconds"
    }


def test_a_full_disk_is_one_message_and_leaves_no_temporary_file(images, tmp_path, monkeypatch):
    def full(path, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(InputError, match="No space left on device; free some space"):
        run(images, out=tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
