"""MoCo v1 (He et al. 2020, https://arxiv.org/abs/1911.05722), v2 (Chen et al. 2020, https://arxiv.org/abs/2003.04297)
and v3 (Chen et al. 2021, https://arxiv.org/abs/2104.02057): the keys come from a momentum encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.losses.contrastive import info_nce
from ssl_lessons.methods.base import Method, momentum_copy, momentum_update
from ssl_lessons.models import projection_head


class Queue(nn.Module):
    """The last `size` embeddings, `rows` [size, dim] of unit length; the oldest are overwritten first.

    It starts full, of random directions: harmless negatives that are gone after size / N steps.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer("rows", normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, z: Tensor) -> None:
        """Overwrite the N oldest rows with z [N, dim].  Raises InputError if the queue is shorter than that."""
        size = len(self.rows)
        if len(z) > size:
            raise InputError(f"a queue of {size} cannot hold a batch of {len(z)}: raise queue_size")
        places = (self.oldest + torch.arange(len(z), device=z.device)) % size
        self.rows[places] = normalize(z.to(self.rows.dtype), dim=1)
        self.oldest.copy_((self.oldest + len(z)) % size)


class MoCoV1(Method):
    """A query looks for its key among the keys of past batches, which wait in a queue.

    Keys come from the teacher, a moving average of encoder and projector, so that they change slowly and old keys
    still mean what new ones do.  Only the queries carry gradient.

    temperature: the paper's is 0.07.  momentum: the paper's 0.999 has a half-life of 693 steps, fit for a million
    of them.  queue_size: the paper's is 65,536, 5 % of its images; a queue that holds a large share of the images
    holds old keys of the very images it is asked for.

    BatchNorm in the teacher uses the statistics of the key batch.  Query and positive key then share the statistics
    of one batch and the negatives do not, a hint at the answer that has nothing to do with the image (section 3.3
    of the paper).  Over a whole batch of 256 on one device the hint is weak; over 8 devices with 32 images each it
    is not, and there the paper shuffles the keys over the devices.  `groups` > 1 imitates so many devices:
    BatchNorm sees batch / groups images at a time, and with shuffle=False the hint is in full view.
    """

    head_layers = 1  # v1: a linear head

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float = 0.1,
        momentum: float = 0.99,
        queue_size: int = 2048,
        out_dim: int = 128,
        groups: int = 1,
        shuffle: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, encoder.dim, out_dim, self.head_layers)
        self.teacher = momentum_copy(nn.Sequential(self.encoder, self.projector))
        self.queue = Queue(queue_size, out_dim)
        self.temperature, self.momentum, self.groups, self.shuffle = temperature, momentum, groups, shuffle

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"MoCo compares two views of every image, got {len(views)}")
        query = torch.cat([self.embed(part) for part in views[0].chunk(self.groups)])
        self.keys = self.make_keys(views[1])
        return self.contrast(query, self.keys)

    def contrast(self, query: Tensor, key: Tensor) -> Tensor:
        """InfoNCE against the queue (eq. 1)."""
        return info_nce(query, key, self.queue.rows, self.temperature)

    @torch.no_grad()
    def make_keys(self, x: Tensor) -> Tensor:
        """Keys [N, out_dim] of views x, in order; each group of BatchNorm gets a random set of them."""
        order = (
            torch.randperm(len(x), device=x.device)
            if self.groups > 1 and self.shuffle
            else torch.arange(len(x))
        )
        keys = torch.cat([self.teacher(part) for part in x[order].chunk(self.groups)])
        return keys[order.argsort()]

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, self.momentum)
        self.queue.push(self.keys)

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher[0]), (self.projector, self.teacher[1])]

    def chance_loss(self, batch_size: int) -> float:
        return math.log(len(self.queue.rows) + 1)


class MoCoV2(MoCoV1):
    """MoCo v1 with SimCLR's MLP head and stronger augmentation (and, in the paper, a cosine schedule)."""

    head_layers = 2


# Details that matter
# - facebookresearch/moco, moco/builder.py, compares first, then enqueues: no key meets itself. Here: the
#   same.
# - There the teacher moves before it makes keys and has BatchNorm averages of its own. Here: it moves after
#   the step, the same seen from the next batch; averages are the student's, which the keys do not use.
# - With --mlp (v2) the hidden layer is followed by ReLU alone. Here: v2's head has a BatchNorm before the
#   ReLU.
# - README: temperature 0.07 for v1, 0.2 for v2. Here: 0.1 for both.
# - main_moco.py: SGD 0.03, decay 1e-4 on everything, no warm-up, steps (v1) or cosine (v2). Here: AdamW 4e-3,
#   decay 1e-4 but not on biases and norms, warm-up and cosine.
