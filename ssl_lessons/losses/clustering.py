"""Clustering: k-means pseudo-labels, balanced assignments by Sinkhorn-Knopp, and the losses built on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from ssl_lessons.losses.contrastive import info_nce

# ---- assignments ---------------------------------------------------------------------------------


def kmeans(features: Tensor, k: int, seed: int = 0, iterations: int = 20) -> tuple[Tensor, Tensor]:
    """scikit-learn's k-means, one start: (labels [N] in 0..k-1, centroids [k, D]), for features [N, D].

    min over labels a and centroids m of sum_i |x_i - m_a(i)|^2.  Computed in float32 on the CPU, on one thread, with
    a fixed seed; returned on the features' device.  A cluster that runs empty is moved to the point farthest from its
    centroid.  Raises InputError for k outside 1..N or features that are not finite.
    """
    check_matrices(features)
    if not 1 <= k <= len(features):
        raise InputError(f"k must lie between 1 and the {len(features)} examples, not {k}.")
    (x,) = full_precision(features.detach())
    from sklearn.cluster import KMeans  # slow to import, and only needed here
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the same sums in the same order on every machine
        model = KMeans(k, n_init=1, max_iter=iterations, random_state=seed).fit(x.float().cpu().numpy())
    labels, centroids = torch.from_numpy(model.labels_).long(), torch.from_numpy(model.cluster_centers_)
    return labels.to(features.device), centroids.to(features.device)


def sinkhorn_knopp(
    scores: Tensor, epsilon: float = 0.05, iterations: int = 3, prior: Tensor | None = None
) -> Tensor:
    """Balanced soft assignments [N, K] of N examples to K clusters, from scores [N, K] (higher = better).

        max over plans Q of  sum_nk Q_nk scores_nk + epsilon H(Q),
        every example with mass 1 / N (rows), every cluster with mass prior_k (columns; default 1 / K)

    (Caron et al. 2020, eq. 3 and 4; Cuturi 2013).  The solution is diag(u) exp(scores / epsilon) diag(v); u and v are
    found by scaling columns and rows in turn, here with logarithms, so that no epsilon overflows.  Each iteration ends
    with the rows: they sum to exactly 1 (N times the plan), while the columns approach N prior_k only with the
    iterations.  Zero iterations give the plain softmax(scores / epsilon), with nothing balanced.

    Differentiable; SwAV calls it without gradient.  prior: [K], positive, of sum 1.  Half precision is computed in
    float32, also under autocast; float64 stays float64.
    Raises InputError for bad shapes, epsilon <= 0, iterations < 0, or values that are not finite.
    """
    _check_plan(scores, epsilon, iterations)
    with torch.autocast(scores.device.type, enabled=False):
        (scores,) = full_precision(scores)
        n, k = scores.shape
        wanted = scores.new_full((k,), -math.log(k)) if prior is None else _check_prior(prior, scores).log()
        log_q = scores / epsilon
        for _ in range(int(iterations)):
            log_q = log_q.log_softmax(dim=0) + wanted + math.log(n)  # columns: N prior_k
            log_q = log_q.log_softmax(dim=1)  # rows: 1
        return log_q.softmax(dim=1)  # changes nothing after an iteration


@torch.no_grad()
def balancing_center(logits: Tensor, temperature: float = 0.04, iterations: int = 3) -> Tensor:
    """The centre c [K] with which a softmax balances a batch: `sinkhorn_knopp` read as DINO's centring.

        softmax((logits - c) / temperature) = sinkhorn_knopp(logits, temperature, iterations)

    The plan is diag(u) exp(logits / temperature) diag(v): after the last step, which makes rows sum to 1, only v says
    which cluster is favoured, and c = -temperature log v.  What DINO follows with a running mean, DINOv2 (Oquab et
    al. 2023) finds anew for every batch.

    logits: [N, K], N >= 1.  Returns [K] in float32 or better, the mean of which is 0; no gradient.  Zero iterations
    give zeros.  Errors as in `sinkhorn_knopp`.
    """
    with torch.autocast(logits.device.type, enabled=False):
        _check_plan(logits, temperature, iterations)
        (logits,) = full_precision(logits)
        scores = logits / temperature
        rows, columns = scores.new_zeros(len(scores), 1), scores.new_zeros(scores.shape[1])
        for _ in range(int(iterations)):
            columns = -(scores + rows).logsumexp(dim=0)
            rows = -(scores + columns).logsumexp(dim=1, keepdim=True)
        return -temperature * (columns - columns.mean())


@torch.no_grad()
def sela_labels(log_probs: Tensor, sharpness: float = 25.0, iterations: int = 80) -> Tensor:
    """Pseudo-labels [N] of SeLa: the balanced assignment that a model's log-probabilities [N, K] fit best.

    min over q of -1/N sum_i log p(q_i | x_i) with N / K examples per label (Asano et al. 2020, eq. 3), relaxed to
    Q = diag(alpha) P^lambda diag(beta) (eq. 5 and 6) with lambda = `sharpness`, and rounded to the best label.
    """
    check_positive(sharpness=sharpness)
    return sinkhorn_knopp(log_probs, 1 / sharpness, iterations).argmax(dim=1)


@torch.no_grad()
def nat_assignment(z: Tensor, targets: Tensor) -> Tensor:
    """Which target [N] each row of z [N, D] gets: the permutation p with the largest sum of z_i . targets_p(i).

    Unit-length rows, so this minimises the squared distances of NAT (Bojanowski & Joulin 2017, eq. 3), exactly, by
    the Hungarian algorithm on the CPU, in O(N^3): for one batch.
    """
    check_pair(z, targets, least=1)
    from scipy.optimize import linear_sum_assignment

    z, targets = unit_rows(z, targets)
    _, order = linear_sum_assignment((z @ targets.T).cpu().numpy(), maximize=True)
    return torch.from_numpy(order).to(z.device)


def power_law_prior(k: int, exponent: float = 0.25) -> Tensor:
    """Cluster sizes that fall like rank^-exponent: [k], sum 1 (Assran et al. 2023, PMSN); 0 is the uniform prior."""
    if k < 1 or not 0 <= exponent < math.inf:
        raise InputError(
            f"A power law needs k >= 1 clusters and an exponent >= 0, not k={k}, exponent={exponent}."
        )
    weights = torch.arange(1, k + 1, dtype=torch.float64) ** -exponent
    return (weights / weights.sum()).float()


# ---- losses --------------------------------------------------------------------------------------


def deepcluster(logits: Tensor, pseudo_labels: Tensor, cluster_sizes: Tensor | None = None) -> Tensor:
    """Cross-entropy of a classifier's logits [N, K] with k-means pseudo-labels [N] (Caron et al. 2018, eq. 1).

    cluster_sizes [K]: how many training images each cluster has.  With it, every image weighs 1 / (size of its
    cluster), which the paper (section 3.3) uses in the form of sampling uniformly over the clusters, so that a large
    cluster cannot win by its size; the weighted mean is divided by the sum of the weights.  Returns a scalar in nats.
    """
    check_matrices(logits)
    check_labels(pseudo_labels, len(logits))
    if not len(logits) or int(pseudo_labels.min()) < 0 or int(pseudo_labels.max()) >= logits.shape[1]:
        raise InputError(
            f"The pseudo-labels must lie between 0 and {logits.shape[1] - 1}, one per logit row."
        )
    with torch.autocast(logits.device.type, enabled=False):
        (logits,) = full_precision(logits)
        weight = None
        if cluster_sizes is not None:
            if cluster_sizes.shape != (logits.shape[1],):
                raise InputError(f"cluster_sizes must hold one number per cluster, [{logits.shape[1]}].")
            weight = 1 / cluster_sizes.to(logits).clamp_min(1)  # an empty cluster has nobody to weigh
        return F.cross_entropy(logits, pseudo_labels, weight)


def swav(
    scores: Sequence[Tensor],
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    n_large: int = 2,
    queue: Sequence[Tensor] | None = None,
) -> Tensor:
    """Swapped prediction: every view predicts the balanced assignment of every *other* large view.

        loss = mean over large views i and views v != i of  -mean_n sum_k q_ik log p_vk,
        p_v = softmax(scores_v / temperature),   q_i = sinkhorn_knopp(scores_i)   (no gradient through q)

    (Caron et al. 2020, eq. 1, 2 and, with more than two views, 6; the sums there are means here.)

    scores: one [N, K] per view, cosine similarities with the K prototypes, the `n_large` large views first; only
    these give assignments.  queue: one [M, K] per large view, scores of earlier images, which join the balancing and
    are then dropped; for batches smaller than K.  iterations=0 switches the balancing off.
    Returns a scalar in nats: log K if all scores are equal.
    """
    check_positive(temperature=temperature)
    if len(scores) < 2 or not 1 <= n_large <= len(scores):
        raise InputError("SwAV needs at least two views, of which n_large (1 or more) are large.")
    if queue is not None and len(queue) != n_large:
        raise InputError(f"The queue must hold one tensor per large view ({n_large}), not {len(queue)}.")
    for other in scores[1:]:
        check_pair(scores[0], other, least=1)
    with torch.autocast(scores[0].device.type, enabled=False):
        scores = full_precision(*scores)
        n, terms = len(scores[0]), []
        for i in range(n_large):
            with torch.no_grad():
                crowd = scores[i] if queue is None else torch.cat([scores[i], queue[i].to(scores[i])])
                q = sinkhorn_knopp(crowd, epsilon, iterations)[:n]
            terms += [F.cross_entropy(s / temperature, q) for v, s in enumerate(scores) if v != i]
        return torch.stack(terms).mean()


def prototype_concentration(
    features: Tensor,
    centroids: Tensor,
    labels: Tensor,
    temperature: float = 0.2,
    alpha: float = 10.0,
    clip: float = 0.0,
) -> Tensor:
    """The temperature phi [K] of each prototype in PCL: small for a tight, large cluster (Li et al. 2021, eq. 12).

        phi_k = sum_{z in cluster k} |z - c_k| / (Z_k log(Z_k + alpha)),   then scaled to the mean `temperature`

    features [N, D] (unit rows), centroids [K, D], labels [N].  A cluster with fewer than two members has no spread;
    it gets the largest phi of the others.

    clip: before they are scaled, the phi are clipped to their `clip` and 1 - `clip` quantiles; the authors' code
    (main_pcl.py) has 0.1, the equation 0.  Raises InputError for a clip outside 0 to below 0.5.
    """
    check_matrices(features, centroids)
    check_labels(labels, len(features))
    check_positive(temperature=temperature, alpha=alpha)
    if not 0 <= clip < 0.5:
        raise InputError(f"clip is the share of concentrations cut off on either side, below 0.5, not {clip!r}.")
    features, centroids = full_precision(features, centroids)
    distance = (features - centroids[labels]).norm(dim=1)
    total = distance.new_zeros(len(centroids)).index_add(0, labels, distance)
    size = torch.bincount(labels, minlength=len(centroids)).to(distance)
    phi = total / (size.clamp_min(1) * (size + alpha).log())
    lonely = (size < 2) | (phi <= 0)
    phi = torch.where(lonely, phi.max().where(phi.max() > 0, 1.0), phi)
    if clip:
        phi = phi.clamp(phi.quantile(clip), phi.quantile(1 - clip))
    return phi * (temperature / phi.mean())


def protonce(
    query: Tensor,
    positive: Tensor,
    prototypes: Sequence[Tensor],
    labels: Sequence[Tensor],
    concentrations: Sequence[Tensor],
    temperature: float = 0.2,
    negatives: Tensor | None = None,
) -> Tensor:
    """ProtoNCE, the loss of PCL (Li et al. 2021, eq. 11): InfoNCE, plus InfoNCE against cluster prototypes.

        loss = info_nce + mean over clusterings m of
               -mean_i log( exp(v_i . c_s / phi_s) / sum_j exp(v_i . c_j / phi_j) ),   s = the cluster of image i

    query, positive [N, D]; M clusterings, each with prototypes [K_m, D], the labels [N] of the batch in it and the
    concentrations [K_m].  All vectors get unit length.  The sum over j runs over all K_m prototypes, where the paper
    samples some.  negatives: [K, D] for the first term, or None for the batch.  With M = 0 it is `info_nce`.
    """
    loss = info_nce(query, positive, negatives, temperature)
    if not len(prototypes) == len(labels) == len(concentrations):
        raise InputError("prototypes, labels and concentrations need one entry per clustering.")
    terms = []
    with torch.autocast(query.device.type, enabled=False):
        for centroid, label, phi in zip(prototypes, labels, concentrations, strict=True):
            check_matrices(centroid)
            check_labels(label, len(query))
            if (
                centroid.shape[1] != query.shape[1]
                or phi.shape != (len(centroid),)
                or not bool((phi > 0).all())
            ):
                raise InputError("A clustering needs prototypes [K, D] and K concentrations above 0.")
            v, c = unit_rows(query, centroid)
            terms.append(F.cross_entropy(v @ c.T / phi.to(v), label))
    return loss + torch.stack(terms).mean() if terms else loss


def msn(
    anchor_scores: Sequence[Tensor],
    target_scores: Tensor,
    temperature: float = 0.1,
    target_temperature: float = 0.025,
    entropy_weight: float = 1.0,
    prior: Tensor | None = None,
    iterations: int = 0,
) -> Tensor:
    """Masked Siamese Networks (Assran et al. 2022, eq. 1): masked anchors predict the unmasked view's prototypes.

        loss = mean over M anchors and N images of  H(p+_i, p_im)  -  entropy_weight H(mean of all p_im)
        p = softmax(anchor scores / temperature),   p+ = softmax(target scores / target_temperature)   (no gradient)

    anchor_scores: M tensors [N, K], target_scores [N, K], cosine similarities with the K prototypes.  A target
    temperature below the anchors' sharpens the target, which drives it away from the uniform prediction.  The
    mean-entropy term keeps all prototypes in use: without it, one prototype for all would do.

    prior [K], positive, of sum 1: the second term becomes  + entropy_weight KL(mean of all p_im || prior)  (PMSN,
    Assran et al. 2023); with the uniform prior this is the plain loss + entropy_weight log K.

    iterations: of Sinkhorn-Knopp on the targets of the batch, p+ = sinkhorn_knopp(target scores, target_temperature,
    iterations, prior).  0 is equation 1 as printed; the authors' configuration balances, with 3.
    """
    check_positive(temperature=temperature, target_temperature=target_temperature)
    if not len(anchor_scores) or not 0 <= entropy_weight < math.inf:
        raise InputError("MSN needs at least one anchor view and an entropy_weight of 0 or more.")
    for anchor in anchor_scores:
        check_pair(anchor, target_scores, least=1)
    with torch.autocast(target_scores.device.type, enabled=False):
        *anchors, target = full_precision(*anchor_scores, target_scores)
        p_target = sinkhorn_knopp(target.detach(), target_temperature, iterations, prior)
        match = torch.stack([F.cross_entropy(a / temperature, p_target) for a in anchors]).mean()
        mean_p = torch.cat([(a / temperature).softmax(dim=1) for a in anchors]).mean(dim=0)
        log_mean = mean_p.clamp_min(torch.finfo(mean_p.dtype).tiny).log()
        surprise = 0.0 if prior is None else _check_prior(prior, mean_p).log()
        return match + entropy_weight * (mean_p * (log_mean - surprise)).sum()


def nat(z: Tensor, targets: Tensor) -> Tensor:
    """Noise as Targets: mean_i 1/2 |z_i - targets_i|^2 of unit-length rows (Bojanowski & Joulin 2017, eq. 2).

    z [N, D]; targets [N, D]: fixed random directions, already put in order by `nat_assignment`.
    0 = every target met, 1 = orthogonal.  No prototype, no softmax.
    """
    check_pair(z, targets, least=1)
    with torch.autocast(z.device.type, enabled=False):
        z, targets = unit_rows(z, targets)
        return (z - targets).square().sum(dim=1).mean() / 2


def _check_plan(scores: Tensor, epsilon: float, iterations: int) -> None:
    check_matrices(scores)
    check_positive(epsilon=epsilon)
    if int(iterations) != iterations or iterations < 0:
        raise InputError(f"iterations must be a whole number, 0 or more, not {iterations!r}.")
    if not len(scores):
        raise InputError("At least one example is needed to assign anything.")


def _check_prior(prior: Tensor, like: Tensor) -> Tensor:
    k = like.shape[-1]
    if not isinstance(prior, Tensor) or prior.shape != (k,) or not bool((prior > 0).all()):
        raise InputError(f"The prior must hold one positive number per cluster, a tensor [{k}].")
    prior = prior.to(like)
    if abs(float(prior.sum()) - 1) > 1e-3:
        raise InputError(f"The prior must sum to 1, not {float(prior.sum()):.4g}.")
    return prior / prior.sum()
