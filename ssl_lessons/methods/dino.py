"""DINO (Caron et al. 2021, https://arxiv.org/abs/2104.14294)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import dino, update_center
from ssl_lessons.methods.base import Method, cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class PrototypeHead(nn.Module):
    """An MLP to a bottleneck, there L2-normalised, then the cosine with each of K prototypes: [..., dim] -> [..., K].

    The prototypes are a weight-normalised linear layer whose rows keep length 1 (DINO, appendix C).
    """

    def __init__(
        self, in_dim: int, hidden_dim: int, bottleneck: int, prototypes: int, batch_norm: bool = False
    ):
        super().__init__()
        self.mlp = projection_head(in_dim, hidden_dim, bottleneck, layers=3, batch_norm=batch_norm)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, bottleneck), dim=1))

    def forward(self, h: Tensor) -> Tensor:
        z = F.normalize(self.mlp(h.flatten(0, -2)), dim=1)
        return (z @ F.normalize(self.prototypes, dim=1).T).unflatten(0, h.shape[:-1])


class DINO(Method):
    """The student sorts views into K prototypes as the teacher sorts other views of the same image.

    Nothing names the prototypes; centring keeps one of them from taking all images, sharpening (a teacher
    temperature below the student's) keeps them from all being equally likely.  The paper: K = 65,536, hidden 2048,
    bottleneck 256, no BatchNorm in the head, momentum 0.996 -> 1, teacher temperature 0.04 -> 0.07, 8 to 10 small
    crops.  n_small: small crops of half the size, seen by the student only.  Broken on purpose: centering=False,
    teacher_temperature = 1 or more.
    """

    def __init__(
        self,
        encoder: nn.Module,
        prototypes: int = 256,
        hidden_dim: int = 256,
        bottleneck: int = 64,
        momentum: float = 0.97,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.02,
        centering: bool = True,
        center_momentum: float = 0.9,
        n_small: int = 0,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = PrototypeHead(encoder.dim, hidden_dim, bottleneck, prototypes, batch_norm)
        self.teacher = momentum_copy(nn.Sequential(encoder, self.projector))
        self.register_buffer("center", torch.zeros(prototypes))
        self.momentum, self.centering, self.center_momentum = momentum, centering, center_momentum
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.n_small = n_small

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        low, high = policy.crop_scale
        small = policy.replace(size=max(1, policy.size // 2), crop_scale=(low / 2, min(1.0, 1.5 * low)))
        return (policy, policy) + (small,) * self.n_small

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) < 2:
            raise InputError(f"DINO compares two large views and any small ones, got {len(views)} view")
        with torch.no_grad():
            teacher = [self.teacher(v) for v in views[:2]]
        student = [self.projector(self.encoder(v)) for v in views]
        loss = dino(student, teacher, self.center, self.student_temperature, self.teacher_temperature)
        if self.centering and self.training:
            self.center.copy_(update_center(self.center, torch.cat(teacher), self.center_momentum))
        return loss

    def embed(self, x: Tensor) -> Tensor:
        """The bottleneck: what the prototypes are compared with."""
        return self.projector.mlp(self.encoder(x))

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, cosine_momentum(self.momentum, progress))

    @torch.no_grad()
    def assign(self, x: Tensor) -> Tensor:
        return ((self.teacher(x) - self.center) / self.teacher_temperature).softmax(dim=1)

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher[0]), (self.projector, self.teacher[1])]


# Details that matter
# - facebookresearch/dino, main_dino.py, drops the last layer's gradient in the first epoch. Here: the
#   prototypes move from the first step, during 10 % of warm-up in the quick recipe.
# - main_dino.py lets a batch enter the centre after its loss, with momentum 0.9, the teacher's logits only.
#   Here: the same.
# - The help text of main_dino.py advises momentum 0.9995 at batch 256 (default 0.996). Here: 0.97 at 256,
#   rising to 1: 0.9995 has a half-life of 1,386 steps, and the quick recipe has 800 in all.
# - DINOHead: GELU, no BatchNorm by default, weights of deviation 0.02. Here: ReLU, BatchNorm unless
#   batch_norm=False, PyTorch's initialisation.
# - main_dino.py clips gradients at norm 3.0 and raises the weight decay from 0.04 to 0.4. Here: no clipping;
#   the quick recipe's SGD decays by 5e-4, the prototypes too, of which only the direction counts.
