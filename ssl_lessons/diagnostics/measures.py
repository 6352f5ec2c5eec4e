"""Numbers about embeddings that need no labels."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError

KNOTS, FARTHEST = 17, 3.0  # of SIGReg's integral: where it is taken on the half axis, and where it ends


def feature_std(z: Tensor) -> float:
    """Mean over the dimensions of the std of L2-normalised z [N, D], times sqrt(D).

    1 = spread like an isotropic Gaussian (the most there can be), 0 = every row the same. The collapse
    measure of SimSiam (Chen & He 2021, section 4.1). It depends on the axes: a rotation changes it unless
    the spread is isotropic. Features that are never negative (after a ReLU) share a mean direction and
    sit well below 1 while healthy.
    """
    unit = F.normalize(_matrix(z), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * math.sqrt(z.shape[1]))


def spread(z: Tensor) -> float:
    """1 - |mean of the L2-normalised rows of z [N, D]|^2: 0 = all rows point the same way, 1 = they cancel out.

    Also 1 minus the mean cosine over all pairs of rows, each row with itself included. No rotation or
    scale changes it. This is the quantity that a loss with nothing but attraction drives to zero.
    """
    return float(1 - F.normalize(_matrix(z), dim=1).mean(dim=0).square().sum())


def singular_values(z: Tensor) -> Tensor:
    """Singular values of z [N, D] minus its mean row, descending, min(N, D) of them, float64 on the CPU.

    Not normalised: squared and divided by N - 1 they are the eigenvalues of the covariance matrix.
    Centring takes one degree of freedom, so with N <= D the last one is zero.
    """
    z = _matrix(z)
    return torch.linalg.svdvals(z - z.mean(dim=0))


def rank_me(z: Tensor) -> float:
    """RankMe (Garrido et al. 2023): exp(entropy) of the singular values of z [N, D] over their sum.

    From 1 (a line through the origin) to min(N, D). As in the paper, z is neither centred nor
    normalised, and 1e-7 is added to every share. A common mean adds one large singular value, which
    pulls the number down; `diagnose` therefore judges by the centred spectrum.
    """
    return _effective_rank(torch.linalg.svdvals(_matrix(z)))


def alpha_req(z: Tensor, first: int = 2, last: int | None = None) -> float:
    """alpha-ReQ (Agrawal et al. 2022): alpha in `eigenvalue_i ~ i^-alpha` for the covariance of z [N, D].

    A straight line through (log i, log eigenvalue_i), least squares, for ranks i from `first` to `last`
    (counted from 1, inclusive). By default from 2, because the first eigenvalue often stands apart, to
    half of min(N - 1, D), because the tail of a finite sample falls too fast. Each rank counts once.
    Around 1 is the healthy region of the paper; 0 is a flat spectrum; large is a steep one. NaN if fewer
    than three eigenvalues in the range are above rounding error.
    """
    variances = singular_values(z).square()
    possible = min(z.shape[0] - 1, z.shape[1])
    ranks = torch.arange(1, len(variances) + 1, dtype=torch.float64)
    used = (ranks >= first) & (ranks <= (max(possible // 2, first + 2) if last is None else last))
    used &= (ranks <= possible) & (variances > variances[0] * 1e-14)
    if int(used.sum()) < 3:
        return math.nan
    x, y = ranks[used].log(), variances[used].log()
    x = x - x.mean()
    return float(-(x @ y) / (x @ x))


def alignment(z1: Tensor, z2: Tensor, alpha: float = 2) -> float:
    """Mean distance^alpha between the two L2-normalised views z1, z2 [N, D] of the same image.

    Wang & Isola 2020, section 4.1 (alpha = 2). 0 = identical views; 2 = unrelated ones.
    """
    z1, z2 = _matrix(z1), _matrix(z2)
    if z1.shape != z2.shape:
        raise InputError(
            f"The two views must have the same shape, not {tuple(z1.shape)} and "
            f"{tuple(z2.shape)}: row i of both must come from image i."
        )
    return float((F.normalize(z1, dim=1) - F.normalize(z2, dim=1)).norm(dim=1).pow(alpha).mean())


def uniformity(z: Tensor, t: float = 2) -> float:
    """log of the mean of exp(-t * squared distance) over all pairs i < j of L2-normalised z [N, D].

    Wang & Isola 2020, section 4.1 (t = 2). 0 = all in one point; with t = 2 a high-dimensional uniform
    sphere gives close to -4. Memory grows with N squared: a few thousand rows say enough.
    """
    squared = torch.pdist(F.normalize(_matrix(z), dim=1)).square()
    return float(torch.logsumexp(-t * squared, dim=0) - math.log(len(squared)))


def lidar(z: Tensor, delta: float = 1e-4) -> float:
    """LiDAR (Thilak et al. 2023): effective rank of the LDA matrix of q augmented views of n images, z [n, q, D].

        S_b = mean_i (m_i - m)(m_i - m)^T,  S_w = mean_ij (z_ij - m_i)(z_ij - m_i)^T + delta I
        S = S_w^-1/2 S_b S_w^-1/2,  LiDAR = exp(-sum p log p),  p = eigenvalues of S over their sum + 1e-7

    m_i is the mean view of image i and m the mean of all. Directions count by how far they tell images
    apart compared with how much they wobble under augmentation: RankMe also counts directions of pure
    augmentation noise. From 1 to min(n - 1, D). `delta` (1e-4, for embeddings of length around 1) keeps S_w
    invertible, so the number is scale-free only while the wobble is well above it. The paper takes n = 1,000
    images and q = 50 views.
    """
    if not isinstance(z, Tensor) or z.ndim != 3 or min(z.shape[:2]) < 2 or z.shape[2] == 0:
        raise InputError(
            "LiDAR needs embeddings [images, views, dimensions], two images and two views at least."
        )
    if not math.isfinite(delta) or delta <= 0:
        raise InputError(f"delta must be a positive number such as 1e-4, not {delta!r}.")
    flat = _matrix(z.flatten(0, 1))
    z = flat.view(z.shape)
    means = z.mean(dim=1)
    between = means - means.mean(dim=0)
    within = (z - means[:, None]).flatten(0, 1)
    noise = within.T @ within / len(within) + delta * torch.eye(z.shape[2], dtype=z.dtype)
    # S has the eigenvalues of A^T A with A = L^-1 (between)^T / sqrt(n), where noise = L L^T.
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(noise), between.T, upper=False)
    return _effective_rank(torch.linalg.svdvals(whitened).square()[: min(len(z) - 1, z.shape[2])])


def sigreg(z: Tensor, directions: int = 256, seed: int = 0) -> float:
    """SIGReg of z [N, D]: how far z is from N(0, I), by the Epps-Pulley statistic of its projections.

        mean over unit vectors a of  N * integral |phi_a(t) - e^(-t^2/2)|^2 e^(-t^2/2) dt
        phi_a(t) = mean_n e^(i t a.z_n)

    Balestriero & LeCun 2025 (https://arxiv.org/abs/2511.08544, section 4.2.3). The integral runs from -3 to 3 by the
    trapezoidal rule, 17 knots on either half, as in the authors' code; Algorithm 1 of the paper has 17 knots from -5
    to 5, which gives 1 % more. `directions` are drawn from `seed` alone, uniform on the sphere.

    Nothing is centred or scaled: mean, variance and shape count. About 1.05 for a sample of N(0, I), whatever N and D;
    a deviation grows with N: 0.40 N with all rows at 0, 1.05 N with all at one point of length sqrt(D), 0.16 N on a
    line through 0 with the variance of N(0, I), 1.26 N if far too wide. Meant for embeddings that were trained towards
    N(0, I): of others it measures the scale first. Raises InputError for fewer than one direction.
    """
    z = _matrix(z)
    if directions < 1:
        raise InputError(f"directions must be at least 1, not {directions!r}.")
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(z.shape[1], directions, generator=generator, dtype=z.dtype)
    projected = z @ F.normalize(a, dim=0)
    step, total = FARTHEST / (KNOTS - 1), 0.0
    for k in range(KNOTS):
        angle, gauss = k * step * projected, math.exp(-((k * step) ** 2) / 2)
        gap = (angle.cos().mean(dim=0) - gauss).square() + angle.sin().mean(dim=0).square()
        total += (1 if k in (0, KNOTS - 1) else 2) * step * gauss * float(gap.mean())  # t and -t count alike
    return len(z) * total


def feature_correlation(z: Tensor) -> float:
    """Mean absolute correlation between two different dimensions of z [N, D], over all pairs.

    0 = no dimension says anything (linear) about another, 1 = all repeat one. Dimensions that do not vary are
    left out; NaN if fewer than two vary. Of the order of sqrt(2 / (pi N)) for independent ones: sampling noise.
    """
    z = _matrix(z)
    z = z - z.mean(dim=0)
    std = z.norm(dim=0)
    varies = std > 1e-7 * std.max()
    if int(varies.sum()) < 2:
        return math.nan
    z = z[:, varies] / std[varies]
    correlation = (z.T @ z).abs()
    d = len(correlation)
    return float((correlation.sum() - correlation.diagonal().sum()) / (d * (d - 1)))


def norm_statistics(z: Tensor) -> dict[str, float]:
    """Mean, coefficient of variation (std / mean), smallest and largest length of the rows of z [N, D].

    A contrastive loss on unit-length rows has no gradient along a row, so every step lengthens it a little
    (Pythagoras): lengths that grow slow the learning down, and a sudden jump announces divergence.
    """
    norms = _matrix(z).norm(dim=1)
    mean = float(norms.mean())
    variation = float(norms.std(correction=0)) / mean if mean else 0.0
    return {"mean": mean, "variation": variation, "min": float(norms.min()), "max": float(norms.max())}


def cluster_usage_entropy(assignments: Tensor) -> float:
    """Entropy of the mean assignment over its maximum: assignments [N, K] are probabilities, rows sum to 1.

    0 = all images in one cluster, 1 = all clusters used equally, over log min(N, K). exp(entropy) = min(N, K) to
    the power of this number is the number of clusters in use (the perplexity). The quantity that the mean-entropy
    regulariser of MSN (Assran et al. 2022) maximises. It cannot tell "each image has its own cluster" from "every
    image is spread over all": for that see `assignment_information`.
    """
    p = _probabilities(assignments)
    return float(_entropy(p.mean(dim=0))) / math.log(max(2, min(p.shape)))


def assignment_information(assignments: Tensor) -> float:
    """(H(mean assignment) - mean H(assignment)) / log min(N, K) of assignments [N, K], from 0 to 1.

    How much the cluster says about the image. 0 = nothing, whether all images share one cluster (DINO without
    centring) or each is spread alike over all of them (DINO without sharpening); see Caron et al. 2021, section 5.3.
    """
    p = _probabilities(assignments)
    return float(_entropy(p.mean(dim=0)) - _entropy(p).mean()) / math.log(max(2, min(p.shape)))


@torch.no_grad()
def teacher_distance(pairs: Iterable[tuple[nn.Module, nn.Module]]) -> float:
    """|student - teacher| / |student| over all parameters of (student, teacher) pairs. 0 = the same network.

    A moving average with momentum m trails about 1 / (1 - m) steps behind, so the distance falls to zero as the
    learning rate does; a teacher that has lost its student stays behind. Raises InputError without a pair.
    """
    students, teachers = [], []
    for student, teacher in pairs:
        students += [p.detach().flatten() for p in student.parameters()]
        teachers += [p.detach().flatten() for p in teacher.parameters()]
    if not students:
        raise InputError(
            "The method has no momentum teacher: there is no (student, teacher) pair to compare."
        )
    student, teacher = torch.cat(students).double(), torch.cat(teachers).double()
    return float((student - teacher).norm() / student.norm().clamp_min(1e-30))


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log()).sum(dim=-1)


def _probabilities(p: Tensor) -> Tensor:
    p = _matrix(p)
    if p.shape[1] < 2 or float(p.min()) < 0 or float((p.sum(dim=1) - 1).abs().max()) > 0.02:
        raise InputError("Assignments must be probabilities [images, clusters >= 2]: rows that sum to 1.")
    return p / p.sum(dim=1, keepdim=True)


def _effective_rank(singular: Tensor) -> float:
    """exp(entropy) of singular values divided by their sum, 1e-7 added to each share as in RankMe."""
    shares = singular / singular.sum().clamp_min(1e-300) + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def _matrix(z: Tensor, finite: bool = True) -> Tensor:
    """z as float64 on the CPU (a spectrum spans many decades), or an InputError saying what to change."""
    if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] == 0:
        raise InputError("Embeddings must be a 2-D tensor [samples, dimensions]; flatten or squeeze them.")
    if len(z) < 2:
        raise InputError(f"At least two embeddings are needed to measure their spread, not {len(z)}.")
    z = z.detach().cpu().double()
    if finite and not bool(z.isfinite().all()):
        raise InputError("The embeddings hold NaN or infinity; diagnose(embeddings) says what to try.")
    return z
