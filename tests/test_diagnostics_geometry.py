"""Dimensions, clusters and views that find each other, against the formulas and on clouds whose answer is known."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from ssl_lessons.diagnostics import cluster_learnability, mst_dimension, spectrum_area, two_nn, views_found
from ssl_lessons.diagnostics.geometry import tree_length
from ssl_lessons.errors import InputError


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cube(d, n=1000, width=None, seed=0):
    """n points, uniform in d of `width` dimensions, turned."""
    width = width or d
    z = torch.zeros(n, width, dtype=torch.float64)
    z[:, :d] = torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z @ torch.linalg.qr(normal(width, width, seed=9))[0]


def test_spectrum_area_equals_the_loop():
    z = normal(40, 6) * torch.arange(1.0, 7)
    sigma = np.linalg.svd((z - z.mean(dim=0)).numpy(), compute_uv=False)
    area = sum(sum(sigma[: k + 1]) / sum(sigma) for k in range(6)) / 6
    assert spectrum_area(z) == pytest.approx(area)
    line = normal(40, 1) @ normal(1, 6, seed=1)
    assert spectrum_area(line) == pytest.approx(1)
    assert spectrum_area(torch.cat([torch.eye(50), -torch.eye(50)])) == pytest.approx(0.51, abs=1e-6)
    assert spectrum_area(normal(5, 30)) == spectrum_area(torch.nn.functional.pad(normal(5, 30), (0, 9)))
    with pytest.raises(InputError, match="all the same"):
        spectrum_area(torch.ones(9, 3))


def naive_two_nn(z):
    """Facco et al. 2017, their four steps."""
    ratios = []
    for i in range(len(z)):
        near = sorted(float((z[i] - z[j]).norm()) for j in range(len(z)) if j != i)
        ratios.append(near[1] / near[0])
    ratios = sorted(ratios)[: int(0.9 * len(z))]
    x = [math.log(r) for r in ratios]
    y = [-math.log(1 - (i + 1) / len(z)) for i in range(len(ratios))]
    return sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x)


def test_two_nn_equals_the_loop_and_ignores_scale_place_and_repeats():
    z = normal(40, 3)
    value = naive_two_nn(z)
    assert two_nn(z) == pytest.approx(value)
    assert two_nn(1e3 * z + 1e4) == pytest.approx(value, rel=1e-4)
    assert two_nn(torch.cat([z, z[:20]])) == pytest.approx(value)
    with pytest.raises(InputError, match="different"):
        two_nn(torch.ones(50, 3))


@pytest.mark.parametrize("dimension", [two_nn, mst_dimension])
@pytest.mark.parametrize(("d", "low", "high"), [(1, 0.9, 1.15), (2, 1.7, 2.3), (5, 4.2, 6)])
def test_a_cube_has_its_dimension_in_any_space(dimension, d, low, high):
    assert low < dimension(cube(d, width=12)) < high


def test_the_tree_is_the_shortest():
    distances = squareform(pdist(normal(60, 4).numpy()))
    assert tree_length(distances) == pytest.approx(minimum_spanning_tree(distances).sum())
    points = np.array([[0.0], [3.0], [1.0], [7.0]])
    assert tree_length(np.abs(points - points.T)) == 7


def test_the_tree_dimension_equals_the_slope():
    z = cube(3, n=400)
    assert mst_dimension(5 * z) == pytest.approx(mst_dimension(z))
    assert mst_dimension(z, seed=1) != mst_dimension(z)
    assert mst_dimension(z, draws=20) == pytest.approx(mst_dimension(z, draws=20, seed=1), rel=0.08)
    with pytest.raises(InputError, match="100"):
        mst_dimension(z[:99])
    with pytest.raises(InputError, match="draws"):
        mst_dimension(z, draws=0)


def test_clusters_that_are_there_are_learned():
    centres = torch.eye(8, dtype=torch.float64).repeat_interleave(50, dim=0)
    apart, blurred = (cluster_learnability(centres + s * normal(400, 8), 8) for s in (0.02, 1.0))
    assert apart == 1 and 0.2 < blurred < 0.9
    assert cluster_learnability(7 * centres, 8) == 1
    noise = normal(400, 64)
    assert cluster_learnability(noise) == cluster_learnability(noise, 20) < 0.5
    for clusters in (1, 201):
        with pytest.raises(InputError, match="clusters"):
            cluster_learnability(centres, clusters)


def test_views_found():
    z = normal(100, 16)
    assert views_found(z, 3 * z + 0.01 * normal(100, 16, seed=1)) == 1
    assert views_found(z, z.roll(1, dims=0)) == 0
    half = torch.cat([z[:50], -z[50:]])
    assert views_found(z, half) == 0.5
    assert views_found(z, normal(100, 16, seed=2)) < 0.06
    with pytest.raises(InputError, match="same shape"):
        views_found(z, z[:, :8])
