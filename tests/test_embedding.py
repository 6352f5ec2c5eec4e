"""Maps, agreement and learned metrics against scikit-learn, closed forms and loops over plain numbers (float64)."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap, LocallyLinearEmbedding, smacof
from sklearn.manifold._locally_linear import barycenter_kneighbors_graph
from sklearn.neighbors import NearestNeighbors

from ssl_lessons.errors import InputError
from ssl_lessons.losses import correlation
from ssl_lessons.losses.metric import nca
from ssl_lessons.models import embedding


def points(n=40, d=5, seed=0, scale=1.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def swiss_roll(n=300, seed=0):
    u, h = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    t = 1.5 * math.pi * (1 + 2 * u)
    return torch.stack([t * t.cos(), 20 * h, t * t.sin()], dim=1), t


def same_up_to_sign(a, b, **tolerance):
    a, b = np.asarray(a), np.asarray(b)
    return all(
        np.allclose(x, y, **tolerance) or np.allclose(x, -y, **tolerance)
        for x, y in zip(a.T, b.T, strict=True)
    )


# --- distances and classical MDS --------------------------------------------------------------------------


def test_distances_by_loops():
    x = points(6, 3)
    d = embedding.distances(x)
    for i, j in itertools.product(range(6), repeat=2):
        assert d[i, j].item() == pytest.approx(math.dist(x[i].tolist(), x[j].tolist()))
    assert torch.equal(d, d.T) and not d.diagonal().any()


def test_double_centering_gives_the_inner_products_around_the_mean():
    x = points()
    centred = x - x.mean(dim=0)
    assert torch.allclose(embedding.double_center(embedding.distances(x)), centred @ centred.T)


def test_double_centering_is_the_matrix_product():
    d = embedding.distances(points(7)) + 1  # not Euclidean any more
    J = torch.eye(7, dtype=torch.float64) - 1 / 7
    assert torch.allclose(embedding.double_center(d), -J @ d.square() @ J / 2)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_mds_on_euclidean_distances_is_pca(dim):
    x = points(50, 6) * torch.tensor([3, 2.5, 2, 1, 0.5, 0.1], dtype=torch.float64)
    y, values = embedding.classical_mds(embedding.distances(x), dim)
    assert same_up_to_sign(y, PCA(dim).fit_transform(x.numpy()))
    assert torch.allclose(values[:6], torch.linalg.svdvals(x - x.mean(dim=0)).square())
    assert values[6:].abs().max() < 1e-9


def test_mds_against_numpys_eigenvectors():
    d = embedding.distances(points(20)).sqrt()
    squares = d.numpy() ** 2
    J = np.eye(20) - 1 / 20
    values, vectors = np.linalg.eigh(-J @ squares @ J / 2)
    expected = vectors[:, ::-1][:, :3] * np.sqrt(values[::-1][:3])
    y, found = embedding.classical_mds(d, 3)
    assert same_up_to_sign(y, expected) and np.allclose(found, values[::-1])


def test_mds_rebuilds_the_points_and_the_signs_are_fixed():
    x = points(30, 2)
    y, _ = embedding.classical_mds(embedding.distances(x), 2)
    assert embedding.stress(embedding.distances(x), y) < 1e-9
    assert torch.allclose(y.mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    turned = x @ torch.linalg.qr(points(2, 2, seed=3))[0] + 5
    again, _ = embedding.classical_mds(embedding.distances(turned), 2)
    assert torch.allclose(y, again)


def test_distances_that_no_points_have_show_as_negative_eigenvalues():
    d = torch.tensor([[0, 1, 1, 1], [1, 0, 2, 2], [1, 2, 0, 2], [1, 2, 2, 0]], dtype=torch.float64)
    _, values = embedding.classical_mds(d, 2)  # three points at distance 2, a fourth at distance 1 from all
    assert values[-1] < -0.1


def test_stress_by_loops_and_scikit_learn_does_not_beat_zero():
    d, y = embedding.distances(points(8)), points(8, 2, seed=1)
    top = bottom = 0.0
    for i, j in itertools.combinations(range(8), 2):
        top += (d[i, j].item() - math.dist(y[i].tolist(), y[j].tolist())) ** 2
        bottom += d[i, j].item() ** 2
    assert embedding.stress(d, y) == pytest.approx(math.sqrt(top / bottom))
    better, _ = smacof(
        d.numpy(), n_components=2, init=y.numpy(), n_init=1, max_iter=200, normalized_stress=False
    )
    assert embedding.stress(d, torch.from_numpy(better)) < embedding.stress(d, y)


# --- neighbours and LLE -----------------------------------------------------------------------------------


def test_neighbours_against_scikit_learn():
    x = points(60)
    _, expected = NearestNeighbors(n_neighbors=6).fit(x.numpy()).kneighbors()
    assert np.array_equal(embedding.nearest_neighbors(x, 6), expected)


@pytest.mark.parametrize("d, k", [(8, 4), (3, 7)])  # k <= D: exact; k > D: the ridge decides
def test_lle_weights_are_scikit_learns_barycenter_weights(d, k):
    x = points(50, d)
    graph = barycenter_kneighbors_graph(x.numpy(), k, reg=1e-3).toarray()
    neighbors = embedding.nearest_neighbors(x, k)
    w = embedding.lle_weights(x, neighbors)
    assert np.allclose(np.take_along_axis(graph, neighbors.numpy(), axis=1), w, atol=1e-10)
    assert torch.allclose(w.sum(dim=1), torch.ones(50, dtype=torch.float64))


def test_lle_weights_are_the_best_of_all_weights_that_sum_to_one():
    x = points(20, 6)
    neighbors = embedding.nearest_neighbors(x, 4)
    w = embedding.lle_weights(x, neighbors, regularization=0)

    def cost(w):
        return (x - (w[:, :, None] * x[neighbors]).sum(dim=1)).square().sum(dim=1)

    for seed in range(5):
        step = points(20, 4, seed=seed, scale=0.01)
        assert (cost(w) <= cost(w + step - step.mean(dim=1, keepdim=True)) + 1e-12).all()


def test_lle_weights_do_not_change_when_the_patch_is_turned_scaled_and_moved():
    x = points(30, 5)
    neighbors = embedding.nearest_neighbors(x, 4)
    turned = 3 * x @ torch.linalg.qr(points(5, 5, seed=2))[0] - 7
    assert torch.allclose(embedding.lle_weights(x, neighbors), embedding.lle_weights(turned, neighbors))


def test_lle_is_scikit_learns_up_to_sign_and_scale():
    x, _ = swiss_roll()
    y, cost = embedding.lle(x, k=12)
    reference = LocallyLinearEmbedding(n_neighbors=12, n_components=2, eigen_solver="dense")
    assert same_up_to_sign(y, reference.fit_transform(x.numpy()) * 300**0.5, atol=1e-4)
    assert cost == pytest.approx(reference.reconstruction_error_, rel=1e-3)


def test_lle_keeps_its_constraints_and_unrolls_the_roll():
    x, t = swiss_roll(600)
    y, _ = embedding.lle(x, k=8)
    assert torch.allclose(y.mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(y.T @ y / 600, torch.eye(2, dtype=torch.float64), atol=1e-8)

    def rank_correlation(a, b):
        return abs(
            float(torch.corrcoef(torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double())[0, 1])
        )

    flat, _ = embedding.classical_mds(embedding.distances(x), 2)
    assert max(rank_correlation(c, t) for c in y.T) > 0.95
    assert max(rank_correlation(c, t) for c in flat.T) < 0.8


def test_graph_distances_by_floyd_and_warshall():
    x, n = points(12, 3), 12
    near, d = embedding.nearest_neighbors(x, 3), embedding.distances(x)
    path = [[0.0 if i == j else math.inf for j in range(n)] for i in range(n)]
    for i, j in itertools.product(range(n), repeat=2):
        if j in near[i].tolist() or i in near[j].tolist():
            path[i][j] = float(d[i, j])
    for k, i, j in itertools.product(range(n), repeat=3):
        path[i][j] = min(path[i][j], path[i][k] + path[k][j])
    assert torch.allclose(embedding.graph_distances(x, 3), torch.tensor(path, dtype=torch.float64))


def test_isomap_unrolls_the_roll_and_is_scikit_learns():
    x, t = swiss_roll(600)
    y = embedding.isomap(x, 8)
    assert same_up_to_sign(y, Isomap(n_neighbors=8, n_components=2).fit_transform(x.numpy()), atol=1e-4)
    along = (t * (1 + t**2).sqrt() + t.asinh()) / 2
    assert abs(np.corrcoef(y[:, 0], along)[0, 1]) > 0.99


def test_eigenmaps_solve_their_generalised_eigenproblem():
    x, k = points(30, 3), 5
    near = embedding.nearest_neighbors(x, k)
    a = torch.zeros(30, 30, dtype=torch.float64)
    for i, j in itertools.product(range(30), repeat=2):
        a[i, j] = float(j in near[i].tolist() or i in near[j].tolist())
    g = a.sum(dim=1).diag()
    values, vectors = eigh((g - a).numpy(), g.numpy())
    y = embedding.laplacian_eigenmaps(x, k, 3)
    assert same_up_to_sign(y, vectors[:, 1:4] * float(g.sum()) ** 0.5, atol=1e-6)
    assert torch.allclose(y.T @ g @ y / g.sum(), torch.eye(3, dtype=torch.float64), atol=1e-8)
    assert torch.allclose((g @ y).sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-8)
    roughness = [(a * (c[:, None] - c).square()).sum() / 2 / g.sum() for c in y.T]
    assert np.allclose(roughness, values[1:4])


# --- IMAX --------------------------------------------------------------------------------------------------


def exactly(signal_variance, noise_variance, n=4000):
    """a = s + noise, b = s + other noise, whose *sample* variances are the given ones and sample covariances 0."""
    raw = points(n, 3)
    white = torch.linalg.qr(raw - raw.mean(dim=0))[0] * (n - 1) ** 0.5
    s, first, second = white.T
    s = signal_variance**0.5 * s
    return s, s + noise_variance**0.5 * first, s + noise_variance**0.5 * second


@pytest.mark.parametrize("signal, noise", [(1.0, 1.0), (2.0, 0.1), (0.3, 1.7)])
def test_imax_is_the_information_of_the_mean_about_the_signal(signal, noise):
    s, a, b = exactly(signal, noise)
    value = embedding.imax(a, b).item()
    assert value == pytest.approx(0.5 * math.log(1 + 2 * signal / noise))
    r = signal / (signal + noise)  # the correlation of a and b
    assert value == pytest.approx(math.atanh(r))
    assert value == pytest.approx(embedding.gaussian_information((a + b)[:, None] / 2, s[:, None]).item())


@pytest.mark.parametrize("r", [-0.9, -0.3, 0.0, 0.5, 0.99])
def test_gaussian_information_of_a_known_correlation(r):
    raw = points(500, 2)
    x, e = torch.linalg.qr(raw - raw.mean(dim=0))[0].T
    y = r * x + math.sqrt(1 - r * r) * e
    expected = -0.5 * math.log(1 - r * r)
    information = embedding.gaussian_information(3 * x[:, None], 5 - 2 * y[:, None])
    assert information.item() == pytest.approx(expected, abs=1e-9)
    assert embedding.imax(x, y).item() == pytest.approx(math.atanh(r), abs=1e-9)


def test_gaussian_information_is_that_of_the_canonical_correlations():
    a, b = points(200, 3), points(200, 2, seed=1)
    b = b + a[:, :2]
    rho = correlation.cca(a, b).correlations
    assert embedding.gaussian_information(a, b).item() == pytest.approx(
        -0.5 * (1 - rho**2).log().sum().item()
    )


def test_imax_wants_the_common_sign_and_has_the_right_gradient():
    _, a, b = exactly(1.0, 0.5, n=50)
    assert embedding.imax(a, b) > 0 > embedding.imax(a, -b)
    assert embedding.imax(3 * a + 1, 3 * b - 2).item() == pytest.approx(embedding.imax(a, b).item())
    assert embedding.imax(a, a) == math.inf
    x, y = a[:8].clone().requires_grad_(), b[:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(embedding.imax, (x, y))


# --- learned metrics ---------------------------------------------------------------------------------------


def test_side_information_by_loops():
    z1, z2 = points(9, 3), points(9, 3, seed=1)
    same = torch.arange(9) % 3 == 0
    pull = push = 0.0
    for a, b, s in zip(z1.tolist(), z2.tolist(), same.tolist(), strict=True):
        if s:
            pull += math.dist(a, b) ** 2
        else:
            push += math.dist(a, b)
    assert embedding.side_information(z1, z2, same).item() == pytest.approx(pull - math.log(push))


def test_side_information_has_the_solution_of_the_constrained_problem():
    """Two dimensions, diagonal metric: the minimum over a fine grid of the angle; the scale follows."""
    x1, x2 = points(60, 2), points(60, 2, seed=1) * torch.tensor([1.0, 4.0], dtype=torch.float64)
    same = torch.arange(60) < 30
    difference = (x1 - x2).square()
    angle = torch.linspace(0, math.pi / 2, 2001, dtype=torch.float64)[1:-1]
    A = torch.stack([angle.cos(), angle.sin()], dim=1)  # diagonals of the metric, up to scale
    pull, push = (A @ difference[same].T).sum(dim=1), (A @ difference[~same].T).sqrt().sum(dim=1)
    best = A[(pull / push.square()).argmin()]  # scaled to push = 1, as in the constraint
    L = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([L], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = embedding.side_information(x1 * L, x2 * L, same)
        loss.backward()
        return loss

    optimizer.step(closure)
    learned = L.detach().square()
    assert torch.allclose(learned / learned.norm(), best, atol=2e-3)
    assert (learned @ difference[same].T).sum().item() == pytest.approx(
        0.5, abs=1e-3
    )  # the scale of the log barrier


def loop_lmnn(z, labels, targets, mu):
    z, labels, pull, push = z.tolist(), labels.tolist(), 0.0, 0.0
    for i, row in enumerate(targets.tolist()):
        for j in row:
            near = math.dist(z[i], z[j]) ** 2
            pull += near
            for far in range(len(z)):
                if labels[far] != labels[i]:
                    push += max(0.0, 1 + near - math.dist(z[i], z[far]) ** 2)
    return ((1 - mu) * pull + mu * push) / len(z)


@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0])
def test_lmnn_by_loops_and_its_gradient(mu):
    z, labels = points(12, 3, scale=0.8), torch.arange(12) % 3
    targets = embedding.target_neighbors(z, labels, k=2)
    assert embedding.lmnn(z, labels, targets, mu).item() == pytest.approx(loop_lmnn(z, labels, targets, mu))
    small = z.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: embedding.lmnn(z, labels, targets, mu), small)


def test_target_neighbours_by_loops():
    x, labels = points(15, 2), torch.arange(15) % 3
    for i, row in enumerate(embedding.target_neighbors(x, labels, k=3).tolist()):
        others = [j for j in range(15) if j != i and labels[j] == labels[i]]
        assert row == sorted(others, key=lambda j: math.dist(x[i].tolist(), x[j].tolist()))[:3]


def test_a_linear_map_gives_the_mahalanobis_distance():
    x, L = points(10, 4), points(2, 4, seed=1)
    d, difference = embedding.distances(x @ L.T), x[:, None] - x
    assert torch.allclose(d.square(), torch.einsum("ijk,kl,ijl->ij", difference, L.T @ L, difference))


def loop_nca(x, labels, A):
    """Goldberger et al. 2004, eq. 1 to 3 and the gradient of eq. 5, with plain numbers, as the loss 1 - f / N."""
    n = len(x)
    value, gradient = 0.0, torch.zeros_like(A)
    for i in range(n):
        w = {k: math.exp(-float((A @ (x[i] - x[k])).square().sum())) for k in range(n) if k != i}
        p = {k: v / sum(w.values()) for k, v in w.items()}
        p_i = sum(p[k] for k in p if labels[k] == labels[i])
        value += p_i
        for k in p:
            outer = torch.outer(x[i] - x[k], x[i] - x[k])
            gradient += 2 * p_i * p[k] * A @ outer - (2 * p[k] * A @ outer if labels[k] == labels[i] else 0)
    return 1 - value / n, -gradient / n


def test_ncas_value_and_gradient_by_loops():
    x, labels = points(9, 4), torch.arange(9) % 3
    A = points(2, 4, seed=1, scale=0.5).requires_grad_()
    loss = nca(x @ A.T, labels)
    (gradient,) = torch.autograd.grad(loss, A)
    value, by_hand = loop_nca(x, labels.tolist(), A.detach())
    assert loss.item() == pytest.approx(value)
    assert torch.allclose(gradient, by_hand)


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: embedding.distances(torch.ones(3)), r"\[N, D\]"),
        (lambda: embedding.distances(torch.tensor([[1.0], [math.nan]])), "NaN"),
        (lambda: embedding.double_center(torch.ones(2, 3)), "square symmetric"),
        (lambda: embedding.double_center(torch.tensor([[0.0, 1.0], [2.0, 0.0]])), "square symmetric"),
        (lambda: embedding.classical_mds(embedding.distances(points(5)), 5), "from 1 to 4"),
        (lambda: embedding.nearest_neighbors(points(5), 5), "from 1 to 4"),
        (lambda: embedding.lle(points(5), k=3, dim=0), "from 1 to 4"),
        (lambda: embedding.isomap(torch.tensor([[0.0], [1.0], [50.0], [51.0]]), k=1), "falls into pieces"),
        (lambda: embedding.laplacian_eigenmaps(points(5), k=3, dim=5), "from 1 to 4"),
        (lambda: embedding.imax(points(5), points(5)), "one unit per module"),
        (lambda: embedding.imax(torch.ones(5), torch.zeros(5)), "constant"),
        (lambda: embedding.gaussian_information(points(5), points(5)), "more cases"),
        (lambda: embedding.side_information(points(4), points(4), torch.ones(4)), "truth value"),
        (
            lambda: embedding.side_information(points(4), points(4), torch.ones(4, dtype=torch.bool)),
            "Both similar",
        ),
        (lambda: embedding.target_neighbors(points(6), torch.arange(6) % 3, k=2), "more than k"),
        (lambda: embedding.lmnn(points(6), torch.arange(6), torch.zeros(6, 1).long(), mu=2.0), "from 0 to 1"),
    ],
)
def test_bad_input_is_refused_with_a_way_out(call, words):
    with pytest.raises(InputError, match=words):
        call()
