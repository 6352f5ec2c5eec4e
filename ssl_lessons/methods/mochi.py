"""MoCHi, mixing of contrastive hard negatives (Kalantidis et al. 2020, https://arxiv.org/abs/2010.01028)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_positive, unit_rows
from ssl_lessons.methods.moco import MoCoV2


class MoCHi(MoCoV2):
    """MoCo v2 with further negatives, made for each query out of the ones it finds hardest.

        between two of the hardest:   h_k  ~ a n_i + (1 - a) n_j,  a ~ U(0, 1)      (eq. 3)
        between the query and one:    h'_k ~ b q + (1 - b) n_j,    b ~ U(0, 0.5)    (eq. 4)

    both of unit length.  No gradient reaches a made-up negative.

    hardest: how many of the queue's keys, the most similar ones, are mixed.  mixed: number of h per query, s in the
    paper.  with_query: number of h' per query, s' in the paper.  One of the paper's settings: the 1024 hardest
    of 65,536, s = 1024, s' = 128, after some epochs without.
    """

    def __init__(
        self, encoder: nn.Module, hardest: int = 64, mixed: int = 64, with_query: int = 16, **options
    ):
        super().__init__(encoder, **options)
        if not 1 <= hardest <= len(self.queue.rows):
            raise InputError(f"hardest must be from 1 to queue_size ({len(self.queue.rows)}), not {hardest}")
        self.hardest, self.mixed, self.with_query = hardest, mixed, with_query

    def contrast(self, query: Tensor, key: Tensor) -> Tensor:
        check_positive(temperature=self.temperature)
        with torch.autocast(query.device.type, enabled=False):
            q, k = unit_rows(query, key)
            scores = q @ self.queue.rows.T
            extra = self.mix(q.detach(), scores.detach())
            own, made_up = (q * k).sum(dim=1, keepdim=True), (extra @ q[:, :, None])[:, :, 0]
            logits = torch.cat([own, scores, made_up], dim=1) / self.temperature
            return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))

    def mix(self, q: Tensor, scores: Tensor) -> Tensor:
        """The made-up negatives [N, mixed + with_query, dim] of queries q [N, dim] with these queue scores."""
        n, like = len(q), {"device": q.device}
        hardest = scores.topk(self.hardest, dim=1).indices

        def some(count):
            places = torch.randint(self.hardest, (n, count), **like)
            return self.queue.rows[hardest.gather(1, places)]

        a = torch.rand(n, self.mixed, 1, **like)
        b = torch.rand(n, self.with_query, 1, **like) / 2
        between = a * some(self.mixed) + (1 - a) * some(self.mixed)
        towards = b * q[:, None] + (1 - b) * some(self.with_query)
        return F.normalize(torch.cat([between, towards], dim=1), dim=2)


# Details that matter
# - The hardest are sought in the queue alone, and the whole queue stays among the negatives (moco.py of
#   davidsvy/hard-negative-mixing, unofficial). Here: the same: 2,048 + 64 + 16 beside the positive.
# - Eq. 4 gives the query the smaller part, b < 0.5. So does that code; its README puts b on the negative.
#   Here: b is the query's: with more of it, the made-up "negative" would point to the answer.
# - That code mixes negatives only after 1,024 steps, and with the query after 2,048. Here: from the first
#   step, when the queue still holds random directions (for 8 steps at batch 256).
# - That code strikes out a query's own old keys. Here: they stay: with 8,192 images and 2,048 keys, 3 to 4 %
#   of the queries meet one, which then is a likely hardest negative.
