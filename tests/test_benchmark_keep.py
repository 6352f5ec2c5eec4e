"""What benchmarks/keep.py compares: families, first weights, views of its own."""

import importlib
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def keep():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("keep")


def test_every_arm_has_a_tuned_family(keep):
    assert {family for family, *_ in keep.ARMS.values()} == set(keep.FAMILIES)
    assert all(keep.ARMS[arm][0] == family for family, arm in keep.FAMILIES.items())
    assert {arm for pair in keep.FUSED.values() for arm in pair} <= set(keep.ARMS)


def test_arms_of_a_seed_share_the_first_weights_but_one(keep):
    def first(arm, seed=0):
        return next(keep.build(arm, seed).encoder.parameters())

    for arm in keep.ARMS:
        assert torch.equal(first(arm), first("SimCLR")) == (arm != "SimCLR, once more"), arm
    assert not torch.equal(first("SimCLR", 1), first("SimCLR"))


def test_a_row_is_asked_for_once(keep):
    places = [tuple(place.get(k) for k in keep.KEY) for place, _ in keep.jobs(keep.PARTS, None, keep.SIZES)]
    assert len(places) == len(set(places))
    assert sum(place[0] == "tuning" for place in places) == len(keep.FAMILIES) * len(keep.RATES)


def test_views_of_the_odd_ones(keep):
    x = [torch.zeros(8, 3, 32, 32), torch.zeros(8, 3, 32, 32)]
    torch.manual_seed(0)
    noisy = keep.build("noise alone", 0)
    assert noisy.views(keep.POLICY) == (keep.Policy.none(32),) * 2
    assert noisy(x).isfinite()  # equal pictures: only the noise tells them apart
    alone = keep.build("turns alone", 0).eval()
    three = [*x, torch.rand(8, 3, 32, 32)]
    assert alone(three) == alone.turn_loss(three[2])
