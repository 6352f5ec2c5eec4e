"""Correlation losses against loops in plain Python, libraries, known values, half precision and bad input.

Over 400 lines: each loss beside the loop that it is compared with.
"""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F

from ssl_lessons.errors import InputError
from ssl_lessons.losses.correlation import (
    barlow_twins,
    cca,
    dcca,
    hsic,
    vcreg,
    vicreg,
    vicreg_covariance,
    vicreg_invariance,
    vicreg_variance,
    w_mse,
    whiten,
)

LOW = [torch.float16, torch.bfloat16]


def pair(n=12, d=4, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.4, 1.8, d, dtype=torch.float64)
    z1 = scale * torch.randn(n, d, generator=g, dtype=torch.float64) + 0.5
    z2 = z1 + 0.6 * torch.randn(n, d, generator=g, dtype=torch.float64)
    return z1.to(dtype), z2.to(dtype)


# --- references: plain Python numbers, one loop per symbol of the formula --------------------------


def columns(z):
    return [[row[j] for row in z.double().tolist()] for j in range(z.shape[1])]


def mean(values):
    return sum(values) / len(values)


def loop_covariance(a, b):
    ma, mb = mean(a), mean(b)
    return sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / (len(a) - 1)


def loop_correlation(a, b, eps=0.0):
    ma, mb = mean(a), mean(b)
    a, b = [x - ma for x in a], [y - mb for y in b]
    top = sum(x * y for x, y in zip(a, b, strict=True))
    n = len(a)
    return top / n / math.sqrt(sum(x * x for x in a) / n + eps) / math.sqrt(sum(y * y for y in b) / n + eps)


def loop_barlow(z1, z2, lambd=5e-3, eps=1e-5):
    """Zbontar et al. 2021, eq. 1 and 2, with the eps of BatchNorm."""
    a, b = columns(z1), columns(z2)
    loss = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            c = loop_correlation(a[i], b[j], eps)
            loss += (1 - c) ** 2 if i == j else lambd * c**2
    return loss


def loop_invariance(z1, z2):
    a, b = columns(z1), columns(z2)
    return mean([mean([(x - y) ** 2 for x, y in zip(u, v, strict=True)]) for u, v in zip(a, b, strict=True)])


def loop_variance(z, gamma=1.0, eps=1e-4):
    """Bardes et al. 2022, eq. 1 and 2."""
    return mean([max(0.0, gamma - math.sqrt(loop_covariance(c, c) + eps)) for c in columns(z)])


def loop_off_diagonal(z):
    """Bardes et al. 2022, eq. 3 and 4."""
    c = columns(z)
    d = len(c)
    return sum(loop_covariance(c[i], c[j]) ** 2 for i in range(d) for j in range(d) if i != j) / d


def loop_vicreg(z1, z2, lam=25.0, mu=25.0, nu=1.0):
    """As the authors' code: variance terms averaged over the views, covariance terms added."""
    variance = loop_variance(z1) / 2 + loop_variance(z2) / 2
    covariance = loop_off_diagonal(z1) + loop_off_diagonal(z2)
    return lam * loop_invariance(z1, z2) + mu * variance + nu * covariance


def symmetric_root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def loop_dcca(h1, h2, k=None, r=1e-3):
    """Andrew et al. 2013, section 3, with symmetric inverse roots."""
    a, b = columns(h1), columns(h2)
    c1 = np.array([[loop_covariance(x, y) for y in a] for x in a]) + r * np.eye(len(a))
    c2 = np.array([[loop_covariance(x, y) for y in b] for x in b]) + r * np.eye(len(b))
    c12 = np.array([[loop_covariance(x, y) for y in b] for x in a])
    s = np.linalg.svd(symmetric_root(c1) @ c12 @ symmetric_root(c2), compute_uv=False)
    return -float(s[: k or min(len(a), len(b))].sum())


def loop_w_mse(z1, z2, size=None, eps=0.0):
    """Whitening by the inverse Cholesky factor of each group and view, then normalised MSE."""
    size = size or len(z1)
    total = 0.0
    for start in range(0, len(z1), size):
        whitened = []
        for z in (z1, z2):
            v = z[start : start + size].double().numpy()
            cov = (1 - eps) * np.cov(v.T) + eps * np.eye(v.shape[1])
            w = np.linalg.inv(np.linalg.cholesky(cov))
            whitened.append([w @ (row - v.mean(axis=0)) for row in v])
        for a, b in zip(*whitened, strict=True):
            total += float(((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2).sum())
    return total / len(z1)


LOSSES = {
    "barlow": (barlow_twins, loop_barlow),
    "vicreg": (vicreg, loop_vicreg),
    "invariance": (vicreg_invariance, loop_invariance),
    "w_mse": (w_mse, loop_w_mse),
    "dcca": (dcca, loop_dcca),
}
ALL = pytest.mark.parametrize("name", LOSSES)


@ALL
@pytest.mark.parametrize("n, d", [(5, 2), (12, 4), (40, 7)])
def test_equals_the_formula(name, n, d):
    loss, loop = LOSSES[name]
    z1, z2 = pair(n, d)
    right = loop(z1, z2)
    assert loss(z1, z2).item() == pytest.approx(right, rel=1e-9)
    in_float32 = loss(z1.float(), z2.float())
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(right, rel=1e-3, abs=1e-5)


@ALL
def test_gradcheck(name):
    z1, z2 = (z.requires_grad_() for z in pair(9, 3))
    assert torch.autograd.gradcheck(LOSSES[name][0], (z1, z2))


@ALL
def test_gradient_reaches_both_views(name):
    z1, z2 = (z.requires_grad_() for z in pair())
    LOSSES[name][0](z1, z2).backward()
    for z in (z1, z2):
        assert (z.grad.norm(dim=0) > 0).all() and (z.grad.norm(dim=1) > 0).sum() >= len(z) - 1


@ALL
def test_partners_matter_and_their_common_order_does_not(name):
    loss = LOSSES[name][0]
    z1, z2 = pair()
    order = torch.randperm(len(z1), generator=torch.Generator().manual_seed(2))
    assert loss(z1[order], z2[order]).item() == pytest.approx(loss(z1, z2).item())
    assert loss(z1[order], z2).item() > loss(z1, z2).item() + 0.1


@ALL
def test_views_can_be_swapped(name):
    loss = LOSSES[name][0]
    z1, z2 = pair()
    assert loss(z1, z2).item() == pytest.approx(loss(z2, z1).item())


# --- CCA and Deep CCA ------------------------------------------------------------------------------


def two_sets(n=400, seed=0):
    """Two sets of 5 and 3 variables that share two directions."""
    g = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 2, generator=g, dtype=torch.float64)
    x = torch.cat([shared, torch.randn(n, 3, generator=g, dtype=torch.float64)], dim=1)
    y = torch.cat([shared + 0.5 * torch.randn(n, 2, generator=g, dtype=torch.float64), x[:, 2:3] ** 2], dim=1)
    mix = torch.randn(5, 5, generator=g, dtype=torch.float64)
    return x @ mix + 3, y @ mix[:3, :3] - 1


def test_cca_agrees_with_scikit_learn():
    from sklearn.cross_decomposition import CCA as SklearnCCA

    x, y = two_sets()
    model = SklearnCCA(n_components=2, max_iter=5000, tol=1e-12).fit(x.numpy(), y.numpy())
    u, v = model.transform(x.numpy(), y.numpy())
    theirs = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2)]
    assert cca(x, y, k=2).correlations.tolist() == pytest.approx(theirs, abs=1e-6)


def test_cca_agrees_with_the_generalised_eigenvalue_problem():
    """C_xy C_yy^-1 C_yx a = rho^2 C_xx a, solved by scipy."""
    x, y = two_sets()
    n, both = x.shape[1], np.cov(torch.cat([x, y], dim=1).T.numpy())
    cxx, cxy, cyy = both[:n, :n], both[:n, n:], both[n:, n:]
    squares = scipy.linalg.eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx, eigvals_only=True)[::-1][:3]
    assert cca(x, y).correlations.tolist() == pytest.approx(np.sqrt(squares).tolist(), rel=1e-8)


def test_cca_weights_whiten_and_correlate():
    x, y = two_sets()
    found = cca(x, y)
    u, v = (x - x.mean(dim=0)) @ found.x_weights, (y - y.mean(dim=0)) @ found.y_weights
    n, eye = len(x) - 1, torch.eye(3, dtype=torch.float64)
    assert torch.allclose(u.T @ u / n, eye, atol=1e-9) and torch.allclose(v.T @ v / n, eye, atol=1e-9)
    assert torch.allclose(u.T @ v / n, torch.diag(found.correlations), atol=1e-9)
    assert (found.correlations[:-1] >= found.correlations[1:]).all()


def test_no_other_directions_correlate_more():
    x, y = two_sets()
    best = cca(x, y).correlations[0].item()
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(5, 300, generator=g).double(), torch.randn(3, 300, generator=g).double()
    tried = [abs(np.corrcoef((x @ a[:, i]).numpy(), (y @ b[:, i]).numpy())[0, 1]) for i in range(300)]
    assert 0.5 < max(tried) <= best + 1e-12


def test_cca_and_dcca_do_not_care_about_invertible_linear_maps():
    x, y = two_sets()
    mix = torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double()
    right = cca(x, y).correlations
    assert torch.allclose(cca(x @ mix + 7, 0.01 * y).correlations, right)
    assert dcca(x @ mix, y, regularization=0.0).item() == pytest.approx(-right.sum().item())
    assert dcca(x, y, k=1, regularization=0.0).item() == pytest.approx(-right[0].item())


def test_known_correlations():
    x, _ = two_sets()
    mix = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double()
    assert cca(x, x @ mix).correlations.tolist() == pytest.approx([1] * 5)
    a, b = torch.tensor([[1.0], [2], [3], [4]]), torch.tensor([[-1.0], [-3], [-2], [-4]])
    assert cca(a, b).correlations.item() == pytest.approx(0.8)
    assert dcca(a, b, regularization=0.0).item() == pytest.approx(-0.8)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_dcca_with_two_widths_and_few_directions(k):
    x, y = (z[:30] for z in two_sets())
    assert dcca(x, y, k, 0.1).item() == pytest.approx(loop_dcca(x, y, k, 0.1))
    few = (x[:9].clone().requires_grad_(), y[:9].clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: dcca(a, b, k, 0.1), few)


def test_regularised_cca_is_dcca():
    x, y = two_sets()
    assert -cca(x, y, regularization=0.3).correlations.sum().item() == pytest.approx(
        dcca(x, y, None, 0.3).item()
    )


def test_dcca_without_enough_rows_or_regularisation_is_refused():
    z1, z2 = pair(4, 4)
    with pytest.raises(InputError, match="more rows"):
        dcca(z1, z2, regularization=0.0)
    assert -4 < dcca(z1, z2, regularization=1e-3).item() < 0


@pytest.mark.parametrize("k", [0, 4, -1])
def test_impossible_numbers_of_directions(k):
    with pytest.raises(InputError, match="between 1 and 3"):
        cca(*two_sets(), k=k)


def test_cca_of_repeated_columns_is_refused():
    x, y = two_sets()
    with pytest.raises(InputError, match="singular"):
        cca(torch.cat([x, x[:, :1] - x[:, 1:2]], dim=1), y)
    with pytest.raises(InputError, match="same number of rows"):
        cca(x, y[:-1])
    assert cca(torch.cat([x, x[:, :1]], dim=1), y, regularization=0.1).correlations.isfinite().all()


# --- Barlow Twins ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lambd", [0.0, 5e-3, 1.0])
def test_barlow_with_other_weights(lambd):
    z1, z2 = pair()
    assert barlow_twins(z1, z2, lambd).item() == pytest.approx(loop_barlow(z1, z2, lambd))


def test_barlow_known_values():
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)  # C = identity
    assert barlow_twins(z, z, eps=1e-12).item() == pytest.approx(0, abs=1e-12)
    assert barlow_twins(z, -z, eps=1e-12).item() == pytest.approx(2 * 4)  # C_ii = -1
    repeated = z[:, :1].repeat(1, 3)
    assert barlow_twins(repeated, repeated, 0.1, eps=1e-12).item() == pytest.approx(0.1 * 6)  # C_ij = 1
    flat = torch.ones(8, 5)
    assert barlow_twins(flat, flat).item() == pytest.approx(5)  # nothing varies: C = 0


def test_barlow_uses_the_biased_deviation():
    """A perfect batch has loss 0; with the unbiased deviation C_ii would be (N - 1) / N."""
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    unbiased = (z - z.mean(dim=0)) / z.std(dim=0)
    wrong = (1 - (unbiased.T @ unbiased / len(z)).diagonal()).square().sum()
    assert wrong.item() == pytest.approx(2 * (1 / 4) ** 2)
    assert barlow_twins(z, z, lambd=0, eps=1e-12).item() < 1e-12 < wrong


def test_barlow_equals_batch_norm_without_affine():
    z1, z2 = pair(32, 6, torch.float32)
    norm = torch.nn.BatchNorm1d(6, affine=False)
    c = norm(z1).T @ norm(z2) / 32
    expected = (1 - c.diagonal()).square().sum() + 5e-3 * (c - c.diagonal().diag()).square().sum()
    assert barlow_twins(z1, z2).item() == pytest.approx(expected.item(), rel=1e-5)


def test_barlow_ignores_scale_and_shift_of_a_dimension():
    z1, z2 = pair()
    scale, shift = torch.tensor([10.0, 0.5, 3, 2]).double(), torch.tensor([1.0, -2, 0, 9]).double()
    assert barlow_twins(z1 * scale + shift, z2, eps=1e-12).item() == pytest.approx(
        barlow_twins(z1, z2, eps=1e-12).item()
    )


def test_a_constant_dimension_has_a_finite_gradient():
    z1, z2 = pair()
    z1[:, 1] = 0.3
    for loss in (barlow_twins, vicreg):
        a = z1.clone().requires_grad_()
        loss(a, z2).backward()
        assert a.grad.isfinite().all()


# --- VICReg ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (3.0, 5.0, 7.0)])
def test_vicreg_with_other_weights(weights):
    z1, z2 = (0.7 * z for z in pair())
    right = loop_vicreg(z1, z2, *weights)
    assert right > 0.01
    assert vicreg(z1, z2, *weights).item() == pytest.approx(right)


@pytest.mark.parametrize("gamma, eps", [(1.0, 1e-4), (2.0, 1e-2)])
def test_the_parts_of_vicreg(gamma, eps):
    z, _ = pair()
    assert vicreg_variance(z, gamma, eps).item() == pytest.approx(loop_variance(z, gamma, eps))
    assert vicreg_covariance(z).item() == pytest.approx(loop_off_diagonal(z))
    both = vcreg(z, 3.0, 7.0, gamma, eps).item()
    assert both == pytest.approx(3 * loop_variance(z, gamma, eps) + 7 * loop_off_diagonal(z))
    assert torch.autograd.gradcheck(lambda x: vcreg(x, 3.0, 7.0, gamma, eps), (z.requires_grad_(),))


def test_vicreg_has_the_half_of_the_authors_code():
    """Twice the variance term, the formula of eq. 6, is a different loss."""
    z1, z2 = (0.3 * z for z in pair())
    variance = loop_variance(z1) + loop_variance(z2)
    as_printed = loop_vicreg(z1, z2) + 25 * variance / 2
    assert vicreg(z1, z2).item() == pytest.approx(as_printed - 25 * variance / 2)
    assert vicreg(z1, z2, 0, 1, 0).item() == pytest.approx(variance / 2) and variance > 0.5


def test_vicreg_known_values():
    flat = torch.ones(8, 5, dtype=torch.float64)
    assert vicreg(flat, flat).item() == pytest.approx(25 * (1 - math.sqrt(1e-4)))
    z = math.sqrt(3) * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert vicreg(z, z).item() == 0  # deviation 2, no covariance, equal views
    assert vicreg(z, -z, 1, 0, 0).item() == pytest.approx(12)
    line = z[:, :1].repeat(1, 3)
    assert vicreg(line, line, 0, 0, 1).item() == pytest.approx(2 * 6 * 16 / 3)  # two views, variance 4


def test_the_hinge_has_no_upper_side():
    z, _ = pair()
    assert vicreg_variance(100 * z).item() == 0


def test_shifting_a_view_changes_only_the_invariance():
    z1, z2 = pair()
    assert vicreg(z1 + 3, z2, 0, 25, 1).item() == pytest.approx(vicreg(z1, z2, 0, 25, 1).item())
    assert vicreg(z1 + 3, z2).item() > vicreg(z1, z2).item() + 1


def test_the_covariance_term_is_the_spread_of_the_gram_matrix():
    """||Z^T Z||_F = ||Z Z^T||_F: contrasting dimensions contrasts samples (Garrido et al. 2022)."""
    z, _ = pair()
    z = z - z.mean(dim=0)
    gram, n, d = z @ z.T, *z.shape
    lengths = z.square().sum(dim=0).square().sum()
    assert vicreg_covariance(z).item() == pytest.approx(
        ((gram.square().sum() - lengths) / (n - 1) ** 2 / d).item()
    )


# --- whitening -------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_whitened_embeddings_have_identity_covariance(eps):
    z, _ = pair(40, 6)
    w = whiten(z, eps)
    covariance = w.T @ w / 39
    assert w.mean(dim=0).abs().max() < 1e-12
    if eps == 0:
        assert torch.allclose(covariance, torch.eye(6, dtype=torch.float64), atol=1e-10)
    else:
        # L^-1 C L^-T with L L^T = (1 - eps) C + eps I
        assert not torch.allclose(covariance, torch.eye(6, dtype=torch.float64), atol=1e-2)
        c = torch.cov(z.T)
        inverse = torch.linalg.inv(torch.linalg.cholesky(0.9 * c + 0.1 * torch.eye(6).double()))
        assert torch.allclose(covariance, inverse @ c @ inverse.T)


@pytest.mark.parametrize("size, eps", [(None, 0.0), (6, 0.0), (4, 0.0), (6, 0.2), (3, 0.2)])
def test_w_mse_in_sub_batches(size, eps):
    z1, z2 = pair(12, 3)
    assert w_mse(z1, z2, size, eps).item() == pytest.approx(loop_w_mse(z1, z2, size, eps))
    assert torch.autograd.gradcheck(
        lambda a, b: w_mse(a, b, size, eps), (z1.requires_grad_(), z2.requires_grad_())
    )


def test_w_mse_known_values():
    z1, _ = pair(40, 3)
    assert w_mse(z1, 5 * z1 + 2).item() == pytest.approx(0, abs=1e-12)
    assert w_mse(z1, -z1).item() == pytest.approx(4)
    # Unlike SimSiam's cosine, shrinking or stretching one direction earns nothing.
    stretch = torch.tensor([1.0, 1e-3, 50]).double()
    assert w_mse(z1 * stretch, z1).item() == pytest.approx(0, abs=1e-12)


def test_w_mse_refuses_groups_that_cannot_be_whitened():
    z1, z2 = pair(12, 4)
    with pytest.raises(InputError, match="4 rows cannot be whitened in 4 dimensions"):
        w_mse(z1, z2, 4)
    with pytest.raises(InputError, match="divisor"):
        w_mse(z1, z2, 5)
    with pytest.raises(InputError, match="divisor"):
        w_mse(z1, z2, 1)
    with pytest.raises(InputError, match="singular"):
        w_mse(torch.cat([z1, z1[:, :1] + z1[:, 1:2]], dim=1), torch.cat([z2, z2[:, :1]], dim=1))
    with pytest.raises(InputError, match="singular"):
        whiten(torch.cat([z1, torch.ones(12, 1).double()], dim=1))
    assert whiten(torch.ones(6, 3), 0.5).abs().max() == 0
    for eps in (-0.1, 1.0, math.nan):
        with pytest.raises(InputError, match="eps"):
            whiten(z1, eps)


# --- HSIC ------------------------------------------------------------------------------------------


def loop_hsic(a, b, sigma):
    n = len(a)

    def centred(x):
        m = mean(x)
        s = math.sqrt(mean([(v - m) ** 2 for v in x]))
        x = [(v - m) / s for v in x]
        k = [[math.exp(-((u - v) ** 2) / (2 * sigma**2)) for v in x] for u in x]
        row = [mean(r) for r in k]
        return [[k[i][j] - row[i] - row[j] + mean(row) for j in range(n)] for i in range(n)]

    ka, kb = centred(a), centred(b)
    return sum(ka[i][j] * kb[i][j] for i in range(n) for j in range(n)) / (n - 1) ** 2


@pytest.mark.parametrize("bandwidth", [0.5, 1.0])
def test_hsic_equals_the_formula(bandwidth):
    z, _ = pair(15, 3)
    c = columns(z)
    own = [loop_hsic(a, a, bandwidth) for a in c]
    expected = [
        [loop_hsic(c[i], c[j], bandwidth) / math.sqrt(own[i] * own[j]) for j in range(3)] for i in range(3)
    ]
    assert torch.allclose(hsic(z, bandwidth), torch.tensor(expected, dtype=torch.float64))


def test_hsic_sees_what_a_correlation_does_not():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400, generator=g)
    a = torch.cat([a[:200], -a[:200]])  # symmetric: a and a^2 are uncorrelated
    z = torch.stack([a, a**2, b, a], dim=1)
    h = hsic(z)
    assert abs(torch.corrcoef(z.T)[0, 1]) < 1e-5 < 0.2 < h[0, 1]
    assert h[0, 2] < 0.02 and h[0, 3] == pytest.approx(1, abs=1e-5)
    constant = hsic(torch.stack([a, torch.ones(400)], dim=1))
    assert constant[0, 1] == 0 and constant.isfinite().all()


# --- half precision --------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("dtype", LOW)
def test_half_precision(name, dtype):
    loss, loop = LOSSES[name]
    z1, z2 = (z.to(dtype).requires_grad_() for z in pair(60, 8))
    value = loss(z1, z2)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loop(z1.detach(), z2.detach()), rel=1e-4, abs=1e-5)
    assert z1.grad.isfinite().all() and z2.grad.isfinite().all()


@ALL
def test_autocast_does_not_lower_the_precision(name):
    z1, z2 = pair(60, 8, torch.float32)
    outside = LOSSES[name][0](z1, z2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (z1 @ z2.T).dtype == torch.bfloat16  # autocast is really on
        inside = LOSSES[name][0](z1, z2)
    assert inside.dtype == torch.float32 and inside.item() == outside.item()


def test_large_values_in_float16_do_not_overflow():
    """Squared covariances of numbers around 300 are beyond 65,504, the end of float16."""
    z1, z2 = (300 * z for z in pair(32, 4))
    value = vicreg(z1.half(), z2.half())
    assert value.item() == pytest.approx(loop_vicreg(z1.half(), z2.half()), rel=1e-4)
    assert value > 65504


# --- errors ----------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_must_be_finite(name, bad):
    z1, z2 = pair()
    z2[1, 2] = bad
    with pytest.raises(InputError, match="learning rate"):
        LOSSES[name][0](z1, z2)


@ALL
def test_shapes_must_fit(name):
    loss = LOSSES[name][0]
    z1, z2 = pair()
    with pytest.raises(InputError, match="same"):
        loss(z1, z2[:-1])
    with pytest.raises(InputError, match="2-D"):
        loss(z1[0], z2[0])
    with pytest.raises(InputError, match="2-D"):
        loss(z1.tolist(), z2)
    if name != "invariance":
        with pytest.raises(InputError, match="larger batch"):
            loss(z1[:1], z2[:1])


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_weights_must_be_finite_and_not_negative(bad):
    with pytest.raises(InputError, match="lambd"):
        barlow_twins(*pair(), lambd=bad)
    for name in ("invariance_weight", "variance_weight", "covariance_weight"):
        with pytest.raises(InputError, match=name):
            vicreg(*pair(), **{name: bad})
    with pytest.raises(InputError, match="regularization"):
        dcca(*pair(), regularization=bad)


def test_eps_gamma_and_bandwidth_must_be_positive():
    with pytest.raises(InputError, match="eps"):
        barlow_twins(*pair(), eps=0)
    with pytest.raises(InputError, match="gamma"):
        vicreg(*pair(), gamma=0)
    with pytest.raises(InputError, match="bandwidth"):
        hsic(pair()[0], bandwidth=-1)
    for one_set in (vicreg_variance, vicreg_covariance, vcreg, whiten, hsic):
        with pytest.raises(InputError, match="2-D"):
            one_set(torch.ones(5))
        with pytest.raises(InputError, match="At least 2"):
            one_set(torch.ones(1, 5))


def test_against_lightly_where_it_is_installed():
    loss = pytest.importorskip("lightly.loss")
    z1, z2 = pair(32, 6, torch.float32)
    assert loss.BarlowTwinsLoss()(z1, z2).item() == pytest.approx(barlow_twins(z1, z2).item(), rel=1e-3)
    theirs = loss.VICRegLoss()(z1, z2).item()
    assert theirs == pytest.approx(vicreg(z1, z2).item(), rel=1e-4)
    assert F.mse_loss(z1, z2).item() == pytest.approx(vicreg_invariance(z1, z2).item())
