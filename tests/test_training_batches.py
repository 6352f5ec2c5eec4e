"""Batches: the same images whoever holds them, read ahead where they have to be read."""

import pytest
import torch

from ssl_lessons.data import shapes
from ssl_lessons.training import batch_indices
from ssl_lessons.training.batches import Batches, resident

CPU = torch.device("cpu")
N, BATCH = 50, 8


class Elsewhere:
    """Pictures that have to be fetched, as stored ones: no tensor, but indexed like one."""

    def __init__(self, images):
        self.images, self.shape, self.read = images, images.shape, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index.tolist())
        return self.images[index]


@pytest.fixture(scope="module")
def images():
    return shapes("unlabeled", 16, N).images


def batches(images, labels=None, rows=slice(0, BATCH)):
    return Batches(images, labels, BATCH, seed=3, rows=rows, device=CPU)


def test_a_step_sees_the_images_of_its_place_in_the_epoch(images):
    labels = torch.arange(N)
    for step, batch in batches(images, labels)(4, 14):  # six batches an epoch, two images left over
        index = batch_indices(N, BATCH, step, seed=3)
        assert torch.equal(batch.index, index) and torch.equal(batch.labels, index)
        assert torch.equal(batch.images, images[index])
    epoch = torch.cat([batch_indices(N, BATCH, step, seed=3) for step in range(6)])
    assert len(epoch.unique()) == 48


def test_a_rank_gets_its_rows(images):
    whole, part = batches(images).get(7), batches(images, rows=slice(2, 5)).get(7)
    assert torch.equal(part.images, whole.images[2:5]) and torch.equal(part.index, whole.index[2:5])


def test_what_must_be_read_is_read_one_batch_ahead_and_never_twice(images):
    elsewhere = Elsewhere(images)
    running = batches(elsewhere)(0, 5)
    for step in range(5):
        at, batch = next(running)
        assert at == step and torch.equal(batch.images, batches(images).get(step).images)
    assert list(running) == []
    assert elsewhere.read == [batch_indices(N, BATCH, step, seed=3).tolist() for step in range(5)]


def test_a_reader_that_fails_fails_the_run(images):
    class Broken(Elsewhere):
        def __getitem__(self, index):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        list(batches(Broken(images))(0, 2))


def test_on_a_cpu_images_stay_where_they_are(images):
    assert resident(images, CPU) is images
