"""Patches, random atoms, two encoders and pooling, against pictures whose answer is known."""

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative import patches
from ssl_lessons.models.generative.autoencoders import sparse_codes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_patches_have_no_mean_and_flat_ones_stay_small():
    images = torch.rand(3, 3, 16, 16, generator=generator())
    images[0, :, :8, :8] = 0.3
    images[1, :, :8, :8] = 0.3 + 0.001 * torch.rand(3, 8, 8, generator=generator(1))
    x = patches.cut(images)
    assert x.shape == (3, 4, 192) and x.mean(dim=2).abs().max() < 1e-6
    assert x[0, 0].norm() < 1e-5 and x[1, 0].norm() < 0.02 and 0.8 < x[2].norm(dim=1).min() < 1
    assert torch.allclose(
        patches.cut((images * 255).round().byte()), patches.cut((images * 255).round() / 255), atol=1e-6
    )


def test_patches_are_those_of_the_picture():
    images = torch.rand(1, 3, 16, 16, generator=generator())
    lower_left = images[0, :, 8:, :8].flatten()
    lower_left = lower_left - lower_left.mean()
    assert torch.allclose(patches.cut(images)[0, 2], lower_left / (lower_left.norm() + patches.FLAT))


def test_crops_lie_inside_and_come_from_each_picture_in_turn():
    pictures = torch.stack([torch.zeros(1, 9, 12), torch.ones(1, 9, 12)])
    pictures[:, :, -1] = pictures[:, :, :, -1] = 5
    found = patches.crops(pictures, 200, 4, generator())
    assert found.shape == (200, 1, 4, 4)
    assert found[::2, 0, 0, 0].max() == 0 and found[1::2, 0, 0, 0].min() == 1
    assert (found[:, 0, 3, 0] == 5).any() and (found[:, 0, 0, 3] == 5).any(), "the last places are drawn too"
    with pytest.raises(InputError, match="do not fit"):
        patches.crops(pictures, 1, 10, generator())


def test_random_atoms_are_patches_of_length_one():
    x = torch.randn(50, 12, generator=generator())
    atoms = patches.sample(x, 7, generator(1))
    cosines = atoms @ F.normalize(x, dim=1).T
    assert torch.allclose(atoms.norm(dim=1), torch.ones(7))
    assert torch.allclose(cosines.max(dim=1).values, torch.ones(7), atol=1e-5)
    assert len(set(cosines.argmax(dim=1).tolist())) == 7
    with pytest.raises(InputError, match="cannot be drawn"):
        patches.sample(x, 51, generator())


def test_encoders_split_the_signs_and_agree_where_atoms_are_orthogonal():
    x, atoms = torch.randn(20, 6, generator=generator()), torch.eye(6)[:4]
    codes = patches.threshold(x, atoms, 0.3)
    assert codes.shape == (20, 8) and codes.min() == 0
    assert torch.allclose(codes[:, :4] - codes[:, 4:], sparse_codes(x, atoms, 0.3), atol=1e-6)
    assert torch.allclose(codes, patches.sparse(x, atoms, 0.3), atol=1e-6)


def test_a_picture_is_described_by_quarters():
    images = torch.zeros(1, 3, 32, 32)
    images[0, :, :8, 24:] = torch.rand(3, 8, 8, generator=generator())  # one patch of the upper right quarter
    found = patches.describe(images, lambda x: x.square().sum(dim=1, keepdim=True).expand(-1, 2))
    found = found.view(4, 2)
    assert found[1].min() > 0.1 and found[[0, 2, 3]].abs().max() < 1e-6
    expected = patches.cut(images)[0, 3].square().sum() / 4
    assert torch.allclose(found[1], expected.expand(2))
    with pytest.raises(InputError, match="multiple of 16"):
        patches.describe(torch.zeros(1, 3, 24, 24), lambda x: x)
