"""The parts of the information benchmark that could be wrong without anyone noticing, and one dry run."""

import importlib
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("information")


def test_groups_are_of_one_kind_and_none_is_used_twice(bench):
    labels = torch.randint(3, (100,), generator=torch.Generator().manual_seed(0))
    same = bench.groups_of(labels, 10, True)
    assert all(len(g) == 10 and len(labels[g].unique()) == 1 for g in same)
    rows = torch.cat(same)
    assert len(rows.unique()) == len(rows)
    assert torch.equal(torch.cat(bench.groups_of(labels, 20, False)), torch.arange(100))


def test_certified_is_at_most_log_k_and_nothing_for_strangers(bench):
    g = torch.Generator().manual_seed(0)
    z, other = (F.normalize(torch.randn(400, 16, generator=g), dim=1) for _ in range(2))
    groups = bench.groups_of(torch.zeros(400), 50, False)
    assert bench.certified(z, z, groups, 100.0) == pytest.approx(math.log(50), abs=1e-3)
    assert bench.certified(z, other, groups, 2.0) < 0.02


def test_two_steps_of_one_arm(bench, capsys, monkeypatch):
    sizes = zip(("unlabeled", "train", "test"), (512, 300, 300), strict=True)
    small = [bench.splits.__globals__["data"].shapes(split, n=n) for split, n in sizes]
    monkeypatch.setattr(bench, "splits", lambda seed: small)
    monkeypatch.setattr(bench, "CANDIDATES", 100)
    monkeypatch.setattr(bench, "SAME", 20)
    bench.main([0], ["untrained", "pixels", "colour 0"], steps=2, dry=True)
    assert capsys.readouterr().out.count("probe") == 3
