"""The parts of benchmarks/knobs.py that could be wrong without anyone noticing."""

import importlib
from pathlib import Path

import pytest
import torch

from ssl_lessons import data
from ssl_lessons.losses import nt_xent
from ssl_lessons.training import loop

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("knobs")


def test_every_knob_has_one_level_that_is_the_base_and_no_two_runs_share_a_place(bench):
    for levels in bench.KNOBS.values():
        assert sum(not change for change in levels.values()) == 1
    places = [(knob, level) for knob, level, *_ in bench.arms("simclr", None)]
    assert len(places) == len(set(places))
    assert bench.FEW and all(bench.KNOBS[knob][level] for knob, level in bench.FEW)


def test_changes_reach_the_run(bench):
    weights = bench.build("simclr", {}, 0)[0].encoder.state_dict()
    for knob, _, _, change in bench.arms("simclr", None):
        method, recipe, policies = bench.build("simclr", change, 0)
        same = {k: v for k, v in method.encoder.state_dict().items() if v.shape == weights[k].shape}
        if not knob.endswith("width"):
            assert all(torch.equal(v, weights[k]) for k, v in same.items())  # paired starts
        assert len(policies) == sum(change.get("views", (2, 0)))
    assert bench.build("simclr", bench.KNOBS["learning rate"]["x4"], 0)[1].lr == pytest.approx(0.016)
    assert bench.build("byol", bench.KNOBS["learning rate"]["x4"], 0)[1].lr == pytest.approx(0.8)
    quiet = bench.KNOBS["jitter"]["0"]
    policy = bench.build("simclr", quiet, 0)[1].policy
    assert policy.hue == policy.brightness == 0 and policy.grayscale_p == 0.2
    change = bench.both(quiet, bench.KNOBS["crop"]["1"])
    assert (
        bench.build("simclr", change, 0)[1].policy.crop_scale == (1.0, 1.0) and change["policy"]["hue"] == 0
    )


def test_equal_pictures_are_equal(bench):
    for level, change in bench.KNOBS["batch"].items():
        assert not change or change["steps"] * int(level) == bench.STEPS * bench.BATCH


def test_two_full_views_are_simclr_and_more_count_as_in_multi_crop(bench):
    torch.manual_seed(0)
    pair = [torch.randn(4, 3, 32, 32) for _ in range(2)]
    plain = bench.build("simclr", {}, 0)[0].eval()
    two = bench.build("simclr", {"views": (2, 0)}, 0)[0].eval()
    assert torch.allclose(two(pair), plain(pair), atol=1e-6)
    many = bench.build("simclr", {"views": (2, 1)}, 0)[0].eval()
    views = [*pair, torch.randn(4, 3, 16, 16)]
    a, b, c = (many.embed(v) for v in views)
    pairs = [nt_xent(*p, many.temperature) for p in ((a, b), (a, c), (b, a), (b, c))]
    assert torch.allclose(many(views), sum(pairs) / 4, atol=1e-6)


def test_the_flat_schedule_warms_up_and_stays(bench):
    assert [bench.flat(s, 10, 2) for s in range(4)] == [1 / 3, 2 / 3, 1.0, 1.0]
    assert all(bench.flat(s, 10, 2) == loop.warmup_cosine(s, 10, 2) for s in range(3))


@pytest.mark.parametrize("kind", ["simclr", "vicreg", "byol"])
def test_a_run_of_two_steps_measures_everything(bench, monkeypatch, kind):
    small = [data.shapes(s, 32, n, 0) for s, n in zip(data.SPLITS, (256, 2000, 200), strict=True)]
    monkeypatch.setattr(bench, "sets_of", lambda seed: small)
    change = bench.both(bench.KNOBS["projector"]["none"], {"batch_size": 64, "schedule": "constant"})
    row = bench.run(kind, change, 0, 2)
    assert row["steps"] == 2 and row["seen"] == 128 and row["verdict"]
    assert all(row[k] >= 0 for k in ("probe", "knn", "held_out", "rank_h", "quarter", "std_z"))
    assert loop.warmup_cosine.__module__.endswith("optimizers")  # put back
