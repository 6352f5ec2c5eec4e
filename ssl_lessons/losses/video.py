"""Losses that only a film has: what is near in time, what came from where, and which of two cuts is spoiled."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_positive, full_precision, unit_rows


def time_contrast(z1: Tensor, z2: Tensor, window: int = 1, margin: float = 0.2) -> Tensor:
    """The multi-view triplet loss of time-contrastive networks (Sermanet et al. 2018).

        loss = mean over n, t, t' with |t' - t| > window of
               max(0, |z1_nt - z2_nt|^2 - |z1_nt - z1_nt'|^2 + margin)

    The anchor is a frame of the first camera, the positive the same moment seen by the second, the negative another
    moment of the anchor's own film.  What the cameras do not share does not help; what does not change in time does
    not either.  The paper samples one negative for an anchor; here all are averaged.

    z1, z2: [N, T, D], the same moments by two cameras; pass z2 = z1 one frame later for a single camera.
    Returns a scalar, float32 or better: the margin, if all embeddings are equal.  Raises InputError for shapes that
    differ, a negative window, one that leaves no negative, or a margin that is not positive.
    """
    check_positive(margin=margin)
    _check_clips(z1, z2)
    steps = torch.arange(z1.shape[1], device=z1.device)
    far = (steps[:, None] - steps).abs() > window
    if window < 0 or z1.shape[1] - 1 <= window:
        raise InputError(f"a window of {window} leaves no negative among {z1.shape[1]} frames")
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = full_precision(z1, z2)
        near = (z1 - z2).square().sum(dim=2)  # [N, T]
        other = (z1[:, :, None] - z1[:, None]).square().sum(dim=3)  # [N, T, T]
        return F.relu(near[:, :, None] - other + margin)[:, far].mean()


def copy_colours(
    query: Tensor, reference: Tensor, codes: Tensor, reference_codes: Tensor, temperature: float = 1.0
) -> Tensor:
    """Colourisation by pointing (Vondrick et al. 2018): every place copies colours of another frame.

        A_ij = softmax over i of (f_i . f_j / temperature),   p_j = sum_i A_ij onehot(c_i)
        loss = -mean_j log p_j[c_j]

    query: [N, Q, D], features f_j of the frame to colour; reference: [N, R, D], f_i of the frame that has colours;
    codes: integers [N, Q] and reference_codes: [N, R], the colour bin of each place.  The features must come from gray
    frames, else the colour is no question.  Returns a scalar in nats; a colour that the reference lacks costs the
    logarithm of the smallest normal number, about 87 in float32, and has no gradient.
    Raises InputError for shapes that do not fit, or a temperature that is not positive.
    """
    check_positive(temperature=temperature)
    if query.ndim != 3 or reference.ndim != 3 or query.shape[::2] != reference.shape[::2]:
        raise InputError("query and reference must be features [N, places, D] of the same clips")
    if codes.shape != query.shape[:2] or reference_codes.shape != reference.shape[:2]:
        raise InputError("codes must be whole numbers, one for each place of query and reference")
    with torch.autocast(query.device.type, enabled=False):
        query, reference = full_precision(query, reference)
        pointer = (query @ reference.mT / temperature).log_softmax(dim=2)  # [N, Q, R]
        same = codes[:, :, None] == reference_codes[:, None]
        lowest = torch.finfo(pointer.dtype).tiny
        copied = pointer.masked_fill(~same, -torch.inf).exp().sum(dim=2)
        return -copied.clamp_min(lowest).log().mean()


def cycle_walk(z: Tensor, temperature: float = 0.07) -> Tensor:
    """The walk of Jabri et al. (2020): through the frames to the last and back, and home again.

        A_t = softmax over j of (z_ti . z_(t+1)j / temperature),  Abar = A_0 A_1 .. A_(k-1) A'_(k-1) .. A'_0
        loss = -mean_i log Abar_ii,  averaged over all k = 1 .. T - 1

    z: [N, T, P, D], the features of P places in T frames; unit length is enforced here.  A'_t steps from frame t + 1 to
    frame t by its own softmax.  Returns a scalar in nats: log P if all features are equal.
    Raises InputError for other shapes, fewer than two frames or places, or a temperature that is not positive.
    """
    check_positive(temperature=temperature)
    if z.ndim != 4 or z.shape[1] < 2 or z.shape[2] < 2:
        raise InputError(
            f"the walk needs features [N, T, P, D] with two frames and places or more, not {list(z.shape)}"
        )
    with torch.autocast(z.device.type, enabled=False):
        (z,) = unit_rows(z)
        score = z[:, :-1] @ z[:, 1:].mT / temperature  # [N, T - 1, P, P]
        there, back = score.softmax(dim=3), score.mT.softmax(dim=3)
        lowest, total = torch.finfo(z.dtype).tiny, z.new_zeros(())
        for k in range(1, z.shape[1]):
            walk = there[:, 0]
            for t in range(1, k):
                walk = walk @ there[:, t]
            for t in reversed(range(k)):
                walk = walk @ back[:, t]
            total = total - walk.diagonal(dim1=1, dim2=2).clamp_min(lowest).log().mean()
        return total / (z.shape[1] - 1)


def slowness(z: Tensor, eps: float = 1e-4) -> Tensor:
    """How fast whitened features change (slow feature analysis, Wiskott and Sejnowski 2002).

        loss = trace((C + eps I)^-1 V) / D,   C = covariance of z over clips and frames,   V = mean of (dz)(dz)^T

    dz: the difference of two successive frames.  Without the C, which keeps the features decorrelated and of unit
    variance, a constant would be the slowest feature of all.  0: nothing changes within a clip; 2: no frame tells
    anything about the next.

    z: [N, T, D].  Returns a scalar, unchanged by any invertible linear map of z (up to eps).  Raises InputError for
    other shapes, fewer than two frames, or no more than D frames in all.
    """
    check_positive(eps=eps)
    if z.ndim != 3 or z.shape[1] < 2 or len(z) * z.shape[1] <= z.shape[2]:
        raise InputError(f"slowness needs features [N, T, D] with T >= 2 and N T > D, not {list(z.shape)}")
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        rows, change = z.flatten(0, 1), (z[:, 1:] - z[:, :-1]).flatten(0, 1)
        centred = rows - rows.mean(dim=0)
        spread = centred.T @ centred / len(rows) + eps * torch.eye(z.shape[2], dtype=z.dtype, device=z.device)
        velocity = change.T @ change / len(change)
        return torch.linalg.solve(spread, velocity).trace() / z.shape[2]


def intra_negatives(query: Tensor, positive: Tensor, spoiled: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE with negatives from the same video (inter-intra contrast, Tao et al. 2020).

        loss = -mean_i log( exp(q_i.k_i / t) / (sum_j exp(q_i.k_j / t) + sum_s exp(q_i.s_is / t)) )

    query, positive: [N, D], two cuts of the same clips; spoiled: [N, S, D], the same clips with their frames repeated
    or shuffled.  All are divided by their lengths.  What a clip shares with its spoiled self, its still appearance,
    then no longer tells it apart.  Returns a scalar in nats: log(N + S) if all embeddings are equal.
    Raises InputError for shapes that do not fit or a temperature that is not positive.
    """
    check_positive(temperature=temperature)
    check_matrices(query, positive)
    check_pair(query, positive, least=1)
    if spoiled.ndim != 3 or spoiled.shape[::2] != query.shape:
        raise InputError(f"spoiled must be [{len(query)}, S, {query.shape[1]}], not {list(spoiled.shape)}")
    with torch.autocast(query.device.type, enabled=False):
        q, k, s = unit_rows(query, positive, spoiled)
        logits = torch.cat([q @ k.T, (q[:, None] * s).sum(dim=2)], dim=1) / temperature
        return F.cross_entropy(logits, torch.arange(len(q), device=q.device))


def _check_clips(z1: Tensor, z2: Tensor) -> None:
    if z1.ndim != 3 or z1.shape != z2.shape:
        raise InputError(
            f"both cameras need features [N, T, D] of one shape, not {list(z1.shape)} and {list(z2.shape)}"
        )
