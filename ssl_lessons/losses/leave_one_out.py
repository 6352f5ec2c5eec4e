"""Spaces that each leave one augmentation in (LooC): which views of a picture must be told apart?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_pair, check_positive, unit_rows


def looc(
    queries: Sequence[Tensor], keys: Sequence[Sequence[Tensor]], temperature: float = 0.2, weight: float = 1.0
) -> Tensor:
    """LooC (Xiao et al. 2021, eq. 2): InfoNCE in n + 1 spaces; view k_j shares augmentation j with the query.

        loss = -1/(n+1) [ log( E_00 / (E_00 + others_00) )
                          + weight * sum_{i=1..n} log( E_ii / (sum_{j=0..n} E_ij + others_ii) ) ]
        E_ij = exp(z_i(q).z_i(k_j) / t),  others_ij = sum over the other images b of exp(z_i(q).z_i(k_j of b) / t)

    Space 0 ignores all augmentations: k_0 was made anew.  In space i the partner is k_i, which shares augmentation i,
    and the other views of the *same* picture are wrong answers: so that space must keep what augmentation i changes.

    queries: n + 1 tensors [N, D], z_i(q) in space i.  keys[i]: the views k_0 .. k_n in space i, [N, D] each; of
    keys[0] only the first is used.  weight: of spaces 1 .. n (the paper has 1).  Returns a scalar in nats:
    (log N + weight n log(N + n)) / (n + 1) if all embeddings are equal.  Half precision is computed in float32, also
    under autocast; float64 stays float64.  Raises InputError for fewer than two spaces, shapes that do not fit, N < 2,
    or a temperature or weight that is not positive.
    """
    check_positive(temperature=temperature, weight=weight)
    spaces = len(queries)
    if spaces < 2 or len(keys) != spaces or any(len(k) < spaces for k in keys[1:]) or len(keys[0]) < 1:
        raise InputError(
            "looc needs n + 1 >= 2 spaces, and in each the keys k_0 .. k_n; space 0 needs k_0 alone"
        )
    terms = []
    with torch.autocast(queries[0].device.type, enabled=False):
        for i, (query, views) in enumerate(zip(queries, keys, strict=True)):
            for key in views:
                check_pair(query, key)
            query, *views = unit_rows(query, *views)
            logits = query @ views[i].T
            if i > 0:  # the same picture's other views, column by column
                wrong = [(query * k).sum(dim=1, keepdim=True) for j, k in enumerate(views) if j != i]
                logits = torch.cat([logits, *wrong], dim=1)
            term = F.cross_entropy(logits / temperature, torch.arange(len(query), device=query.device))
            terms.append(weight * term if i > 0 else term)
        return torch.stack(terms).mean()
