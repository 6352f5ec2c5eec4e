"""NNCLR (Dwibedi et al. 2021, https://arxiv.org/abs/2104.14548)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ssl_lessons.losses.contrastive import nnclr
from ssl_lessons.methods.moco import Queue
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import projection_head


class NNCLR(SimCLR):
    """The positive of a view is not its partner but its partner's nearest neighbour in a queue of other images.

    The queue keeps the embeddings of first views; the negatives are the predictions of the rest of the batch.

    queue_size: the paper's is 98,304.  head: hidden_dim, out_dim, layers of the projector (paper: three layers); the
    predictor has two, as wide.
    """

    def __init__(self, encoder: nn.Module, temperature: float = 0.1, queue_size: int = 2048, **head):
        super().__init__(encoder, temperature, **head)
        out_dim = self.projector[-1].out_features
        self.predictor = projection_head(out_dim, head.get("hidden_dim") or encoder.dim, out_dim)
        self.queue = Queue(queue_size, out_dim)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z1, z2 = self.pair(views)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        self.newest = z1.detach()
        forth = nnclr(z1, p2, self.queue.rows, self.temperature)
        back = nnclr(z2, p1, self.queue.rows, self.temperature)
        return (forth + back) / 2

    def after_step(self, progress: float) -> None:
        self.queue.push(self.newest)

    def chance_loss(self, batch_size: int) -> float:
        return math.log(batch_size)


# Details that matter
# - Projector: the paper has BatchNorm after all three layers, the last included (quoted in lightly's
#   modules/heads.py; solo-learn too). Here: two layers by default, the last without BatchNorm.
# - Predictor: 4096 hidden units for d = 256, BatchNorm on the hidden layer only. Here: the same form, 256 for
#   d = 128.
# - Negatives: solo-learn (losses/nnclr.py) takes the N predictions; lightly's example uses NT-Xent, where the
#   other neighbours are negatives as well, 2N - 1 candidates. Here: N, as in eq. 2.
# - Queue: solo-learn keeps the first views' z, lightly the second's; both search before they push. Here: the
#   first views', pushed after the step. All begin with random rows, here gone after 2,048 / 256 = 8 steps.
# - Temperature: solo-learn's default is 0.2, that of lightly's loss 0.5. Here: 0.1. All divide neighbour and
#   prediction by their length; no gradient passes through the neighbour.
