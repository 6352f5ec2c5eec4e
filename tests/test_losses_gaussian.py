"""SIGReg, LeJEPA and VISReg against their definitions, where they vanish, half precision and bad input."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from ssl_lessons import diagnostics
from ssl_lessons.errors import InputError
from ssl_lessons.losses import lejepa, random_directions, sigreg, visreg, visreg_regularization

N, D, M = 12, 4, 9


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views(count=2, n=N, d=D):
    """Views of the same images, off centre and of unequal scale."""
    image = 0.3 + normal(n, d) * torch.linspace(0.4, 1.8, d, dtype=torch.float64)
    return [image + 0.4 * normal(n, d, seed=1 + v) for v in range(count)]


def directions(d=D, m=M, seed=7):
    return random_directions(d, m, torch.Generator().manual_seed(seed)).double()


# --- references: numpy, the integral over the whole axis, complex numbers -----------------------------


def naive_sigreg(z, a):
    z, a = z.double().numpy(), a.double().numpy()
    a = a / np.sqrt((a**2).sum(axis=0))
    t = np.linspace(-3, 3, 33)
    values = []
    for k in range(a.shape[1]):
        phi = np.array([np.exp(1j * s * (z @ a[:, k])).mean() for s in t])
        values.append(np.trapezoid(np.abs(phi - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), t))
    return len(z) * float(np.mean(values))


def naive_invariance(zs, n_global=None):
    zs = [z.double().numpy() for z in zs]
    center = sum(zs[:n_global]) / len(zs[:n_global])
    return float(np.mean([(z - center) ** 2 for z in zs]))


def naive_lejepa(zs, a, weight=0.02, n_global=None):
    statistic = np.mean([naive_sigreg(z, a) for z in zs])
    return (1 - weight) * naive_invariance(zs, n_global) + weight * float(statistic)


def naive_regularization(z, a, scale=1.0, shape=1.0, center=1.0, sigma=None):
    """sigma: of the shape term, where it counts as a constant."""
    z, a = z.double().numpy(), a.double().numpy()
    a = a / np.sqrt((a**2).sum(axis=0))
    n, deviation = len(z), z.std(axis=0)
    hat = (z - z.mean(axis=0)) / (deviation if sigma is None else sigma)
    quantiles = norm.ppf([i / (n + 1) for i in range(1, n + 1)])
    gaps = [(np.sort(hat @ a[:, k]) - quantiles) ** 2 for k in range(a.shape[1])]
    first, third = ((1 - deviation) ** 2).mean(), (z.mean(axis=0) ** 2).mean()
    return float(scale * first + shape * np.mean(gaps) + center * third)


def naive_visreg(zs, a, weight=0.6, n_global=None, **weights):
    regularization = np.mean([naive_regularization(z, a, **weights) for z in zs])
    return (1 - weight) * naive_invariance(zs, n_global) + weight * float(regularization)


OF_VIEWS = {"lejepa": (lejepa, naive_lejepa), "visreg": (visreg, naive_visreg)}
OF_SETS = {"sigreg": (sigreg, naive_sigreg), "regularization": (visreg_regularization, naive_regularization)}
VIEWS = pytest.mark.parametrize("name", OF_VIEWS)
SETS = pytest.mark.parametrize("name", OF_SETS)


@SETS
@pytest.mark.parametrize("n, d, m", [(2, 1, 1), (12, 4, 9), (40, 7, 3)])
def test_a_set_equals_the_formula(name, n, d, m):
    loss, naive = OF_SETS[name]
    z, a = views(1, n, d)[0], 3 * directions(d, m)  # the length of a direction does not matter
    right = naive(z, a)
    assert loss(z, a).item() == pytest.approx(right, rel=1e-9)
    in_float32 = loss(z.float(), a.float())
    assert in_float32.dtype == torch.float32 and in_float32.item() == pytest.approx(right, rel=1e-4)


@VIEWS
@pytest.mark.parametrize("count, n_global", [(2, None), (3, 2), (4, 1)])
def test_views_equal_the_formula(name, count, n_global):
    loss, naive = OF_VIEWS[name]
    zs, a = views(count), directions()
    for weight in (0.0, 0.3, 1.0):
        right = naive(zs, a, weight, n_global)
        assert loss(zs, a, weight, n_global).item() == pytest.approx(right, rel=1e-9, abs=1e-12)
    assert loss(zs, a).item() == pytest.approx(naive(zs, a), rel=1e-9)


def test_the_weights_of_visreg():
    zs, a = views(3), directions()
    weights = {"scale": 0.5, "shape": 0.25, "center": 4.0}
    ours = visreg(zs, a, 0.4, **{f"{k}_weight": v for k, v in weights.items()})
    assert ours.item() == pytest.approx(naive_visreg(zs, a, 0.4, **weights), rel=1e-9)


def test_sigreg_is_what_diagnostics_measures():
    z, generator = views(1)[0], torch.Generator().manual_seed(3)
    a = torch.randn(D, 50, generator=generator, dtype=torch.float64)
    assert sigreg(z, a).item() == pytest.approx(diagnostics.sigreg(z, 50, seed=3), rel=1e-9)


# --- gradients -------------------------------------------------------------------------------------------


def test_gradcheck():
    zs, a = [z.requires_grad_() for z in views(2, 5, 3)], directions(3, 4)
    assert torch.autograd.gradcheck(lambda z: sigreg(z, a), (zs[0],))
    assert torch.autograd.gradcheck(lambda *z: lejepa(z, a, 0.3), zs)
    assert torch.autograd.gradcheck(lambda *z: visreg(z, a, 0.3, shape_weight=0.0), zs)


def test_the_shape_of_visreg_takes_the_scale_for_a_constant():
    """No gradcheck: sigma is detached.  The numerical gradient of the formula with sigma held agrees."""
    z, a, step = views(1, 6, 3)[0].requires_grad_(), directions(3, 4), 1e-6
    visreg_regularization(z, a).backward()
    start, sigma = z.detach(), z.detach().numpy().std(axis=0)
    for i in range(6):
        for j in range(3):
            ends = [start.clone(), start.clone()]
            ends[0][i, j] += step
            ends[1][i, j] -= step
            above, below = (naive_regularization(end, a, sigma=sigma) for end in ends)
            assert z.grad[i, j].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def gradient(loss, z):
    z = z.clone().requires_grad_()
    loss(z, directions(D, 64)).backward()
    return z.grad.norm().item()


def test_at_a_collapsed_point_the_gradient_of_sigreg_dies_and_that_of_visreg_does_not():
    cloud = normal(64, D)
    cloud -= cloud.mean(dim=0)
    sizes = (1e-1, 1e-2, 1e-3, 1e-4)
    of_sigreg = [gradient(sigreg, size * cloud) for size in sizes]
    of_visreg = [gradient(visreg_regularization, size * cloud) for size in sizes]
    for larger, smaller in zip(of_sigreg, of_sigreg[1:], strict=False):
        assert smaller == pytest.approx(larger / 10, rel=0.1)  # proportional to the size
    assert of_sigreg[-1] < 2e-3 * of_sigreg[0]
    # The scale term keeps its gradient; the shape is told relative to the scale, so its gradient grows.
    assert all(smaller > larger for larger, smaller in zip(of_visreg, of_visreg[1:], strict=False))
    of_scale = [
        gradient(lambda z, a: visreg_regularization(z, a, shape_weight=0.0), size * cloud) for size in sizes
    ]
    assert of_scale == pytest.approx([of_scale[-1]] * len(sizes), rel=0.2)
    # In the point itself SIGReg is silent altogether.
    point = torch.zeros(64, D, dtype=torch.float64)
    assert gradient(sigreg, point) == 0 and gradient(visreg_regularization, point) > 1


def test_a_point_away_from_the_centre_and_rows_that_coincide_have_finite_gradients():
    for z in (torch.ones(8, D, dtype=torch.float64), normal(4, D).repeat(2, 1)):
        for loss in (sigreg, visreg_regularization):
            assert math.isfinite(gradient(loss, z)) and gradient(loss, z) > 0


def test_the_gradient_reaches_all_views():
    for loss in (lejepa, visreg):
        zs = [z.requires_grad_() for z in views(3)]
        loss(zs, directions()).backward()
        assert all((z.grad.norm(dim=1) > 0).all() for z in zs)


# --- what must not matter, and what must -----------------------------------------------------------------


@VIEWS
def test_the_order_of_images_and_views_does_not_matter(name):
    loss, _ = OF_VIEWS[name]
    zs, a, order = views(3), directions(), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    value = loss(zs, a).item()
    assert loss([z[order] for z in zs], a).item() == pytest.approx(value)
    assert loss(zs[::-1], a).item() == pytest.approx(value)
    assert loss([zs[0][order], *zs[1:]], a).item() > value + 1e-3
    assert loss(zs, -a).item() == pytest.approx(value)


def test_a_rotation_of_embeddings_and_directions_does_not_matter_to_lejepa():
    """VISReg's scale belongs to the axes, so it matters there."""
    zs, a = views(), directions()
    rotation = torch.linalg.qr(normal(D, D, seed=9))[0]
    turned = [z @ rotation for z in zs]
    assert lejepa(turned, rotation.T @ a).item() == pytest.approx(lejepa(zs, a).item())
    assert abs(lejepa(turned, a).item() - lejepa(zs, a).item()) > 1e-4
    assert abs(visreg(turned, rotation.T @ a).item() - visreg(zs, a).item()) > 1e-4


def test_a_normal_sample_is_nearly_free_and_everything_else_costs():
    z, a = normal(2000, 16), directions(16, 128)
    assert 0.7 < sigreg(z, a) < 1.5
    assert visreg_regularization(z, a) < 0.01
    for other in (z + 1, 2 * z, z[:, :1] * torch.ones(16)):
        assert sigreg(other, a) > 10 * sigreg(z, a)
        assert visreg_regularization(other, a) > 10 * visreg_regularization(z, a)


def test_directions_are_drawn_from_the_generator():
    a = random_directions(5, 300, torch.Generator().manual_seed(0))
    assert a.shape == (5, 300) and torch.allclose(a.norm(dim=0), torch.ones(300))
    assert torch.equal(a, random_directions(5, 300, torch.Generator().manual_seed(0)))
    assert a.mean(dim=1).abs().max() < 0.1
    torch.manual_seed(1)
    first, second = random_directions(5, 3), random_directions(5, 3)
    torch.manual_seed(1)
    assert torch.equal(first, random_directions(5, 3)) and not torch.equal(first, second)


# --- half precision ----------------------------------------------------------------------------------------


@VIEWS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 100.0])
def test_half_precision(name, dtype, size):
    loss, naive = OF_VIEWS[name]
    zs = [(size * z).to(dtype).requires_grad_() for z in views(2, 32, 16)]
    a = directions(16, 20).float()
    value = loss(zs, a)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(naive([z.detach() for z in zs], a), rel=2e-3)
    assert all(z.grad.isfinite().all() for z in zs)


@VIEWS
def test_autocast_does_not_lower_the_precision(name):
    loss, _ = OF_VIEWS[name]
    zs, a = [z.float() for z in views(2, 32, 16)], directions(16, 20).float()
    outside = loss(zs, a)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(zs, a).item() == outside.item()


# --- errors --------------------------------------------------------------------------------------------------


@VIEWS
@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, "0.1", None])
def test_the_weight_is_a_share(name, weight):
    with pytest.raises(InputError, match="from 0 to 1"):
        OF_VIEWS[name][0](views(), directions(), weight)


@VIEWS
def test_shapes_must_fit(name):
    loss, (z1, z2), a = OF_VIEWS[name][0], views(), directions()
    for bad, what in (
        ([z1], "views"), (z1, "views"), ([], "views"), ([z1, z2[:-1]], "same shape"),
        ([z1[:1], z2[:1]], "larger batch"), ([z1[0], z2[0]], "2-D"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=what):
            loss(bad, a)
    for bad in (a[:-1], a.T):
        with pytest.raises(InputError, match="random_directions"):
            loss([z1, z2], bad)
    with pytest.raises(InputError, match="2-D"):
        loss([z1, z2], 64)
    with pytest.raises(InputError, match="n_global"):
        loss([z1, z2], a, 0.5, 3)


@SETS
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(name, bad):
    z = views(1)[0]
    z[1, 2] = bad
    with pytest.raises(InputError, match="learning rate"):
        OF_SETS[name][0](z, directions())
    with pytest.raises(InputError, match="larger batch"):
        OF_SETS[name][0](z[:1], directions())


def test_other_bad_numbers():
    with pytest.raises(InputError, match="weights"):
        visreg(views(), directions(), shape_weight=-1.0)
    with pytest.raises(InputError, match="eps"):
        visreg(views(), directions(), eps=0.0)
    for dim, count in ((0, 3), (3, 0)):
        with pytest.raises(InputError, match="direction"):
            random_directions(dim, count)
