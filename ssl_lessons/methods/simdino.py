"""SimDINO (Wu et al. 2025, https://arxiv.org/abs/2502.10385)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.rate_reduction import simdino
from ssl_lessons.methods.base import Method, cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class SimDINO(Method):
    """DINO without prototypes, centre and temperatures: the coding rate keeps the embeddings apart.

    The student's embedding of a view points where the teacher's of another view of the image does, and those of the
    large views of a batch fill all directions.  eps: the smaller, the more each further direction counts.
    invariance_weight: of the agreement; so high that nothing else counts, it breaks the method.  smooth: the coding
    rate of the means of student and teacher.  n_small: small crops of half the size, seen by the student only.
    """

    def __init__(
        self,
        encoder: nn.Module,
        eps: float = 0.05,
        invariance_weight: float = 1.0,
        smooth: bool = True,
        momentum: float = 0.97,
        hidden_dim: int = 256,
        out_dim: int = 64,
        n_small: int = 0,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers=3, batch_norm=batch_norm)
        self.teacher = momentum_copy(nn.Sequential(encoder, self.projector))
        self.eps, self.invariance_weight, self.smooth = eps, invariance_weight, smooth
        self.momentum, self.n_small = momentum, n_small

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        low, high = policy.crop_scale
        small = policy.replace(size=max(1, policy.size // 2), crop_scale=(low / 2, min(1.0, 1.5 * low)))
        return (policy, policy) + (small,) * self.n_small

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) < 2:
            raise InputError(f"SimDINO compares two large views and any small ones, got {len(views)} view")
        with torch.no_grad():
            teacher = [self.teacher(v) for v in views[:2]]
        student = [self.embed(v) for v in views]
        return simdino(student, teacher, self.eps, self.invariance_weight, self.smooth)

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, cosine_momentum(self.momentum, progress))

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher[0]), (self.projector, self.teacher[1])]


# Details that matter
# - The authors' code (RobinWu218/SimDINO, simdino/main_dino.py): eps 0.05 in its README (0.5 in the script), smooth
#   (expa_type=1) in the script, embeddings of 256 dimensions, 8 to 10 small crops, gradients clipped to length 3,
#   momentum 0.996 and more.  Here: 64 dimensions, no small crops by default, no clipping, momentum 0.97 -> 1.
# - No BatchNorm in the head there, with a ViT; here BatchNorm by default, as in our DINO.
# - The weight of the coding rate, (D + N) / (D N), depends on the batch: a heuristic, says the code.
