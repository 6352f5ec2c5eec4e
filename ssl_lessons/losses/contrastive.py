"""Contrastive losses: find the positive in a crowd. InfoNCE, NT-Xent, and what became of them.

Embeddings are divided by their length first, so a score is cosine similarity / temperature; the
spectral loss alone works on the embeddings as they are. Gradients flow to every argument: detach a
queue, or a momentum encoder's output, before you pass it. Half precision is computed in float32, also
under autocast; float64 stays float64.
"""

import math
from numbers import Real

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
    unit_rows,
)


def info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor | None = None, temperature: float = 0.1
) -> Tensor:
    """InfoNCE: the cross-entropy of finding each query's positive among the candidates.

        loss = -mean_i log( exp(q_i.k_i / t) / sum_j exp(q_i.k_j / t) ),  all vectors of unit length

    Without `negatives`, the candidates of a query are the N positives of the batch and its own lies on
    the diagonal (van den Oord et al. 2018, eq. 4). The loss is one-sided: queries look for positives,
    not the reverse. With `negatives`, each query has its own positive and K negatives shared by the
    batch, the queue of MoCo (He et al. 2020, eq. 1). CPC itself scores a pair by a log-bilinear form;
    here, as in MoCo and SimCLR, the score is cosine similarity / temperature.

    query, positive: [N, D]; negatives: [K, D]; gradients flow to all three (detach what should stay).
    Returns a scalar in nats: log N (or log(K + 1)) if all embeddings are equal. Half precision is
    computed in float32, also under autocast; float64 stays float64. An all-zero row has cosine 0 with
    everything and gets no gradient.
    Raises InputError for shapes that do not fit, N < 2 (N < 1 or K < 1 with negatives), values that
    are not finite, or a temperature that is not a positive number.
    """
    groups = [query, positive] if negatives is None else [query, positive, negatives]
    _check(groups, temperature, least=2 if negatives is None else 1)
    with torch.autocast(query.device.type, enabled=False):
        units = unit_rows(*groups)
        if negatives is None:
            logits = units[0] @ units[1].T
            target = torch.arange(len(query), device=query.device)
        else:
            own = (units[0] * units[1]).sum(dim=1, keepdim=True)
            logits = torch.cat([own, units[0] @ units[2].T], dim=1)
            target = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return F.cross_entropy(logits / temperature, target)


def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.2) -> Tensor:
    """NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1), averaged over all 2N views.

        loss = -mean_i log( exp(z_i.z_p(i) / t) / sum_{j != i} exp(z_i.z_j / t) ),  unit-length z

    Each of the 2N views looks for its partner p(i) among the 2N - 1 others. A view must not meet
    itself: its similarity with itself is always 1, so the diagonal is set to -inf.

    z1, z2: [N, D], two views of the same N images in the same order. Returns a scalar in nats:
    log(2N - 1) if all embeddings are equal. Half precision is computed in float32, also under autocast;
    float64 stays float64. An all-zero row has cosine 0 with everything and gets no gradient.
    Raises InputError for shapes that differ, N < 2, values that are not finite, or a temperature that
    is not a positive number.
    """
    _check([z1, z2], temperature, least=2)
    with torch.autocast(z1.device.type, enabled=False):
        logits, partner = _all_views(z1, z2, temperature)
        return F.cross_entropy(logits, partner)


def dcl(z1: Tensor, z2: Tensor, temperature: float = 0.1) -> Tensor:
    """DCL, decoupled contrastive learning (Yeh et al. 2022, eq. 6), averaged over all 2N views.

        loss = mean_i [ -z_i.z_p(i) / t + log sum_{j not in {i, p(i)}} exp(z_i.z_j / t) ]

    NT-Xent without the positive in the denominator. There the gradient carries the factor
    1 - softmax(positive), which vanishes for pairs already found, the more so in small batches.

    Shapes, precision and errors as `nt_xent`. Returns a scalar in nats, which may be negative:
    log(2N - 2) if all embeddings are equal.
    """
    return _decoupled(z1, z2, temperature, sigma=None)


def dclw(z1: Tensor, z2: Tensor, temperature: float = 0.1, sigma: float = 0.5) -> Tensor:
    """DCLW: DCL whose positive terms are weighted, hard pairs more (Yeh et al. 2022, section 3).

        -w_i z_i.z_p(i) / t  in place of  -z_i.z_p(i) / t,
        w_i = 2 - exp(z1_i.z2_i / sigma) / mean_k exp(z1_k.z2_k / sigma)

    The weights average 1 and carry no gradient. A pair far more alike than the rest can get a negative one.

    sigma: width of the weighting (the paper's 0.5). Shapes, precision and errors as `nt_xent`.
    """
    check_positive(sigma=sigma)
    return _decoupled(z1, z2, temperature, sigma)


def debiased_contrastive(z1: Tensor, z2: Tensor, temperature: float = 0.5, tau_plus: float = 0.1) -> Tensor:
    """The debiased contrastive loss (Chuang et al. 2020, eq. 8), averaged over all 2N views.

        loss = -mean_i log( p_i / (p_i + K g_i) ),  p_i = exp(z_i.z_p(i) / t),  K = 2N - 2 negatives,
        g_i = max( (mean_j exp(z_i.z_j / t) - tau_plus p_i) / (1 - tau_plus),  exp(-1 / t) )

    Some negatives are of the query's own class, a share tau_plus of them. Their expected contribution is
    taken out, with the positive as the only known example of the class (one positive, M = 1 of eq. 7).
    tau_plus = 0 gives NT-Xent.

    tau_plus: from 0 to below 1, about 1 / number of classes. Shapes, precision and errors as `nt_xent`.
    """
    return hard_negative(z1, z2, temperature, beta=0.0, tau_plus=tau_plus)


def hard_negative(
    z1: Tensor, z2: Tensor, temperature: float = 0.5, beta: float = 1.0, tau_plus: float = 0.1
) -> Tensor:
    """Hard-negative reweighting (Robinson et al. 2021, section 3), averaged over all 2N views.

    The debiased loss with the mean over the K = 2N - 2 negatives replaced by an importance-weighted one,

        sum_j w_ij exp(z_i.z_j / t),  w_ij = exp(beta z_i.z_j / t) / sum_k exp(beta z_i.z_k / t)

    so that negatives close to the query count for more. The weights carry gradient, as in the authors'
    code; there, as here, beta multiplies cosine / temperature. beta = 0 gives the debiased loss, and with
    tau_plus = 0 as well, NT-Xent.

    beta: concentration, 0 or more. tau_plus: the expected share of false negatives, from 0 to below 1.
    Shapes, precision and errors as `nt_xent`.
    """
    if not _is_number(beta) or beta < 0:
        raise InputError(f"beta must be 0 (no reweighting) or a positive number, not {beta!r}.")
    if not _is_number(tau_plus) or not 0 <= tau_plus < 1:
        raise InputError(
            f"tau_plus, the share of false negatives, must lie in [0, 1) such as 0.1, not {tau_plus!r}."
        )
    _check([z1, z2], temperature, least=2)
    with torch.autocast(z1.device.type, enabled=False):
        logits, partner = _all_views(z1, z2, temperature)
        positive = logits.gather(1, partner[:, None])  # [2N, 1]
        negative = logits.scatter(1, partner[:, None], -math.inf)  # [2N, 2N], self and partner at -inf
        k = len(logits) - 2
        # exp overflows at low temperatures, so every term is taken relative to the row's largest.
        top = torch.maximum(positive, negative.amax(dim=1, keepdim=True)).detach()
        own = (positive - top).exp()
        weights = F.softmax((beta * logits).masked_fill(negative.isinf(), -math.inf), dim=1)
        mean = (weights * (negative - top).exp()).sum(dim=1, keepdim=True)
        debiased = (mean - tau_plus * own) / (1 - tau_plus)
        debiased = torch.maximum(debiased, (-1 / temperature - top).exp())
        return ((own + k * debiased).log() + top - positive).mean()


def supcon(z1: Tensor, z2: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """SupCon, L_out (Khosla et al. 2020, eq. 2): every view of every image of my class is a positive.

        loss = -mean_i 1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t) )

    over the 2N views i of the batch; P(i): the other views with the label of i, its own partner among
    them. The sum over positives stands outside the logarithm, which the paper found to be the better of
    its two versions (eq. 3, L_in, has it inside). Labels that all differ give NT-Xent.

    z1, z2: [N, D]; labels: [N] whole numbers. The authors' code multiplies the loss by
    temperature / 0.07; this one does not. Precision and errors as `nt_xent`; InputError for labels that
    do not fit.
    """
    _check([z1, z2], temperature, least=2)
    check_labels(labels, len(z1))
    with torch.autocast(z1.device.type, enabled=False):
        logits, _ = _all_views(z1, z2, temperature)
        both = torch.cat([labels, labels]).to(logits.device)
        itself = torch.eye(len(both), dtype=torch.bool, device=logits.device)
        positives = (both[:, None] == both) & ~itself  # [2N, 2N]
        log_share = logits.log_softmax(dim=1).where(positives, 0.0)
        return -(log_share.sum(dim=1) / positives.sum(dim=1)).mean()


def nearest_neighbors(z: Tensor, support: Tensor) -> Tensor:
    """The row of support [M, D] nearest to each row of z [N, D]: [N, D] (Dwibedi et al. 2021, eq. 3).

    Nearest on the unit sphere: smallest distance and largest cosine are the same there. Rows come back
    as they are in `support`.
    """
    _check_crowd(z, support)
    with torch.autocast(z.device.type, enabled=False):
        unit_z, unit_support = unit_rows(z.detach(), support.detach())
        return support[(unit_z @ unit_support.T).argmax(dim=1)]


def nnclr(z1: Tensor, z2: Tensor, support: Tensor, temperature: float = 0.1) -> Tensor:
    """NNCLR (Dwibedi et al. 2021, eq. 2 and 3): the query is the nearest neighbour of z1, not z1.

        loss = -mean_i log( exp(NN(z1_i, Q).z2_i / t) / sum_k exp(NN(z1_i, Q).z2_k / t) )

    Positive and negatives are the batch's second views. One direction, as eq. 2: the paper also swaps the
    views and averages. Its z2 has passed a prediction head; pass what your method calls z2. Note that z1
    only chooses the neighbour and so gets no gradient; the support set should come detached.

    z1, z2: [N, D]; support: [M, D], the queue Q. Returns a scalar in nats: log N if all embeddings are
    equal. Precision and errors as `info_nce`.
    """
    _check([z1, z2], temperature, least=2)
    return info_nce(nearest_neighbors(z1, support), z2, temperature=temperature)


def relic(z1: Tensor, z2: Tensor, temperature: float = 0.1, alpha: float = 1.0) -> Tensor:
    """ReLIC (Mitrovic et al. 2021): InfoNCE both ways plus invariance of the whole prediction.

        p12_i = softmax_j(z1_i.z2_j / t),  p21_i = softmax_j(z2_i.z1_j / t)
        loss = mean_i [ -(log p12_ii + log p21_ii) / 2  +  alpha (KL(p12_i, p21_i) + KL(p21_i, p12_i)) / 2 ]

    The paper sums over pairs of augmentations; here the two orders of two views are averaged. Gradients
    flow through both sides of the divergence. alpha = 0 leaves the symmetric InfoNCE.

    z1, z2: [N, D]; alpha: weight of the divergence, 0 or more. Returns a scalar in nats: log N if all
    embeddings are equal. Precision and errors as `nt_xent`.
    """
    if not _is_number(alpha) or alpha < 0:
        raise InputError(f"alpha must be 0 (no invariance term) or a positive number, not {alpha!r}.")
    _check([z1, z2], temperature, least=2)
    with torch.autocast(z1.device.type, enabled=False):
        unit1, unit2 = unit_rows(z1, z2)
        logits = unit1 @ unit2.T / temperature
        log12, log21 = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)
        contrast = -(log12.diagonal() + log21.diagonal()).mean() / 2
        # KL(p, q) + KL(q, p) = sum (p - q) (log p - log q)
        divergence = ((log12.exp() - log21.exp()) * (log12 - log21)).sum(dim=1).mean() / 2
        return contrast + alpha * divergence


def spectral_contrastive(z1: Tensor, z2: Tensor) -> Tensor:
    """The spectral contrastive loss (HaoChen et al. 2021, section 3): squares instead of a softmax.

        loss = -2 mean_i z1_i.z2_i + mean_{i != j} (z1_i.z2_j)^2

    Its minimum spans the top eigenvectors of the graph that links views of the same image. Embeddings are
    used as they are: their length matters. (The authors' code scales long rows to a fixed norm first.)

    z1, z2: [N, D]. Returns a scalar: below 0 for embeddings that have learned something.
    Raises InputError for shapes that differ, N < 2, or values that are not finite.
    """
    check_pair(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = full_precision(z1, z2)
        scores = z1 @ z2.T
        n = len(scores)
        others = (scores.square().sum() - scores.diagonal().square().sum()) / (n * (n - 1))
        return others - 2 * scores.diagonal().mean()


def align_uniform(
    z1: Tensor,
    z2: Tensor,
    alpha: float = 2.0,
    t: float = 2.0,
    align_weight: float = 1.0,
    uniform_weight: float = 1.0,
) -> Tensor:
    """Alignment + uniformity, optimised directly (Wang & Isola 2020, section 4.1), unit-length z.

        align_weight mean_i |z1_i - z2_i|^alpha
        + uniform_weight (u(z1) + u(z2)) / 2,  u(z) = log mean_{i < j} exp(-t |z_i - z_j|^2)

    z1, z2: [N, D]. Returns a scalar: 0 if all embeddings are equal, about align_weight * alignment - 2t
    for views spread over a sphere of many dimensions. Two views that coincide get no gradient from the first
    term, also where its slope is infinite (alpha < 1). Precision and errors as `nt_xent`.
    """
    check_positive(alpha=alpha, t=t)
    for name, weight in [("align_weight", align_weight), ("uniform_weight", uniform_weight)]:
        if not _is_number(weight) or weight < 0:
            raise InputError(f"{name} must be 0 or a positive number, not {weight!r}.")
    check_pair(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = unit_rows(z1, z2)
        distance = (z1 - z2).norm(dim=1)
        apart = distance > 0
        align = distance.where(apart, 1.0).pow(alpha).where(apart, 0.0).mean()
        uniform = (_log_mean_potential(z1, t) + _log_mean_potential(z2, t)) / 2
        return align_weight * align + uniform_weight * uniform


def _log_mean_potential(unit: Tensor, t: float) -> Tensor:
    squared = torch.pdist(unit).square()
    return torch.logsumexp(-t * squared, dim=0) - math.log(len(squared))


def _all_views(z1: Tensor, z2: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits [2N, 2N] among all views with -inf on the diagonal, and each view's partner [2N]."""
    z = torch.cat(unit_rows(z1, z2))  # [2N, D]
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, -math.inf)
    return logits, torch.arange(len(z), device=z.device).roll(len(z1))  # i <-> i + N


def _decoupled(z1: Tensor, z2: Tensor, temperature: float, sigma: float | None) -> Tensor:
    _check([z1, z2], temperature, least=2)
    with torch.autocast(z1.device.type, enabled=False):
        logits, partner = _all_views(z1, z2, temperature)
        positive = logits.gather(1, partner[:, None])[:, 0]  # [2N]
        negative = logits.scatter(1, partner[:, None], -math.inf)
        weight = 1.0
        if sigma is not None:  # softmax * count = exp / mean exp
            weight = 2 - len(logits) * F.softmax(positive.detach() * temperature / sigma, dim=0)
        return (negative.logsumexp(dim=1) - weight * positive).mean()


def _is_number(value) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _check(groups: list[Tensor], temperature: float, least: int) -> None:
    check_positive(temperature=temperature)
    check_pair(*groups[:2], least=least)
    for negatives in groups[2:]:
        _check_crowd(groups[0], negatives)


def _check_crowd(query: Tensor, crowd: Tensor) -> None:
    check_matrices(query, crowd)
    if crowd.shape[1] != query.shape[1]:
        raise InputError(
            f"The negatives (or support set) have {crowd.shape[1]} dimensions and the queries "
            f"{query.shape[1]}; both must come from encoders with the same output width."
        )
    if not len(crowd):
        raise InputError("At least one negative (or support row) is needed to contrast anything.")
