"""Losses that graphs brought: a node and the summary of its graph, a graph and its parts, features of hidden nodes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_positive, full_precision, unit_rows


def dgi(nodes: Tensor, corrupted: Tensor, weight: Tensor) -> Tensor:
    """Deep Graph Infomax (Velickovic et al. 2019, eq. 1): does this node belong to this summary?

        s = sigmoid(mean_i h_i),   D(h) = sigmoid(h^T W s)
        loss = -(mean_i log D(h_i) + mean_j log(1 - D(c_j))) / 2

    nodes: [N, D], h, of the graph as it is; corrupted: [K, D], c, the same encoder on shuffled features;
    weight: [D, D], W, learned with the encoder.  The summary is that of the true graph; with K = N this is the paper's
    mean over all 2 N.  Returns a scalar, float32 or better: log 2 when W is zero.
    Raises InputError for shapes that do not fit, NotFiniteError for values that are not finite.
    """
    check_matrices(nodes, corrupted, weight)
    if not len(nodes) or not len(corrupted):
        raise InputError("DGI needs at least one node and one corrupted node")
    if nodes.shape[1] != corrupted.shape[1] or weight.shape != (nodes.shape[1], nodes.shape[1]):
        raise InputError(
            f"nodes and corrupted need one width D and the weight must be [D, D], not {list(nodes.shape)}, "
            f"{list(corrupted.shape)} and {list(weight.shape)}"
        )
    with torch.autocast(nodes.device.type, enabled=False):
        nodes, corrupted, weight = full_precision(nodes, corrupted, weight)
        judge = weight @ nodes.mean(dim=0).sigmoid()
        return (F.softplus(-(nodes @ judge)).mean() + F.softplus(corrupted @ judge).mean()) / 2


def infograph(parts: Tensor, wholes: Tensor, owner: Tensor) -> Tensor:
    """InfoGraph (Sun et al. 2020, the Jensen-Shannon estimator): is this part from this graph, or from another?

        loss = mean over pairs of one graph of sp(-p_i . g_m)  +  mean over all other pairs of sp(p_i . g_m),
        sp(t) = log(1 + e^t), owner_i = m in the first mean

    parts: [N, D], p, of nodes and their surroundings; wholes: [M, D], g, of whole graphs; owner: int [N], the graph of
    each node.  Returns a scalar, float32 or better: 2 log 2 when all products are zero.  Raises InputError for shapes
    that do not fit, one graph alone, an owner that is none of 0..M-1, NotFiniteError for values that are not finite.
    """
    check_matrices(parts, wholes)
    if parts.shape[1] != wholes.shape[1] or owner.shape != parts.shape[:1] or owner.is_floating_point():
        raise InputError(
            "parts [N, D] and wholes [M, D] need one width, and owner one whole number for each part"
        )
    if len(wholes) < 2 or not len(parts):
        raise InputError("other graphs are what a part is told from: give two graphs or more")
    if int(owner.min()) < 0 or int(owner.max()) >= len(wholes):
        raise InputError(f"owner must lie in 0..{len(wholes) - 1}, one of the graphs each")
    with torch.autocast(parts.device.type, enabled=False):
        parts, wholes = full_precision(parts, wholes)
        scores = parts @ wholes.T
        own = F.one_hot(owner, len(wholes)).bool()
        return F.softplus(-scores[own]).mean() + F.softplus(scores[~own]).mean()


def scaled_cosine(prediction: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """The scaled cosine error of GraphMAE (Hou et al. 2022): mean over rows of (1 - cos(x, z))^gamma.

    gamma above 1 makes rows that are nearly right count less.  prediction, target: [N, F], of the hidden nodes alone.
    Returns a scalar from 0 to 2^gamma, float32 or better: 1 where all directions are at right angles.  An all-zero row
    has cosine 0.  Raises InputError for shapes that differ, no rows, a gamma below 1.
    """
    check_positive(gamma=gamma)
    check_matrices(prediction, target)
    check_pair(prediction, target, least=1)
    if gamma < 1:
        raise InputError(f"gamma must be at least 1, not {gamma}")
    with torch.autocast(prediction.device.type, enabled=False):
        z, x = unit_rows(prediction, target)
        # Rounding can bring a cosine above 1, and a negative number has no power.
        return (1 - (z * x).sum(dim=1)).clamp_min(0).pow(gamma).mean()
