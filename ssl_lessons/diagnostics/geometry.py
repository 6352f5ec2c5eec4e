"""The shape of a cloud of embeddings beyond its spectrum: dimensions, clusters, and views that find each other."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.diagnostics.measures import _matrix, singular_values
from ssl_lessons.errors import InputError

TAIL = 0.1  # share of the points with the largest ratios that TwoNN leaves out
SIZES, FEWEST = 5, 50  # of mst_dimension: how many sizes of subset, and the points in the smallest


def spectrum_area(z: Tensor) -> float:
    """Area under the cumulative share of the singular values of centred z [N, D]: 1 = one direction has it all.

    The collapse measure of Li et al. 2022 (https://arxiv.org/abs/2209.15007): the mean over the directions k of
    sum_{i <= k} sigma_i / sum_i sigma_i, with the r directions that N samples can show, r = min(N - 1, D).  It is
    (r + 1) / 2r, about 1/2, where all are alike.
    Raises InputError for embeddings that are all the same.
    """
    values = singular_values(z)[: min(len(z) - 1, z.shape[1])]
    if not float(values.sum()) > 0:
        raise InputError("The embeddings are all the same: there is no spectrum.")
    return float((values.cumsum(0) / values.sum()).mean())


def two_nn(z: Tensor) -> float:
    """TwoNN (Facco et al. 2017, https://doi.org/10.1038/s41598-017-11873-y): intrinsic dimension of z [N, D].

    mu = distance to the second neighbour over that to the nearest.  Where the density hardly changes between them,
    P(mu <= x) = 1 - x^-d: d is the slope of -log(1 - F(mu)) over log mu, a line through the origin, least squares,
    without the tenth of the points with the largest mu.  Scale does not matter.  Large d are underestimated, for N
    points cannot fill many dimensions.  Rows that occur twice count once.
    Raises InputError for fewer than ten different rows.
    """
    distances = _distances(_distinct(z, 10))
    np.fill_diagonal(distances, np.inf)
    nearest = np.partition(distances, 1, axis=1)[:, :2]
    mu = np.sort(nearest[:, 1] / nearest[:, 0])
    n, kept = len(mu), int((1 - TAIL) * len(mu))
    x, y = np.log(mu[:kept]), -np.log1p(-np.arange(1, kept + 1) / n)
    return float(x @ y / (x @ x))


def mst_dimension(z: Tensor, draws: int = 3, seed: int = 0) -> float:
    """Intrinsic dimension of z [N, D] from minimum spanning trees, the quantity of IdEst (2026).

    The edges of the tree over n points of a d-dimensional set have a total length E(n) ~ n^(1 - 1/d) (van de Weygaert
    et al. 1992; Jaquette and Schweinhart 2020): with m the slope of log E over log n, d = 1 / (1 - m).  E is the mean
    over `draws` random subsets, from `seed`, for five sizes from N / 8 (50 at least) to N in equal steps of log n; the
    last is all of z.  IdEst: Mordacq et al., https://arxiv.org/abs/2606.03338; the subsets are ours.  Scale does not
    matter.  inf where E grows as fast as n.  Raises InputError for fewer than 100 different rows or draws < 1.
    """
    if draws < 1:
        raise InputError(f"draws must be at least 1, not {draws!r}.")
    distances = _distances(_distinct(z, 2 * FEWEST))
    n, random = len(distances), np.random.default_rng(seed)
    sizes = np.unique(np.geomspace(max(FEWEST, n // 8), n, SIZES).round().astype(int))
    lengths = []
    for size in sizes:
        subsets = [random.permutation(n)[:size] for _ in range(1 if size == n else draws)]
        lengths.append(np.mean([tree_length(distances[np.ix_(rows, rows)]) for rows in subsets]))
    slope = np.polyfit(np.log(sizes), np.log(lengths), 1)[0]
    return float(1 / (1 - slope)) if slope < 1 else math.inf


def tree_length(distances: np.ndarray) -> float:
    """Total length of the minimum spanning tree of points with these distances [n, n], by Prim's algorithm."""
    reach, total = distances[0].copy(), 0.0
    reach[0] = np.inf
    outside = np.ones(len(distances), dtype=bool)
    outside[0] = False
    for _ in range(len(distances) - 1):
        k = int(reach.argmin())
        total += reach[k]
        outside[k] = False
        reach = np.where(outside, np.minimum(reach, distances[k]), np.inf)
    return float(total)


def cluster_learnability(z: Tensor, clusters: int | None = None, seed: int = 0) -> float:
    """How well nearest neighbours tell the k-means clusters of z [N, D]: accuracy from 0 to 1, higher = easier.

    The learnability of CLID (Lu et al. 2022, https://arxiv.org/abs/2206.01251): cluster, then classify the clusters
    by neighbours.  Here the rows are set to length 1, clustered (default sqrt(N) clusters, one start), and each row of
    the second half gets the cluster of its nearest row in the first, by cosine; rows are shuffled from `seed`.
    (Numbers of clusters and neighbours as in public implementations; the paper's text was not at hand.)  A blind guess
    reaches at most the share of the largest cluster.
    Raises InputError for clusters outside 2..N / 2.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    unit = F.normalize(_matrix(z), dim=1)
    count = round(math.sqrt(len(unit))) if clusters is None else clusters
    if not 2 <= count <= len(unit) // 2:
        raise InputError(f"clusters must lie between 2 and half of the {len(unit)} rows, not {count!r}.")
    unit = unit[torch.randperm(len(unit), generator=torch.Generator().manual_seed(seed))]
    with threadpool_limits(1):  # the same sums in the same order on every machine
        labels = torch.from_numpy(KMeans(count, n_init=1, random_state=seed).fit_predict(unit.numpy()))
    half = len(unit) // 2
    nearest = (unit[half:] @ unit[:half].T).argmax(dim=1)
    return float((labels[:half][nearest] == labels[half:]).double().mean())


def views_found(z1: Tensor, z2: Tensor) -> float:
    """Share of the images whose view in z1 [N, D] has its own second view as the nearest row of z2 [N, D], by cosine.

    Chance is 1 / N, so compare equal N only.  The task of instance discrimination, without a temperature.
    Raises InputError for views of different shapes.
    """
    z1, z2 = _matrix(z1), _matrix(z2)
    if z1.shape != z2.shape:
        raise InputError(
            f"The two views must have the same shape, not {tuple(z1.shape)} and {tuple(z2.shape)}."
        )
    nearest = (F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T).argmax(dim=1)
    return float((nearest == torch.arange(len(z1))).double().mean())


def _distinct(z: Tensor, fewest: int) -> Tensor:
    """The different rows of z, in a fixed order."""
    rows = torch.unique(_matrix(z), dim=0)
    if len(rows) < fewest:
        raise InputError(f"A dimension needs at least {fewest} different embeddings, not {len(rows)}.")
    return rows


def _distances(z: Tensor) -> np.ndarray:
    """Euclidean distances [N, N], float64; of centred rows, so that squares of large means do not cancel."""
    z = z - z.mean(dim=0)
    return torch.cdist(z, z).numpy()
