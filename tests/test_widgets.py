"""Every concrete widget renders over its whole slider range, and shows what it says."""

import pytest
import torch

from ssl_lessons import data, plots, widgets
from ssl_lessons.errors import InputError


@pytest.fixture(scope="module")
def neighbors():
    images = data.shapes("test", 16, 40)
    generator = torch.Generator().manual_seed(0)
    perfect = torch.nn.functional.one_hot(images.labels, 10).float()
    noise = torch.rand(40, 8, generator=generator)
    return widgets.Neighbors(images, {"labels": perfect, "noise": noise}, k=3)


def test_neighbors_over_the_whole_range(neighbors):
    for chosen in widgets.sweep(neighbors.controls, 4):
        assert plots.png(neighbors.render(**chosen)).startswith(b"\x89PNG")
        assert chosen["space"] in neighbors.alt(**chosen)


def test_neighbors_finds_the_same_kind_and_never_itself(neighbors):
    labels = neighbors.images.labels
    for query in range(len(labels)):
        found = neighbors.neighbors(query, "labels")
        assert query not in found
        others = int((labels == labels[query]).sum()) - 1
        assert (labels[found] == labels[query]).sum() == min(3, others)


def test_neighbors_wants_one_row_per_image(neighbors):
    with pytest.raises(InputError, match="one feature row per image"):
        widgets.Neighbors(neighbors.images, {"short": torch.rand(3, 4)})


def test_augmentations_over_the_whole_range():
    gallery = widgets.Augmentations(widgets.photographs(48), views=2, size=32)
    for chosen in widgets.sweep(gallery.controls, 3):
        assert plots.png(gallery.render(**chosen)).startswith(b"\x89PNG")
    assert "hue 0.1" in gallery.alt(hue=0.1)


def test_every_operation_does_something_and_zero_does_nothing():
    gallery = widgets.Augmentations(widgets.photographs(48), views=2, size=48)
    off = gallery.policy()
    images = gallery.images
    generator = torch.Generator()
    from ssl_lessons.views import augment, normalize

    # flipping is always on: compare with it undone
    still = off.replace(flip_p=0.0)
    assert torch.allclose(augment(images, still, generator.manual_seed(0)), normalize(images), atol=1e-5)
    for name, control in gallery.controls.items():
        strong = gallery.policy(**{name: control.high}).replace(flip_p=0.0)
        changed = augment(images, strong, generator.manual_seed(0))
        assert (changed - normalize(images)).abs().mean() > 0.02, name


def test_photographs_are_real_and_square():
    images = widgets.photographs(64)
    assert images.shape == (2, 3, 64, 64)
    assert 0 <= images.min() and images.max() <= 1 and images.std() > 0.1
