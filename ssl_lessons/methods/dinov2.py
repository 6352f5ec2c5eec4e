"""DINOv2 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193): its objective, without its data and its scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.losses.clustering import balancing_center
from ssl_lessons.losses.distillation import dino, ibot, koleo
from ssl_lessons.methods.base import momentum_copy
from ssl_lessons.methods.dino import PrototypeHead
from ssl_lessons.methods.ibot import IBOT


class DINOv2(IBOT):
    """iBOT with three changes: images and patches have heads of their own, Sinkhorn-Knopp finds the centres, KoLeo.

    The centres balance the answers of this batch (`balancing_center`) instead of following a running mean.  KoLeo
    keeps the images of a batch apart, in each view by itself and below the heads.  koleo_weight: of that term
    (authors' code: 0.1; 0 = off).  sinkhorn=False: running means, as in iBOT.  iterations: of Sinkhorn-Knopp.
    options: those of iBOT.
    """

    def __init__(
        self,
        encoder: nn.Module,
        koleo_weight: float = 0.1,
        sinkhorn: bool = True,
        iterations: int = 3,
        prototypes: int = 256,
        hidden_dim: int = 256,
        bottleneck: int = 64,
        batch_norm: bool = True,
        **options,
    ):
        super().__init__(
            encoder, prototypes=prototypes, hidden_dim=hidden_dim, bottleneck=bottleneck, batch_norm=batch_norm,
            **options,
        )  # fmt: skip
        self.patch_projector = PrototypeHead(encoder.dim, hidden_dim, bottleneck, prototypes, batch_norm)
        self.teacher_patch_projector = momentum_copy(self.patch_projector)
        self.koleo_weight, self.sinkhorn, self.iterations = koleo_weight, sinkhorn, iterations

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        tokens, mask = self.masked_tokens(views)
        temperatures = self.student_temperature, self.teacher_temperature
        images = [t.mean(dim=1) for t in tokens]
        with torch.no_grad():
            teacher_tokens = [self.teacher[0].patches(v) for v in views]
            teacher = [self.teacher[1](t.mean(dim=1)) for t in teacher_tokens]
            teacher_patches = self.teacher_patch_projector(torch.cat(teacher_tokens))
        if self.sinkhorn:
            self.balance(torch.cat(teacher), teacher_patches[mask])
        whole = dino([self.projector(h) for h in images], teacher, self.center, *temperatures)
        patches = self.patch_projector(torch.cat(tokens))
        hidden = ibot(patches, teacher_patches, mask, self.patch_center, *temperatures)
        loss = whole + self.mask_weight * hidden
        if self.koleo_weight:
            loss = loss + self.koleo_weight * sum(koleo(h) for h in images)
        if not self.sinkhorn and self.centering and self.training:
            self.follow(torch.cat(teacher), teacher_patches.flatten(0, 1))
        return loss

    def balance(self, images: Tensor, patches: Tensor) -> None:
        """Centres that share this batch out: of all images [2N, K], and of the hidden patches [masked, K]."""
        for center, logits in ((self.center, images), (self.patch_center, patches)):
            if len(logits):
                center.copy_(balancing_center(logits, self.teacher_temperature, self.iterations))

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [*super().momentum_pairs(), (self.patch_projector, self.teacher_patch_projector)]


# Details that matter
# - facebookresearch/dinov2, ssl_meta_arch.py: a class token stands for the image. Here, as in our iBOT, the mean
#   of the patches, also for KoLeo, which both take of the student's masked large views, and of each view alone.
# - The paper unties the two heads and balances by Sinkhorn-Knopp; ssl_default_config.yaml shares the head and has
#   running means, the configurations of the large models (train/vitl14.yaml) do as the paper. Here: the paper.
# - 8 small crops, 65,536 to 131,072 prototypes, teacher temperature 0.04 to 0.07, momentum 0.992 and more, layer
#   scale, stochastic depth and layer-wise decay there. Here: none of these; settings of our iBOT.
# - KoLeo's weight 0.1 stands before the sum over both views there, and here.
