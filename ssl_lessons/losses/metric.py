"""Deep metric learning, where contrastive learning comes from: pairs, triplets, tuples, neighbourhoods.

Distances are Euclidean and embeddings are used as they are, as in most of these papers; normalise before
if you want cosines. Half precision is computed in float32, also under autocast; float64 stays float64.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import (
    check_labels,
    check_matrices,
    check_pair,
    check_positive,
    full_precision,
)


def contrastive_pairs(z1: Tensor, z2: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """The contrastive loss of Hadsell, Chopra & LeCun 2006 (eq. 4): pull pairs together or apart.

        loss = mean_i  d_i^2 / 2  if same,  max(0, margin - d_i)^2 / 2  if not,   d_i = |z1_i - z2_i|

    The hinge is on the distance, not on its square (Chopra et al. 2005 used an exponential instead of a
    hinge). A pair of different things that coincide has no direction to part in and gets no gradient.

    z1, z2: [N, D]; same: [N] bool, True for a pair of the same thing. Returns a scalar.
    Raises InputError for shapes that differ, N < 1, values that are not finite, or a margin <= 0.
    """
    check_positive(margin=margin)
    check_pair(z1, z2, least=1)
    if not isinstance(same, Tensor) or same.shape != (len(z1),) or same.dtype != torch.bool:
        raise InputError(f"same must be a tensor of {len(z1)} truth values, one per pair.")
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = full_precision(z1, z2)
        distance = (z1 - z2).norm(dim=1)
        return torch.where(same, distance, F.relu(margin - distance)).square().mean() / 2


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2) -> Tensor:
    """The triplet loss of FaceNet (Schroff et al. 2015, eq. 3): nearer to the positive by a margin.

        loss = mean_i max(0, |a_i - p_i|^2 - |a_i - n_i|^2 + margin)

    Squared distances, on unit-length embeddings in the paper. Averaged over all triplets given, also those
    that are solved already.

    anchor, positive, negative: [N, D]. Returns a scalar.
    Raises InputError for shapes that differ, N < 1, values that are not finite, or a margin <= 0.
    """
    check_positive(margin=margin)
    check_pair(anchor, positive, least=1)
    check_pair(anchor, negative, least=1)
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, positive, negative = full_precision(anchor, positive, negative)
        near = (anchor - positive).square().sum(dim=1)
        far = (anchor - negative).square().sum(dim=1)
        return F.relu(near - far + margin).mean()


@torch.no_grad()
def semi_hard_triplets(z: Tensor, labels: Tensor) -> Tensor:
    """Triplets (anchor, positive, negative) as rows [T, 3] of indices into z (Schroff et al. 2015, eq. 4).

    For every ordered pair of the same label: the nearest negative that is farther than the positive. Pairs
    without such a negative are left out, so T can be 0.

    z: [N, D]; labels: [N] whole numbers. Raises InputError for shapes or values that do not fit.
    """
    anchor, positive, distance, allowed = _pairs_and_negatives(z, labels)
    allowed = allowed & (distance > distance.gather(1, positive[:, None]))
    return _with_nearest(anchor, positive, distance, allowed)


@torch.no_grad()
def hardest_triplets(z: Tensor, labels: Tensor) -> Tensor:
    """For every ordered pair of the same label the nearest negative of all: rows [T, 3] of indices into z.

    All pairs, as Schroff et al. 2015 (section 3.2) prefer to the hardest positives alone; they warn that the
    hardest negatives can end in a collapsed model. (Hermans et al. 2017, eq. 5, take for every anchor its
    farthest positive as well.)

    z: [N, D]; labels: [N] whole numbers. Raises InputError for shapes or values that do not fit.
    """
    return _with_nearest(*_pairs_and_negatives(z, labels))


def n_pair_batches(labels: Tensor, most: int | None = None) -> Tensor:
    """Rows for `n_pair`: [S, 2, C] indices, S disjoint sets of one pair from each of C labels (Sohn 2016, 3.2.1).

    S is as large as the rarest label with a pair allows; labels with a single row are left out. most: at most
    that many labels in a set; every set is then cut into several, and labels left over are dropped.

    labels: [N] whole numbers; views of one image carry its number. Raises InputError if fewer than two labels
    have a pair, or most is below 2.
    """
    if most is not None and most < 2:
        raise InputError(
            f"a set needs two labels or more, not {most}: the others' positives are the negatives."
        )
    values, counts = labels.unique(return_counts=True)
    values, counts = values[counts > 1], counts[counts > 1]
    if len(values) < 2:
        raise InputError("Fewer than two labels have a pair of rows: there is no N-pair batch.")
    sets = int(counts.min()) // 2
    rows = [(labels == value).nonzero()[: 2 * sets, 0].view(sets, 2) for value in values]
    rows = torch.stack(rows, dim=2)
    size = min(most or len(values), len(values))
    rows = rows[:, :, : len(values) // size * size].unflatten(2, (-1, size))
    return rows.permute(0, 2, 1, 3).flatten(0, 1)


def lifted_structure(z: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """Lifted structured embedding (Oh Song et al. 2016, eq. 4): every positive pair against all negatives.

        J_ij = D_ij + log( sum_k exp(margin - D_ik) + sum_l exp(margin - D_jl) )
        loss = 1 / (2 |P|) sum_{(i, j) in P} max(0, J_ij)^2

    D: distance; P: pairs i < j of one label; k, l: all rows of another label. The sum over negatives is the
    paper's smooth upper bound on the hardest of them.

    z: [N, D]; labels: [N] whole numbers. Returns a scalar.
    Raises InputError if there is no pair of the same label or no negative, for shapes that do not fit, values
    that are not finite, or a margin <= 0.
    """
    check_positive(margin=margin)
    same, pairs = _groups(z, labels)
    if same.all():
        raise InputError("All labels are the same: there is no negative to push away.")
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        i, j = pairs.triu(1).nonzero().T
        distance = _distances(z)
        push = (margin - distance).masked_fill(same, -torch.inf)
        score = torch.cat([push[i], push[j]], dim=1).logsumexp(dim=1) + distance[i, j]
        return F.relu(score).square().mean() / 2


def n_pair(anchor: Tensor, positive: Tensor, l2: float = 0.0, temperature: float = 1.0) -> Tensor:
    """The multi-class N-pair loss (Sohn 2016, section 3.2): an (N+1)-tuplet loss that shares its negatives.

        loss = mean_i log( 1 + sum_{j != i} exp((a_i.p_j - a_i.p_i) / T) ) + l2 mean over all 2N rows of |z|^2

    Row i of both is one class; the other rows' positives serve as its N - 1 negatives, so 2N embeddings
    make N tuplets. It is InfoNCE with inner products; the paper has T = 1. Rows are not normalised here; the
    penalty keeps them short.

    anchor, positive: [N, D]; l2: 0 or more; temperature T above 0. Returns a scalar in nats plus the penalty:
    log N if all embeddings are equal. Raises InputError for shapes that differ, N < 2, or values that are not
    finite.
    """
    check_positive(temperature=temperature)
    if l2 < 0:
        raise InputError(f"l2 must be 0 or a positive number, not {l2!r}.")
    check_pair(anchor, positive)
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, positive = full_precision(anchor, positive)
        own = torch.arange(len(anchor), device=anchor.device)
        penalty = torch.cat([anchor, positive]).square().sum(dim=1).mean()
        return F.cross_entropy(anchor @ positive.T / temperature, own) + l2 * penalty


def nca(z: Tensor, labels: Tensor) -> Tensor:
    """Neighbourhood components analysis (Goldberger et al. 2004, section 2) on an embedding.

        p_ij = exp(-|z_i - z_j|^2) / sum_{k != i} exp(-|z_i - z_k|^2)
        loss = 1 - mean_i sum_{j != i, same label} p_ij

    The expected error of a neighbour classifier that picks its one neighbour at random with p_ij. The
    paper maximises the sum of the right picks; this is the same up to sign and scale.

    z: [N, D]; labels: [N] whole numbers. Returns a scalar from 0 to 1.
    Raises InputError if there is no pair of the same label, for shapes or values that do not fit.
    """
    return 1 - _log_same_label(z, labels, temperature=1.0).exp().mean()


def soft_nearest_neighbor(z: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """The soft nearest neighbour loss (Salakhutdinov & Hinton 2007; Frosst et al. 2019, eq. 1).

        p_ij = exp(-|z_i - z_j|^2 / T) / sum_{k != i} exp(-|z_i - z_k|^2 / T)
        loss = -mean_i log( sum_{j != i, same label} p_ij )

    The logarithm of what NCA averages. Rows without another of their label are left out of the mean, where
    the formula says log 0.

    z: [N, D]; labels: [N] whole numbers. Returns a scalar in nats.
    Raises InputError if there is no pair of the same label, for shapes or values that do not fit.
    """
    check_positive(temperature=temperature)
    same = _log_same_label(z, labels, temperature)
    return -same[same > -torch.inf].mean()


def nce(model_data: Tensor, model_noise: Tensor, noise_data: Tensor, noise_noise: Tensor) -> Tensor:
    """Noise-contrastive estimation (Gutmann & Hyvarinen 2012, section 2.2): is this sample data or noise?

        G(u) = log p_model(u) - log p_noise(u),   ratio = M / N
        loss = -1/N [ sum_{data x} log s(G(x) - log ratio) + sum_{noise y} log(1 - s(G(y) - log ratio)) ]

    s is the logistic function. Logistic regression on the log-ratio of the densities; at its minimum the
    model is the density of the data, normalised without having been asked to.

    model_data, noise_data: [N], log-densities of the N data samples under the model and the noise;
    model_noise, noise_noise: [M], those of the M noise samples. Returns a scalar in nats.
    Raises InputError for shapes that do not fit or values that are not finite.
    """
    groups = [model_data, model_noise, noise_data, noise_noise]
    if any(not isinstance(g, Tensor) or g.ndim != 1 or not len(g) for g in groups):
        raise InputError("nce needs four non-empty 1-D tensors of log-densities.")
    if model_data.shape != noise_data.shape or model_noise.shape != noise_noise.shape:
        raise InputError("The model and the noise must rate the same samples: pair their log-densities.")
    with torch.autocast(model_data.device.type, enabled=False):
        model_data, model_noise, noise_data, noise_noise = full_precision(*groups)
        log_ratio = torch.tensor(len(model_noise) / len(model_data), dtype=model_data.dtype).log()
        right = F.logsigmoid(model_data - noise_data - log_ratio).sum()
        right = right + F.logsigmoid(log_ratio - model_noise + noise_noise).sum()
        return -right / len(model_data)


Scalar = Callable[[Tensor], Tensor]


def phi_psi(z1: Tensor, z2: Tensor, phi: Scalar, psi: Scalar) -> Tensor:
    """The family L_{phi,psi} of Tian 2022 (eq. 1): losses that differ by two functions of one number.

        loss = mean_i phi( sum_{j != i} psi(d_i^2 - d_ij^2) )
        d_i^2 = |z1_i - z2_i|^2 / 2,   d_ij^2 = |z1_i - z1_j|^2 / 2

    phi and psi grow monotonically, so near positives and far negatives make the loss small. Negatives are
    the other images' first views only. With the half, the argument of psi is z1_i.z1_j - z1_i.z2_i for
    unit-length rows, a difference of cosines (the Cookbook's eq. 15 leaves the half out). The paper sums
    over i where this averages. psi = exp overflows for differences beyond 88 in float32: keep rows short.

    z1, z2: [N, D]; phi, psi: functions of a tensor, element by element; `phi_psi_table` has the named ones.
    Returns a scalar. Raises InputError for shapes that differ, N < 2, or values that are not finite.
    """
    check_pair(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = full_precision(z1, z2)
        positive = (z1 - z2).square().sum(dim=1, keepdim=True) / 2  # [N, 1]
        itself = torch.eye(len(z1), dtype=torch.bool, device=z1.device)
        terms = psi(positive - _squared_distances(z1) / 2).masked_fill(itself, 0)
        return phi(terms.sum(dim=1)).mean()


def phi_psi_table(
    temperature: float = 0.2, margin: float = 0.5, epsilon: float = 1.0, c: float = 1.0
) -> dict[str, tuple[Scalar, Scalar]]:
    """name -> (phi, psi) for `phi_psi`: the eight losses of Tian 2022, table 1 (the Cookbook's figure 8).

    epsilon: the constant in InfoNCE (1: the positive stands in the denominator once; 0: it does not, as
    in DCL). margin: the constant of the triplet and lifted rows. c: slope of the last two rows. A row
    shares the idea of the loss it is named after, not every detail: the lifted one uses squared distances
    and the negatives of one end of the pair; "tuplet" compares an anchor with the other anchors where
    N-pair (`n_pair`) takes the other pairs' positives, so that their gradients differ.
    """
    t = temperature
    return {
        "info_nce": (lambda x: t * _log(epsilon + x), lambda x: torch.exp(x / t)),
        "mine": (_log, torch.exp),
        "triplet": (lambda x: x, lambda x: F.relu(x + margin)),
        "soft_triplet": (lambda x: t * torch.log1p(x), lambda x: torch.exp(x / t + margin)),
        "tuplet": (torch.log1p, torch.exp),
        "lifted_structure": (lambda x: x.clamp_min(1).log().square(), lambda x: torch.exp(x + margin)),
        "modified_triplet": (lambda x: x, lambda x: torch.sigmoid(c * x)),
        "triplet_contrastive": (lambda x: x, lambda x: c * x),
    }


def _log(x: Tensor) -> Tensor:
    """The logarithm of sums of exponentials that may all have vanished: finite, and with gradient 0 there."""
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()


def _squared_distances(z: Tensor) -> Tensor:
    """[N, N], by differences: |a|^2 + |b|^2 - 2 a.b would lose the small ones to rounding."""
    return (z[:, None] - z).square().sum(dim=2)


def _distances(z: Tensor) -> Tensor:
    return (z[:, None] - z).norm(dim=2)


def _pairs_and_negatives(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ordered pairs of one label, anchors [P] and positives [P]; the anchors' squared distances to all rows
    [P, N], and which of those rows have another label [P, N]."""
    check_matrices(z)
    check_labels(labels, len(z))
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        distance = _squared_distances(z)
    same = labels[:, None] == labels
    anchor, positive = (same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)).nonzero().T
    return anchor, positive, distance[anchor], ~same[anchor]


def _with_nearest(anchor: Tensor, positive: Tensor, distance: Tensor, allowed: Tensor) -> Tensor:
    """Rows (anchor, positive, nearest allowed row) [T, 3] of the pairs that have an allowed row."""
    nearest = distance.where(allowed, torch.inf).argmin(dim=1) if len(anchor) else anchor
    return torch.stack([anchor, positive, nearest], dim=1)[allowed.any(dim=1)]


def _groups(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Two [N, N] masks: same label, and same label in another row. InputError if the second is empty."""
    check_matrices(z)
    check_labels(labels, len(z))
    same = labels[:, None] == labels
    pairs = same & ~torch.eye(len(z), dtype=torch.bool, device=labels.device)
    if not pairs.any():
        raise InputError("No two rows share a label: there is no positive pair to learn from.")
    return same, pairs


def _log_same_label(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """[N], the log of the probability that a row's random neighbour has its label; -inf if none can."""
    _, pairs = _groups(z, labels)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = (-_squared_distances(z) / temperature).masked_fill(itself, -torch.inf)
        same = logits.masked_fill(~pairs, -torch.inf)
        return same.logsumexp(dim=1) - logits.logsumexp(dim=1)
