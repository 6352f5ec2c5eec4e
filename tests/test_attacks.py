"""Pictures that are moved to where a loss is large: the formula, the walls, what is refused, and that it works."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import evaluation
from ssl_lessons.errors import InputError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(weight):
    return lambda x: (x * weight).sum()


def test_of_a_linear_loss_the_worst_point_is_the_corner_of_the_box():
    x, weight = torch.randn(4, 3, 5, 5, dtype=torch.float64), torch.randn(4, 3, 5, 5, dtype=torch.float64)
    found = evaluation.pgd(linear(weight), x, radius=0.1, steps=20, generator=seeded())
    torch.testing.assert_close(found, x + 0.1 * weight.sign())


def test_one_step_is_the_formula_of_the_paper():
    x, weight = torch.zeros(2, 3), torch.tensor([[1.0, -2.0, 0.0], [0.5, 3.0, -1.0]])
    start = 0.5 * (2 * torch.rand(x.shape, generator=seeded(3)) - 1)
    found = evaluation.pgd(linear(weight), x, radius=0.5, steps=1, step=0.2, generator=seeded(3))
    torch.testing.assert_close(found, (start + 0.2 * weight.sign()).clamp(-0.5, 0.5))


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (torch.full((3, 1, 1), -1.0), torch.full((3, 1, 1), 1.0))])
def test_no_value_leaves_the_box_or_the_range(low, high):
    x = torch.rand(4, 3, 6, 6) * 2 - 1
    found = evaluation.pgd(linear(torch.ones_like(x)), x, 0.3, low=low, high=high, generator=seeded())
    assert found.min() >= -1 and found.max() <= 1
    assert (found - x).abs().max() <= 0.3 + 1e-6
    torch.testing.assert_close(found, (x + 0.3).clamp(max=1))
    assert not found.requires_grad


def test_a_classifier_is_fooled_and_its_weights_collect_no_gradient():
    torch.manual_seed(0)
    x = torch.randn(300, 10)
    y = (x[:, 0] > 0).long()
    network = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    found = evaluation.pgd(lambda x: F.cross_entropy(network(x), y), x, radius=0.5, generator=seeded())
    noise = x + 0.5 * torch.randn(x.shape, generator=seeded()).sign()
    right, by_noise, attacked = (float((network(v).argmax(dim=1) == y).float().mean()) for v in (x, noise, found))
    assert right > 0.95
    assert attacked < by_noise - 0.2, "the worst direction is much worse than a random one of the same size"
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("wrong", [{"radius": 0.0}, {"radius": 0.1, "steps": 0}, {"radius": 0.1, "step": -1.0}])
def test_a_radius_a_step_and_their_number_are_positive(wrong):
    with pytest.raises(InputError):
        evaluation.pgd(linear(torch.ones(2, 3)), torch.zeros(2, 3), **wrong)


def test_pictures_outside_of_the_range_are_refused():
    with pytest.raises(InputError, match="2 values of x are outside"):
        evaluation.pgd(linear(torch.ones(1, 3)), torch.tensor([[0.0, 2.0, 3.0]]), 0.1, low=0, high=1)
