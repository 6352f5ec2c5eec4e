"""What every method has in common."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.views import Policy


class Method(nn.Module):
    """An encoder, its heads, and a loss.

    Subclasses set `encoder` (images [N, 3, S, S] -> features h [N, dim]) and define `forward`; the rest has
    defaults.  Whatever must survive a kill and a resume is a parameter or a buffer; attributes that are plain
    numbers or strings are settings and never change.

    needs_labels: `forward` uses the labels [N].  needs_index: `forward` gets a third argument, the places [N] of the
    images in the training set.  needs_parameters: its last argument is what was drawn for each view (`views.draw`),
    a list of one dict per view.  refresh_every: `refresh` is called before steps 0, refresh_every, 2 refresh_every,
    ...; 0 = never.  several_ranks: `forward` computes the loss of the joined batch when several processes train, as
    everything built on `pair` does.  gather: rows [N, D] of this process -> the rows of all, with gradient; the
    training loop sets it where several processes train.
    """

    needs_labels = False
    needs_index = False
    needs_parameters = False
    refresh_every = 0
    several_ranks = False
    gather: Callable[[Tensor], Tensor] = staticmethod(lambda z: z)
    encoder: nn.Module
    projector: nn.Module

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        """How the views that `forward` expects are made from one policy: by default two views alike."""
        return (policy, policy)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """The scalar loss of a batch: `views` is a list of [N, 3, S, S], one per policy."""
        raise NotImplementedError

    def pair(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        """z1, z2 [N, out_dim] of two views, in one pass: BatchNorm sees all 2N images.

        On several ranks, where each sees its own rows, N is the joined batch: the embeddings of all, with gradient.
        """
        if len(views) != 2:
            raise InputError(f"{type(self).__name__} compares two views of every image, got {len(views)}")
        z1, z2 = self.projector(self.encoder(torch.cat(views))).chunk(2)
        return self.gather(z1), self.gather(z2)

    def refuse_ranks(self, ranks: int) -> None:
        """Raise InputError where `ranks` processes would train something else than one does.

        What a method carries from step to step (a queue, a memory bank, a momentum teacher) would see one rank's
        rows only, and so would labels that are compared within the batch.
        """
        carries = type(self).after_step is not Method.after_step or self.needs_index or self.refresh_every
        if ranks > 1 and (not self.several_ranks or carries or self.needs_labels):
            raise InputError(
                f"{type(self).__name__} cannot be trained by {ranks} processes here: part of it would see the images "
                "of one process only; start it without torchrun"
            )

    def after_step(self, progress: float) -> None:
        """What follows the optimiser (a momentum encoder, a queue); progress runs from 0 to 1 over the training."""

    def refresh(self, extract: Callable[[nn.Module], Tensor]) -> None:
        """Work over the whole training set between two steps: new clusters, new labels.

        extract(encoder) gives the frozen features [n, dim] of all training images, in order.
        """

    def embed(self, x: Tensor) -> Tensor:
        """The embeddings z [N, out_dim] that the loss compares, of images x [N, 3, S, S]."""
        return self.projector(self.encoder(x))

    def assign(self, x: Tensor) -> Tensor | None:
        """Probabilities [N, K] of the method's clusters or prototypes for images x, or None if it has none."""
        return None

    def chance_loss(self, batch_size: int) -> float | None:
        """The loss when all embeddings are equal, log(2N - 1) for NT-Xent; None if it says nothing."""
        return None

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(student, teacher) modules of a method with a momentum encoder, else nothing."""
        return []


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy that no gradient reaches, to be moved by `momentum_update`."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def momentum_update(student: nn.Module, teacher: nn.Module, momentum: float) -> None:
    """theta_t <- m theta_t + (1 - m) theta_s (He et al. 2020, eq. 2); buffers (BatchNorm statistics) are copied."""
    for s, t in zip(student.parameters(), teacher.parameters(), strict=True):
        t.lerp_(s, 1 - momentum)
    for s, t in zip(student.buffers(), teacher.buffers(), strict=True):
        t.copy_(s)


def cosine_momentum(base: float, progress: float) -> float:
    """From `base` to 1 along half a cosine: 1 - (1 - base)(cos(pi progress) + 1)/2 (Grill et al. 2020, section 3.2)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
