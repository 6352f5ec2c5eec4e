"""InfoNCE and NT-Xent: pick the positive out of a crowd, scored by cosine similarity / temperature."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_positive, unit_rows


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
        z = torch.cat(unit_rows(z1, z2))  # [2N, D]
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = (z @ z.T / temperature).masked_fill(itself, float("-inf"))  # [2N, 2N]
        partner = torch.arange(len(z), device=z.device).roll(len(z1))  # i <-> i + N
        return F.cross_entropy(logits, partner)


def _check(groups: list[Tensor], temperature: float, least: int) -> None:
    check_positive(temperature=temperature)
    check_pair(*groups[:2], least=least)
    for negatives in groups[2:]:
        check_matrices(negatives)
        if negatives.shape[1] != groups[0].shape[1]:
            raise InputError(
                f"The negatives have {negatives.shape[1]} dimensions and the queries {groups[0].shape[1]}; "
                "both must come from encoders with the same output width."
            )
        if not len(negatives):
            raise InputError("At least one negative is needed to contrast anything.")
