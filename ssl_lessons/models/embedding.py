"""Maps and distances from before contrastive learning: MDS and its local relatives, agreement of two modules (IMAX),
learned metrics.

Closed forms where there is one, pure functions of tensors where there is not.  A learned metric is a linear map: for
z = x L^T the Euclidean distance of z is the Mahalanobis distance of x with the matrix L^T L, so the two metric losses
here take z and work for any other embedding too.  The later ones (NCA, triplets, ...) are in `losses.metric`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

# ---- maps --------------------------------------------------------------------------------------------------


def distances(x: Tensor) -> Tensor:
    """Euclidean distances of all pairs of rows: x [N, D] -> [N, N], by differences, with an exact zero diagonal."""
    _check_rows(x)
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)


def double_center(distance: Tensor) -> Tensor:
    """Inner products from distances (Torgerson 1952): B = -J D2 J / 2 with D2 the squares and J = I - 1/N.

    distance: [N, N], symmetric.  Returns [N, N]: the Gram matrix of the points around their mean if the distances are
    Euclidean.  Raises InputError for anything else than a square symmetric matrix.
    """
    if distance.ndim != 2 or distance.shape[0] != distance.shape[1] or not torch.equal(distance, distance.T):
        raise InputError("distance must be a square symmetric matrix [N, N]; average it with its transpose.")
    squares = distance.square()
    rows = squares.mean(dim=1, keepdim=True)
    return -(squares - rows - rows.T + squares.mean()) / 2


def classical_mds(distance: Tensor, dim: int = 2) -> tuple[Tensor, Tensor]:
    """Classical multidimensional scaling (Torgerson 1952; Cox & Cox 1994, chapter 2).

    The best approximation of B by points in `dim` dimensions: its largest eigenvectors, each times the root of its
    eigenvalue.  On Euclidean distances this is PCA.  Negative eigenvalues say that no points have these distances.

    distance: [N, N].  Returns the map [N, dim], centred, columns up to sign (the largest entry is made positive), and
    all N eigenvalues in decreasing order.  Raises InputError unless 1 <= dim < N.
    """
    _check_dim(dim, len(distance))
    values, vectors = torch.linalg.eigh(double_center(distance))
    values, vectors = values.flip(0), vectors.flip(1)
    return _fix_signs(vectors[:, :dim] * values[:dim].clamp(min=0).sqrt()), values


def stress(distance: Tensor, y: Tensor) -> float:
    """How badly the map y [N, dim] shows the distances [N, N]: sqrt( sum (d - d_y)^2 / sum d^2 ) over all pairs.

    0 is a perfect map (Kruskal 1964 divides by the distances in the map instead).
    """
    return float(((distance - distances(y)).square().sum() / distance.square().sum()).sqrt())


def nearest_neighbors(x: Tensor, k: int) -> Tensor:
    """The k nearest other rows of every row, nearest first: x [N, D] -> [N, k].  Raises InputError for k >= N."""
    _check_rows(x)
    if not 1 <= k < len(x):
        raise InputError(f"k must be from 1 to {len(x) - 1}, one less than the number of points, not {k}.")
    return distances(x).fill_diagonal_(torch.inf).topk(k, dim=1, largest=False).indices


def lle_weights(x: Tensor, neighbors: Tensor, regularization: float = 1e-3) -> Tensor:
    """The weights that rebuild each point from its neighbours (Roweis & Saul 2000, eq. 1).

        minimise sum_i | x_i - sum_j w_ij x_j |^2   such that   sum_j w_ij = 1

    Lagrange: C w = 1 and rescale, with C_jl = (x_j - x_i).(x_l - x_i).  With more neighbours than dimensions C is
    singular; then `regularization` times its trace on the diagonal picks the evenest of the solutions.

    x: [N, D]; neighbors: [N, k], indices of rows.  Returns [N, k], rows that sum to 1.
    """
    _check_rows(x)
    offsets = x[neighbors] - x[:, None]  # [N, k, D]
    gram = offsets @ offsets.mT
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    ridge = regularization * trace.where(trace > 0, 1.0)
    gram = gram + ridge[:, None, None] * torch.eye(neighbors.shape[1], dtype=x.dtype)
    w = torch.linalg.solve(gram, torch.ones(neighbors.shape, dtype=x.dtype))
    return w / w.sum(dim=1, keepdim=True)


def lle(x: Tensor, k: int = 10, dim: int = 2, regularization: float = 1e-3) -> tuple[Tensor, float]:
    """Locally linear embedding (Roweis & Saul 2000): the map in which every point keeps its weights.

        minimise sum_i | y_i - sum_j w_ij y_j |^2   such that   sum_i y_i = 0,   sum_i y_i y_i^T / N = I     (eq. 2)

    The solution: eigenvectors of (I - W)^T (I - W) for its smallest eigenvalues, without the first, which is constant.

    x: [N, D]; k neighbours.  Returns the map [N, dim] (columns up to sign) and the cost per point, the sum of the
    eigenvalues used.  Raises InputError for k >= N or dim >= N.
    """
    _check_dim(dim, len(x))
    n, neighbors = len(x), nearest_neighbors(x, k)
    w = torch.zeros(n, n, dtype=x.dtype).scatter_(1, neighbors, lle_weights(x, neighbors, regularization))
    residual = torch.eye(n, dtype=x.dtype) - w
    values, vectors = torch.linalg.eigh(residual.T @ residual)
    return _fix_signs(vectors[:, 1 : dim + 1] * n**0.5), float(values[1 : dim + 1].sum())


def graph_distances(x: Tensor, k: int = 10) -> Tensor:
    """Lengths of the shortest paths in the graph that joins every row to its k nearest: x [N, D] -> [N, N] float64.

    An edge holds where either end counts the other among its k nearest, and is as long as their Euclidean distance
    (K-Isomap: Tenenbaum et al. 2000, table 1).  Raises InputError for k >= N and a graph in several pieces.
    """
    from scipy.sparse.csgraph import shortest_path

    neighbors, lengths = nearest_neighbors(x, k), distances(x).double()
    edges = torch.full_like(lengths, torch.inf).scatter_(1, neighbors, lengths.gather(1, neighbors))
    edges = torch.minimum(edges, edges.T)
    found = torch.from_numpy(shortest_path(edges.numpy(), directed=False))
    if not bool(found.isfinite().all()):
        raise InputError(f"With k = {k} the neighbour graph falls into pieces; raise k.")
    return (found + found.T) / 2


def isomap(x: Tensor, k: int = 10, dim: int = 2) -> Tensor:
    """Isomap (Tenenbaum et al. 2000): classical multidimensional scaling of `graph_distances`.

    x: [N, D]; k neighbours.  Returns the map [N, dim] in float64.  Raises InputError as its two parts do.
    """
    return classical_mds(graph_distances(x, k), dim)[0]


def laplacian_eigenmaps(x: Tensor, k: int = 10, dim: int = 2) -> Tensor:
    """Laplacian eigenmaps (Belkin and Niyogi 2003) with weights 1 between neighbours, else 0.

        minimise sum_ij w_ij |y_i - y_j|^2   such that   Y^T G Y = I,   Y^T G 1 = 0,   G = diag(sum_j w_ij)

    The solution: eigenvectors of (G - W) y = lambda G y for its smallest eigenvalues, without the constant one.  w_ij
    is 1 where either of i and j counts the other among its k nearest.

    x: [N, D].  Returns the map [N, dim], columns up to sign, times the root of the sum of G: of weighted variance 1.
    Raises InputError for k >= N or dim >= N.
    """
    _check_dim(dim, len(x))
    weights = torch.zeros(len(x), len(x), dtype=x.dtype).scatter_(1, nearest_neighbors(x, k), 1.0)
    weights = torch.maximum(weights, weights.T)
    root = weights.sum(dim=1).sqrt()
    laplacian = torch.eye(len(x), dtype=x.dtype) - weights / root[:, None] / root
    _, vectors = torch.linalg.eigh(laplacian)
    return _fix_signs(vectors[:, 1 : dim + 1] / root[:, None] * root.square().sum().sqrt())


# ---- agreement of two modules ------------------------------------------------------------------------------


def imax(a: Tensor, b: Tensor) -> Tensor:
    """What two modules' outputs tell about their common cause (Becker & Hinton 1992), in nats; to be maximised.

        I = 1/2 log( V(a + b) / V(a - b) )

    For a = s + noise, b = s + other noise, all Gaussian and the noises alike, this is the mutual information of the
    mean (a + b) / 2 and the signal s.  With equal variances and correlation r it is artanh(r).

    a, b: [N], one number per case.  Returns a scalar, infinite if a equals b.  Raises InputError for other shapes or
    if neither of the two varies.
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InputError(
            "imax compares the outputs of two modules, [N] each with N >= 2: one unit per module."
        )
    together, apart = (a + b).var(), (a - b).var()
    if float(together.detach()) == 0 and float(apart.detach()) == 0:
        raise InputError("Both outputs are constant: there is nothing to agree about. Use another start.")
    return (together.log() - apart.log()) / 2


def gaussian_information(a: Tensor, b: Tensor) -> Tensor:
    """Mutual information of two jointly Gaussian vectors from their sample covariances, in nats.

        I(a; b) = 1/2 log( det C_a det C_b / det C_ab ),   -1/2 log(1 - r^2) for two numbers with correlation r

    a: [N, Da]; b: [N, Db]; C_ab is the covariance of both together.  Returns a scalar.
    Raises InputError unless N exceeds Da + Db.
    """
    _check_rows(a), _check_rows(b)
    if len(a) != len(b) or len(a) <= a.shape[1] + b.shape[1]:
        raise InputError("Both need one row per case, and more cases than dimensions of a and b together.")
    whole = torch.cov(torch.cat([a, b], dim=1).T)
    parts = whole[: a.shape[1], : a.shape[1]], whole[a.shape[1] :, a.shape[1] :]
    return (sum(torch.logdet(c) for c in parts) - torch.logdet(whole)) / 2


# ---- learned metrics ---------------------------------------------------------------------------------------


def side_information(z1: Tensor, z2: Tensor, same: Tensor) -> Tensor:
    """Metric learning from pairs (Xing et al. 2002, section 2.1): similar pairs near, the others not all at zero.

        loss = sum_{similar} |z1 - z2|^2 - log( sum_{dissimilar} |z1 - z2| )

    For z = x L^T its minimum is, up to scale, their metric: the least squared distance of similar pairs while the
    dissimilar ones add up to at least 1.  The distances of those are not squared: squared, one direction would do.

    A dissimilar pair that coincides has no direction to part in and gets no gradient.

    z1, z2: [P, D], P pairs; same: [P] bool.  Returns a scalar.  Raises InputError unless both kinds of pair are there
    and some dissimilar one lies apart.
    """
    if same.dtype != torch.bool or same.shape != (len(z1),) or z1.shape != z2.shape:
        raise InputError("Pass pairs z1, z2 [P, D] and a truth value for each, same [P].")
    if same.all() or not same.any():
        raise InputError("Both similar and dissimilar pairs are needed.")
    squares = (z1 - z2).square().sum(dim=1)
    apart = squares[~same]
    apart = apart[apart > 0]  # the root's slope at 0 is infinite
    if not len(apart):
        raise InputError("All dissimilar pairs coincide: nothing says how to part them. Use another start.")
    return squares[same].sum() - apart.sqrt().sum().log()


def target_neighbors(x: Tensor, labels: Tensor, k: int = 3) -> Tensor:
    """The k nearest rows of the same label, [N, k] (Weinberger & Saul 2009, section 3.1): fixed before learning.

    Raises InputError if a label has k rows or fewer.
    """
    _check_rows(x)
    if int(labels.unique(return_counts=True)[1].min()) <= k:
        raise InputError(f"Every label needs more than k = {k} rows; lower k or draw more.")
    away = distances(x).masked_fill(labels[:, None] != labels, torch.inf).fill_diagonal_(torch.inf)
    return away.topk(k, dim=1, largest=False).indices


def lmnn(z: Tensor, labels: Tensor, targets: Tensor, mu: float = 0.5) -> Tensor:
    """Large margin nearest neighbours (Weinberger & Saul 2009, eq. 11 to 13): pull the targets, push impostors.

        pull = sum_i sum_{j target of i} |z_i - z_j|^2
        push = sum_i sum_{j target of i} sum_{l of another label} max(0, 1 + |z_i - z_j|^2 - |z_i - z_l|^2)
        loss = ( (1 - mu) pull + mu push ) / N

    An impostor is a row of another label that stands nearer than a target plus a margin of 1.  The paper does not
    divide by N.

    z: [N, D]; labels: [N]; targets: [N, k] from `target_neighbors`; mu from 0 to 1.  Returns a scalar.
    """
    _check_rows(z)
    if not 0 <= mu <= 1:
        raise InputError(f"mu shares out pull and push and must be from 0 to 1, not {mu}.")
    squares = (z[:, None] - z).square().sum(dim=2)
    near = squares.gather(1, targets)  # [N, k]
    hinge = (1 + near[:, :, None] - squares[:, None]).clamp(min=0)  # [N, k, N]
    push = hinge.masked_fill((labels[:, None] == labels)[:, None], 0).sum()
    return ((1 - mu) * near.sum() + mu * push) / len(z)


# ---- checks ------------------------------------------------------------------------------------------------


def _check_rows(x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.ndim != 2 or len(x) < 2 or not x.is_floating_point():
        raise InputError("Points must be a float tensor [N, D] with N >= 2; flatten images to rows first.")
    if not bool(x.isfinite().all()):
        raise InputError("The points hold NaN or infinite values; leave those rows out.")


def _check_dim(dim: int, n: int) -> None:
    if not 1 <= dim < n:
        raise InputError(f"A map of {n} points has from 1 to {n - 1} dimensions, not {dim}.")


def _fix_signs(y: Tensor) -> Tensor:
    """Eigenvectors come with any sign: make the largest entry of every column positive."""
    top = y.gather(0, y.abs().argmax(dim=0, keepdim=True))
    return y * torch.where(top < 0, -1.0, 1.0)
