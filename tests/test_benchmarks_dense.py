"""The parts of chapter 23b's benchmark that could be wrong without anyone noticing."""

import importlib
from pathlib import Path

import pytest
import torch

from ssl_lessons import data
from ssl_lessons.book.widgets import places

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("dense")


def test_boxes_and_their_overlap(bench):
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 1:7], masks[1, 0, 0] = True, True
    boxes = bench.boxes_of(masks)
    assert (8 * boxes).tolist() == [[2, 1, 4, 7], [0, 0, 1, 1]]
    other = torch.tensor([[0.25, 0.125, 0.75, 0.875], [0.5, 0.5, 1.0, 1.0]])
    assert bench.box_overlap(boxes, other).tolist() == pytest.approx([0.5, 0.0])
    assert bench.box_overlap(boxes, boxes).tolist() == [1.0, 1.0]


def test_windows_stand_where_the_places_are(bench):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = bench.patches(images).unflatten(1, (3, 12, 12))
    normal = bench.normalize(images)
    assert torch.allclose(found[0, :, :, :, 3, 5], normal[0, :, 8:20, 16:28])
    assert torch.allclose(
        bench.colours(images)[1, :, 0, 1], normal[1, :, :4, 4:8].mean(dim=(1, 2)), atol=1e-5
    )


def test_the_frames_are_of_the_same_scenes(bench):
    first, second = bench.frames(40)
    for name, same in (("kind", True), ("object_hue", True), ("background_texture", True), ("x", False)):
        a, b = (s.factors[name].values for s in (first, second))
        assert torch.equal(a, b) is same, name


def test_cosines_survive_the_record(bench):
    maps = torch.randn(2, 5, 8, 8)
    z = torch.nn.functional.normalize(maps.flatten(2), dim=1)
    read = torch.from_numpy(places.decode(bench.cosines(maps)))
    assert torch.allclose(read, z.mT @ z, atol=0.005)


def test_swapped_backgrounds_leave_the_object(bench):
    pictures = data.shapes("unlabeled", 32, 12)
    method = bench.build("simclr, swapped backgrounds", 0, pictures)
    index = torch.arange(12)
    seen = []
    method.policy = bench.QUICK.policy.__class__.none(32)
    method.pair = lambda made: seen.extend(made) or (torch.randn(12, 4), torch.randn(12, 4))
    method([], None, index)
    same = [(v - bench.normalize(pictures.images)).abs() < 1e-4 for v in seen]
    cut = data.object_masks(pictures)[:, None].expand(-1, 3, -1, -1)
    assert all(bool(s[cut].all()) for s in same)
    changed = torch.cat([(~s).flatten(1).any(dim=1) for s in same]).float().mean()
    assert 0.2 < changed < 0.8
