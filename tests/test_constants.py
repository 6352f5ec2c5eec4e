"""Constants that stay on their device: made once, and fit for whatever comes after."""

import torch

from ssl_lessons.views import Policy, denormalize, normalize
from ssl_lessons.views.color import lab_to_rgb, rgb_matrix, rgb_to_lab
from ssl_lessons.views.constants import constant


def test_a_constant_is_made_once_for_every_dtype():
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    a = constant((0.1, 0.2), single)
    assert a is constant((0.1, 0.2), single) and a is constant([0.1, 0.2], single)
    assert torch.equal(a, torch.tensor([0.1, 0.2]))
    assert torch.equal(constant((0.1, 0.2), double), torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert torch.equal(constant(((1, 2), (3, 4)), single), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_gradients_flow_past_constants_first_made_in_inference_mode():
    """A server that answers before it is trained further must not leave tensors behind that autograd refuses."""
    mean, std = (0.11, 0.12, 0.13), (0.21, 0.22, 0.23)
    images = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    with torch.inference_mode():
        normalize(images, mean=mean, std=std), rgb_to_lab(images)
        denormalize(images, mean=mean, std=std)
    views = torch.zeros(1, 3, 2, 2, requires_grad=True)
    denormalize(views, mean=mean, std=std).sum().backward()
    assert torch.allclose(views.grad[0, :, 0, 0], torch.tensor(std))
    rgb = images.clone().requires_grad_()
    rgb_to_lab(rgb).sum().backward()
    assert rgb.grad.isfinite().all() and rgb.grad.abs().max() > 0


def test_tracing_leaves_no_constants_behind():
    class Lab(torch.nn.Module):
        def forward(self, x):
            return rgb_to_lab(x) + constant((0.37, 0.38, 0.39), x).view(3, 1, 1)

    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    program = torch.export.export(Lab(), (x,)).module()
    assert torch.allclose(program(x), Lab()(x)) and type(constant((0.37, 0.38, 0.39), x)) is torch.Tensor


def test_both_matrices_of_the_colours_fit():
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lab_to_rgb(rgb_to_lab(x)), x, atol=1e-12)
    assert torch.allclose(rgb_matrix().sum(dim=1), torch.tensor([0.95047, 1, 1.08883], dtype=torch.float64))


def test_a_policy_with_lists_for_mean_and_std():
    policy = Policy.none(4).replace(mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.5])
    x = torch.full((1, 3, 4, 4), 0.6)
    assert torch.allclose(
        normalize(x, mean=policy.mean, std=policy.std)[0, :, 0, 0], torch.tensor([1.0, 0.8, 0.6])
    )
