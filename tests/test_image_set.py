"""ImageSet refuses what does not fit together; label_subset draws stratified, seeded subsets."""

import pytest
import torch

from ssl_lessons.data import Factor, ImageSet, label_subset, stored
from ssl_lessons.errors import InputError


def make(n=6, **changes):
    parts = {
        "images": torch.arange(n * 3 * 4 * 4).remainder(256).to(torch.uint8).view(n, 3, 4, 4),
        "labels": torch.arange(n) % 2,
        "classes": ("a", "b"),
        "name": "made",
        "split": "train",
        "factors": {"x": Factor(torch.linspace(0, 1, n), "continuous")},
        "folds": (torch.tensor([0, 1]),),
    }
    return ImageSet(**(parts | changes))


def test_length_and_size():
    assert len(make()) == 6 and make().size == 4


@pytest.mark.parametrize("index", [slice(1, 4), torch.tensor([5, 0]), torch.arange(6) % 3 == 0])
def test_selection_keeps_rows_together(index):
    whole = make()
    part = whole[index]
    assert torch.equal(part.images, whole.images[index]) and torch.equal(part.labels, whole.labels[index])
    assert torch.equal(part.factors["x"].values, whole.factors["x"].values[index])
    assert part.factors["x"].kind == "continuous" and part.folds == ()  # fold indices would point elsewhere
    assert part.classes == whole.classes and len(whole.folds) == 1


@pytest.mark.parametrize("limit, kind", [(0, stored.StoredPictures), (10**6, torch.Tensor)])
def test_a_large_choice_of_images_on_disk_stays_there(limit, kind, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY", limit)
    whole = make()
    on_disk = make(images=stored.StoredPictures(whole.images.numpy()))
    chosen = on_disk[torch.tensor([5, 0, 3])][1:]
    assert isinstance(chosen.images, kind) and chosen.size == 4 and len(chosen) == 2
    assert torch.equal(chosen.images[:], whole.images[[0, 3]]) and chosen.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": torch.zeros(6, 3, 4, 4)},
        {"images": torch.zeros(6, 4, 4, 3, dtype=torch.uint8)},
        {"images": torch.zeros(3, 4, 4, dtype=torch.uint8)},
        {"images": stored.StoredPictures(torch.zeros(5, 3, 4, 4, dtype=torch.uint8).numpy())},
        {"images": stored.StoredPictures(torch.zeros(6, 4, 4, 3, dtype=torch.uint8).numpy())},
        {"labels": torch.zeros(5, dtype=torch.long)},
        {"labels": torch.zeros(6, 1, dtype=torch.long)},
        {"labels": torch.zeros(6)},
        {"split": "validation"},
        {"factors": {"x": Factor(torch.zeros(5), "continuous")}},
        {"factors": {"x": Factor(torch.zeros(6), "ordinal")}},
    ],
)
def test_parts_that_do_not_fit_are_refused(changes):
    with pytest.raises(InputError):
        make(**changes)


LABELS = torch.tensor([0] * 30 + [1] * 10 + [-1] * 20 + [4] * 15)[
    torch.randperm(75, generator=torch.Generator().manual_seed(0))
]


@pytest.mark.parametrize("per_class", [1, 3, 10])
def test_subset_is_stratified(per_class):
    chosen = label_subset(LABELS, per_class, seed=0)
    assert len(chosen.unique()) == len(chosen) == 3 * per_class
    assert {c: int((LABELS[chosen] == c).sum()) for c in (0, 1, 4)} == dict.fromkeys((0, 1, 4), per_class)


def test_subset_is_shuffled():
    drawn = LABELS[label_subset(LABELS, 10, seed=0)]
    assert not torch.equal(drawn, drawn.sort().values)


def test_subset_follows_its_seed_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = label_subset(LABELS, 5, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(9)
    assert torch.equal(first, label_subset(LABELS, 5, seed=1))
    assert set(first.tolist()) != set(label_subset(LABELS, 5, seed=2).tolist())


def test_every_example_can_be_drawn():
    drawn = torch.cat([label_subset(LABELS, 5, seed=s) for s in range(60)]).unique()
    assert torch.equal(drawn, (LABELS >= 0).nonzero().flatten())


def test_too_few_labels_are_refused():
    with pytest.raises(InputError, match="class 1 has 10"):
        label_subset(LABELS, 11, seed=0)
    with pytest.raises(InputError, match="train split"):
        label_subset(torch.full((8,), -1), 1, seed=0)


@pytest.mark.parametrize("per_class", [0, -1])
def test_a_subset_of_nothing_is_refused(per_class):
    with pytest.raises(InputError):
        label_subset(LABELS, per_class, seed=0)
