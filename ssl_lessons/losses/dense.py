"""Losses place by place: what does a feature map say here, and where is the same thing in the other view?

A map is a tensor [N, P, D]: N pictures, P places, D dimensions (`x.flatten(2).mT` of a map [N, D, h, w]).  Row i of
both maps comes from picture i.  Matches never leave a picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_positive, full_precision, unit_rows


def best_matches(a: Tensor, b: Tensor) -> Tensor:
    """For every place of a, the place of b with the largest cosine (DenseCL, Wang et al. 2021; as
    backbone_sim_matrix in densecl.py of the authors' code).

    a: [N, P, D]; b: [N, Q, D], the backbone's features of two views.  Returns long [N, P], values in 0..Q-1; no
    gradient.  Raises InputError for other shapes.
    """
    _check_maps(a, b)
    with torch.no_grad(), torch.autocast(a.device.type, enabled=False):
        a, b = unit_rows(a, b)
        return (a @ b.mT).argmax(dim=2)


def nearest_places(distance: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """The `count` places with the nearest partner, and their partners (VICRegL, Bardes et al.
    2022; as neirest_neighbores in main_vicregl.py of the authors' code).

    distance: [N, P, Q], from every place of one view to every place of the other.  Every place proposes its nearest
    partner; the `count` pairs with the smallest distances are kept (None: all), each place at most once, a partner
    perhaps several times.  Returns two long tensors [N, count]: places in rising order, and their partners.
    Raises InputError for another shape or a count outside 1..P.
    """
    if not isinstance(distance, Tensor) or distance.ndim != 3 or not distance.numel():
        raise InputError("distance must be [images, places, places of the other view], none of them 0.")
    count = distance.shape[1] if count is None else count
    if not 1 <= count <= distance.shape[1]:
        raise InputError(f"count must be from 1 to {distance.shape[1]}, the places of a view, not {count!r}.")
    nearest, partner = distance.detach().min(dim=2)
    place = nearest.topk(count, dim=1, largest=False).indices.sort(dim=1).values
    return place, partner.gather(1, place)


def dense_info_nce(query: Tensor, key: Tensor, match: Tensor, temperature: float = 0.2) -> Tensor:
    """InfoNCE at every place: find your match among other pictures (DenseCL, Wang et al. 2021; loss_contra_dense in
    densecl.py of the authors' code).

        loss = mean over i, p of -log exp(r_ip . t+_ip / T) / (exp(r_ip . t+_ip / T) + sum_{j != i} exp(r_ip . t_j / T))

    r_ip: the query at place p of picture i; t+_ip: the key of the same picture at place match[i, p]; t_j: the keys of
    picture j, averaged over its places; all of unit length.  The paper takes the averages from a queue; here they are
    those of the batch.

    query: [N, P, D]; key: [N, Q, D], N >= 2; match: long [N, P], see `best_matches`.  Returns a scalar in nats, log N
    if all vectors are equal.  Half precision is computed in float32, also under autocast; float64 stays float64.
    Raises InputError for shapes that do not fit, matches that are no places, a temperature that is not positive or
    values that are not finite.
    """
    check_positive(temperature=temperature)
    _check_maps(query, key)
    n, p, _ = query.shape
    if n < 2:
        raise InputError("The negatives are other pictures: at least 2 are needed; use a larger batch.")
    places = range(key.shape[1])
    if (
        match.shape != (n, p)
        or match.is_floating_point()
        or not {int(match.min()), int(match.max())} <= {*places}
    ):
        raise InputError(
            f"match must hold, for each of {n} x {p} places, a place from 0 to {key.shape[1] - 1}."
        )
    with torch.autocast(query.device.type, enabled=False):
        query, key = full_precision(query, key)
        r, t, mean = unit_rows(query, key, key.mean(dim=1))
        positive = (r * pick(t, match)).sum(dim=2, keepdim=True)  # [N, P, 1]
        negative = r @ mean.T  # [N, P, N]
        own = torch.eye(n, dtype=torch.bool, device=r.device)[:, None]
        logits = torch.cat([positive, negative.masked_fill(own, -torch.inf)], dim=2) / temperature
        return F.cross_entropy(logits.flatten(0, 1), torch.zeros(n * p, dtype=torch.long, device=r.device))


def vicreg_places(
    x: Tensor,
    y: Tensor,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """VICReg of matched places (Bardes et al. 2022, VICRegL): its three terms for every match, over the pictures.

        loss = a mean (x - y)^2 + b (v(x) + v(y)) / 2 + c (k(x) + k(y)) / 2
        v: mean over places and dimensions of max(0, gamma - sqrt(Var + eps))
        k: mean over places of the squared off-diagonal covariances, summed and divided by D

    Variances and covariances run over the N pictures, for the m-th match of all pictures at a time, as in the authors'
    code (main_vicregl.py, _vicreg_loss), which halves the covariance term against VICReg.

    x, y: [N, M, D], N >= 2, row m of both matched.  Returns a scalar.  Precision as in `dense_info_nce`.
    Raises InputError for shapes that do not fit, N < 2, a negative weight or values that are not finite.
    """
    _check_maps(x, y)
    if x.shape != y.shape or len(x) < 2:
        raise InputError("x and y must be [images, matches, dimensions] of one shape, at least 2 images.")
    if min(invariance_weight, variance_weight, covariance_weight) < 0:
        raise InputError("The three weights must be 0 or more.")
    check_positive(gamma=gamma, eps=eps)
    with torch.autocast(x.device.type, enabled=False):
        x, y = full_precision(x, y)
        loss = invariance_weight * F.mse_loss(x, y)
        for z in (x, y):
            z = z.transpose(0, 1)  # [M, N, D]
            spread = F.relu(gamma - (z.var(dim=1) + eps).sqrt()).mean()
            z = z - z.mean(dim=1, keepdim=True)
            c = z.mT @ z / (z.shape[1] - 1)  # [M, D, D]
            off = c.square().sum() - c.diagonal(dim1=1, dim2=2).square().sum()
            loss = loss + (variance_weight * spread + covariance_weight * off / (len(c) * c.shape[1])) / 2
        return loss


def vicregl_local(
    maps1: Tensor,
    maps2: Tensor,
    places1: Tensor,
    places2: Tensor,
    matches: int = 20,
    feature_matches: int | None = None,
    **weights: float,
) -> Tensor:
    """The local criterion of VICRegL: places matched twice, by where they lie and by what they show (Bardes et al.
    2022; _local_loss in main_vicregl.py of the authors' code).

        loss = L(by location, 1 -> 2) / 2 + L(by location, 2 -> 1) / 2 + the same by features,   L = `vicreg_places`

    By location, a place is matched to the nearest place in the picture, and the `matches` nearest pairs count; by
    features, to the place whose vector is nearest (all of them, or the `feature_matches` nearest).

    maps1, maps2: [N, P, D] and [N, Q, D]; places1, places2: [N, P, 2] and [N, Q, 2], where these places lie in the
    picture, see `views.places`.  weights: of `vicreg_places`.  Returns a scalar.  Errors as in the functions it calls.
    """
    _check_maps(maps1, maps2)
    for maps, places in ((maps1, places1), (maps2, places2)):
        if places.shape != (*maps.shape[:2], 2):
            raise InputError(
                f"places must be {(*maps.shape[:2], 2)}: y and x of every place, not {(*places.shape,)}."
            )
    loss = 0.0
    for a, b, here, there in ((maps1, maps2, places1, places2), (maps2, maps1, places2, places1)):
        by_features, by_place = torch.cdist(a.detach().float(), b.detach().float()), torch.cdist(here, there)
        for distance, count in ((by_features, feature_matches), (by_place, matches)):
            place, partner = nearest_places(distance, count)
            loss = loss + vicreg_places(pick(a, place), pick(b, partner), **weights) / 2
    return loss


def similar_neighbours(tokens: Tensor, side: int, k: int = 4) -> tuple[Tensor, Tensor]:
    """Of the eight places around each place, the k most similar (SelfPatch, Yun et al. 2022; SelfPatchHead
    in the authors' selfpatch_vision_transformer.py).

    tokens: [N, side^2, D], row by row.  Returns two tensors [N, side^2, k]: the neighbours, nearest in cosine first
    (long), and whether there is such a neighbour (bool): a corner has three, an edge five.  No gradient.
    Raises InputError for a shape that does not fit, side < 2 or k outside 1..8.
    """
    if tokens.ndim != 3 or side < 2 or tokens.shape[1] != side**2 or not tokens.shape[2] or not len(tokens):
        raise InputError(
            f"tokens must be [images, side^2, dimensions], not {(*tokens.shape,)} for side {side!r}."
        )
    if not 1 <= k <= 8:
        raise InputError(f"a place has eight neighbours: k must be from 1 to 8, not {k!r}.")
    row, column = (
        v.flatten() for v in torch.meshgrid(*[torch.arange(side, device=tokens.device)] * 2, indexing="ij")
    )
    near = ((row[:, None] - row).abs() <= 1) & ((column[:, None] - column).abs() <= 1)
    near.fill_diagonal_(False)
    with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
        (z,) = unit_rows(tokens)
        found = (z @ z.mT).masked_fill(~near, -torch.inf)
        found = F.pad(found, (0, max(0, k - side**2)), value=-torch.inf).topk(k, dim=2)
        there = found.values.isfinite()
        return found.indices.where(there, 0), there


def pick(maps: Tensor, index: Tensor) -> Tensor:
    """Rows of maps [N, P, D] at places index [N, M]: [N, M, D]."""
    return maps.gather(1, index[:, :, None].expand(-1, -1, maps.shape[2]))


def _check_maps(a: Tensor, b: Tensor) -> None:
    for maps in (a, b):
        if not isinstance(maps, Tensor) or maps.ndim != 3 or not maps.numel():
            raise InputError("maps must be tensors [images, places, dimensions], none of them 0.")
    if len(a) != len(b) or a.shape[2] != b.shape[2]:
        raise InputError(
            f"the two maps must be of the same images and as wide, not {(*a.shape,)} and {(*b.shape,)}: row i of both "
            "must come from image i."
        )
